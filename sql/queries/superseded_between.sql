-- The batches of datasets' slices that were superseded in a time of each (ms): `begins` and `ends` are of `datasets`, in the
-- same order. What supersedes was published in it, so only months of the ledger that something was written to since are
-- opened; the hour is for clocks that differ.
SELECT toString(dataset), customer_id, provider, toUnixTimestamp(window_start), batch
FROM published_versions
WHERE (dataset, window_start) IN
    (
        SELECT dataset, window_start
        FROM metric_batches
        WHERE dataset IN {datasets:Array(String)} AND status IN ('ok', 'partial')
            AND published_at > fromUnixTimestamp64Milli(
                transform(toString(dataset), {datasets:Array(String)}, {begins:Array(Int64)}, toInt64(0)), 'UTC')
            AND published_at <= fromUnixTimestamp64Milli(
                transform(toString(dataset), {datasets:Array(String)}, {ends:Array(Int64)}, toInt64(0)), 'UTC')
            AND _partition_id IN
            (
                SELECT partition_id
                FROM system.parts
                WHERE database = currentDatabase() AND table = 'metric_batches' AND active
                    AND modification_time >= toDateTime(intDiv(arrayMin({begins:Array(Int64)}), 1000), 'UTC')
                        - INTERVAL 1 HOUR
            )
    )
    AND until > fromUnixTimestamp64Milli(
        transform(toString(dataset), {datasets:Array(String)}, {begins:Array(Int64)}, toInt64(0)), 'UTC')
    AND until <= fromUnixTimestamp64Milli(
        transform(toString(dataset), {datasets:Array(String)}, {ends:Array(Int64)}, toInt64(0)), 'UTC')
