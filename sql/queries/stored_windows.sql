-- The first and the last published slice of customers by provider and dataset, and how many there are.
SELECT
    customer_id,
    provider,
    dataset,
    toUnixTimestamp(min(window_start)) AS first,
    toUnixTimestamp(max(window_start)) AS last,
    count() AS slices
FROM published_batches
WHERE customer_id IN {customers:Array(String)}
GROUP BY customer_id, provider, dataset
ORDER BY customer_id, provider, dataset
