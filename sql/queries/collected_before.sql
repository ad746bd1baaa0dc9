-- Which of some customers' providers had an attempt in the month before a window: they did not begin after it.
SELECT DISTINCT customer_id, provider
FROM metric_batches
WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
    AND window_start >= {first:DateTime('UTC')} - INTERVAL 31 DAY AND window_start < {first:DateTime('UTC')}
