"""Tests of the Google Cloud provider, against the cloud lab."""
