"""The wait that an answer over HTTP asks for in its header Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header, which holds them or a date (RFC 9110, 10.2.3); None for neither."""
    if not value:
        return None
    try:
        if value.strip().isdigit():
            return float(value)
        moment = parsedate_to_datetime(value)
        return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except ValueError:
        return None
