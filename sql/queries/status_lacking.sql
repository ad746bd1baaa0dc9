-- The slices of some customers that may have a hole between two windows: fewer of them have what can be had than there
-- are since the first that was tried, or that first one is later than the span. Cheap, where nothing lacks:
-- `status_gaps` looks at these alone.
SELECT
    dataset,
    customer_id,
    provider,
    toUnixTimestamp(min(window_start)) AS began,
    groupBitmapIf(toUInt32(toUnixTimestamp(window_start)), b.status IN ('ok', 'partial', 'budget', 'not_configured'))
        < intDiv(toUnixTimestamp({last:DateTime('UTC')}) - began, 900) + 1 AS lacks
FROM metric_batches AS b
WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
    AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
    -- An inventory is taken a day after its window at most: that one of the past was refused later tells of nobody.
    AND NOT (dataset = 'resource' AND b.status = 'failed' AND published_at > window_start + INTERVAL 25 HOUR)
GROUP BY dataset, customer_id, provider
HAVING lacks OR began > toUnixTimestamp({first:DateTime('UTC')})
