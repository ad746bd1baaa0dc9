-- How each customer has its costs allocated, as the customers file said when costs were collected. A row is added when
-- that changes, so that what a reader has said can be explained later; the newest of a customer counts.
CREATE TABLE allocation_rules
(
    customer_id        LowCardinality(String)         CODEC(ZSTD(1)),
    recorded_at        DateTime64(6, 'UTC')           CODEC(Delta(8), ZSTD(1)),   -- when the customers file was found to say so; UTC
    allocate_by        Array(String)                  CODEC(ZSTD(1)),   -- tag keys
    shared_services    Array(String)                  CODEC(ZSTD(1)),   -- whose charges all share
    shared_categories  Array(String)                  CODEC(ZSTD(1)),
    shared_by          LowCardinality(String)         CODEC(ZSTD(1))    -- proportional, even, or empty: nothing is shared
)
ENGINE = MergeTree
ORDER BY (customer_id, recorded_at)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE VIEW allocation_rules_current AS
SELECT
    customer_id,
    argMax(r.allocate_by, r.recorded_at) AS allocate_by,
    argMax(r.shared_services, r.recorded_at) AS shared_services,
    argMax(r.shared_categories, r.recorded_at) AS shared_categories,
    argMax(r.shared_by, r.recorded_at) AS shared_by
FROM allocation_rules AS r
GROUP BY customer_id;
