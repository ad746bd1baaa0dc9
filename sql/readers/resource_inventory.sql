-- Every resource of the newest published inventory of each customer and provider, at most a day old.
--
-- shows: window_start provider resource_type resource_name status capacity unit region kind as_of complete resource_id
SELECT * FROM newest_inventories(window = {window:DateTime('UTC')})
