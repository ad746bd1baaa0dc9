"""Vultr: inventory, metrics, bills and list prices of a customer's accounts, over plain HTTP."""
