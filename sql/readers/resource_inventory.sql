-- Every resource of the newest published inventory of each customer and provider, at most a day old.
--
-- shows: window_start provider resource_type resource_name status capacity unit region kind as_of complete resource_id
-- reads: resource last 1 day by as_of
-- kept: 3 days
-- key: customer_id provider resource_type resource_id
-- types: resource_id String, instance_uid String, resource_name String, tags String, metadata String
-- table: resource_inventory 09884fd6
SELECT * FROM newest_inventories(window = {window:DateTime('UTC')})
