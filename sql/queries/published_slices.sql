-- The newest published batch of each slice of a dataset between two windows, of some customers or, for none, of all.
SELECT
    customer_id,
    provider,
    toUnixTimestamp(window_start) AS window_seconds,
    batch,
    toString(status) AS published_status,
    rows,
    content_hash,
    error,
    permanent
FROM published_slices
WHERE dataset = {dataset:String}
    AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
    AND (empty({customers:Array(String)}) OR customer_id IN {customers:Array(String)})
