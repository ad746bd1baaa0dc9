-- What things cost: in total, over time, by service and by resource; and what costs without being of use. Each amount is of
-- one currency: nothing is converted or added up across currencies.

CREATE TABLE cost_summary
(
    window_start     DateTime('UTC')         CODEC(Delta(4), ZSTD(1)),
    batch            UInt64                  CODEC(Delta(8), ZSTD(1)),
    customer_id      LowCardinality(String)  CODEC(ZSTD(1)),
    provider         LowCardinality(String)  CODEC(ZSTD(1)),
    sub_account_id   LowCardinality(String)  CODEC(ZSTD(1)),
    currency         LowCardinality(String)  CODEC(ZSTD(1)),
    period           LowCardinality(String)  CODEC(ZSTD(1)),   -- today (so far), yesterday, last_30_days (to yesterday), month_to_date
    amount           Decimal(38, 18)         CODEC(ZSTD(1)),   -- of what is billed, and of the estimate of days that no bill was read of
    billed           Decimal(38, 18)         CODEC(ZSTD(1)),
    estimated        Decimal(38, 18)         CODEC(ZSTD(1)),
    estimated_share  Nullable(Float64)       CODEC(ZSTD(1)),   -- 0 to 1: the estimate, of what it and the bill come to; null: both are 0
    provisional      Decimal(38, 18)         CODEC(ZSTD(1)),   -- of billed: what the cloud may still restate
    days             Float64                 CODEC(ZSTD(1)),   -- days of the period that a cost is known of; an estimated window is 1/96
    as_of            DateTime('UTC')         CODEC(Delta(4), ZSTD(1))   -- the end of the newest charge
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, sub_account_id, currency, period)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE cost_trends
(
    window_start     DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    batch            UInt64                     CODEC(Delta(8), ZSTD(1)),
    customer_id      LowCardinality(String)     CODEC(ZSTD(1)),
    provider         LowCardinality(String)     CODEC(ZSTD(1)),
    currency         LowCardinality(String)     CODEC(ZSTD(1)),
    period           LowCardinality(String)     CODEC(ZSTD(1)),   -- day, week (from Monday) or month
    period_start     Date                       CODEC(Delta(2), ZSTD(1)),
    amount           Decimal(38, 18)            CODEC(ZSTD(1)),   -- of what is billed, and of the estimate of days that no bill was read of
    billed           Decimal(38, 18)            CODEC(ZSTD(1)),
    estimated        Decimal(38, 18)            CODEC(ZSTD(1)),
    estimated_share  Nullable(Float64)          CODEC(ZSTD(1)),   -- 0 to 1: the estimate, of what it and the bill come to; null: both are 0
    provisional      Decimal(38, 18)            CODEC(ZSTD(1)),   -- of billed: what the cloud may still restate
    days             Float64                    CODEC(ZSTD(1)),   -- days of the period that a cost is known of; an estimated window is 1/96
    complete         Bool                       CODEC(ZSTD(1)),   -- the period is over, and at least 95 % of it is known
    change           Nullable(Decimal(38, 18))  CODEC(ZSTD(1)),   -- against the period before; null unless both are complete
    change_percent   Nullable(Float64)          CODEC(ZSTD(1))   -- null also where that was 0
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, currency, period, period_start)
TTL window_start + INTERVAL 7 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE cost_by_service
(
    window_start     DateTime('UTC')         CODEC(Delta(4), ZSTD(1)),
    batch            UInt64                  CODEC(Delta(8), ZSTD(1)),
    customer_id      LowCardinality(String)  CODEC(ZSTD(1)),
    provider         LowCardinality(String)  CODEC(ZSTD(1)),
    sub_account_id   LowCardinality(String)  CODEC(ZSTD(1)),
    currency         LowCardinality(String)  CODEC(ZSTD(1)),
    service_name     LowCardinality(String)  CODEC(ZSTD(1)),   -- the bill's word, of estimates the kind of resource
    cost_type        LowCardinality(String)  CODEC(ZSTD(1)),
    period           LowCardinality(String)  CODEC(ZSTD(1)),   -- today (so far), yesterday, last_30_days (to yesterday), month_to_date
    amount           Decimal(38, 18)         CODEC(ZSTD(1)),   -- of what is billed, and of the estimate of days that no bill was read of
    billed           Decimal(38, 18)         CODEC(ZSTD(1)),
    estimated        Decimal(38, 18)         CODEC(ZSTD(1)),
    estimated_share  Nullable(Float64)       CODEC(ZSTD(1)),   -- 0 to 1: the estimate, of what it and the bill come to; null: both are 0
    provisional      Decimal(38, 18)         CODEC(ZSTD(1)),   -- of billed: what the cloud may still restate
    resources        UInt32                  CODEC(ZSTD(1)),   -- that a charge names
    as_of            DateTime('UTC')         CODEC(Delta(4), ZSTD(1))   -- the end of the newest charge
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, sub_account_id, currency, service_name, cost_type, period)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE cost_by_resource
(
    window_start     DateTime('UTC')         CODEC(Delta(4), ZSTD(1)),
    batch            UInt64                  CODEC(Delta(8), ZSTD(1)),
    customer_id      LowCardinality(String)  CODEC(ZSTD(1)),
    provider         LowCardinality(String)  CODEC(ZSTD(1)),
    sub_account_id   LowCardinality(String)  CODEC(ZSTD(1)),
    currency         LowCardinality(String)  CODEC(ZSTD(1)),
    resource_id      String                  CODEC(ZSTD(1)),   -- '' is what the bill names no resource for
    resource_name    String                  CODEC(ZSTD(1)),
    region_id        LowCardinality(String)  CODEC(ZSTD(1)),
    cost_type        LowCardinality(String)  CODEC(ZSTD(1)),
    matched          Bool                    CODEC(ZSTD(1)),   -- the resource is in the inventory
    services         String                  CODEC(ZSTD(1)),   -- most costly first
    period           LowCardinality(String)  CODEC(ZSTD(1)),   -- today (so far), yesterday, last_30_days (to yesterday), month_to_date
    amount           Decimal(38, 18)         CODEC(ZSTD(1)),   -- of what is billed, and of the estimate of days that no bill was read of
    billed           Decimal(38, 18)         CODEC(ZSTD(1)),
    estimated        Decimal(38, 18)         CODEC(ZSTD(1)),
    estimated_share  Nullable(Float64)       CODEC(ZSTD(1)),   -- 0 to 1: the estimate, of what it and the bill come to; null: both are 0
    provisional      Decimal(38, 18)         CODEC(ZSTD(1)),   -- of billed: what the cloud may still restate
    as_of            DateTime('UTC')         CODEC(Delta(4), ZSTD(1))   -- the end of the newest charge
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_id, sub_account_id, currency, period)
TTL window_start + INTERVAL 3 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE cost_waste
(
    window_start    DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    batch           UInt64                     CODEC(Delta(8), ZSTD(1)),
    customer_id     LowCardinality(String)     CODEC(ZSTD(1)),
    provider        LowCardinality(String)     CODEC(ZSTD(1)),
    account_id      LowCardinality(String)     CODEC(ZSTD(1)),
    region          LowCardinality(String)     CODEC(ZSTD(1)),
    kind            LowCardinality(String)     CODEC(ZSTD(1)),
    resource_id     String                     CODEC(ZSTD(1)),
    resource_name   String                     CODEC(ZSTD(1)),
    resource_type   LowCardinality(String)     CODEC(ZSTD(1)),
    status          LowCardinality(String)     CODEC(ZSTD(1)),
    reason          LowCardinality(String)     CODEC(ZSTD(1)),   -- unattached, machine_stopped, stopped, idle
    monthly_amount  Nullable(Decimal(38, 18))  CODEC(ZSTD(1)),   -- of 730 hours; null: neither the bill nor the price list tells
    currency        LowCardinality(String)     CODEC(ZSTD(1)),
    amount_from     LowCardinality(String)     CODEC(ZSTD(1)),   -- billed, estimated or unknown
    evidence        String                     CODEC(ZSTD(1)),
    as_of           DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),   -- the inventory's window
    complete        Bool                       CODEC(ZSTD(1))   -- false: that inventory is partial
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_type, resource_id)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE VIEW cost_summary_current AS
SELECT t.* EXCEPT (batch)
FROM cost_summary AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_summary') AS b
    USING (window_start, batch);

CREATE VIEW cost_trends_current AS
SELECT t.* EXCEPT (batch)
FROM cost_trends AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_trends') AS b
    USING (window_start, batch);

CREATE VIEW cost_by_service_current AS
SELECT t.* EXCEPT (batch)
FROM cost_by_service AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_by_service') AS b
    USING (window_start, batch);

CREATE VIEW cost_by_resource_current AS
SELECT t.* EXCEPT (batch)
FROM cost_by_resource AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_by_resource') AS b
    USING (window_start, batch);

CREATE VIEW cost_waste_current AS
SELECT t.* EXCEPT (batch)
FROM cost_waste AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_waste') AS b
    USING (window_start, batch);
