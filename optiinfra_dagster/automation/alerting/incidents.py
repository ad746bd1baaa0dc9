"""Incidents: troubles with a beginning and an end, who was told of either, and what is silenced until when.

They are kept in Dagster's own storage, beside the cursors of its daemons, and not in ClickHouse: that ClickHouse is
dead must be told, too. Without Dagster's storage no sensor has a tick, which a heartbeat's monitor notices.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.automation.status.items import Kind, Trouble, key_of, was_looked_at
from optiinfra_dagster.model.text import plain

if TYPE_CHECKING:
    import dagster as dg

    from optiinfra_dagster.automation.status.items import Status

_INCIDENTS, _SILENCES = "optiinfra/incidents", "optiinfra/silences"  # keys in Dagster's key-value table
LONGEST_TEXT = 700
AWAY_SECONDS = 900.0  # without a look, which there is every minute; a restart takes less
LATE_AFTER_SECONDS = 1800.0  # of looks on end; before that, collections had no time to be in time
MOST_CAUSES = 10  # of an incident, that are told


@dataclass(slots=True)
class Incident:
    """A trouble that goes on or is over. Times are seconds since the epoch."""

    kind: str
    customer: str
    provider: str
    family: str
    subject: str
    text: str
    since: float
    causes: list[str]
    over: float | None = None
    why_over: str = ""
    told: dict[str, int] = field(default_factory=dict)  # by sink: how many of the causes, OVER that it is over

    @property
    def key(self) -> str:
        """Its identity as long as it goes on, the one of its trouble."""
        return key_of(self.kind, self.customer, self.provider, self.family, self.subject)


OVER = -1


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that are kept back until a moment; an empty field is any."""

    until: float
    kind: str = ""
    customer: str = ""
    provider: str = ""
    family: str = ""
    why: str = ""

    def covers(self, incident: Incident, now: datetime) -> bool:
        """True while the incident is kept back."""
        return now.timestamp() < self.until and all(
            getattr(self, name) in {"", getattr(incident, name)} for name in ("kind", "customer", "provider", "family")
        )

    def __str__(self) -> str:
        """What is silenced, until when and why, in one line."""
        named = (
            " ".join(part for part in (self.kind, self.customer, self.provider, self.family) if part) or "everything"
        )
        until = datetime.fromtimestamp(self.until, UTC)
        return f"{named} until {until:%Y-%m-%dT%H:%MZ}{f': {plain(self.why)}' if self.why else ''}"


@dataclass(slots=True)
class SinkRetry:
    """A sink that could not be reached: since when, how often it was tried, and when it is tried again."""

    since: float
    attempts: int
    next: float
    said: str


