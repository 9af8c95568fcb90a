-- Takes a batch of rows, or nothing of it when the store is not where the writer takes it to be.
-- KEYS[1]: the journal's prefix. ARGV: topic, partition, after ("" for nothing), next, number of rows,
-- then of each row its member, score, conflict id ("" for none), text, number of indexes and their names,
-- then of each counter its hour, field and count. Returns 1, or 0 when nothing was written.
local prefix, topic = KEYS[1], ARGV[1]
local place = topic .. ':' .. ARGV[2]
if (redis.call('HGET', prefix .. 'positions', place) or '') ~= ARGV[3] then
  return 0
end
local base = prefix .. topic .. ':'
local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local member, score, id, text, names = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
  at = at + 5
  if id ~= '' then
    local earlier = redis.call('HGET', base .. 'ids', id)
    if earlier then
      local held = redis.call('HGET', base .. 'rows', earlier)
      for _, name in ipairs(held and cjson.decode(held)[1] or {}) do
        redis.call('ZREM', base .. name, earlier)
      end
      redis.call('HDEL', base .. 'rows', earlier)
    end
    redis.call('HSET', base .. 'ids', id, member)
  end
  redis.call('HSET', base .. 'rows', member, text)
  for index = at, at + names - 1 do
    redis.call('ZADD', base .. ARGV[index], score, member)
  end
  at = at + names
end
while at <= #ARGV do
  redis.call('HINCRBY', base .. 'hour:' .. ARGV[at], ARGV[at + 1], ARGV[at + 2])
  redis.call('ZADD', base .. 'hours', ARGV[at], ARGV[at])
  at = at + 3
end
redis.call('HSET', prefix .. 'positions', place, ARGV[4])
return 1
