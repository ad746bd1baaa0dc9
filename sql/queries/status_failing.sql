-- Of some customers' slices that are not whole: since which window, how many windows were tried in vain, and of the newest
-- one that was due, how its newest attempt ended, how many runs tried it, and when last.
SELECT
    dataset,
    customer_id,
    provider,
    toUnixTimestamp(maxIf(window_start, whole)) AS whole_until,
    toUnixTimestamp(minIf(window_start, NOT whole AND is_due)) AS first_seen,
    countIf(NOT whole AND is_due) AS windows,
    argMaxIf((last_status, last_permanent, last_error, attempts, toUnixTimestamp(last_attempt)), window_start, is_due)
        AS newest
FROM
(
    SELECT
        dataset,
        customer_id,
        provider,
        window_start,
        countIf(status = 'ok') > 0 AS whole,
        countIf(status != 'not_due') > 0 AS is_due,
        argMax(toString(b.status), (published_at, batch)) AS last_status,
        argMax(b.permanent, (published_at, batch)) AS last_permanent,
        argMax(b.error, (published_at, batch)) AS last_error,
        uniqExactIf(run_id, b.status IN ('failed', 'partial')) AS attempts,
        max(published_at) AS last_attempt
    FROM metric_batches AS b
    WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
        AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
    GROUP BY dataset, customer_id, provider, window_start
)
GROUP BY dataset, customer_id, provider
