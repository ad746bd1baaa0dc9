"""Vultr: inventory of a customer's accounts, over plain HTTP."""
