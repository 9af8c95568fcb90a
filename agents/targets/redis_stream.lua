-- Appends deliveries to a stream and leaves out every one that is not newer than the newest appended of its entity.
--
-- KEYS: 1 the stream, 2 the guard: a hash of entity key -> '<generation>:<offset>' of what was appended last.
-- ARGV: 1 entries that the stream keeps, about; then of each delivery: entity key, generation, offset, message.
-- Returns how many were appended.
local call, tonumber, match = redis.call, tonumber, string.match
local stream, guard, entries = KEYS[1], KEYS[2], ARGV[1]
local appended = 0

for at = 2, #ARGV, 4 do
  local key, generation, offset = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local held = call('HGET', guard, key)
  local newer = true
  if held then
    local held_generation, held_offset = match(held, '^(%d+):(%d+)$')
    held_generation, held_offset = tonumber(held_generation), tonumber(held_offset)
    newer = generation > held_generation or (generation == held_generation and offset > held_offset)
  end
  if newer then
    call('XADD', stream, 'MAXLEN', '~', entries, '*', 'key', key, 'delivery', ARGV[at + 3])
    call('HSET', guard, key, ARGV[at + 1] .. ':' .. ARGV[at + 2])
    appended = appended + 1
  end
end
return appended
