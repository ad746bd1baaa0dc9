"""The work of a collection run, without Dagster: what is due, and how each family is collected for a customer."""
