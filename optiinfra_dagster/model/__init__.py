"""The typed values that all layers exchange. Imports nothing else of the package, no SDK, no Dagster."""
