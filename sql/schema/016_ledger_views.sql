-- What most questions to the ledger ask of a slice, said once: how its newest attempt ended, and what is published of it.
-- Filters on dataset, customer_id, provider and window_start reach the primary key through the views.

-- How a slice stands: the outcome of its newest attempt, and whether an attempt before that one gave all of it, or any.
CREATE OR REPLACE VIEW newest_attempts AS
SELECT
    dataset,
    customer_id,
    provider,
    window_start,
    argMax(b.status, (b.published_at, b.batch)) AS status,
    argMax(b.error, (b.published_at, b.batch)) AS error,
    argMax(b.permanent, (b.published_at, b.batch)) AS permanent,
    argMax(b.rows, (b.published_at, b.batch)) AS rows,
    countIf(b.status = 'ok') > 0 AS complete,
    countIf(b.status IN ('ok', 'partial')) > 0 AS published
FROM metric_batches AS b
GROUP BY dataset, customer_id, provider, window_start;

-- The newest published batch of a slice and what the ledger says of it; its status is `ok` if nothing is missing. An
-- attempt that found the same content again names the same batch, with the same status, rows and hash: either row will
-- do. By the batch alone, since a tuple to compare by takes twice the CPU time.
CREATE OR REPLACE VIEW published_slices AS
SELECT
    dataset,
    customer_id,
    provider,
    window_start,
    max(b.batch) AS batch,
    argMax(b.status, b.batch) AS status,
    argMax(b.rows, b.batch) AS rows,
    argMax(b.content_hash, b.batch) AS content_hash,
    argMax(b.error, b.batch) AS error,
    argMax(b.permanent, b.batch) AS permanent
FROM metric_batches AS b
WHERE b.status IN ('ok', 'partial')
GROUP BY dataset, customer_id, provider, window_start;
