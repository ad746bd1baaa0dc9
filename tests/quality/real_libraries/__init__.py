"""Logs that real libraries write of calls to a loopback model: the calls, the model, and a driver per library.

Drivers run in Python environments of their own, so that nothing here needs more than the standard library before the
libraries that it drives.
"""
