"""Tests, one folder per package folder; run with `make test`."""
