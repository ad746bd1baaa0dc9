"""Google Cloud: what runs in a customer's projects, read by Cloud Asset Inventory."""
