-- The newest window of each dataset and provider that was published in the month before a window.
SELECT dataset, provider, toUnixTimestamp(max(window_start))
FROM metric_batches
WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)} AND status IN ('ok', 'partial')
    AND window_start >= {last:DateTime('UTC')} - INTERVAL 31 DAY AND window_start <= {last:DateTime('UTC')}
GROUP BY dataset, provider
