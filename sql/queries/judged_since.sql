-- What judging used since a moment, in all or by customer: tokens, requests, USD, and requests whose price is not known.
SELECT
    if({by_customer:Bool}, customer_id, '') AS customer,
    sum(prompt_tokens + completion_tokens + unanswered_tokens),
    sum(requests),
    sum(usd),
    sumIf(requests, usd IS NULL)
FROM application_verdicts
WHERE asked_at >= fromUnixTimestamp64Milli({begin:Int64}, 'UTC')
GROUP BY customer
