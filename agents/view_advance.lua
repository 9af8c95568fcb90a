-- Moves the progress of one partition, unless this Redis holds less than the caller last knew it to hold:
-- then it was wiped or is an older copy, and what the caller wrote meanwhile may be lost with the rest.
--
-- KEYS: 1 the progress. ARGV: 1 field, 2 what it must have reached (-1: nothing), 3 its new value.
-- Returns what it holds now, -1 for nothing. Never moves back.
local held = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or -1)
if held >= tonumber(ARGV[2]) and held < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  held = tonumber(ARGV[3])
end
return held
