-- The days before that of `window` whose rollup, `dataset`, is older than what was published of their interactions, or
-- missing. Files may be late, so of the last 14 days every window counts; of the 90 days before, which lack a rollup after
-- an upgrade, the first. An attempt that found the same content names its old batch and changes nothing.
SELECT toUnixTimestamp(day)
FROM
(
    SELECT toStartOfDay(window_start) AS day, max(first_published) AS published
    FROM
    (
        SELECT window_start, min(published_at) AS first_published
        FROM metric_batches
        WHERE dataset = 'application' AND status IN ('ok', 'partial')
            AND window_start < toStartOfDay({window:DateTime('UTC')})
            AND window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 90 DAY
            AND (window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 14 DAY
                OR window_start = toStartOfDay(window_start))
        GROUP BY customer_id, provider, window_start, batch
    )
    GROUP BY day
) AS judged
LEFT JOIN
(
    SELECT window_start AS day, max(batch) AS computed
    FROM metric_batches
    WHERE dataset = {dataset:String} AND status = 'ok'
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 90 DAY
    GROUP BY day
) AS rollups USING (day)
WHERE computed <= toUnixTimestamp64Nano(toDateTime64(published, 9, 'UTC'))
ORDER BY day
