"""Finality of a bill's months: how long after the end of one each cloud may still restate its days."""

from __future__ import annotations

from datetime import date, timedelta

AZURE = timedelta(days=5)
"""An invoice has its last charges by the end of the fifth of the following month.

https://learn.microsoft.com/azure/cost-management-billing/costs/understand-cost-mgmt-data
"""

GCP = timedelta(days=10)
"""Google never says that a day is final; its invoice of a month is made by the tenth of the next at the latest."""

EXPORT = timedelta(days=10)
"""Of an export in files, a charge without the number of an invoice: what the slowest of the clouds takes."""

LATEST = max(AZURE, GCP, EXPORT)
"""After it no cloud restates a day."""


def is_final(day: date, today: date, after: timedelta) -> bool:
    """True once `after` has passed since the end of the month of `day`."""
    next_month = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return today >= next_month + after
