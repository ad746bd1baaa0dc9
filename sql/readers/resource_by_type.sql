-- How many resources of each kind, how many of them run, and their capacity, from the newest published inventories.
SELECT
    r.customer_id AS customer_id,
    r.provider AS provider,
    resource_type,
    kind,
    count() AS resources,
    countIf(status IN ('running', 'available', 'in_use')) AS running,
    countIf(status IN ('stopped', 'terminated')) AS stopped,
    resources - running - stopped AS other,
    uniqExact(region) AS regions,
    sumOrNull(r.capacity) AS capacity,
    unit,
    r.window_start AS as_of,
    any(newest.complete) AS complete
FROM resource_metrics AS r
INNER JOIN
(
    SELECT
        customer_id,
        provider,
        max(b.window_start) AS window_start,
        argMax(b.batch, (b.window_start, b.batch)) AS batch,
        argMax(status, (b.window_start, b.batch)) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'resource' AND status IN ('ok', 'partial')
        AND b.window_start <= {window:DateTime('UTC')}
        AND b.window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY
    GROUP BY customer_id, provider
) AS newest USING (customer_id, provider, window_start, batch)
WHERE r.window_start <= {window:DateTime('UTC')} AND r.window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY
GROUP BY customer_id, provider, resource_type, kind, unit, as_of
