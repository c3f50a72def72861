-- The claim protocol in one step. A claim is kept as text:
--   <f: in flight, or d: done> <epoch> <fingerprint> <end of the lease, or of the retention> <nonce>
-- KEYS: 1 the claim, 2 the last epoch that was handed out.
-- ARGV: 1 what to do, and then what that takes.
-- Moments come from the caller; the server's clock only lets keys expire, and keeps epochs rising where it lost its data.
if ARGV[1] == 'ping' then
  -- A write, so that a replica, a full server and one that cannot save refuse it.
  redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
  return { 'current' }
end

local held = redis.call('GET', KEYS[1])
local state, epoch, print, ends, nonce
if held then
  state, epoch, print, ends, nonce = string.match(held, '^([df]) (%d+) (%x+) (-?%d+) (%x+)$')
  if not state then
    return redis.error_reply('ERR what stands under this key is not a claim: give countersign a prefix of its own')
  end
end

local function put(state, epoch, print, ends, nonce, ttl)
  redis.call('SET', KEYS[1], table.concat({ state, epoch, print, ends, nonce }, ' '), 'PX', ttl)
end

local what = ARGV[1]

if what == 'claim' then
  local now, body, until_, mine, ttl = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
  if state == 'f' and nonce == mine then
    return { 'new', epoch } -- asked again, as the first answer was lost
  end
  if state and tonumber(ends) > now then
    if print ~= body then
      return { 'conflict' }
    elseif state == 'd' then
      return { 'done' }
    end
    return { 'held', ends }
  end
  local time = redis.call('TIME')
  local last = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(epoch or '0'))
  local fresh = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', KEYS[2], fresh)
  put('f', fresh, body, until_, mine, ttl)
  return { 'new', fresh }
end

if what == 'take_back' then
  if state == 'f' and nonce == ARGV[2] then
    redis.call('DEL', KEYS[1])
    return { 'current' }
  end
  return { 'superseded' }
end

if epoch ~= ARGV[2] then
  return { 'superseded' }
elseif state == 'd' then
  return { what == 'complete' and 'already' or 'superseded' }
elseif what == 'complete' then
  put('d', epoch, print, ARGV[3], nonce, ARGV[4])
elseif what == 'extend' then
  put('f', epoch, print, ARGV[3], nonce, ARGV[4])
elseif what == 'release' then
  redis.call('DEL', KEYS[1])
else
  return redis.error_reply('ERR unknown step')
end
return { 'current' }
