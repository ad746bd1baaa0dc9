-- What the charges of each billing account and currency and what was left out of them come to, beside the total that was
-- told ('' for none in that currency), of all that any total is told of: of a source that tells statements the statement,
-- which is known by the first day of its month, else the day. A statement has charges of other days too, older ones in
-- slices that were published since.
WITH
rows AS
(
    SELECT
        customer_id, billing_account_id, toDate(window_start, 'UTC') AS day, billing_period, currency, amount,
        if(cost_type = 'reading', JSONExtractString(metadata, 'total'), '') AS total,
        cost_type = 'reading' AND JSONExtractString(metadata, 'of') = 'statement' AS of_statement,
        cost_type = 'reading' AND JSONExtractBool(metadata, 'apart') AS apart
    FROM cost_metrics_current
    WHERE provider = {provider:String} AND cost_kind = 'billed'
        AND window_start <= fromUnixTimestamp({last:UInt32}) + INTERVAL 93 DAY
        AND (window_start >= fromUnixTimestamp({first:UInt32}) OR window_start IN
        (
            SELECT window_start
            FROM metric_batches
            WHERE dataset = 'cost_billed' AND provider = {provider:String}
                AND window_start < fromUnixTimestamp({first:UInt32}) AND published_at >= fromUnixTimestamp({first:UInt32})
        ))
),
placed AS
(
    SELECT
        *,
        max(of_statement) OVER (PARTITION BY customer_id, billing_account_id, billing_period) AS in_statement,
        if(in_statement, billing_period, day) AS place
    FROM rows
)
SELECT
    customer_id, billing_account_id, toString(place) AS told_of, currency, toString(charged) AS charges, told,
    of_a_statement, told_apart
FROM
(
    SELECT
        customer_id, billing_account_id, place, currency,
        sum(p.amount) AS charged,
        max(p.total) AS told,
        max(in_statement) AS of_a_statement,
        max(max(p.apart)) OVER (PARTITION BY customer_id, billing_account_id, place) AS told_apart,
        max(told) OVER (PARTITION BY customer_id, billing_account_id, place) != '' AS has_total
    FROM placed AS p
    GROUP BY customer_id, billing_account_id, place, currency
)
WHERE has_total AND (told != '' OR charged != 0) AND place <= toDate(fromUnixTimestamp({last:UInt32}), 'UTC')
ORDER BY customer_id, billing_account_id, place, currency
