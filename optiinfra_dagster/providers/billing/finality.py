"""Finality of bills: how long a day's charges take to arrive, and until when a month may still be restated."""

from __future__ import annotations

from datetime import date, datetime, timedelta

# --- Months -----------------------------------------------------------------------------------------------------------

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


KEPT = timedelta(days=800)
"""Of a charge of an older day nothing is kept: it is as long as the tables of costs have a row."""

# --- Days -------------------------------------------------------------------------------------------------------------

_UNNAMED = timedelta(hours=48)  # where a cloud names no time, or one that is shorter than what users see

SETTLES_AWS = _UNNAMED
"""AWS: "up to 24 hours" for Cost Explorer, "up to three times a day" for exports; single services come a day later."""

SETTLES_AZURE = timedelta(hours=72)
"""Azure: 8 to 24 hours for enterprise agreements, up to 72 for pay-as-you-go.

https://learn.microsoft.com/azure/cost-management-billing/costs/understand-cost-mgmt-data
"""

SETTLES_GCP = timedelta(hours=72)
"""Google promises no time, and some services report days late. Rows of a later day say nothing of those of this one."""

SETTLES_VULTR = _UNNAMED
"""Vultr adds to its pending charges by the hour, and names no time."""


def arriving_from(written: datetime, settles: timedelta) -> date:
    """The first day of which more may come to what was written at a time: those before have had `settles` since."""
    return (written - settles).date()
