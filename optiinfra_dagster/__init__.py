"""OptiInfra: cloud inventory, performance, cost and LLM quality as Dagster assets in ClickHouse."""
