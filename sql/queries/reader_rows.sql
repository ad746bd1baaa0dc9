-- How many rows each reader published of some windows.
SELECT dataset, toUnixTimestamp(window_start) AS window_seconds, rows
FROM published_slices
WHERE customer_id = ''
    AND window_start IN arrayMap(seconds -> fromUnixTimestamp(seconds), {windows:Array(UInt32)})
