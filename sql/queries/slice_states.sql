-- By customer: of the slices of a dataset between two windows, how many are in (complete, or left out for an excused
-- reason by their newest attempt), how many are incomplete, and how many failed so that only a person can help; and the
-- newest error of one that is not in.
SELECT
    customer_id,
    countIf(state = 'in'),
    countIf(state = 'partial'),
    countIf(state = 'failed' AND permanent),
    argMaxIf(error, window_start, state != 'in' AND error != '')
FROM
(
    SELECT
        customer_id,
        window_start,
        permanent,
        error,
        multiIf(
            complete OR has({excused:Array(String)}, toString(status)), 'in',
            published, 'partial',
            'failed') AS state
    FROM newest_attempts
    WHERE dataset = {dataset:String} AND provider = {provider:String}
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
)
GROUP BY customer_id
