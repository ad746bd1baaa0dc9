"""Azure, read with the SDK: the inventory of all subscriptions by Azure Resource Graph."""
