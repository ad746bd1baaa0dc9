-- Where some inventories looked, by customer and window; those of which it is not known are left out.
SELECT
    customer_id,
    toUnixTimestamp(window_start) AS window_seconds,
    argMaxIf(b.scope, b.published_at, notEmpty(b.scope)) AS scope
FROM metric_batches AS b
WHERE dataset = 'resource' AND status IN ('ok', 'partial') AND provider = {provider:String}
    AND customer_id IN {customers:Array(String)} AND has({windows:Array(UInt32)}, toUnixTimestamp(window_start))
    AND window_start >= fromUnixTimestamp(arrayMin({windows:Array(UInt32)}))
GROUP BY customer_id, window_start
HAVING notEmpty(scope)
