-- How a customer's bills changed days that were published, of one account and service where these are named, oldest first.
SELECT
    provider,
    charge_day,
    sub_account_id,
    service_name,
    currency,
    before,
    after,
    toUnixTimestamp(seen_at) AS seen
FROM cost_restatements_current
WHERE customer_id = {customer:String} AND (empty({provider:String}) OR provider = {provider:String})
    AND (empty({account:String}) OR sub_account_id = {account:String})
    AND (empty({service:String}) OR service_name = {service:String})
    AND charge_day >= toDate(fromUnixTimestamp({begin:UInt32}), 'UTC')
    AND charge_day < toDate(fromUnixTimestamp({end:UInt32}), 'UTC')
ORDER BY seen_at, charge_day, sub_account_id, service_name
