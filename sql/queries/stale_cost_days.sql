-- The days before that of `window` whose rollup, `dataset`, is older than what was published of their costs, or missing.
-- Looked at are the bills of all days, and the estimates of the last 45 days; of estimates before that, which only a
-- backfill publishes, the first window of each of the last 190 days: what the trends reach back to.
SELECT toUnixTimestamp(day)
FROM
(
    SELECT toStartOfDay(window_start) AS day, max(published_at) AS published
    FROM metric_batches
    WHERE dataset IN ('cost', 'cost_billed') AND status IN ('ok', 'partial')
        AND window_start < toStartOfDay({window:DateTime('UTC')})
        AND window_start >= {window:DateTime('UTC')} - INTERVAL 800 DAY
        AND (dataset = 'cost_billed' OR window_start >= {window:DateTime('UTC')} - INTERVAL 45 DAY
            OR (window_start = toStartOfDay(window_start) AND window_start >= {window:DateTime('UTC')} - INTERVAL 190 DAY))
    GROUP BY day
) AS costs
LEFT JOIN
(
    SELECT window_start AS day, max(batch) AS computed
    FROM metric_batches
    WHERE dataset = {dataset:String} AND status = 'ok'
        AND window_start >= {window:DateTime('UTC')} - INTERVAL 800 DAY
    GROUP BY day
) AS rollups USING (day)
WHERE computed <= toUnixTimestamp64Nano(toDateTime64(published, 9, 'UTC'))
ORDER BY day
