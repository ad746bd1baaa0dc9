-- What judging reserved and gave back of each customer's day. The sum is what was spent; what a killed run had reserved
-- stays in it.
CREATE TABLE IF NOT EXISTS judge_spend
(
    at           DateTime64(3, 'UTC')    CODEC(Delta(8), ZSTD(1)),   -- when the judging of a window began; UTC
    customer_id  LowCardinality(String)  CODEC(ZSTD(1)),   -- the customer's id; golden_set for the golden set
    provider     LowCardinality(String)  CODEC(ZSTD(1)),   -- the cloud, as in the customers file
    late         Bool                    CODEC(ZSTD(1)),   -- of the part of the day that windows of the past have
    tokens       Int64                   CODEC(ZSTD(1)),   -- tokens reserved; negative: given back
    requests     Int64                   CODEC(ZSTD(1))    -- requests reserved; negative: given back
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (customer_id, at)
TTL toDateTime(at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- How a judge's server is to be asked, as it was found out; the newest row of a server and model counts.
CREATE TABLE IF NOT EXISTS judge_dialects
(
    found_at  DateTime64(3, 'UTC')  CODEC(ZSTD(1)),   -- when it was found out; UTC
    base_url  String                CODEC(ZSTD(1)),   -- the URL of the server's API
    model     String                CODEC(ZSTD(1)),   -- the model that judges
    dialect   String                CODEC(ZSTD(1))    -- a JSON object; empty: forgotten, since the server refused it
)
ENGINE = ReplacingMergeTree(found_at)
ORDER BY (base_url, model);
