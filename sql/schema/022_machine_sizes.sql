-- Machines and databases with their types, each also in the next smaller type of its family, and what both cost by the
-- price list. A row holds from its window on, for two days at most; it is written again each day, and at each change.
CREATE TABLE machine_sizes
(
    customer_id      LowCardinality(String)    CODEC(ZSTD(1)),
    provider         LowCardinality(String)    CODEC(ZSTD(1)),
    resource_id      String                    CODEC(ZSTD(1)),
    window_start     DateTime('UTC')           CODEC(Delta(4), ZSTD(1)),
    type             LowCardinality(String)    CODEC(ZSTD(1)),   -- the cloud's name of the type
    vcpus            Nullable(Float64)         CODEC(ZSTD(1)),   -- null where the type's name does not tell
    memory_gib       Nullable(Float64)         CODEC(ZSTD(1)),   -- null where the type's name does not tell
    smaller_type     LowCardinality(String)    CODEC(ZSTD(1)),   -- the next smaller one of its family; empty for none
    smaller_vcpus    Nullable(Float64)         CODEC(ZSTD(1)),
    memory_share     Nullable(Float64)         CODEC(ZSTD(1)),   -- the part of the memory that the smaller type has
    why_not          LowCardinality(String)    CODEC(ZSTD(1)),   -- why there is no smaller type
    note             LowCardinality(String)    CODEC(ZSTD(1)),   -- what else changes with the type
    monthly          Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),   -- of 730 hours by the price list; null where it has no price
    smaller_monthly  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),   -- the same in the smaller type
    currency         LowCardinality(String)    CODEC(ZSTD(1)),
    collected_at     DateTime('UTC')           CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(collected_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (customer_id, provider, resource_id, window_start)
TTL window_start + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
