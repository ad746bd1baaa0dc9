-- Batches that were superseded stay for a while: for readers that began before, and for whoever asks what was known then.

-- Every published batch of a slice, its rows, since when it was seen, and until when: null for the newest. Times are those
-- of the writers' clocks. An attempt that found the same content again names the same batch. One with `until` before
-- `since` was never seen: a higher one was there before it.
-- Filters on dataset, customer_id, provider and window_start reach the primary key through the view.
CREATE OR REPLACE VIEW published_versions AS
SELECT
    dataset,
    customer_id,
    provider,
    window_start,
    b.batch AS batch,
    any(b.rows) AS rows,
    min(b.published_at) AS since,
    minOrNull(min(b.published_at)) OVER
    (
        PARTITION BY dataset, customer_id, provider, window_start
        ORDER BY b.batch ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS until
FROM metric_batches AS b
WHERE b.status IN ('ok', 'partial')
GROUP BY dataset, customer_id, provider, window_start, b.batch;

-- `published_batches` as it was at a time: the batch of each slice that was seen then. The views of what was known at a
-- time, which end with `_as_of` and take the same parameter, are derived from those of what is known now.
CREATE OR REPLACE VIEW published_batches_as_of AS
SELECT dataset, customer_id, provider, window_start, max(batch) AS batch
FROM metric_batches
WHERE status IN ('ok', 'partial') AND published_at <= {as_of:DateTime64(3, 'UTC')}
GROUP BY dataset, customer_id, provider, window_start;

-- Up to when the superseded batches of a dataset were cleared away: the nightly job looks at what was published since. A
-- dataset that is not there yet has been cleared up to this migration: before it, superseded batches were deleted at once.
CREATE TABLE IF NOT EXISTS superseded_cleared
(
    dataset  LowCardinality(String)  CODEC(ZSTD(1)),
    until    DateTime64(3, 'UTC')    CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(until)
ORDER BY dataset
SETTINGS non_replicated_deduplication_window = 1000;
