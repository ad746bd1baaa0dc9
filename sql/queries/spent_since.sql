-- By customer: what a provider charged for the calls made since a moment, and whether a budget stopped a slice since.
-- By the time of the attempt, not its window: a backfill of last month is paid this month.
SELECT customer_id, sum(api_cost_usd), countIf(status = 'budget') > 0
FROM metric_batches
WHERE provider = {provider:String} AND customer_id IN {customers:Array(String)}
    AND published_at >= fromUnixTimestamp({begin:UInt32})
GROUP BY customer_id
