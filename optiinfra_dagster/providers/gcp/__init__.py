"""Google Cloud: what runs in a customer's projects (Cloud Asset Inventory), and how it performs (Cloud Monitoring)."""
