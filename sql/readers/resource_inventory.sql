-- Every resource of the newest published inventory of each customer and provider, at most a day old.
SELECT
    r.customer_id AS customer_id,
    r.provider AS provider,
    account_id,
    region,
    kind,
    resource_id,
    resource_name,
    resource_type,
    status,
    cloud_status,
    created_at,
    utilization,
    capacity,
    unit,
    tags,
    metadata,
    r.window_start AS as_of,
    newest.complete AS complete
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
