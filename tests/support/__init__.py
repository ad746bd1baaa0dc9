"""What several test modules need: a ClickHouse HTTP server, a spine without clouds, samples, a moved clock."""
