-- What the charges of each billing account, day and currency come to, beside the cloud's own total ('' where it tells
-- none in that currency), of the days that it tells any total of.
WITH
rows AS
(
    SELECT
        customer_id, billing_account_id, toDate(window_start, 'UTC') AS day, currency, amount,
        if(cost_type = 'reading', JSONExtractString(metadata, 'total'), '') AS total
    FROM cost_metrics_current
    WHERE provider = {provider:String} AND cost_kind = 'billed'
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
)
SELECT customer_id, billing_account_id, toString(day) AS charge_day, currency, toString(charged) AS charges, told
FROM
(
    SELECT
        customer_id, billing_account_id, day, currency,
        sum(r.amount) AS charged,
        max(r.total) AS told,
        max(told) OVER (PARTITION BY customer_id, billing_account_id, day) != '' AS has_total
    FROM rows AS r
    GROUP BY customer_id, billing_account_id, day, currency
)
WHERE has_total AND (told != '' OR charged != 0)
ORDER BY customer_id, billing_account_id, day, currency
