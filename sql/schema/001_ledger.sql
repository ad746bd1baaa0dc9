-- The ledger: one row per attempt at a slice (dataset, customer, provider, window). Inserting a row whose status is
-- 'ok' or 'partial' publishes the rows of that batch; any other status records an attempt and publishes nothing.
-- Append-only, so that attempts, their API calls and what they cost can be added up. Reader assets publish one slice
-- per window, with customer_id and provider empty.
CREATE TABLE metric_batches
(
    dataset       LowCardinality(String),
    customer_id   LowCardinality(String),
    provider      LowCardinality(String),
    window_start  DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    batch         UInt64                   CODEC(Delta(8), ZSTD(1)),
    rows          UInt64                   CODEC(ZSTD(1)),
    content_hash  UInt64                   CODEC(ZSTD(1)),
    status        Enum8('ok' = 1, 'partial' = 2, 'not_due' = 3, 'budget' = 4, 'failed' = 5, 'not_configured' = 6),
    permanent     Bool                     CODEC(ZSTD(1)),   -- asking again cannot help until somebody changes something
    error         String                   CODEC(ZSTD(1)),
    api_calls     UInt32                   CODEC(ZSTD(1)),
    api_cost_usd  Decimal(18, 9)           CODEC(ZSTD(1)),
    run_id        String                   CODEC(ZSTD(1)),
    published_at  DateTime64(3, 'UTC')     CODEC(Delta(8), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (dataset, customer_id, provider, window_start, batch)
TTL window_start + INTERVAL 830 DAY   -- longer than any table: without its ledger row a slice is not seen
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- The newest published batch of every slice. Filters on its columns reach the primary key through the view.
CREATE VIEW published_batches AS
SELECT dataset, customer_id, provider, window_start, max(batch) AS batch
FROM metric_batches
WHERE status IN ('ok', 'partial')
GROUP BY dataset, customer_id, provider, window_start;
