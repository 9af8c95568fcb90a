-- Writes rows into the view and leaves out every row that is not newer than what is held of its entity.
--
-- ARGV: 1 the position's text after its offset, 2 time to live in ms or '', 3 number of rows; then of each
-- row: entity key, doc ('' = deleted), clock, contested, offset in `changes`; then, if they are known,
-- each row's offset in `records`.
--
-- Held as field `v`, and in the guard of an entity whose key is gone or may vanish: the offset in
-- `changes`, then ':' and the offset in `records` if known, then 't' if the key was given a time to live.
-- The plain number of the hand-over is the common case, and compares without being taken apart.
--
-- Returns the number of rows that could not be judged: their offset in `changes` is the one held, and
-- which of the two stands later in `records` is not known.
local call, tonumber, match = redis.call, tonumber, string.match
local position_end, ttl, rows = ARGV[1], ARGV[2], tonumber(ARGV[3])
local expires = ttl ~= ''
local records = 3 + 5 * rows
local known = #ARGV > records
local unjudged = 0

for row = 1, rows do
  local at = 5 * row - 1
  local entity, doc, offset = ARGV[at], ARGV[at + 1], ARGV[at + 4]
  local view = 'syncline:view:' .. entity
  local version = offset
  if known then version = offset .. ':' .. ARGV[records + row] end
  local held = call('HGET', view, 'v') or call('GET', 'syncline:guard:' .. entity)
  local newer, expired = true, ''
  if held then
    local own, other, record = tonumber(offset), tonumber(held), ''
    if not other then
      other, record, expired = match(held, '^(%d+):?(%d*)(t?)$')
      other = tonumber(other)
    end
    if own ~= other then
      newer = own > other
    elseif known then
      -- The same offset in `records` is the same record: writing it again repeats it.
      newer = record == '' or tonumber(ARGV[records + row]) >= tonumber(record)
    else
      newer = false
      unjudged = unjudged + 1
    end
  end
  if newer then
    if doc == '' then
      call('SET', 'syncline:guard:' .. entity, version)
      call('UNLINK', view)
    else
      if expires then
        version = version .. 't'
        call('SET', 'syncline:guard:' .. entity, version)
      end
      call('HSET', view, 'doc', doc, 'clock', ARGV[at + 2], 'contested', ARGV[at + 3],
        'position', '{"offset":' .. offset .. position_end, 'v', version)
      if expires then
        call('PEXPIRE', view, ttl)
      elseif expired ~= '' then
        -- Written while the view had a time to live: HSET alone would let the key vanish.
        call('PERSIST', view)
      end
    end
  end
end
return unjudged
