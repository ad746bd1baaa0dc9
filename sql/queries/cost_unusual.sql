-- The accounts whose newest whole day was no usual one, by the newest outlook that was computed in the last day.
SELECT customer_id, provider, sub_account_id, toString(currency), toString(day), unusual_by, usual_day, causes
FROM cost_outlook_current
WHERE window_start = (
        SELECT max(window_start) FROM cost_outlook_current
        WHERE window_start >= {last:DateTime('UTC')} - INTERVAL 1 DAY AND window_start <= {last:DateTime('UTC')})
    AND scope = 'account' AND ifNull(is_unusual, false) AND customer_id IN {customers:Array(String)}
ORDER BY customer_id, provider, sub_account_id, currency
