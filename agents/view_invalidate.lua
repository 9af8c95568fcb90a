-- Deletes an entity's key; its guard keeps the version, so that nothing older can take its place.
-- KEYS: 1 the key, 2 its guard.
local held = redis.call('HGET', KEYS[1], 'v')
if held then
  redis.call('SET', KEYS[2], held)
  redis.call('UNLINK', KEYS[1])
end
return held and 1 or 0
