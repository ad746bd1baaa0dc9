-- The batches of a dataset's slices that were superseded in a time (ms). What supersedes was published in it, so only months
-- of the ledger that something was written to since are opened; the hour is for clocks that differ.
SELECT customer_id, provider, toUnixTimestamp(window_start), batch
FROM published_versions
WHERE dataset = {dataset:String}
    AND window_start IN
    (
        SELECT window_start
        FROM metric_batches
        WHERE dataset = {dataset:String} AND status IN ('ok', 'partial')
            AND published_at > fromUnixTimestamp64Milli({begin:Int64}, 'UTC')
            AND published_at <= fromUnixTimestamp64Milli({end:Int64}, 'UTC')
            AND _partition_id IN
            (
                SELECT partition_id
                FROM system.parts
                WHERE database = currentDatabase() AND table = 'metric_batches' AND active
                    AND modification_time >= toDateTime(intDiv({begin:Int64}, 1000), 'UTC') - INTERVAL 1 HOUR
            )
    )
    AND until > fromUnixTimestamp64Milli({begin:Int64}, 'UTC') AND until <= fromUnixTimestamp64Milli({end:Int64}, 'UTC')
