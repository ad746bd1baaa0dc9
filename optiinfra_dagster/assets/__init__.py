"""The software-defined assets. Knows Dagster and no cloud SDK."""
