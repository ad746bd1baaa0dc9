-- How many resources each account has of each type, and how many of them run, from the newest published inventories.
-- What a cloud still lists as terminated does not count.
--
-- shows: window_start provider account_id resource_type resources running kinds regions as_of complete
-- reads: resource last 1 day by as_of
-- kept: 90 days
-- key: customer_id provider account_id resource_type
SELECT
    customer_id,
    provider,
    account_id,
    resource_type,
    count() AS resources,
    countIf(status IN ('running', 'available', 'in_use')) AS running,   -- running, available or in use
    uniqExact(kind) AS kinds,   -- how many kinds are among them
    uniqExact(region) AS regions,   -- how many regions they are in
    as_of,
    any(i.complete) AS complete
FROM newest_inventories(window = {window:DateTime('UTC')}) AS i
WHERE status != 'terminated'
GROUP BY customer_id, provider, account_id, resource_type, as_of
