-- What a resource's kind says of it, written with the inventory, so that `cost waste` names no cloud and no kind.
ALTER TABLE resource_metrics ADD COLUMN IF NOT EXISTS attachable Bool CODEC(ZSTD(1));
ALTER TABLE resource_metrics ADD COLUMN IF NOT EXISTS silent_when_idle Bool CODEC(ZSTD(1));

-- The rows of before: the kinds that `cost waste` named until now.
ALTER TABLE resource_metrics UPDATE attachable = 1
WHERE kind IN ('ebs:volume', 'gcp:disk', 'azure:disk', 'vultr:block')
SETTINGS mutations_sync = 2;

ALTER TABLE resource_metrics UPDATE silent_when_idle = 1
WHERE kind IN ('elb:classic', 'elbv2:application', 'elbv2:network', 'elbv2:gateway', 'gcp:forwarding_rule')
SETTINGS mutations_sync = 2;

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
