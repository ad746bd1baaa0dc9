"""This host's clock beside that of a cloud: one that is wrong makes signatures and tokens that are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from optiinfra_dagster.providers.parsing import as_text

CHECK_CLOCK = "Check this host's clock"
"""The remedy for a credential that is refused because of the time at which it was used."""

_SKEW_SECONDS = 240.0  # AWS takes signatures of 5 minutes around its own time, some services of 15; Google tokens of 10


def is_wrong(date: object) -> bool:
    """True where this host's clock is far from the `Date` that an answer has in its head, False where it has none."""
    try:
        cloud_time = parsedate_to_datetime(as_text(date))
    except ValueError:
        return False
    skew = cloud_time.replace(tzinfo=cloud_time.tzinfo or UTC) - datetime.now(UTC)
    return abs(skew.total_seconds()) > _SKEW_SECONDS
