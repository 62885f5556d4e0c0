-- Takes one request of every bucket in KEYS, or of none, by the cell rate algorithm.
--
-- A bucket is one number: its theoretical arrival time in microseconds of this server's clock. ARGV
-- holds two numbers per key: what a request moves that time by, and how far ahead it may lie.
-- Answers which key is used up (0: none, and all were taken), and how far ahead each arrival time
-- lies afterwards. Numbers stay below 2^53, which doubles hold exactly; `%.0f`, since Lua would
-- write such a number with 14 digits.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrivals = redis.call('MGET', unpack(KEYS))
local before, after, used_up = {}, {}, 0
for i = 1, #KEYS do
  local cost, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local ahead = math.max((tonumber(arrivals[i] or 0) or 0) - now, 0)
  if not (ahead <= burst + 1000000) then
    -- Only a clock that was set back makes that, or a value that is no number of ours; a limit that
    -- was changed makes less than a second, by rounding. The next request passes, and the bucket is as
    -- empty as it can be from there.
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
  -- A bucket whose arrival time has come is full, as is one that is not there.
  local life = math.ceil(after[i] / 1000)
  redis.call('SET', KEYS[i], string.format('%.0f', now + after[i]), 'PX', life)
end
return {0, after[1], after[2] or 0}
