"""Figures as people read them. What is not known is the word for it, and never a zero."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from optiinfra_dagster.model.text import plain

UNKNOWN = "unknown"
LONG = 60  # what names are cut to; the end of an id tells it from another
NO_CURRENCY = "(no currency)"


def money(amount: Decimal | None, currency: str = "") -> str:
    """An amount with two decimals, or three digits where that would show nothing of it."""
    if amount is None:
        return UNKNOWN
    digits = f"{amount:,.2f}" if not amount or abs(amount) >= Decimal("0.01") else f"{float(amount):.3g}"
    return f"{digits} {currency}".rstrip()


def percent(share: float | None, decimals: int = 0) -> str:
    """A share of 1 in percent."""
    return UNKNOWN if share is None else f"{100 * share:.{decimals}f} %"


def number(value: float | None, decimals: int = 2) -> str:
    """A figure; of whole numbers no decimals."""
    if value is None:
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{decimals}f}"


def time(at: datetime | date | None) -> str:
    """A time to the minute in UTC, or a day."""
    if at is None:
        return UNKNOWN
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%MZ}" if isinstance(at, datetime) else at.isoformat()


def yes(value: bool | None) -> str:
    """Yes, no, or not known."""
    return UNKNOWN if value is None else "yes" if value else "no"


def name(text: Any) -> str:
    """A name that somebody gave in a cloud: one line without control characters, cut in the middle where it is long."""
    shown = plain(str(text))
    return shown if len(shown) <= LONG else f"{shown[: LONG // 2 - 2]}...{shown[1 - LONG // 2 :]}"


def span(times: Iterable[datetime | date | None]) -> str:
    """The oldest and the newest of some times: `as of` of several rows."""
    known = sorted(at for at in times if at is not None)
    if not known:
        return UNKNOWN
    first, last = time(known[0]), time(known[-1])
    return first if first == last else f"{first} to {last}"


def added(amounts: Iterable[Decimal | None], currency: str = "") -> str:
    """A sum, which says how many of its parts are not known."""
    parts = list(amounts)
    missing = sum(part is None for part in parts)
    if missing == len(parts):
        return UNKNOWN
    total = money(sum((part for part in parts if part is not None), Decimal(0)), currency)
    return f"{total}, and {missing} of {len(parts)} {UNKNOWN}" if missing else total
