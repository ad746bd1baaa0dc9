-- The cloud's own id of a thing that another may replace under the same resource_id; empty where that cannot be, and in
-- the rows of before.
ALTER TABLE resource_metrics ADD COLUMN IF NOT EXISTS instance_uid String CODEC(ZSTD(1));
ALTER TABLE performance_metrics ADD COLUMN IF NOT EXISTS instance_uid LowCardinality(String) CODEC(ZSTD(1));

CREATE OR REPLACE VIEW performance_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM performance_metrics AS t
LEFT SEMI JOIN (SELECT * FROM published_batches WHERE dataset = 'performance') AS b
    USING (customer_id, provider, window_start, batch);

-- A view keeps the columns that its table had when it was made.
CREATE OR REPLACE VIEW resource_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM resource_metrics AS t
LEFT SEMI JOIN (SELECT * FROM published_batches WHERE dataset = 'resource') AS b
    USING (customer_id, provider, window_start, batch);

-- The resources of each customer's and provider's newest published inventory, at most a day old.
CREATE OR REPLACE VIEW newest_inventories AS
SELECT
    r.* EXCEPT (window_start, batch),
    r.window_start AS as_of,       -- the inventory's own window
    newest.complete AS complete    -- false: it is partial
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
WHERE r.window_start <= {window:DateTime('UTC')} AND r.window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY;
