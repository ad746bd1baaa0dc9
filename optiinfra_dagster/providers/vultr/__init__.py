"""Vultr: inventory and performance of a customer's accounts, over plain HTTP."""
