-- The four families. A row belongs to the slice (customer_id, provider, window_start) and is visible through
-- <table>_current once its batch is the newest published one of that slice. Column types are also in
-- optiinfra_dagster/tables.py; a test compares the two.

CREATE TABLE performance_metrics
(
    timestamp       DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    window_start    DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    batch           UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id     LowCardinality(String)   CODEC(ZSTD(1)),
    provider        LowCardinality(String)   CODEC(ZSTD(1)),
    metric_type     LowCardinality(String)   CODEC(ZSTD(1)),
    resource_id     LowCardinality(String)   CODEC(ZSTD(1)),
    resource_name   LowCardinality(String)   CODEC(ZSTD(1)),
    resource_type   LowCardinality(String)   CODEC(ZSTD(1)),
    region          LowCardinality(String)   CODEC(ZSTD(1)),
    metric_name     LowCardinality(String)   CODEC(ZSTD(1)),
    statistic       LowCardinality(String)   CODEC(ZSTD(1)),
    period_seconds  UInt32                   CODEC(ZSTD(1)),
    metric_value    Float64                  CODEC(ZSTD(1)),
    unit            LowCardinality(String)   CODEC(ZSTD(1)),
    workload_type   LowCardinality(String)   CODEC(ZSTD(1)),
    metadata        LowCardinality(String)   CODEC(ZSTD(1)),
    collected_at    DateTime('UTC')          CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (customer_id, provider, resource_id, metric_name, statistic, timestamp)
TTL window_start + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    non_replicated_deduplication_window = 1000;

CREATE TABLE resource_metrics
(
    timestamp      DateTime('UTC')             CODEC(Delta(4), ZSTD(1)),
    window_start   DateTime('UTC')             CODEC(Delta(4), ZSTD(1)),
    batch          UInt64                      CODEC(Delta(8), ZSTD(1)),
    customer_id    LowCardinality(String)      CODEC(ZSTD(1)),
    provider       LowCardinality(String)      CODEC(ZSTD(1)),
    metric_type    LowCardinality(String)      CODEC(ZSTD(1)),
    account_id     LowCardinality(String)      CODEC(ZSTD(1)),
    region         LowCardinality(String)      CODEC(ZSTD(1)),
    kind           LowCardinality(String)      CODEC(ZSTD(1)),   -- the cloud's own kind, e.g. ec2:instance
    resource_id    String                      CODEC(ZSTD(1)),
    resource_name  String                      CODEC(ZSTD(1)),
    resource_type  LowCardinality(String)      CODEC(ZSTD(1)),
    status         LowCardinality(String)      CODEC(ZSTD(1)),
    cloud_status   LowCardinality(String)      CODEC(ZSTD(1)),
    created_at     Nullable(DateTime('UTC'))   CODEC(ZSTD(1)),
    utilization    Nullable(Float64)           CODEC(ZSTD(1)),
    capacity       Nullable(Float64)           CODEC(ZSTD(1)),
    unit           LowCardinality(String)      CODEC(ZSTD(1)),
    tags           String                      CODEC(ZSTD(1)),   -- a JSON object
    metadata       String                      CODEC(ZSTD(1)),   -- a JSON object
    spec_hash      UInt64                      CODEC(ZSTD(1)),   -- of everything whose change is a change of the resource
    collected_at   DateTime('UTC')             CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (customer_id, provider, resource_id, window_start)
TTL window_start + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    non_replicated_deduplication_window = 1000;

CREATE TABLE cost_metrics
(
    timestamp            DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    window_start         DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),   -- the charge day of billed rows, the window of estimates
    batch                UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id          LowCardinality(String)   CODEC(ZSTD(1)),
    provider             LowCardinality(String)   CODEC(ZSTD(1)),
    instance_id          String                   CODEC(ZSTD(1)),
    cost_type            LowCardinality(String)   CODEC(ZSTD(1)),
    cost_kind            LowCardinality(String)   CODEC(ZSTD(1)),   -- billed | estimated
    estimated_by         LowCardinality(String)   CODEC(ZSTD(1)),
    is_final             Bool                     CODEC(ZSTD(1)),
    amount               Decimal(18, 9)           CODEC(ZSTD(1)),
    currency             LowCardinality(String)   CODEC(ZSTD(1)),
    billed_cost          Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    effective_cost       Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    list_cost            Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    charge_period_start  DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    charge_period_end    DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    charge_category      LowCardinality(String)   CODEC(ZSTD(1)),
    service_name         LowCardinality(String)   CODEC(ZSTD(1)),
    resource_id          String                   CODEC(ZSTD(1)),
    region_id            LowCardinality(String)   CODEC(ZSTD(1)),
    sub_account_id       LowCardinality(String)   CODEC(ZSTD(1)),
    metadata             String                   CODEC(ZSTD(1)),
    collected_at         DateTime('UTC')          CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (customer_id, provider, service_name, resource_id, timestamp)
TTL window_start + INTERVAL 800 DAY
SETTINGS ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    non_replicated_deduplication_window = 1000;

CREATE TABLE application_metrics
(
    timestamp         DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    window_start      DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    batch             UInt64                     CODEC(Delta(8), ZSTD(1)),
    customer_id       LowCardinality(String)     CODEC(ZSTD(1)),
    provider          LowCardinality(String)     CODEC(ZSTD(1)),
    application_id    LowCardinality(String)     CODEC(ZSTD(1)),
    application_name  LowCardinality(String)     CODEC(ZSTD(1)),
    model_name        LowCardinality(String)     CODEC(ZSTD(1)),
    interaction_id    String                     CODEC(ZSTD(1)),
    metric_type       LowCardinality(String)     CODEC(ZSTD(1)),
    score             Nullable(Float64)          CODEC(ZSTD(1)),
    label             LowCardinality(String)     CODEC(ZSTD(1)),
    details           String                     CODEC(ZSTD(1)),
    judge_model       LowCardinality(String)     CODEC(ZSTD(1)),
    judge_version     LowCardinality(String)     CODEC(ZSTD(1)),
    prompt_text       String                     CODEC(ZSTD(1)),   -- only where the customer opted in
    response_text     String                     CODEC(ZSTD(1)),   -- only where the customer opted in
    tokens            UInt32                     CODEC(ZSTD(1)),
    metadata          String                     CODEC(ZSTD(1)),
    collected_at      DateTime('UTC')            CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (customer_id, provider, application_id, metric_type, timestamp)
TTL window_start + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    non_replicated_deduplication_window = 1000;

CREATE VIEW performance_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM performance_metrics AS t
LEFT SEMI JOIN (SELECT * FROM published_batches WHERE dataset = 'performance') AS b
    USING (customer_id, provider, window_start, batch);

CREATE VIEW resource_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM resource_metrics AS t
LEFT SEMI JOIN (SELECT * FROM published_batches WHERE dataset = 'resource') AS b
    USING (customer_id, provider, window_start, batch);

CREATE VIEW cost_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM cost_metrics AS t
LEFT SEMI JOIN (SELECT * FROM published_batches WHERE dataset = 'cost') AS b
    USING (customer_id, provider, window_start, batch);

CREATE VIEW application_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM application_metrics AS t
LEFT SEMI JOIN (SELECT * FROM published_batches WHERE dataset = 'application') AS b
    USING (customer_id, provider, window_start, batch);
