-- By customer and resource: the start of the newest day whose totals are published, other than in some windows, which
-- are about to be collected.
SELECT customer_id, resource_id, toUnixTimestamp(max(timestamp))
FROM performance_metrics_current
WHERE provider = {provider:String} AND customer_id IN {customers:Array(String)} AND period_seconds = 86400
    AND statistic != 'snapshot'   -- whose period is the customer's poll, which may be a day
    AND window_start >= fromUnixTimestamp({first:UInt32})
    AND NOT has({windows:Array(UInt32)}, toUnixTimestamp(window_start))
GROUP BY customer_id, resource_id
