"""Logs of LLM applications: the formats that people have, read into interactions."""
