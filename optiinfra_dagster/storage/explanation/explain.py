"""Explains one of the rows that `optiinfra read` would print: which one is meant, and what is known of it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.config.held_secrets import SHORTEST_SECRET, secrets_of
from optiinfra_dagster.model.errors import OptiInfraError, UsageError
from optiinfra_dagster.model.text import counted, masked
from optiinfra_dagster.storage.explanation.model import shown
from optiinfra_dagster.storage.explanation.request import ExplanationRequest
from optiinfra_dagster.storage.explanation.statements import filters
from optiinfra_dagster.storage.reading import read_rows, source_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.explanation.model import Explanation
    from optiinfra_dagster.storage.readers import Statement
    from optiinfra_dagster.storage.reading import FoundRows, Query

CANDIDATES = 10  # rows that are listed where there is more than one

_VARIABLE = re.compile(r"\benv:\s*[\"']?(\w+)")


class AmbiguousError(UsageError):
    """More than one row is left; `rows` are the first of them, in the order of `--row`, and `total` counts all."""

    def __init__(self, message: str, rows: Sequence[Mapping[str, Any]], total: int) -> None:
        super().__init__(message)
        self.rows = rows
        self.total = total


def explain_row(
    clickhouse: ClickHouse,
    settings: Settings,
    query: Query,
    *,
    where: Sequence[str] = (),
    row: int | None = None,
    recompute: bool = False,
) -> Explanation:
    """Explain one row of those that `optiinfra read` would print for the query.

    `where` are filters such as `period=today`; `row` is the row's number among those that are left, from 1 on. With
    `recompute` the reader's SELECT runs again, which takes as long as it does each window.

    Raises:
        AmbiguousError: more than one row is left, and no number is given.
        UsageError: the query names what is not there.
        OptiInfraError: there is no such row, and the message says why.
        StorageError: the tables cannot be read.
    """
    # pyarrow, which the checksums need, costs every other command 0.25 CPU-s.
    from optiinfra_dagster.storage.explanation.build import build_explanation

    source = source_of(query.family, query.reader)
    if query.as_of is not None:
        raise UsageError("An explanation is of what is published now: leave out the time that it is read as of.")
    secrets = secrets_of(settings) | _secrets_in_environment(settings)

    def take(client: Client, statement: Statement) -> FoundRows[Explanation | None]:
        chosen = _chosen(client, statement, query, where, row)
        if chosen is None:
            return None, False
        request = ExplanationRequest(
            name=(query.family, query.reader),
            source=source,
            statement=statement,
            row=chosen,
            lag=timedelta(minutes=settings.lag_minutes),
            masked=lambda text: masked(text, secrets),
            recompute=recompute,
        )
        return build_explanation(client, request), True

    result = read_rows(clickhouse, settings, query, take)
    if result.rows is None:
        raise OptiInfraError(result.note)
    return result.rows


def _chosen(
    client: Client, statement: Statement, query: Query, where: Sequence[str], row: int | None
) -> dict[str, Any] | None:
    """The row that is meant; None where there is none at all."""
    conditions, parameters = filters(where, statement.types)
    if conditions:
        statement = replace(
            statement,
            rows=f"SELECT * FROM ({statement.rows}) WHERE {' AND '.join(conditions)}",  # noqa: S608 - names are the code's own
            parameters={**statement.parameters, **parameters},
        )
    skipped = f" OFFSET {row - 1}" if row else ""
    found = client.query(
        statement.select("*", 1 if row else CANDIDATES + 1) + skipped,
        parameters=statement.parameters,
        tz_mode="aware",
    )
    rows: list[dict[str, Any]] = list(found.named_results())
    if len(rows) == 1:
        return rows[0]
    ((total,),) = client.query(
        f"SELECT count() FROM ({statement.select('1')})",  # noqa: S608 - names are the code's own
        parameters=statement.parameters,
    ).result_rows
    if not rows and not where and not total:
        return None
    if not rows:
        raise OptiInfraError(_none_left(query, where, row, total))
    raise AmbiguousError(_ambiguous(rows[:CANDIDATES], total, statement), rows[:CANDIDATES], total)


def _none_left(query: Query, where: Sequence[str], row: int | None, total: int) -> str:
    what = f"{query.customer} {query.family} {query.reader}"
    if total:
        return f"{what}: there is no row {row}, only {counted(total, 'row')}. Give --row a number from 1 to {total}."
    return (
        f"{what}: no row has {' and '.join(where)}. Look at the rows with `optiinfra read {query.family} "
        f"{query.reader} --customer {query.customer} --format json`."
    )


def _ambiguous(rows: Sequence[Mapping[str, Any]], total: int, statement: Statement) -> str:
    """The first rows, by the columns that tell them apart."""
    shows = [name for name in statement.shows if name in statement.types]
    apart = [name for name in shows if len({repr(row[name]) for row in rows}) > 1][:6] or shows[:3]
    lines = [f"{counted(total, 'row')} are left, and one is explained. Add --where column=value, or --row:"]
    for number, row in enumerate(rows, 1):
        lines.append(f"  --row {number}  " + ", ".join(f"{name}={shown(row[name])}" for name in apart))
    if total > len(rows):
        lines.append(f"  ... and {total - len(rows):,} more")
    return "\n".join(lines)


def _secrets_in_environment(settings: Settings) -> frozenset[str]:
    """The values of the environment variables that the customers file names."""
    try:
        text = settings.customers_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    values = {os.environ.get(name, "") for name in _VARIABLE.findall(text)}
    return frozenset(value for value in values if len(value) >= SHORTEST_SECRET)
