-- Takes one request from every bucket in KEYS, or from none, by the generic cell rate algorithm.
--
-- A bucket is one number: its theoretical arrival time in microseconds of this server's clock. ARGV
-- has two numbers per key: by how much a request moves that time, and how far ahead it may lie.
-- Returns the index of the key that is used up (0: none, and the request was taken from all), and
-- how far ahead each arrival time lies afterwards. Numbers stay below 2^53, which doubles represent
-- exactly. `%.0f` is needed since Lua would write such a number with 14 digits.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrivals = redis.call('MGET', unpack(KEYS))
local before, after, used_up = {}, {}, 0
for i = 1, #KEYS do
  local cost, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local ahead = math.max((tonumber(arrivals[i] or 0) or 0) - now, 0)
  if not (ahead <= burst + 1000000) then
    -- The clock was set back, or another program wrote the value. (A changed limit exceeds the
    -- burst by less than a second, through rounding.) Allow this request, and treat the limit as
    -- otherwise used up.
    ahead = burst - cost
  end
  before[i], after[i] = ahead, ahead + cost
  if used_up == 0 and after[i] > burst then
    used_up = i
  end
end
if used_up > 0 then
  return {used_up, before[1], before[2] or 0}
end
for i = 1, #KEYS do
  -- Expire the key at the arrival time: then the bucket is full, and a missing bucket counts as
  -- full.
  local life = math.ceil(after[i] / 1000)
  redis.call('SET', KEYS[i], string.format('%.0f', now + after[i]), 'PX', life)
end
return {0, after[1], after[2] or 0}
