"""Folders, one per cloud. Each knows its SDK and yields the typed rows of `types`; none knows Dagster or ClickHouse."""
