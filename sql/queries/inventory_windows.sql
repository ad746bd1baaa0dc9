-- By customer: the newest published inventory at or before a window (0 for none), and the oldest one at all.
SELECT
    customer_id,
    maxIf(toUnixTimestamp(window_start), window_start <= fromUnixTimestamp({window:UInt32})) AS newest,
    min(toUnixTimestamp(window_start)) AS oldest
FROM published_batches
WHERE dataset = 'resource' AND provider = {provider:String} AND customer_id IN {customers:Array(String)}
    AND window_start >= fromUnixTimestamp({oldest:UInt32})
GROUP BY customer_id
