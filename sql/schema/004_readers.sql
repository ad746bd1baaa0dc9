-- What the reader assets write. A slice is a whole window: every customer and provider at once. Reader rows can be
-- computed again from the metrics, so they are kept for days, not months.

CREATE TABLE performance_latest
(
    window_start    DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    batch           UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id     LowCardinality(String)   CODEC(ZSTD(1)),
    provider        LowCardinality(String)   CODEC(ZSTD(1)),
    resource_id     LowCardinality(String)   CODEC(ZSTD(1)),
    resource_name   LowCardinality(String)   CODEC(ZSTD(1)),
    resource_type   LowCardinality(String)   CODEC(ZSTD(1)),
    region          LowCardinality(String)   CODEC(ZSTD(1)),
    metric_type     LowCardinality(String)   CODEC(ZSTD(1)),
    metric_name     LowCardinality(String)   CODEC(ZSTD(1)),
    statistic       LowCardinality(String)   CODEC(ZSTD(1)),
    metric_value    Float64                  CODEC(ZSTD(1)),
    unit            LowCardinality(String)   CODEC(ZSTD(1)),
    timestamp       DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),   -- of the newest point
    as_of           DateTime('UTC')          CODEC(Delta(4), ZSTD(1))    -- the newest published window, which may be older
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_id, metric_name, statistic)
TTL window_start + INTERVAL 7 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE performance_summary
(
    window_start   DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    batch          UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id    LowCardinality(String)   CODEC(ZSTD(1)),
    provider       LowCardinality(String)   CODEC(ZSTD(1)),
    resource_type  LowCardinality(String)   CODEC(ZSTD(1)),
    metric_name    LowCardinality(String)   CODEC(ZSTD(1)),
    statistic      LowCardinality(String)   CODEC(ZSTD(1)),
    unit           LowCardinality(String)   CODEC(ZSTD(1)),
    resources      UInt32                   CODEC(ZSTD(1)),   -- resources with at least one point
    points         UInt32                   CODEC(ZSTD(1)),
    mean           Float64                  CODEC(ZSTD(1)),   -- over the points
    minimum        Float64                  CODEC(ZSTD(1)),
    maximum        Float64                  CODEC(ZSTD(1)),
    p95            Float64                  CODEC(ZSTD(1)),   -- exact, interpolated
    complete       Bool                     CODEC(ZSTD(1))    -- false: some of the window could not be collected
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_type, metric_name, statistic)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE resource_inventory
(
    window_start   DateTime('UTC')             CODEC(Delta(4), ZSTD(1)),
    batch          UInt64                      CODEC(Delta(8), ZSTD(1)),
    customer_id    LowCardinality(String)      CODEC(ZSTD(1)),
    provider       LowCardinality(String)      CODEC(ZSTD(1)),
    account_id     LowCardinality(String)      CODEC(ZSTD(1)),
    region         LowCardinality(String)      CODEC(ZSTD(1)),
    kind           LowCardinality(String)      CODEC(ZSTD(1)),
    resource_id    String                      CODEC(ZSTD(1)),
    resource_name  String                      CODEC(ZSTD(1)),
    resource_type  LowCardinality(String)      CODEC(ZSTD(1)),
    status         LowCardinality(String)      CODEC(ZSTD(1)),
    cloud_status   LowCardinality(String)      CODEC(ZSTD(1)),
    created_at     Nullable(DateTime('UTC'))   CODEC(ZSTD(1)),
    utilization    Nullable(Float64)           CODEC(ZSTD(1)),
    capacity       Nullable(Float64)           CODEC(ZSTD(1)),
    unit           LowCardinality(String)      CODEC(ZSTD(1)),
    tags           String                      CODEC(ZSTD(1)),
    metadata       String                      CODEC(ZSTD(1)),
    as_of          DateTime('UTC')             CODEC(Delta(4), ZSTD(1)),   -- the inventory's own window, which may be older
    complete       Bool                        CODEC(ZSTD(1))              -- false: that inventory is partial
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_type, resource_id)
TTL window_start + INTERVAL 3 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE resource_summary
(
    window_start   DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    batch          UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id    LowCardinality(String)   CODEC(ZSTD(1)),
    provider       LowCardinality(String)   CODEC(ZSTD(1)),
    resource_type  LowCardinality(String)   CODEC(ZSTD(1)),
    region         LowCardinality(String)   CODEC(ZSTD(1)),
    status         LowCardinality(String)   CODEC(ZSTD(1)),
    resources      UInt32                   CODEC(ZSTD(1)),
    capacity       Nullable(Float64)        CODEC(ZSTD(1)),   -- the sum over the resources that tell theirs
    unit           LowCardinality(String)   CODEC(ZSTD(1)),
    as_of          DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    complete       Bool                     CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_type, region, status)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE VIEW performance_latest_current AS
SELECT t.* EXCEPT (batch)
FROM performance_latest AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_latest') AS b
    USING (window_start, batch);

CREATE VIEW performance_summary_current AS
SELECT t.* EXCEPT (batch)
FROM performance_summary AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_summary') AS b
    USING (window_start, batch);

CREATE VIEW resource_inventory_current AS
SELECT t.* EXCEPT (batch)
FROM resource_inventory AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'resource_inventory') AS b
    USING (window_start, batch);

CREATE VIEW resource_summary_current AS
SELECT t.* EXCEPT (batch)
FROM resource_summary AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'resource_summary') AS b
    USING (window_start, batch);
