-- What is known of each metric of each resource, as states with since and until: a row is written when a state
-- changes, not once per window. Closing a state inserts its key again with `until` set and a higher version, so the
-- change from one state to the next is one INSERT of one block.
CREATE TABLE coverage
(
    customer_id    LowCardinality(String)      CODEC(ZSTD(1)),
    provider       LowCardinality(String)      CODEC(ZSTD(1)),
    resource_id    String                      CODEC(ZSTD(1)),
    resource_type  LowCardinality(String)      CODEC(ZSTD(1)),
    metric_name    LowCardinality(String)      CODEC(ZSTD(1)),
    state          Enum8('collected' = 1, 'not_offered' = 2, 'no_permission' = 3, 'agent_missing' = 4,
                         'throttled' = 5, 'error' = 6),
    reason         String                      CODEC(ZSTD(1)),
    since          DateTime('UTC')             CODEC(ZSTD(1)),   -- the window in which the state was first seen
    until          Nullable(DateTime('UTC'))   CODEC(ZSTD(1)),   -- the window in which it was over; null while it lasts
    version        UInt64                      CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (customer_id, provider, resource_id, metric_name, since)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE VIEW coverage_current AS
SELECT * EXCEPT (version, until)
FROM coverage FINAL
WHERE until IS NULL;
