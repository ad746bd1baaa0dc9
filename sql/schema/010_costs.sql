-- Billed costs and estimates share cost_metrics. Estimates are slices of windows (dataset `cost`), billed costs slices of
-- charge days (dataset `cost_billed`, window_start = the day): one reading of the bill republishes the days that changed.

ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS billing_account_id LowCardinality(String) CODEC(ZSTD(1)) AFTER sub_account_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS resource_name String CODEC(ZSTD(1)) AFTER resource_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS charge_description String CODEC(ZSTD(1)) AFTER charge_category;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS matched Bool CODEC(ZSTD(1)) AFTER resource_name;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS first_seen DateTime('UTC') CODEC(Delta(4), ZSTD(1)) AFTER collected_at;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS last_changed DateTime('UTC') CODEC(Delta(4), ZSTD(1)) AFTER first_seen;


-- Cost Explorer tells 10 digits after the point, exports up to 16; a sum must be that of the bill to the last one.
ALTER TABLE cost_metrics MODIFY COLUMN amount Decimal(38, 18) CODEC(ZSTD(1));
ALTER TABLE cost_metrics MODIFY COLUMN billed_cost Nullable(Decimal(38, 18)) CODEC(ZSTD(1));
ALTER TABLE cost_metrics MODIFY COLUMN effective_cost Nullable(Decimal(38, 18)) CODEC(ZSTD(1));
ALTER TABLE cost_metrics MODIFY COLUMN list_cost Nullable(Decimal(38, 18)) CODEC(ZSTD(1));

DROP VIEW cost_metrics_current;

CREATE VIEW cost_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM cost_metrics AS t
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, batch, if(dataset = 'cost_billed', 'billed', 'estimated') AS cost_kind
    FROM published_batches
    WHERE dataset IN ('cost', 'cost_billed')
) AS b USING (customer_id, provider, window_start, batch, cost_kind);

-- What each account is taken to have cost: the bill where a day was read, the estimate where it was not yet. Never both.
-- A day that was read has a row of the type `reading` for each account that the reading covers, published with its
-- charges: so a day that cost nothing is known from one that is not known.
--
-- Bound both `window_start` and `charge_day`: the one reaches the rows and the ledger, the other the days that were read.
-- (The first reaches the ledger only where the published rows are picked last.)
CREATE VIEW costs AS
SELECT u.* EXCEPT (batch)
FROM
(
    SELECT t.*
    FROM (SELECT *, toDate(window_start, 'UTC') AS charge_day FROM cost_metrics WHERE cost_type != 'reading') AS t
    LEFT ANTI JOIN
    (
        SELECT DISTINCT
            c.customer_id AS customer_id,
            c.provider AS provider,
            c.sub_account_id AS sub_account_id,
            toDate(c.window_start, 'UTC') AS charge_day,
            toLowCardinality('estimated') AS cost_kind   -- what a reading of the day replaces
        FROM cost_metrics_current AS c
        WHERE c.cost_kind = 'billed' AND c.cost_type = 'reading'
    ) AS r USING (customer_id, provider, sub_account_id, charge_day, cost_kind)
) AS u
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, batch, if(dataset = 'cost_billed', 'billed', 'estimated') AS cost_kind
    FROM published_batches
    WHERE dataset IN ('cost', 'cost_billed')
) AS b USING (customer_id, provider, window_start, batch, cost_kind);

-- When each account's bill was asked for. A row is written before the first call and another when all went well, so that
-- a kill in between is not paid for again at once.
CREATE TABLE cost_readings
(
    customer_id         LowCardinality(String)   CODEC(ZSTD(1)),
    provider            LowCardinality(String)   CODEC(ZSTD(1)),
    billing_account_id  LowCardinality(String)   CODEC(ZSTD(1)),
    attempted_at        DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),
    done                Bool                     CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(attempted_at)
ORDER BY (customer_id, provider, billing_account_id, attempted_at)
TTL attempted_at + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- What a published day said before it was published again with other amounts. `previous_batch` is the batch that was
-- replaced: an attempt that was killed and made again writes the same key.
CREATE TABLE cost_restated
(
    customer_id         LowCardinality(String)    CODEC(ZSTD(1)),
    provider            LowCardinality(String)    CODEC(ZSTD(1)),
    charge_day          Date                      CODEC(Delta(2), ZSTD(1)),
    billing_account_id  LowCardinality(String)    CODEC(ZSTD(1)),
    sub_account_id      LowCardinality(String)    CODEC(ZSTD(1)),
    service_name        LowCardinality(String)    CODEC(ZSTD(1)),
    currency            LowCardinality(String)    CODEC(ZSTD(1)),
    previous_batch      UInt64                    CODEC(Delta(8), ZSTD(1)),
    before              Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),   -- null: the service had no line
    after               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    seen_at             DateTime('UTC')           CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(seen_at)
PARTITION BY toYYYYMM(charge_day)
ORDER BY (customer_id, provider, charge_day, billing_account_id, sub_account_id, service_name, currency, previous_batch)
TTL charge_day + INTERVAL 800 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- Only what was published: the attempt that noted a restatement may have been killed before it. Where the next attempt
-- found otherwise, it has neither before nor after.
CREATE VIEW cost_restatements_current AS
SELECT r.* EXCEPT (previous_batch)
FROM (SELECT * FROM cost_restated FINAL) AS r
INNER JOIN
(
    SELECT customer_id, provider, toDate(window_start, 'UTC') AS charge_day, batch
    FROM published_batches
    WHERE dataset = 'cost_billed'
) AS b USING (customer_id, provider, charge_day)
WHERE b.batch > r.previous_batch AND NOT (isNull(r.before) AND isNull(r.after));

-- The clouds' price lists, as far as somebody's resources needed them. A price holds from valid_from until the next one
-- of its key.
CREATE TABLE prices
(
    provider     LowCardinality(String)   CODEC(ZSTD(1)),
    region       LowCardinality(String)   CODEC(ZSTD(1)),   -- '' is everywhere
    key          String                   CODEC(ZSTD(1)),
    valid_from   DateTime('UTC')          CODEC(Delta(4), ZSTD(1)),   -- when it was first seen
    hourly       Decimal(38, 18)          CODEC(ZSTD(1)),   -- of one unit of what the key names
    currency     LowCardinality(String)   CODEC(ZSTD(1)),
    description  String                   CODEC(ZSTD(1)),
    checked_at   DateTime('UTC')          CODEC(Delta(4), ZSTD(1))    -- when the cloud last said so
)
ENGINE = ReplacingMergeTree(checked_at)
ORDER BY (provider, region, key, valid_from)
SETTINGS non_replicated_deduplication_window = 1000;
