-- Forgets the consumers of a group that hold nothing and were not seen for a while.
-- KEYS[1]: the stream. ARGV: group, milliseconds. In one step, for what a consumer holds is lost with it.
local forgotten = 0
for _, pairs_of_one in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local one = {}
  for at = 1, #pairs_of_one, 2 do
    one[pairs_of_one[at]] = pairs_of_one[at + 1]
  end
  if one['pending'] == 0 and one['idle'] > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], one['name'])
    forgotten = forgotten + 1
  end
end
return forgotten
