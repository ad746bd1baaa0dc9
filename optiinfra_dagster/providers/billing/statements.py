"""The statements of an export between readings: one whose files did not change is not downloaded again.

A statement is what an export says of a month now, in files that it replaces by new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Generic

from optiinfra_dagster.model.account import AccountT
from optiinfra_dagster.model.cost import Bill, LeftOut
from optiinfra_dagster.providers.billing import finality
from optiinfra_dagster.providers.billing.finality import is_final
from optiinfra_dagster.providers.parsing import Item, as_dict

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import BillRequest, Source
    from optiinfra_dagster.providers.object_storage.store import File

_MANIFESTS = 200  # are remembered of a source: the runs of two months, and some

LATE = timedelta(minutes=15)
"""The time by which a copy of a file may be listed after its time of change: what S3 promises for replication."""


_LISTED, _CHOSEN, _BEFORE = "listed", "chosen", "before"
_NOTHING = dict.fromkeys((_LISTED, _CHOSEN, _BEFORE), "")


@dataclass(frozen=True)
class Statements(Generic[AccountT]):
    """The statements of a source, and what is remembered of their last reading.

    The request's memory keeps, by statement, the fingerprints of the files that were listed and of those that were
    chosen of them, and when the reading before that one was. Without it, the times of the files are compared with the
    start of the last reading that ended well.
    """

    request: BillRequest[AccountT]
    source: Source[AccountT]

    def rewritten(self, listed: Mapping[date, Sequence[File]]) -> list[date]:
        """The months before the request's whose files, by month, are newer than the last reading.

        A cloud may give something back, and a person run an export again, when a month is long closed. With the first
        reading of a source nothing is older than what is asked for.
        """
        last, first = self.request.read_at.get(self.source.id), self.request.first.replace(day=1)
        if last is None:
            return []
        return sorted(
            month
            for month, files in listed.items()
            if self.request.last - finality.KEPT < month < first and any(file.modified > last - LATE for file in files)
        )

    def changed(self, months: Sequence[date], listed: Sequence[File]) -> bool:
        """True where the statement of these months, which is in some of these files, may be another one.

        That is also on the day that a month becomes final: no file need tell that its charges are, or that its last
        days have settled.
        """
        if self._differs(months, listed, _LISTED):
            return True
        self._remember(months, {**_NOTHING, **self._known(months), _LISTED: self._fingerprint(listed)})
        return False

    def chosen_changed(self, months: Sequence[date], listed: Sequence[File], chosen: Sequence[File]) -> bool:
        """True where the chosen ones of the listed files must be read; only after `changed` was True."""
        if self._differs(months, chosen, _CHOSEN):
            return True
        told = {_LISTED: self._fingerprint(listed), _CHOSEN: self._fingerprint(chosen)}
        self._remember(months, {**_NOTHING, **self._known(months), **told})
        return False

    def note(self, months: Sequence[date], listed: Sequence[File], chosen: Sequence[File], *, read: bool) -> None:
        """Remember that a statement was read; or that it was not, so that it is tried again."""
        last = self.request.read_at.get(self.source.id)
        told = {_LISTED: self._fingerprint(listed), _CHOSEN: self._fingerprint(chosen)} if read else {}
        self._remember(months, {**_NOTHING, **told, _BEFORE: last.isoformat() if last else ""})

    def _differs(self, months: Sequence[date], files: Sequence[File], which: str) -> bool:
        last = self.request.read_at.get(self.source.id)
        if last is None or any(self._became_final(month, last.date()) for month in months):
            return True
        known, newest = self._known(months), max((file.modified for file in files), default=last - LATE)
        if not known:
            return newest > last - LATE
        # A reading that came to nothing, such as one whose charges could not be stored, leaves the time of the last
        # one as it was. One that was asked to read everything was told no time.
        before = known[_BEFORE]
        ended_well = before != last.isoformat() if before else newest <= last
        return known[which] != self._fingerprint(files) or not ended_well

    def _became_final(self, month: date, before: date) -> bool:
        today = self.request.last + timedelta(days=1)
        return is_final(month, today, finality.EXPORT) and not is_final(month, before, finality.EXPORT)

    def _known(self, months: Sequence[date]) -> dict[str, str]:
        return self._remembered().get(_name(months)) or {}

    def _remember(self, months: Sequence[date], known: dict[str, str]) -> None:
        if self.request.memory is not None:
            self.request.memory.put({**self._remembered(), _name(months): known}, *self._key())

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

    def _remembered(self) -> dict[str, dict[str, str]]:
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


def of_days(bill: Bill, days: Collection[date]) -> Bill:
    """What a bill that was read for some days tells of them, which is no statement of a month.

    Its charges are replaced with their days, so each is in the bill of its own month. For the same reason, what
    was left out is told with one of the days: the first that was read of its month, else the first of all.
    """
    kept = set(days)
    read = {source_id: [day for day in of_source if day in kept] for source_id, of_source in bill.read.items()}

    def told_with(part: LeftOut) -> LeftOut:
        of_source = read[part.billing_account_id]
        day = next((day for day in of_source if day.replace(day=1) == part.billing_period), of_source[0])
        return replace(part, day=day, period=day.replace(day=1))

    return Bill(
        charges=[replace(charge, period=None) for charge in bill.charges if charge.day in kept],
        read=read,
        problems=bill.problems,
        arriving={source_id: of_source & kept for source_id, of_source in bill.arriving.items()},
        periods={source_id: set() for source_id in bill.read},
        left_out=[told_with(part) for part in bill.left_out if read[part.billing_account_id]],
    )
