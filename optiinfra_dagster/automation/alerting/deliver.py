"""Tells the sinks of incidents: each phase once to each sink, and again until the sink has taken it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.automation.alerting import incidents
from optiinfra_dagster.automation.alerting.incidents import OVER, SinkRetry
from optiinfra_dagster.automation.alerting.messages import message

if TYPE_CHECKING:
    import dagster as dg

    from optiinfra_dagster.automation.alerting.incidents import Book, Incident, Silence
    from optiinfra_dagster.automation.alerting.sinks import Sink
    from optiinfra_dagster.automation.status.items import Status

MOST_SINGLE = 20  # messages to a sink in a tick; more are told in one: Slack takes about one a second
MOST_TOGETHER = 1_000  # of these; a program that takes each as JSON then has about 0.7 MB
TICK_SECONDS = 15.0  # for all sinks of a tick; the daemon gives up on a tick after 60 s
FIRST_WAIT, LONGEST_WAIT = 30.0, 900.0  # seconds until a sink is tried again


def tell(
    instance: dg.DagsterInstance,
    status: Status,
    sinks: Sequence[Sink],
    customers: Collection[str] | None,
    now: datetime,
    log: Callable[[str], None],
    secrets: Collection[str] = (),
) -> tuple[int, int]:
    """Follow the incidents by a status and tell the sinks; returns how many messages were taken and what goes on.

    `customers` are those that are collected, None where that is not known.
    """
    book = incidents.load(instance)
    book.follow(status, customers, now)
    silences = incidents.silences(instance, now)
    drop_unheard(book, silences, now)

    def save() -> None:
        incidents.save(instance, book)

    save()  # what has begun is known from here on, whatever becomes of this tick
    taken = deliver(book, sinks, silences, now, save, log, secrets)
    if customers is not None:  # else the sinks of a customer may be missing
        book.forget({sink.name: sink.customer for sink in sinks})
    save()
    return taken, sum(incident.over is None for incident in book.all())


def deliver(
    book: Book,
    sinks: Sequence[Sink],
    silences: Collection[Silence],
    now: datetime,
    save: Callable[[], None],
    log: Callable[[str], None],
    secrets: Collection[str] = (),
) -> int:
    """Tell every sink of what it was not told yet; returns how many messages were taken.

    `save` is called after each: what was told is not told again after a kill, save for the one message under way.
    """
    give_up = time.monotonic() + TICK_SECONDS
    taken = 0
    for sink in sinks:
        trying = book.trying.get(sink.name)
        due = [
            incident
            for incident in book.all()
            if sink.customer in {"", incident.customer}
            and is_due(incident, sink.name)
            and not any(silence.covers(incident, now) for silence in silences)
        ]
        if not due:
            book.trying.pop(sink.name, None)
            continue
        if trying and trying.next > now.timestamp():
            continue
        at_once = MOST_TOGETHER if len(due) > MOST_SINGLE else 1
        for batch in (due[i : i + at_once] for i in range(0, len(due), at_once)):
            if time.monotonic() > give_up:
                break
            refused = sink.send([message(incident, secrets) for incident in batch])
            if refused:
                attempts = trying.attempts + 1 if trying else 1
                wait = refused.wait if refused.wait is not None else FIRST_WAIT * 2 ** min(attempts - 1, 10)
                since = trying.since if trying else now.timestamp()
                reason = refused.reason.removesuffix(".")
                for secret in secrets:
                    reason = reason.replace(secret, "***")
                book.trying[sink.name] = SinkRetry(since, attempts, now.timestamp() + min(wait, LONGEST_WAIT), reason)
                log(f"{len(due):,} alerts could not be told to {sink.name}: {reason}. It is tried again.")
                save()
                break
            book.trying.pop(sink.name, None)
            trying = None
            for incident in batch:
                incident.told[sink.name] = OVER if incident.over is not None else len(incident.causes)
            taken += len(batch)
            save()
    return taken


def is_due(incident: Incident, sink: str) -> bool:
    """True if a sink was not told of the incident's newest phase or cause."""
    causes_told = incident.told.get(sink, 0)
    return causes_told != OVER and (incident.over is not None or causes_told < len(incident.causes))


def drop_unheard(book: Book, silences: Collection[Silence], now: datetime) -> None:
    """Forget incidents that began and ended while they were silenced: nobody was told, and nobody has to be."""
    for key, of_key in list(book.incidents.items()):
        remaining = [
            one
            for one in of_key
            if one.over is None or one.told or not any(silence.covers(one, now) for silence in silences)
        ]
        if remaining:
            book.incidents[key] = remaining
        else:
            del book.incidents[key]
