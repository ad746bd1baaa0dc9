-- What is known of a customer's days of costs, by provider and day: of the account that is known least, its state and the
-- share of the day; and whether a settled bill has the day of every account.
SELECT
    provider,
    toString(d.charge_day) AS day,
    argMin(d.state, d.known) AS state_of_day,
    min(d.known) AS known_of_day
FROM days_until(first = {first:Date}, window = {window:DateTime('UTC')}) AS d
WHERE customer_id = {customer:String} AND (empty({provider:String}) OR provider = {provider:String})
    AND (empty({account:String}) OR sub_account_id = {account:String})
GROUP BY provider, day
ORDER BY provider, day
