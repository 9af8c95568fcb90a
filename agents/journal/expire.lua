-- Deletes the oldest rows of a topic: those below a score, and those beyond a number.
-- KEYS[1]: the topic's prefix. ARGV: score ("" for none), most rows ("" for any), limit. Returns how many.
local base, limit = KEYS[1], tonumber(ARGV[3])
local members = {}
if ARGV[1] ~= '' then
  members = redis.call('ZRANGEBYSCORE', base .. 'all', '-inf', '(' .. ARGV[1], 'LIMIT', 0, limit)
end
if ARGV[2] ~= '' then
  local surplus = math.min(redis.call('ZCARD', base .. 'all') - tonumber(ARGV[2]), limit)
  if surplus > #members then
    members = redis.call('ZRANGE', base .. 'all', 0, surplus - 1)
  end
end
for _, member in ipairs(members) do
  -- Redis may have evicted the row, or somebody deleted it: then its name alone is left.
  local row = redis.call('HGET', base .. 'rows', member)
  local held = row and cjson.decode(row) or {{'all'}, ''}
  for _, name in ipairs(held[1]) do
    redis.call('ZREM', base .. name, member)
  end
  if held[2] ~= '' and redis.call('HGET', base .. 'ids', held[2]) == member then
    redis.call('HDEL', base .. 'ids', held[2])
  end
  redis.call('HDEL', base .. 'rows', member)
end
return #members
