"""Google Cloud as the lab shows it: Cloud Asset Inventory over REST, and Cloud Monitoring over gRPC."""
