"""The statements of an export between readings: one whose files did not change is not downloaded again.

A statement is what an export says of a month now, in files that it replaces by new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic

from optiinfra_dagster.model.account import AccountT
from optiinfra_dagster.model.cost import Bill
from optiinfra_dagster.providers.billing import finality
from optiinfra_dagster.providers.billing.finality import is_final
from optiinfra_dagster.providers.parsing import Item, as_dict

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import BillRequest, Source
    from optiinfra_dagster.providers.object_storage.store import File

_MANIFESTS = 200  # are remembered of a source: the runs of two months, and some

LATE = timedelta(minutes=15)
"""The time by which a copy of a file may be listed after its time of change: what S3 promises for replication."""


@dataclass(frozen=True)
class Statements(Generic[AccountT]):
    """The statements of a source, and what is remembered of their last reading.

    The request's memory keeps, by statement, the fingerprint of the files and when the reading before that one was.
    Without it, the times of the files are compared with the start of the last reading that ended well.
    `final_by_time` is True where charges become final though no file tells it.
    """

    request: BillRequest[AccountT]
    source: Source[AccountT]
    final_by_time: bool = True

    def changed(self, months: Sequence[date], files: Sequence[File]) -> bool:
        """True where the statement of these months, which is in these files, must be read.

        That is also on the day that a month becomes final, for then its charges do.
        """
        last = self.request.read_at.get(self.source.id)
        if last is None or (self.final_by_time and any(self._became_final(month, last.date()) for month in months)):
            return True
        fingerprint, before = self._remembered().get(_name(months)) or (None, "")
        newest = max((file.modified for file in files), default=last - LATE)
        # A reading that came to nothing, such as one whose charges could not be stored, leaves the time of the last
        # one as it was. One that was asked to read everything was told no time.
        ended_well = before != last.isoformat() if before else newest <= last
        same = newest <= last - LATE if fingerprint is None else fingerprint == self._fingerprint(files) and ended_well
        if same:
            self._remember(months, self._fingerprint(files), before)
        return not same

    def _became_final(self, month: date, before: date) -> bool:
        today = self.request.last + timedelta(days=1)
        return is_final(month, today, finality.EXPORT) and not is_final(month, before, finality.EXPORT)

    def note(self, months: Sequence[date], files: Sequence[File], *, read: bool) -> None:
        """Remember that a statement was read; or that it was not, so that it is tried again."""
        last = self.request.read_at.get(self.source.id)
        self._remember(months, self._fingerprint(files) if read else "", last.isoformat() if last else "")

    def _remember(self, months: Sequence[date], fingerprint: str, before: str) -> None:
        if self.request.memory is not None:
            self.request.memory.put({**self._remembered(), _name(months): [fingerprint, before]}, *self._key())

    def once(self, file: File, load: Callable[[], Item]) -> Item:
        """What a small file such as a manifest tells, which is loaded once a day at most."""
        if self.request.memory is None:
            return load()
        key = ("manifests of an export", *self._key()[1:])
        known = self.request.memory.get(*key) or {}
        name = self._fingerprint([file])
        if name not in known:
            known = {**dict(list(known.items())[-_MANIFESTS:]), name: load()}
            self.request.memory.put(known, *key)
        return as_dict(known[name])

    def _remembered(self) -> dict[str, Any]:
        return (self.request.memory.get(*self._key()) if self.request.memory else None) or {}

    def _key(self) -> tuple[str, ...]:
        return "statements of an export", self.request.customer_id, self.source.id

    def _fingerprint(self, files: Iterable[File]) -> str:
        told = sorted((file.key, file.size, file.modified.astimezone(UTC).isoformat(), file.version) for file in files)
        return blake2b(repr((self.source.covers, told)).encode(), digest_size=16).hexdigest()


def _name(months: Sequence[date]) -> str:
    return " ".join(f"{month:%Y-%m}" for month in months)


def months_of(first: date, last: date) -> list[date]:
    """The first days of the months that a range of days touches."""
    months, month = [], first.replace(day=1)
    while month <= last:
        months.append(month)
        month = (month + timedelta(days=31)).replace(day=1)
    return months


def of_days(bill: Bill, days: Collection[date], *, charges: bool = True) -> Bill:
    """A bill that was read for these days at most; without the charges of others, unless they are to stay."""
    kept = set(days)
    return Bill(
        [charge for charge in bill.charges if not charges or charge.day in kept],
        [total for total in bill.totals if not charges or total.day in kept],
        {source_id: [day for day in read if day in kept] for source_id, read in bill.read.items()},
        bill.problems,
    )
