-- What the judge said, one row per question asked, so that nothing is paid for twice: a verdict is found again by its
-- key, a hash of customer, judge version and judged texts. The sum of a day's rows is what a customer's judging used of
-- its budget. The texts themselves are never here; evidence, which may quote them, only where the customer opted in.
CREATE TABLE application_verdicts
(
    asked_at           DateTime64(3, 'UTC')      CODEC(Delta(8), ZSTD(1)),
    customer_id        LowCardinality(String)    CODEC(ZSTD(1)),
    verdict_key        String                    CODEC(ZSTD(1)),
    judge_model        LowCardinality(String)    CODEC(ZSTD(1)),
    judge_version      LowCardinality(String)    CODEC(ZSTD(1)),
    answer             String                    CODEC(ZSTD(1)),   -- a JSON object; empty where the judge failed
    failure            LowCardinality(String)    CODEC(ZSTD(1)),   -- why there is no answer; empty where there is
    settled            Bool                      CODEC(ZSTD(1)),   -- not asked again: an answer, or a bad one
    prompt_tokens      UInt32                    CODEC(ZSTD(1)),
    completion_tokens  UInt32                    CODEC(ZSTD(1)),
    unanswered_tokens  UInt32                    CODEC(ZSTD(1)),   -- the most that requests without an answer used
    requests           UInt32                    CODEC(ZSTD(1)),
    usd                Nullable(Decimal(18, 9))  CODEC(ZSTD(1))    -- null: the model's price is not known
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(asked_at)
ORDER BY (customer_id, verdict_key, asked_at)
TTL toDateTime(asked_at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
