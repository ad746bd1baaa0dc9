-- Inventory by kind, and what changed from one complete inventory to the next.

CREATE TABLE resource_by_type
(
    window_start   DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    batch          UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id    LowCardinality(String)   CODEC(ZSTD(1)),
    provider       LowCardinality(String)   CODEC(ZSTD(1)),
    resource_type  LowCardinality(String)   CODEC(ZSTD(1)),
    kind           LowCardinality(String)   CODEC(ZSTD(1)),   -- the cloud's own kind
    resources      UInt32                   CODEC(ZSTD(1)),
    running        UInt32                   CODEC(ZSTD(1)),   -- running, available or in use
    stopped        UInt32                   CODEC(ZSTD(1)),   -- stopped or terminated
    other          UInt32                   CODEC(ZSTD(1)),
    regions        UInt32                   CODEC(ZSTD(1)),
    capacity       Nullable(Float64)        CODEC(ZSTD(1)),   -- the sum over the resources that tell theirs
    unit           LowCardinality(String)   CODEC(ZSTD(1)),
    as_of          DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    complete       Bool                     CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_type, kind)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE resource_changes
(
    window_start     DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    batch            UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id      LowCardinality(String)   CODEC(ZSTD(1)),
    provider         LowCardinality(String)   CODEC(ZSTD(1)),
    resource_id      String                   CODEC(ZSTD(1)),
    resource_name    String                   CODEC(ZSTD(1)),
    resource_type    LowCardinality(String)   CODEC(ZSTD(1)),
    region           LowCardinality(String)   CODEC(ZSTD(1)),
    change           LowCardinality(String)   CODEC(ZSTD(1)),   -- created, deleted, status, resized, retagged, moved, renamed
    before           String                   CODEC(ZSTD(1)),
    after            String                   CODEC(ZSTD(1)),
    previous_window  DateTime('UTC')          CODEC(Delta(4), ZSTD(1))   -- the complete inventory compared with
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_id, change)
TTL window_start + INTERVAL 400 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE VIEW resource_by_type_current AS
SELECT t.* EXCEPT (batch)
FROM resource_by_type AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'resource_by_type') AS b
    USING (window_start, batch);

CREATE VIEW resource_changes_current AS
SELECT t.* EXCEPT (batch)
FROM resource_changes AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'resource_changes') AS b
    USING (window_start, batch);
