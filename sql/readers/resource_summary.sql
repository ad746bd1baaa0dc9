-- How many resources of each type, region and status, and their capacity, from the newest published inventories.
-- What a cloud still lists as terminated does not count.
--
-- shows: window_start provider resource_type region status resources capacity unit as_of complete
-- reads: resource last 1 day by as_of
-- kept: 90 days
-- key: customer_id provider resource_type region status
-- table: resource_summary 395d5222
SELECT
    customer_id,
    provider,
    resource_type,
    region,
    status,
    count() AS resources,
    sumOrNull(i.capacity) AS capacity,
    unit,
    as_of,
    any(i.complete) AS complete
FROM newest_inventories(window = {window:DateTime('UTC')}) AS i
WHERE status != 'terminated'
GROUP BY customer_id, provider, resource_type, region, status, unit, as_of
