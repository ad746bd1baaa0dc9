"""Alerts: incidents that begin and are over, and the sinks that are told of both."""
