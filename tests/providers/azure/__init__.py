"""Tests of the Azure provider, against the cloud lab."""
