-- How many resources of each kind, how many of them run, and their capacity, from the newest published inventories.
--
-- shows: window_start provider resource_type kind resources running stopped other capacity unit regions as_of complete
SELECT
    customer_id,
    provider,
    resource_type,
    kind,
    count() AS resources,
    countIf(status IN ('running', 'available', 'in_use')) AS running,
    countIf(status IN ('stopped', 'terminated')) AS stopped,
    resources - running - stopped AS other,
    uniqExact(region) AS regions,
    sumOrNull(i.capacity) AS capacity,
    unit,
    as_of,
    any(i.complete) AS complete
FROM newest_inventories(window = {window:DateTime('UTC')}) AS i
GROUP BY customer_id, provider, resource_type, kind, unit, as_of
