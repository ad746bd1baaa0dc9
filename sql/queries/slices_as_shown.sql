-- How a customer's slices of a dataset and provider between two windows stand: whole (published in full, or not due), partial
-- (published, and something is missing), or why they are not there; with the error of the newest. `due` counts those
-- up to the newest window that must be there; `known_at` leaves out what was recorded later.
SELECT
    multiIf(shown = 'ok' OR (shown = '' AND last = 'not_due'), 'whole', shown = 'partial', 'partial', last) AS state,
    count() AS windows,
    countIf(window_start <= fromUnixTimestamp({due:UInt32})) AS due,
    toUnixTimestamp(min(window_start)) AS first,
    toUnixTimestamp(max(window_start)) AS last_window,
    argMax(if(shown = 'partial', shown_error, error), window_start) AS why
FROM
(
    SELECT
        window_start,
        argMax(toString(b.status), (b.published_at, b.batch)) AS last,
        argMax(b.error, (b.published_at, b.batch)) AS error,
        argMaxIf(toString(b.status), b.batch, b.status IN ('ok', 'partial')) AS shown,
        argMaxIf(b.error, b.batch, b.status IN ('ok', 'partial')) AS shown_error
    FROM metric_batches AS b
    WHERE customer_id = {customer:String} AND dataset = {dataset:String} AND provider = {provider:String}
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
        AND published_at <= {known_at:DateTime64(3, 'UTC')}
    GROUP BY window_start
)
GROUP BY state
ORDER BY state
