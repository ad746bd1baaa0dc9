-- `cost_metrics_current` and `costs` as before, but what they read of the ledger is bounded by the times that are asked
-- for: a statement costs the same after years. A filter reaches it only where the join's keys have the same types on
-- both sides; and the days that were read have a ledger of their own, bounded by `charge_day`.
DROP VIEW costs;
DROP VIEW cost_metrics_current;

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

-- What each account is taken to have cost: the bill where a day was read, the estimate where it was not yet. Never both.
-- A day that was read has a row of the type `reading` for each account that the reading covers, published with its
-- charges: so a day that cost nothing is known from one that is not known.
--
-- Bound both `window_start` and `charge_day`: the one reaches the rows and their ledger, the other the days that were
-- read and theirs. (The first reaches the ledger only where the published rows are picked last.)
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
            c.charge_day AS charge_day,
            toLowCardinality('estimated') AS cost_kind   -- what a reading of the day replaces
        FROM
        (
            SELECT customer_id, provider, sub_account_id, toDate(window_start, 'UTC') AS charge_day, batch
            FROM cost_metrics
            WHERE cost_kind = 'billed' AND cost_type = 'reading'
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