@dataclass(slots=True)
class Book:
    """What is known of incidents and sinks from tick to tick."""

    incidents: dict[str, list[Incident]] = field(default_factory=dict)  # by key; those that are over come first
    trying: dict[str, SinkRetry] = field(default_factory=dict)  # by sink
    seen: float = 0.0  # when the status was last looked at
    watching: float = 0.0  # since when it has been looked at without a break

    def going_on(self, key: str) -> Incident | None:
        """The incident with a key that is not over."""
        of_key = self.incidents.get(key, [])
        return of_key[-1] if of_key and of_key[-1].over is None else None

    def all(self) -> Iterable[Incident]:
        """Every incident, in the order in which they began."""
        return sorted((one for of_key in self.incidents.values() for one in of_key), key=lambda one: one.since)

    def follow(self, status: Status, customers: Collection[str] | None, now: datetime) -> None:
        """Begin, change and end incidents by a status.

        What could not be looked at has neither begun nor ended. `customers` are those that are collected, None where
        that is not known.
        """
        troubles = {trouble.key: trouble for section in status.sections for trouble in section.troubles}
        undecided = {key for section in status.sections for key in section.undecided}
        was_away = now.timestamp() - self.seen > AWAY_SECONDS
        if was_away:
            self.watching = now.timestamp()
        # Others have just been started, too: daemons may not have sent a heartbeat, and nothing was collected yet.
        too_early = {Kind.DAEMON_SILENT} if self.seen and was_away else set[Kind]()
        if now.timestamp() - self.watching < LATE_AFTER_SECONDS:
            too_early.add(Kind.LATE)
        undecided.update(key for key, trouble in troubles.items() if trouble.kind in too_early)
        troubles = {key: trouble for key, trouble in troubles.items() if trouble.kind not in too_early}
        if self.seen and was_away:
            away = Trouble(
                Kind.DAEMON_SILENT,
                text=f"Nobody looked from {_time(self.seen)} to {_time(now.timestamp())}: the daemon, its code server "
                "or this machine was down. `optiinfra status` shows what was missed.",
            )
            troubles[away.key] = away
        self.seen = now.timestamp()
        for key, trouble in troubles.items():
            self._goes_on(key, trouble, now)
        for key in self.incidents.keys() - troubles.keys() - undecided:
            incident = self.going_on(key)
            if incident is None or incident.kind not in set(Kind) or not was_looked_at(Kind(incident.kind), status):
                continue
            incident.over = now.timestamp()
            if customers is not None and incident.customer and incident.customer not in customers:
                incident.why_over = "the customer is collected no more"

    def _goes_on(self, key: str, trouble: Trouble, now: datetime) -> None:
        incident = self.going_on(key)
        if incident is None:
            text = plain(trouble.text)[:LONGEST_TEXT]
            begun = Incident(
                trouble.kind, trouble.customer, trouble.provider, trouble.family, trouble.subject, text,
                now.timestamp(), [trouble.cause],
            )  # fmt: skip
            self.incidents.setdefault(key, []).append(begun)
        elif trouble.cause not in incident.causes and len(incident.causes) < MOST_CAUSES:
            incident.causes.append(trouble.cause)
            incident.text = plain(trouble.text)[:LONGEST_TEXT]

    def forget(self, sinks: Mapping[str, str]) -> None:
        """Drop the incidents whose end is known to every sink that hears of it, and sinks that are no more.

        `sinks` are customers by their sinks; a sink without a customer hears of everything.
        """
        self.trying = {sink: trying for sink, trying in self.trying.items() if sink in sinks}
        for key, of_key in list(self.incidents.items()):
            remaining = [
                one
                for one in of_key
                if one.over is None
                or any(
                    customer in {"", one.customer} and one.told.get(sink) != OVER for sink, customer in sinks.items()
                )
            ]
            if remaining:
                self.incidents[key] = remaining
            else:
                del self.incidents[key]


def load(instance: dg.DagsterInstance) -> Book:
    """The book as it was saved; an empty one where there is none, or where a later version wrote it otherwise."""
    saved = _read(instance, _INCIDENTS)
    try:
        incidents: dict[str, list[Incident]] = {}
        for one in saved.get("incidents", ()):
            incident = Incident(**one)
            incidents.setdefault(incident.key, []).append(incident)
        trying = {sink: SinkRetry(**one) for sink, one in saved.get("trying", {}).items()}
        return Book(incidents, trying, float(saved.get("seen", 0.0)), float(saved.get("watching", 0.0)))
    except TypeError:
        return Book()


def save(instance: dg.DagsterInstance, book: Book) -> None:
    """Save the book, in one statement."""
    content = {
        "incidents": [asdict(one) for one in book.all()],
        "trying": {sink: asdict(trying) for sink, trying in book.trying.items()},
        "seen": book.seen,
        "watching": book.watching,
    }
    instance.daemon_cursor_storage.set_cursor_values({_INCIDENTS: json.dumps(content, ensure_ascii=False)})


def silences(instance: dg.DagsterInstance, now: datetime) -> list[Silence]:
    """The silences that are not over, the first to end first."""
    try:
        found = [Silence(**one) for one in _read(instance, _SILENCES).get("silences", ())]
    except TypeError:
        return []
    return sorted((one for one in found if one.until > now.timestamp()), key=lambda one: one.until)


def save_silences(instance: dg.DagsterInstance, kept: Iterable[Silence]) -> None:
    """Save these silences in place of all others."""
    content = json.dumps({"silences": [asdict(one) for one in kept]}, ensure_ascii=False)
    instance.daemon_cursor_storage.set_cursor_values({_SILENCES: content})


def _read(instance: dg.DagsterInstance, key: str) -> dict[str, Any]:
    text = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    try:
        content = json.loads(text) if text else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%dT%H:%MZ}"
