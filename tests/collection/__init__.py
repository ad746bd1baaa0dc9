"""Tests of collection runs."""
