"""Azure as the lab shows it: Azure Resource Graph over the subscriptions of a world."""
