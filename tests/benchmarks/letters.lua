-- Sends each request of a file once, in order. A record is 8 digits, a line break, and so many bytes: the request from
-- its first own header on; the lines above it are put in front here.
-- Arguments: FILE POSITION PATH CONNECTION PAUSE (milliseconds between an answer and the next request; 0 is none)
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  file = assert(io.open(args[1], "rb"))
  file:seek("set", tonumber(args[2]))
  position, exhausted = tonumber(args[2]), 0
  head = "POST " .. args[3] .. " HTTP/1.1\r\nHost: localhost\r\nConnection: " .. args[4] .. "\r\n"
  local pause = tonumber(args[5])
  if pause > 0 then
    delay = function() return pause end
  end
end

function request()
  local size = file:read(9)
  if size == nil then
    exhausted = 1
    wrk.thread:stop()
    return head .. "Content-Length: 0\r\n\r\n"
  end
  local rest = file:read(tonumber(size))
  position = position + 9 + #rest
  return head .. rest
end

function done(summary, latency, requests)
  local position, exhausted = 0, 0
  for _, thread in ipairs(threads) do
    position = math.max(position, thread:get("position"))
    exhausted = math.max(exhausted, thread:get("exhausted"))
  end
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "microseconds": %d, "p50": %d, "p90": %d, "p99": %d, "p999": %d, "max": %d, ' ..
    '"status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "position": %d, "exhausted": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), latency.max, e.status, e.connect, e.read, e.write, e.timeout, position, exhausted))
end
