"""ClickHouse: the connection, the migrations, the slice protocol, the IO manager. Knows no provider."""
