-- What the judging of each customer used of a day's budget so far: tokens and requests. Only of those that used four
-- fifths of either.
SELECT
    customer_id,
    sum(prompt_tokens + completion_tokens + unanswered_tokens) AS tokens,
    sum(requests) AS used_requests
FROM application_verdicts
WHERE asked_at >= fromUnixTimestamp64Milli({begin:Int64}, 'UTC') AND asked_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
GROUP BY customer_id
HAVING tokens * 5 >= {tokens:UInt64} * 4 OR used_requests * 5 >= {requests:UInt64} * 4
ORDER BY tokens DESC
