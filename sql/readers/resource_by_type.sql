-- How many resources of each kind, how many of them run, and their capacity, from the newest published inventories.
-- What a cloud still lists as terminated does not count.
--
-- shows: window_start provider resource_type kind resources capacity unit running stopped other regions as_of
--   complete
-- reads: resource last 1 day by as_of
-- kept: 90 days
-- key: customer_id provider resource_type kind
-- types: other UInt32
-- table: resource_by_type a5ba06ab
SELECT
    customer_id,
    provider,
    resource_type,
    kind,
    count() AS resources,
    countIf(status IN ('running', 'available', 'in_use')) AS running,
    countIf(status = 'stopped') AS stopped,
    resources - running - stopped AS other,   -- in any other status
    uniqExact(region) AS regions,   -- how many regions they are in
    sumOrNull(i.capacity) AS capacity,
    unit,
    as_of,
    any(i.complete) AS complete
FROM newest_inventories(window = {window:DateTime('UTC')}) AS i
WHERE status != 'terminated'
GROUP BY customer_id, provider, resource_type, kind, unit, as_of
