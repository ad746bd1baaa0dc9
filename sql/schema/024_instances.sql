-- Readers tell an instance from the one that it replaced under its name.
ALTER TABLE resource_inventory ADD COLUMN IF NOT EXISTS instance_uid String CODEC(ZSTD(1));
ALTER TABLE resource_changes ADD COLUMN IF NOT EXISTS instance_uid String CODEC(ZSTD(1));
ALTER TABLE performance_latest ADD COLUMN IF NOT EXISTS instance_uid LowCardinality(String) CODEC(ZSTD(1));
ALTER TABLE performance_by_resource ADD COLUMN IF NOT EXISTS instance_uid LowCardinality(String) CODEC(ZSTD(1));

-- A kind of which no metric is collected is told, and is not a gap of the cloud's.
ALTER TABLE coverage MODIFY COLUMN IF EXISTS state Enum8('collected' = 1, 'not_offered' = 2, 'no_permission' = 3,
    'agent_missing' = 4, 'throttled' = 5, 'error' = 6, 'no_points' = 7, 'not_collected' = 8);

-- A view keeps the columns and types that its table had when it was made.
CREATE OR REPLACE VIEW coverage_current AS
SELECT * EXCEPT (version, until)
FROM coverage FINAL
WHERE until IS NULL;

CREATE OR REPLACE VIEW resource_inventory_current AS
SELECT t.* EXCEPT (batch)
FROM resource_inventory AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'resource_inventory') AS b
    USING (window_start, batch);

CREATE OR REPLACE VIEW resource_changes_current AS
SELECT t.* EXCEPT (batch)
FROM resource_changes AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'resource_changes') AS b
    USING (window_start, batch);

CREATE OR REPLACE VIEW performance_latest_current AS
SELECT t.* EXCEPT (batch)
FROM performance_latest AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_latest') AS b
    USING (window_start, batch);

CREATE OR REPLACE VIEW performance_by_resource_current AS
SELECT t.* EXCEPT (batch)
FROM performance_by_resource AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_by_resource') AS b
    USING (window_start, batch);
