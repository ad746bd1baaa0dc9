"""Google Cloud as the lab shows it: Cloud Asset Inventory over REST, from the world or from recorded answers."""
