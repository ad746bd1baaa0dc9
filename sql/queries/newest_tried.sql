-- By customer and provider: the newest window since a moment that was collected, or tried and failed.
SELECT customer_id, provider, toUnixTimestamp(max(window_start))
FROM metric_batches
WHERE dataset = {dataset:String} AND customer_id IN {customers:Array(String)}
    AND status IN ('ok', 'partial', 'failed') AND window_start > fromUnixTimestamp({since:UInt32})
GROUP BY customer_id, provider
