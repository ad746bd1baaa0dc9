"""Tests of the software-defined assets."""
