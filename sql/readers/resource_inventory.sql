-- Every resource of the newest published inventory of each customer and provider, at most a day old.
SELECT * FROM newest_inventories(window = {window:DateTime('UTC')})
