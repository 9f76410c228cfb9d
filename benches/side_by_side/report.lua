-- Prints what wrk counted as one line of JSON, and sends requests in batches of WRK_PIPELINE where that is set.
local depth = tonumber(os.getenv("WRK_PIPELINE") or "1")
local body_bytes = tonumber(os.getenv("WRK_BODY_BYTES") or "0")

if body_bytes > 0 then
   wrk.method = "POST"
   wrk.body = string.rep("x", body_bytes)
   wrk.headers["content-type"] = "application/octet-stream"
end

if depth > 1 then
   local batch
   function init(args)
      local one = wrk.format()
      batch = string.rep(one, depth)
   end
   function request() return batch end
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      'WRK {"requests":%d,"duration_us":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,' ..
      '"p50_us":%.1f,"p90_us":%.1f,"p99_us":%.1f,"p999_us":%.1f,"max_us":%.1f}\n',
      summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end
