-- The first window that each provider of a customer was tried for, by dataset.
SELECT dataset, provider, toUnixTimestamp(min(window_start)) AS first
FROM metric_batches
WHERE dataset IN {datasets:Array(String)} AND customer_id = {customer:String}
    AND (empty({provider:String}) OR provider = {provider:String})
GROUP BY dataset, provider
