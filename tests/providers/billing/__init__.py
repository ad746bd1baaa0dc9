"""Tests of billing exports."""
