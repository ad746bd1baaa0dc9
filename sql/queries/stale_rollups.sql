-- The slices of a rollup, `seconds` long, that are older than what they are computed from, as far as that was published
-- lately, and when it was (ns). What was published after `settled` waits: a backfill in progress would have its hours
-- computed again for each customer. An attempt that found the same content names its old batch and changes nothing.
WITH
sources AS
(
    SELECT
        toStartOfInterval(window_start, toIntervalSecond({seconds:UInt32}), 'UTC') AS start,
        max(first_published) AS newest
    FROM
    (
        SELECT window_start, min(published_at) AS first_published
        FROM metric_batches
        WHERE dataset = {source:String} AND status IN ('ok', 'partial') AND published_at > {since:DateTime('UTC')}
            AND window_start < {before:DateTime('UTC')}
        GROUP BY customer_id, provider, window_start, batch
    )
    GROUP BY start
    HAVING newest <= {settled:DateTime('UTC')}
),
rollups AS
(
    SELECT window_start AS start, max(batch) AS computed
    FROM metric_batches
    WHERE dataset = {rollup:String} AND status = 'ok' AND window_start IN (SELECT start FROM sources)
    GROUP BY window_start
)
SELECT toUnixTimestamp(start) AS start_seconds, toUnixTimestamp64Nano(toDateTime64(newest, 9, 'UTC')) AS published
FROM sources
LEFT JOIN rollups USING (start)
WHERE computed < published
ORDER BY start
