-- By which ids the interactions of applications are known, so that feedback finds them which comes later. A row is of one
-- id or of the trace; hashes are of `id <id>` and `trace <id>`. One that is lost is made again when its window is
-- collected again. Feedback finds what began up to 35 days before its day; the rest is for days that are computed again.
CREATE TABLE IF NOT EXISTS application_interactions
(
    customer_id       LowCardinality(String)   CODEC(ZSTD(1)),
    id_hash           UInt64                   CODEC(ZSTD(1)),
    timestamp         DateTime64(6, 'UTC')     CODEC(ZSTD(1)),   -- when the interaction began
    interaction_hash  UInt64                   CODEC(ZSTD(1)),   -- of its own id, as its scores have it
    window_start      DateTime('UTC')          CODEC(ZSTD(1)),
    provider          LowCardinality(String)   CODEC(ZSTD(1)),
    application_id    LowCardinality(String)   CODEC(ZSTD(1)),
    application_name  LowCardinality(String)   CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(window_start)
ORDER BY (customer_id, id_hash, timestamp, interaction_hash)
TTL window_start + INTERVAL 60 DAY
SETTINGS ttl_only_drop_parts = 1;

-- Where users' feedback can be logged for customers whose `interactions` is `clickhouse`: one row for each time that
-- somebody says something of an answer. Rows are kept 30 days.
CREATE TABLE IF NOT EXISTS llm_feedback
(
    timestamp       DateTime64(6, 'UTC')      CODEC(Delta(8), ZSTD(1)),   -- when it was given
    customer_id     LowCardinality(String)    CODEC(ZSTD(1)),
    provider        LowCardinality(String)    CODEC(ZSTD(1)),   -- where the application runs, if it is known
    application_id  LowCardinality(String)    CODEC(ZSTD(1)),
    interaction_id  String                    CODEC(ZSTD(1)),   -- what it is about
    trace_id        String                    CODEC(ZSTD(1)),   -- what it is about where there is no interaction_id
    name            LowCardinality(String)    CODEC(ZSTD(1)),   -- what was asked, such as thumbs
    value           String                    CODEC(ZSTD(1)),   -- what was said: up, down, or a number
    scale           LowCardinality(String)    CODEC(ZSTD(1)),   -- worst..best, such as 1..5, or thumbs
    given_by        String                    CODEC(ZSTD(1)),   -- tells users apart; goes no further
    comment         String                    CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (customer_id, timestamp)
TTL toDateTime(timestamp) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;
