-- A SELECT takes the rows that a table has when it comes to it, and each table at a moment of its own. Rows that came after
-- their ledger row would be missed: a slice that is published in between would be read as empty. So a view asks the ledger
-- first: the ledger stands in the view itself and is looked up with it, the rows stand in a `view(...)` and are looked up
-- after that. What the ledger named then is there: superseded rows stay for ten minutes at least.
-- (The views of readers are made by `reader_tables`, in the same way.)

CREATE OR REPLACE VIEW application_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM view(SELECT * FROM application_metrics) AS t
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, max(l.batch) AS batch
    FROM metric_batches AS l
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
    GROUP BY customer_id, provider, window_start
) AS b USING (customer_id, provider, window_start, batch);

CREATE OR REPLACE VIEW performance_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM view(SELECT * FROM performance_metrics) AS t
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, max(l.batch) AS batch
    FROM metric_batches AS l
    WHERE dataset = 'performance' AND status IN ('ok', 'partial')
    GROUP BY customer_id, provider, window_start
) AS b USING (customer_id, provider, window_start, batch);

CREATE OR REPLACE VIEW resource_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM view(SELECT * FROM resource_metrics) AS t
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, max(l.batch) AS batch
    FROM metric_batches AS l
    WHERE dataset = 'resource' AND status IN ('ok', 'partial')
    GROUP BY customer_id, provider, window_start
) AS b USING (customer_id, provider, window_start, batch);

CREATE OR REPLACE VIEW cost_metrics_current AS
SELECT t.* EXCEPT (batch)
FROM view(SELECT * FROM cost_metrics) AS t
LEFT SEMI JOIN
(
    SELECT
        customer_id, provider, window_start, max(l.batch) AS batch,
        toLowCardinality(if(dataset = 'cost_billed', 'billed', 'estimated')) AS cost_kind
    FROM metric_batches AS l
    WHERE dataset IN ('cost', 'cost_billed') AND status IN ('ok', 'partial')
    GROUP BY dataset, customer_id, provider, window_start
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
CREATE OR REPLACE VIEW costs AS
SELECT u.* EXCEPT (batch)
FROM
(
    SELECT t.*
    FROM
    (
        SELECT *, toDate(window_start, 'UTC') AS charge_day
        FROM view(SELECT * FROM cost_metrics)
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
            FROM view(SELECT * FROM cost_metrics)
            WHERE cost_kind = 'billed' AND cost_type = 'reading' AND is_settled
        ) AS c
        LEFT SEMI JOIN
        (
            SELECT customer_id, provider, toDate(window_start, 'UTC') AS charge_day, max(l.batch) AS batch
            FROM metric_batches AS l
            WHERE dataset = 'cost_billed' AND status IN ('ok', 'partial')
            GROUP BY customer_id, provider, window_start
        ) AS p USING (customer_id, provider, charge_day, batch)
    ) AS r USING (customer_id, provider, sub_account_id, charge_day, cost_kind)
) AS u
LEFT SEMI JOIN
(
    SELECT
        customer_id, provider, window_start, max(l.batch) AS batch,
        toLowCardinality(if(dataset = 'cost_billed', 'billed', 'estimated')) AS cost_kind
    FROM metric_batches AS l
    WHERE dataset IN ('cost', 'cost_billed') AND status IN ('ok', 'partial')
    GROUP BY dataset, customer_id, provider, window_start
) AS b USING (customer_id, provider, window_start, batch, cost_kind);
