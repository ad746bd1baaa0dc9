"""The rows of a reader as an assistant gets them: bounded, with what they are of, what they lack, and why."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.assistant.gaps import missing
from optiinfra_dagster.assistant.private import Private
from optiinfra_dagster.assistant.source_facts import table_of
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage import descriptions, text
from optiinfra_dagster.storage.reading import read_rows, source_of
from optiinfra_dagster.storage.sql import kept_days

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.readers import Source, Statement
    from optiinfra_dagster.storage.reading import FoundRows, Query

MOST_BYTES = 200_000  # of the rows as JSON: some 50,000 tokens, all that a model has room for
MOST_MISSING = 40  # kinds of what is missing


@dataclass(frozen=True, slots=True)
class Rows:
    """The first rows of a reading, of `total`; `whole` is false where one of all says that it is not complete."""

    rows: Sequence[Mapping[str, Any]]
    total: int
    whole: bool
    columns: Sequence[str]


def answer(clickhouse: ClickHouse, settings: Settings, query: Query, limit: int) -> dict[str, Any]:
    """What a reader says, as JSON-ready values; those of rows are as `optiinfra read --format json` prints them.

    Raises:
        UsageError: the query names what is not there.
        StorageError: the tables cannot be read.
    """
    source = source_of(query.family, query.reader)
    (customer,) = select(load_customers(settings.customers_path), [query.customer])
    with clickhouse.session() as client:

        def take(client: Client, statement: Statement) -> FoundRows[Rows]:
            rows = _rows(client, statement, limit, embedded=clickhouse.embedded)
            return rows, bool(rows.total)

        found = read_rows(clickhouse, settings, query, take)
        lacking = missing(client, customer, source, query, found.slices, settings, _kept(source, query.family))
    rows = found.rows or Rows([], 0, whole=False, columns=())
    private = Private(settings, customer)
    return {
        "reader": f"{query.family} {query.reader}",
        "customer": query.customer,
        "as_of": {
            "from": _time(query.from_),
            "to": _time(query.to),
            "known_at": _time(query.as_of),
            "windows": {name: windows.key(at) for name, at in found.slices.items()},
        },
        "complete": rows.whole and not lacking and not found.warnings,
        "coverage": [{**one.as_dict(), "reason": private.masked(one.reason)} for one in lacking[:MOST_MISSING]],
        "warnings": [private.masked(line) for line in found.warnings],
        "note": private.masked(found.note),
        "interval": intervals(source, rows.columns),
        "total": rows.total,
        "truncated": rows.total > len(rows.rows),
        "rows": rows.rows,
    }


def intervals(source: Source, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """The columns that bound another one from below and above, with what they say of it: `rate` -> low, high, what."""
    found = {}
    for low in columns:
        name, high = low.removesuffix("low"), f"{low.removesuffix('low')}high"
        if low.endswith("low") and high in columns and (not name or name.endswith("_")):
            what = descriptions.of(table_of(source), low, source.reader)
            found[name.rstrip("_") or _bounded(columns)] = {"low": low, "high": high, "what": what}
    return found


def _bounded(columns: Sequence[str]) -> str:
    """The column that plain `low` and `high` bound."""
    return next((name for name in ("mean", "forecast", "effect") if name in columns), "value")


def _rows(client: Client, statement: Statement, limit: int, *, embedded: bool) -> Rows:
    """The first rows, as many as `limit` and `MOST_BYTES` allow, and how many there are."""
    unsure = "countIf(NOT complete)" if "complete" in statement.types else "0"
    ((total, incomplete),) = client.query(
        f"SELECT count(), {unsure} FROM ({statement.rows})",  # noqa: S608 - names are the code's own
        parameters=statement.parameters,
    ).result_rows
    out = io.BytesIO()
    if total:
        text.write_json(client, replace(statement, limit=limit), out, embedded=embedded)
    rows, size = [], 0
    for line in out.getvalue().split(b"\n"):  # a row a line, as it is written
        if line.startswith(b" "):
            size += len(line)
            if size > MOST_BYTES:
                break
            rows.append(json.loads(line.rstrip(b",")))
    return Rows(rows, total, not incomplete, list(statement.types))


def _kept(source: Source, family: str) -> timedelta | None:
    """The time for which the rows of a source are kept; None where they stay, or where all of them are read anyway."""
    if source.is_history:
        return None
    return timedelta(days=source.reader.kept if source.reader else kept_days()[f"{family}_metrics"])


def _time(text: str | None) -> str | None:
    return f"{windows.parse_time(text, 'from'):%Y-%m-%dT%H:%M:%SZ}" if text else None
