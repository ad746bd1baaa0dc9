"""Times of the columns of an export as seconds since 1970-01-01, and their days and months."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.providers.billing.exports.decimals import UnreadableError, filled, trimmed

DAY = 86_400  # seconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?: .*)?")  # Azure's CSV: month first, whatever the language
_MONTH = re.compile(r"(\d{4})-?(\d{2})")  # Google's invoice.month


class Times:
    """Reads columns of times; each distinct text is parsed once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def seconds(self, array: pa.Array, field: str) -> Any:
        """Each row's time; a time without a zone is UTC.

        Raises:
            UnreadableError: a row has none, or what is no time.
        """
        if array.null_count:
            raise UnreadableError(field, "is empty in a row")
        if pa.types.is_date(array.type):
            return array.cast(pa.date32()).cast(pa.int32()).to_numpy().astype(np.int64) * DAY
        if pa.types.is_timestamp(array.type):
            # A timestamp with a zone is stored in UTC, one without is UTC in all exports.
            parts = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}[array.type.unit]
            return array.cast(pa.int64()).to_numpy() // parts
        coded = trimmed(array).dictionary_encode()
        texts = coded.dictionary.to_pylist()
        for text in texts:
            if text not in self._known:
                try:
                    self._known[text] = seconds_of(text)
                except ValueError:
                    raise UnreadableError(field, f"{text[:40]!r} is not a time that is known") from None
        numbers = np.array([self._known[text] for text in texts], np.int64)
        return numbers[coded.indices.to_numpy()]

    def seconds_or(self, array: pa.Array, default: Any, field: str) -> Any:
        """Each row's time, or that of `default` where the row has none."""
        has = filled(array)
        if not pc.all(has).as_py():
            if not pc.any(has).as_py():
                return default
            mask = has.to_numpy(zero_copy_only=False)
            found = default.copy()
            found[mask] = self.seconds(array.filter(has), field)
            return found
        return self.seconds(array, field)


def seconds_of(text: str) -> int:
    """The seconds of a time as exports write it.

    Raises:
        ValueError: the text is no time.
    """
    text = text.strip()
    if american := _AMERICAN.fullmatch(text):
        at = datetime(int(american[3]), int(american[1]), int(american[2]), tzinfo=UTC)
    elif month := _MONTH.fullmatch(text):
        at = datetime(int(month[1]), int(month[2]), 1, tzinfo=UTC)
    else:
        at = datetime.fromisoformat(text.removesuffix(" UTC"))
    if not 1 < at.year < 9999:
        raise ValueError("a day beside it may be no date")
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(seconds=1)


def months_of(days: Any) -> Any:
    """The first day of each day's month, as days since 1970-01-01."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


@cache
def day_of(number: int) -> date:
    """The day that is so many days after 1970-01-01."""
    return date.fromordinal(_EPOCH.toordinal() + number)


def number_of(day: date) -> int:
    """The days from 1970-01-01 to a day."""
    return day.toordinal() - _EPOCH.toordinal()


@cache
def time_of(seconds: int) -> datetime | None:
    """The time of so many seconds, zoned; None for 0, which stands for none."""
    return _EPOCH + timedelta(seconds=seconds) if seconds else None
