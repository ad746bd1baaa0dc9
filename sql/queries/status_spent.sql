-- By customer and provider: what was charged for the calls made since a moment, where it is four fifths of the
-- customer's budget or more. `limits` are those of `customers`, in the same order, in millionths of a dollar.
SELECT customer_id, provider, sum(api_cost_usd) AS usd
FROM metric_batches
WHERE customer_id IN {customers:Array(String)} AND published_at >= fromUnixTimestamp({begin:UInt32})
GROUP BY customer_id, provider
HAVING usd * 1000000 * 5 >= 4 * transform(customer_id, {customers:Array(String)}, {limits:Array(UInt64)}, toUInt64(0))
ORDER BY customer_id, provider
