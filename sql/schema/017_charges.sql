-- The charge model after FOCUS, and statements: a charge is stored under its day and under the month whose bill has it, so
-- that a correction of an older day is replaced with its own statement only. Rows of before lack what they were not read
-- for; a month that is read again has it.
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS billing_period Date DEFAULT toStartOfMonth(window_start) CODEC(Delta(2), ZSTD(1)) AFTER billing_account_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS is_settled Bool DEFAULT true CODEC(ZSTD(1)) AFTER is_final;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS contracted_cost Nullable(Decimal(38, 18)) CODEC(ZSTD(1)) AFTER list_cost;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS charge_class LowCardinality(String) CODEC(ZSTD(1)) AFTER charge_category;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS charge_frequency LowCardinality(String) CODEC(ZSTD(1)) AFTER charge_class;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS invoice_id LowCardinality(String) CODEC(ZSTD(1)) AFTER billing_period;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS invoice_issuer LowCardinality(String) CODEC(ZSTD(1)) AFTER invoice_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS publisher LowCardinality(String) CODEC(ZSTD(1)) AFTER invoice_issuer;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS payer_account_id LowCardinality(String) CODEC(ZSTD(1)) AFTER publisher;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS payer_account_name LowCardinality(String) CODEC(ZSTD(1)) AFTER payer_account_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS sub_account_name LowCardinality(String) CODEC(ZSTD(1)) AFTER sub_account_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS sku_id LowCardinality(String) CODEC(ZSTD(1)) AFTER service_name;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS sku_price_id LowCardinality(String) CODEC(ZSTD(1)) AFTER sku_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS pricing_category LowCardinality(String) CODEC(ZSTD(1)) AFTER sku_price_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS pricing_quantity Nullable(Decimal(38, 18)) CODEC(ZSTD(1)) AFTER pricing_category;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS pricing_unit LowCardinality(String) CODEC(ZSTD(1)) AFTER pricing_quantity;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS consumed_quantity Nullable(Decimal(38, 18)) CODEC(ZSTD(1)) AFTER pricing_unit;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS consumed_unit LowCardinality(String) CODEC(ZSTD(1)) AFTER consumed_quantity;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS commitment_id LowCardinality(String) CODEC(ZSTD(1)) AFTER consumed_unit;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS commitment_type LowCardinality(String) CODEC(ZSTD(1)) AFTER commitment_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS commitment_status LowCardinality(String) CODEC(ZSTD(1)) AFTER commitment_type;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS availability_zone LowCardinality(String) CODEC(ZSTD(1)) AFTER region_id;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS tags String CODEC(ZSTD(1)) AFTER availability_zone;
ALTER TABLE cost_metrics ADD COLUMN IF NOT EXISTS tags_from LowCardinality(String) CODEC(ZSTD(1)) AFTER tags;

DROP VIEW IF EXISTS costs;
DROP VIEW IF EXISTS cost_metrics_current;

CREATE VIEW cost_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM cost_metrics AS t
LEFT SEMI JOIN
(
    SELECT
        customer_id, provider, window_start, batch,
        toLowCardinality(if(dataset = 'cost_billed', 'billed', 'estimated')) AS cost_kind
    FROM published_batches
    WHERE dataset IN ('cost', 'cost_billed')
) AS b USING (customer_id, provider, window_start, batch, cost_kind);

-- What each account is taken to have cost: the bill where a day was read and has settled, the estimate where it has not
-- yet. Never both. What a bill says so far of a day that is still arriving is in cost_metrics_current alone, with
-- is_settled = false.
--
-- A day that was read has a row of the type `reading` for each account that the reading covers, published with its
-- charges: so a day that cost nothing is known from one that is not known. Rows of the type `left_out` are the sums that
-- a statement has and these charges have not: of other accounts, of days not over; charge_description says which.
--
-- Bound both `window_start` and `charge_day`: the one reaches the rows and their ledger, the other the days that were
-- read and theirs. (The first reaches the ledger only where the published rows are picked last.)
CREATE VIEW costs AS
SELECT u.* EXCEPT (batch)
FROM
(
    SELECT t.*
    FROM
    (
        SELECT *, toDate(window_start, 'UTC') AS charge_day
        FROM cost_metrics
        WHERE cost_type NOT IN ('reading', 'left_out') AND is_settled
    ) AS t
    LEFT ANTI JOIN
    (
        SELECT DISTINCT
            c.customer_id AS customer_id,
            c.provider AS provider,
            c.sub_account_id AS sub_account_id,
            c.charge_day AS charge_day,
            toLowCardinality('estimated') AS cost_kind   -- what a reading of the day replaces
        FROM
        (
            SELECT customer_id, provider, sub_account_id, toDate(window_start, 'UTC') AS charge_day, batch
            FROM cost_metrics
            WHERE cost_kind = 'billed' AND cost_type = 'reading' AND is_settled
        ) AS c
        LEFT SEMI JOIN
        (
            SELECT customer_id, provider, toDate(window_start, 'UTC') AS charge_day, batch
            FROM published_batches
            WHERE dataset = 'cost_billed'
        ) AS p USING (customer_id, provider, charge_day, batch)
    ) AS r USING (customer_id, provider, sub_account_id, charge_day, cost_kind)
) AS u
LEFT SEMI JOIN
(
    SELECT
        customer_id, provider, window_start, batch,
        toLowCardinality(if(dataset = 'cost_billed', 'billed', 'estimated')) AS cost_kind
    FROM published_batches
    WHERE dataset IN ('cost', 'cost_billed')
) AS b USING (customer_id, provider, window_start, batch, cost_kind);
