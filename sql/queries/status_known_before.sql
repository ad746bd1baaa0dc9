-- Which of some customers' slices had an attempt in the month before a window.
SELECT DISTINCT dataset, customer_id, provider
FROM metric_batches
WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
    AND window_start >= {first:DateTime('UTC')} - INTERVAL 31 DAY AND window_start < {first:DateTime('UTC')}
    -- An inventory is taken a day after its window at most: that one of the past was refused later tells of nobody.
    AND NOT (dataset = 'resource' AND status = 'failed' AND published_at > window_start + INTERVAL 25 HOUR)
