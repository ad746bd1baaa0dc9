"""The command `optiinfra read`: one customer's rows of a reader or of the metrics themselves, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.config.customers import FAMILIES, select
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage import cost_shown, readers
from optiinfra_dagster.storage.readers import Source, Wanted, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


@dataclass(frozen=True, slots=True)
class Query:
    """A reading as it was typed."""

    family: str
    reader: str
    customer: str
    provider: str | None = None
    from_: str | None = None
    to: str | None = None
    resource_id: str | None = None
    limit: int | None = None
    cost: str = "billed"


@dataclass(frozen=True, slots=True)
class Result:
    """The rows, or None where none was ever published, with a note for a person.

    `columns` are those of a table, `title` is what stands above it.
    """

    rows: pa.Table | None
    note: str = ""
    columns: Sequence[str] = ()
    title: str = ""


def known(family: str, reader: str) -> Source:
    """The source that a reader is read from.

    Raises:
        ConfigError: there is no such family or reader.
    """
    if family not in FAMILIES:
        choice = ", ".join(sources())
        raise ConfigError(f"There is no family '{family}'{closest(family, FAMILIES)}. Choose from {choice}.")
    of_family = sources()[family]
    if reader not in of_family:
        choice = ", ".join(of_family)
        raise ConfigError(
            f"There is no reader '{reader}' of {family}{closest(reader, of_family)}. Choose from {choice}."
        )
    return of_family[reader]


def read_rows(clickhouse: ClickHouse, settings: Settings, query: Query) -> Result:
    """The customer's rows: of the newest published window, or of the times asked for.

    `metrics` go by the points' own timestamps, readers by the windows they were computed for.
    """
    source = known(query.family, query.reader)
    if source.of_one_resource and not query.resource_id:
        raise ConfigError(
            f"{query.family} {query.reader} tells of one resource: name it with --resource-id, in full as "
            "`optiinfra read resource inventory` does."
        )
    wanted = _checked(settings, query)
    with clickhouse.session() as client:
        collected, computed = readers.newest(client, source, wanted)
        if collected is None:
            return Result(
                None, f"No {query.family} was collected yet for {_whom(query)}: {_why_never(client, wanted)}."
            )
        if computed is None:
            return Result(None, f"The reader {query.family} {query.reader} was not computed yet: run `optiinfra run`.")
        if wanted.begin is None and wanted.end is None and not source.is_history:
            wanted = replace(wanted, begin=computed, end=computed + windows.WINDOW)
        elif wanted.begin and source.time == "window_start":
            # The slice that holds the time begins before it.
            wanted = replace(wanted, begin=windows.floor_to(source.length, wanted.begin))
        columns = readers.columns(client, source.view)
        if query.resource_id and "resource_id" not in columns:
            raise ConfigError(f"{query.family} {query.reader} has no rows per resource: leave out --resource-id.")
        if query.provider and "provider" not in columns:
            raise ConfigError(f"{query.family} {query.reader} has no rows per provider: leave out --provider.")
        if not cost_shown.has(query.cost, columns):
            raise ConfigError(
                f"{query.family} {query.reader} does not tell the {query.cost} cost of its rows: leave out --cost."
            )
        rows = readers.find(client, source, wanted, columns)
        note = "" if rows.num_rows else _why_empty(client, query, wanted, source.if_empty)
    return Result(rows, note, source.shows, f"{_whom(query)}: {query.family} {query.reader}")


def _whom(query: Query) -> str:
    return f"{query.customer} on {query.provider}" if query.provider else query.customer


def _why_never(client: Client, wanted: Wanted) -> str:
    """The status and error of the newest attempt; how to collect where there was none."""
    attempt = readers.last_attempt(client, wanted)
    if attempt is None:
        return f"run `optiinfra collect --customer {wanted.customer}`"
    provider, status, error = attempt
    said = f"the last attempt ({provider}) is recorded as {status}"
    return f"{said}: {error.rstrip('.')}" if error else said


def _checked(settings: Settings, query: Query) -> Wanted:
    """Resolve a query, after a check that its customer and provider exist and that its times make a range."""
    select(load_customers(settings.customers_path), [query.customer])
    if query.provider and query.provider not in PROVIDERS:
        raise ConfigError(
            f"There is no provider '{query.provider}'{closest(query.provider, PROVIDERS)}. "
            f"Choose from {', '.join(PROVIDERS)}."
        )
    begin = windows.parse_time(query.from_, "--from") if query.from_ is not None else None
    end = windows.parse_time(query.to, "--to") if query.to is not None else None
    if begin and begin > (now := datetime.now(UTC)):
        raise ConfigError(f"--from {query.from_} is in the future; it is {now:%Y-%m-%dT%H:%MZ} now.")
    if begin and end and begin >= end:
        raise ConfigError(f"--from {query.from_} is not before --to {query.to}: swap them, or widen the range.")
    return Wanted(
        query.family, query.customer, query.provider or "", begin, end, query.resource_id or "", query.limit, query.cost
    )


def _why_empty(client: Client, query: Query, wanted: Wanted, nothing: str) -> str:
    """A note on an empty result: nothing was collected, or nothing was found in what was collected."""
    if not readers.is_collected(client, wanted):
        return f"No rows: no {query.family} of {_whom(query)} was collected in that time."
    if query.resource_id:
        return f"No rows: collected, and nothing is known of {query.resource_id}. Ids are as in resource_id, in full."
    return f"No rows: collected, and {nothing}."
