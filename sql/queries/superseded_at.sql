-- The published batches of a dataset's slices between two windows that a higher one has superseded, and when (ms).
SELECT customer_id, provider, toUnixTimestamp(window_start), batch, toUnixTimestamp64Milli(assumeNotNull(until))
FROM published_versions
WHERE dataset = {dataset:String} AND customer_id IN {customers:Array(String)}
    AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
    AND isNotNull(until)
