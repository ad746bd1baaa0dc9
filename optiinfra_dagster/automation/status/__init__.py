"""The status of an installation: how its daemons, collections, customers, budgets, storage and disk stand."""
