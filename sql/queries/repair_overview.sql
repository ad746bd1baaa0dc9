-- Of each dataset, customer and provider with attempts between two windows: the first window with one, how many windows
-- up to `turn`, by which every schedule has had its turn, have one, and how many windows were never whole. Where nothing
-- lacks, this is all that a repair needs to know: three rows of a customer instead of three hundred.
SELECT
    dataset,
    customer_id,
    provider,
    toUnixTimestamp(min(window_start)) AS first_seconds,
    groupBitmapIf(toUInt32(toUnixTimestamp(window_start)), window_start <= {turn:DateTime('UTC')}) AS attempted,
    groupBitmap(toUInt32(toUnixTimestamp(window_start)))
        - groupBitmapIf(toUInt32(toUnixTimestamp(window_start)), status = 'ok') AS lacking
FROM metric_batches
WHERE dataset IN {datasets:Array(String)} AND customer_id != ''
    AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
GROUP BY dataset, customer_id, provider
