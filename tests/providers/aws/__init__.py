"""Tests of the AWS provider, against the cloud lab."""
