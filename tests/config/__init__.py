"""Tests of settings and the customers file."""
