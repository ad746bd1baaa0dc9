"""The commands `optiinfra alerts ...`: what is known of incidents, a test of every sink, and silences."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.automation.alerting import incidents
from optiinfra_dagster.automation.alerting.incidents import Incident, Silence
from optiinfra_dagster.automation.alerting.messages import message
from optiinfra_dagster.automation.alerting.sinks import sinks_of, unheard
from optiinfra_dagster.automation.status.gather import need_instance
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.config.held_secrets import secrets_of
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import UsageError
from optiinfra_dagster.model.text import plain
from optiinfra_dagster.model.windows import parse_time
from optiinfra_dagster.providers.registry import COLLECTED_FAMILIES, PROVIDERS, load_customers

if TYPE_CHECKING:
    import dagster as dg

    from optiinfra_dagster.automation.status.items import Kind
    from optiinfra_dagster.config.settings import Settings

LONGEST_SILENCE = timedelta(days=90)


def known(settings: Settings) -> Iterator[str]:
    """The lines of `alerts list`.

    Raises:
        ConfigError: Dagster's storage cannot be used.
    """
    instance = _instance(settings)
    book = incidents.load(instance)
    for one in book.all():
        if one.over is None:
            who = ", ".join(sink for sink, told in one.told.items() if told) or "nobody yet"
            yield f"{_time(one.since)}  {one.kind}  {one.text}  (told: {who})"
    for sink, trying in book.trying.items():
        yield f"{_time(trying.since)}  {sink} is not reached: {trying.said}"
    for silence in incidents.silences(instance, datetime.now(UTC)):
        yield f"silenced: {silence}"


def try_sinks(settings: Settings) -> Iterator[tuple[str, str]]:
    """Send a test message to each sink; gives the sink and what went wrong, empty where it was taken.

    What is set by half, so that nobody is told, is given like a sink that did not take it.

    Raises:
        ConfigError: the customers file cannot be used.
    """
    now = datetime.now(UTC).timestamp()
    test = Incident("test", "", "", "", "", "This is a test of alerts: nothing is wrong.", now, ["test"])
    customers = load_customers(settings.customers_path)
    for sink in sinks_of(settings, customers, lambda text: print(text, file=sys.stderr)):
        refused = sink.send([message(test, secrets_of(settings))])
        yield sink.name, refused.reason if refused else ""
    for name, said in unheard(settings, customers):
        yield name or "alerts", said


def silence(
    settings: Settings, until: str, customer: str, provider: str, family: str, kind: Kind | None, why: str
) -> str:
    """Silence what the options name; returns it in words.

    Raises:
        UsageError: an option is wrong.
        ConfigError: Dagster's storage cannot be used.
    """
    now = datetime.now(UTC)
    end = parse_time(until, "--until")
    if not now < end <= now + LONGEST_SILENCE:
        raise UsageError(f"--until {until} is not within the next {LONGEST_SILENCE.days} days.")
    if customer:
        select(load_customers(settings.customers_path), [customer])
    for name, value, names in (("provider", provider, list(PROVIDERS)), ("family", family, COLLECTED_FAMILIES)):
        if value and value not in names:
            near = closest(value, names)
            raise UsageError(f"There is no {name} '{value}'{near}. Choose from {', '.join(names)}.")
    instance = _instance(settings)
    new = Silence(end.timestamp(), kind or "", customer, provider, family, plain(why)[:200])
    incidents.save_silences(instance, [*incidents.silences(instance, now), new])
    return f"Silenced {new}."


def end_silences(settings: Settings) -> Iterator[str]:
    """End all silences; gives a line for each.

    Raises:
        ConfigError: Dagster's storage cannot be used.
    """
    instance = _instance(settings)
    ended = incidents.silences(instance, datetime.now(UTC))
    incidents.save_silences(instance, [])
    for one in ended:
        yield f"Ended: {one}"


def _instance(settings: Settings) -> dg.DagsterInstance:
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    return need_instance(settings)


def _time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%dT%H:%MZ}"
