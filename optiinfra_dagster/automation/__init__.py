"""Dagster's automation: schedules, sensors, asset checks, alerts, housekeeping."""
