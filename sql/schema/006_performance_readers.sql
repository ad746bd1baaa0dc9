-- Performance per resource: of a window, of an hour, of a day, and over 24 hours, 7 and 30 days.

-- What was published lately is found without reading what was published long ago.
ALTER TABLE metric_batches ADD INDEX IF NOT EXISTS published_at published_at TYPE minmax GRANULARITY 1;
ALTER TABLE metric_batches MATERIALIZE INDEX published_at;

CREATE TABLE performance_by_resource
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
    points          UInt32                   CODEC(ZSTD(1)),
    mean            Float64                  CODEC(ZSTD(1)),   -- over the points
    minimum         Float64                  CODEC(ZSTD(1)),
    maximum         Float64                  CODEC(ZSTD(1)),
    last_value      Float64                  CODEC(ZSTD(1)),
    last_at         DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),   -- of the last value
    unit            LowCardinality(String)   CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_id, metric_name, statistic)
TTL window_start + INTERVAL 7 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

-- A slice is an hour: window_start is the hour's first window. Kept as long as the points themselves.
--
-- What adds up to a least-squares line is kept as sums of deviations from the hour's own means, not as sums of squares:
-- the squares of a disk's 10^12 bytes would leave no digits for how they vary.
CREATE TABLE performance_hourly
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
    unit            LowCardinality(String)   CODEC(ZSTD(1)),
    period_seconds  UInt32                   CODEC(ZSTD(1)),
    n               UInt32                   CODEC(ZSTD(1)),
    expected        UInt32                   CODEC(ZSTD(1)),   -- points of a whole hour; 1 where their period is longer
    total           Float64                  CODEC(ZSTD(1)),   -- the sum of the values
    minimum         Float64                  CODEC(ZSTD(1)),
    maximum         Float64                  CODEC(ZSTD(1)),
    first_at        DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),   -- the first point's time
    mean_time       Float64                  CODEC(ZSTD(1)),   -- the mean of the times, in seconds of the hour
    time_squares    Float64                  CODEC(ZSTD(1)),   -- the sum of (time - mean time) squared
    value_squares   Float64                  CODEC(ZSTD(1)),   -- the sum of (value - mean) squared
    products        Float64                  CODEC(ZSTD(1)),   -- the sum of (time - mean time) * (value - mean)
    values          Array(Float64)           CODEC(LZ4)        -- sorted; no bigger than with ZSTD, read 3 times faster
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_id, metric_name, statistic)
TTL window_start + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    non_replicated_deduplication_window = 1000;

-- The same of a whole day: a slice is a day, window_start its first window, and times are seconds of the day. Trends
-- read days, and hours only where a period begins or ends within a day: 220 rows of a series instead of 1,440.
CREATE TABLE performance_daily AS performance_hourly;

CREATE TABLE performance_trends
(
    window_start     DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),   -- the hour that the periods end with
    batch            UInt64                   CODEC(Delta(8), ZSTD(1)),
    customer_id      LowCardinality(String)   CODEC(ZSTD(1)),
    provider         LowCardinality(String)   CODEC(ZSTD(1)),
    resource_id      LowCardinality(String)   CODEC(ZSTD(1)),
    resource_name    LowCardinality(String)   CODEC(ZSTD(1)),
    resource_type    LowCardinality(String)   CODEC(ZSTD(1)),
    region           LowCardinality(String)   CODEC(ZSTD(1)),
    metric_type      LowCardinality(String)   CODEC(ZSTD(1)),
    metric_name      LowCardinality(String)   CODEC(ZSTD(1)),
    statistic        LowCardinality(String)   CODEC(ZSTD(1)),
    days             UInt8                    CODEC(ZSTD(1)),   -- 1, 7 or 30
    n                UInt32                   CODEC(ZSTD(1)),
    coverage         Float64                  CODEC(ZSTD(1)),   -- 0 to 1: the points that are there of those expected
    mean             Float64                  CODEC(ZSTD(1)),
    minimum          Float64                  CODEC(ZSTD(1)),
    maximum          Float64                  CODEC(ZSTD(1)),
    p95              Float64                  CODEC(ZSTD(1)),   -- exact, interpolated
    slope_per_day    Nullable(Float64)        CODEC(ZSTD(1)),   -- units a day; null: the points have one time only
    change           Nullable(Float64)        CODEC(ZSTD(1)),   -- mean minus that of the equal period before
    change_percent   Nullable(Float64)        CODEC(ZSTD(1)),   -- of that mean; null where it is 0 or there is none
    direction        LowCardinality(String)   CODEC(ZSTD(1)),   -- up, down, flat or unknown
    unit             LowCardinality(String)   CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, resource_id, metric_name, statistic, days)
TTL window_start + INTERVAL 7 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE VIEW performance_by_resource_current AS
SELECT t.* EXCEPT (batch)
FROM performance_by_resource AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_by_resource') AS b
    USING (window_start, batch);

CREATE VIEW performance_hourly_current AS
SELECT t.* EXCEPT (batch)
FROM performance_hourly AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_hourly') AS b
    USING (window_start, batch);

CREATE VIEW performance_daily_current AS
SELECT t.* EXCEPT (batch)
FROM performance_daily AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_daily') AS b
    USING (window_start, batch);

CREATE VIEW performance_trends_current AS
SELECT t.* EXCEPT (batch)
FROM performance_trends AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_trends') AS b
    USING (window_start, batch);
