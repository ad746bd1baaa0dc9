"""What `optiinfra read` prints: one customer's rows of a reader or of the metrics themselves."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from optiinfra_dagster import windows
from optiinfra_dagster.assets.readers import LENGTHS, READERS
from optiinfra_dagster.customers import FAMILIES, PROVIDERS, load_customers, select
from optiinfra_dagster.errors import ConfigError
from optiinfra_dagster.references import closest

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

TABLE_ROWS = 50  # a terminal table is for looking; json and csv are complete

# family -> readers; `metrics` are the published rows themselves.
SOURCES: dict[str, dict[str, str]] = {
    "performance": {"metrics": "performance_metrics"},
    "resource": {},
    "cost": {"metrics": "cost_metrics", "restatements": "cost_restatements"},
    "application": {"metrics": "application_metrics"},
}
for _family, _reader in READERS:
    SOURCES.setdefault(_family, {})[_reader] = f"{_family}_{_reader}"

# Where rows are seen, if not in <table>_current: cost_metrics holds bills and estimates of the same days.
VIEWS = {"cost_metrics": "costs"}

# Readers that are no slices of windows but a history; all of it is read, by this time.
HISTORIES = {"cost_restatements": "seen_at"}

# What rows are ordered by, as far as they have it, before their time.
ORDER = (
    "provider", "resource_type", "resource_id", "metric_name", "statistic", "days",
    "application_id", "model_name", "interaction_id", "metric_type", "judge_version", "sub_account_id", "service_name",
    "period", "period_start", "charge_day",
)  # fmt: skip

JSON_COLUMNS = {"metadata", "tags", "details", "categories"}

# Columns a terminal has no room for; json and csv have all.
HIDDEN_IN_TABLE = {
    "customer_id", "provider", "window_start", "metadata", "tags", "collected_at", "workload_type", "period_seconds",
    "spec_hash", "kind", "account_id", "cloud_status", "resource_name", "created_at", "utilization",
    "values", "first_at", "mean_time", "time_squares", "value_squares", "products",
    "application_name", "judge_model", "judge_version", "prompt_text", "response_text", "details", "sampled", "windows",
    "instance_id", "estimated_by", "billed_cost", "effective_cost", "list_cost", "charge_period_end",
    "charge_category", "charge_description", "billing_account_id", "first_seen", "last_changed", "matched",
    "claims_checked", "sensitivity", "specificity", "last_week_n", "last_week_low", "last_week_high",
    *(f"{metric}_{end}" for metric in ("coherence", "relevance", "accuracy", "hallucination", "toxicity")
      for end in ("low", "high")),
}  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class Result:
    """The rows, or None where none was ever published, with a note for a person."""

    rows: pa.Table | None
    note: str = ""


def known(family: str, reader: str) -> str:
    """The table behind a reader.

    Raises:
        ConfigError: there is no such family or reader.
    """
    if family not in FAMILIES:
        choice = ", ".join(SOURCES)
        raise ConfigError(f"There is no family '{family}'{closest(family, FAMILIES)}. Choose from {choice}.")
    readers = SOURCES.get(family, {})
    if reader not in readers:
        choice = f"Choose from {', '.join(readers)}." if readers else f"This version reads {', '.join(SOURCES)}."
        raise ConfigError(f"There is no reader '{reader}' of {family}{closest(reader, readers)}. {choice}")
    return readers[reader]


def read(clickhouse: ClickHouse, settings: Settings, query: Query) -> Result:
    """The customer's rows: of the newest published window, or of the times asked for.

    `metrics` go by the points' own timestamps, readers by the windows they were computed for.
    """
    from optiinfra_dagster.storage.clickhouse import fetch

    table = known(query.family, query.reader)
    begin, end = _checked(settings, query)
    is_metrics, is_history = query.reader == "metrics", table in HISTORIES
    with clickhouse.session() as client:
        collected, computed = _newest(client, query, query.family if is_metrics or is_history else table)
        if collected is None:
            hint = f"run `optiinfra collect --customer {query.customer}`"
            return Result(None, f"No {query.family} was collected yet for {query.customer}: {hint}.")
        if computed is None:
            return Result(None, f"The reader {query.family} {query.reader} was not computed yet: run `optiinfra run`.")
        if begin is None and end is None and not is_history:
            begin, end = computed, computed + windows.WINDOW
        elif begin and not is_metrics:
            # The slice that holds the time begins before it.
            begin = windows.floor_to(LENGTHS.get((query.family, query.reader), windows.WINDOW), begin)
        time = "timestamp" if is_metrics else HISTORIES.get(table, "window_start")
        view = VIEWS.get(table, f"{table}_current")
        conditions = _conditions(query, time, begin, end, sliced=not is_history)
        columns = {row[0] for row in client.query(f"DESCRIBE TABLE {view}").result_rows}
        if query.resource_id:
            if "resource_id" not in columns:
                raise ConfigError(f"{query.family} {query.reader} has no rows per resource: leave out --resource-id.")
            conditions.append("resource_id = {resource:String}")
        order = [name for name in ORDER if name in columns]
        sql = (
            f"SELECT * FROM {view} WHERE {' AND '.join(conditions)} "  # noqa: S608 - names are the code's own
            f"ORDER BY {', '.join([*order, time])}" + (f" LIMIT {query.limit}" if query.limit else "")
        )
        rows = fetch(
            client,
            sql,
            {
                "customer": query.customer,
                "provider": query.provider or "",
                "begin": begin or datetime(2000, 1, 1, tzinfo=UTC),
                "begin_window": windows.floor(begin or datetime(2000, 1, 1, tzinfo=UTC)),
                "end": end or datetime.now(UTC) + timedelta(days=1),
                "resource": query.resource_id or "",
            },
        )
        note = "" if rows.num_rows else _why_empty(client, query, begin, end)
    return Result(rows, note)


def _conditions(query: Query, time: str, begin: datetime | None, end: datetime | None, *, sliced: bool) -> list[str]:
    """What picks the customer's rows; those that are `sliced` stand in windows."""
    conditions = ["customer_id = {customer:String}"]
    if query.provider:
        conditions.append("provider = {provider:String}")
    if begin:
        conditions.append(f"{time} >= {{begin:DateTime('UTC')}}")
    if end:
        conditions.append(f"{time} < {{end:DateTime('UTC')}}")
    # Rows stand in the window that holds their timestamp: the bound on window_start is what skips old parts.
    if begin and sliced:
        conditions.append("window_start >= {begin_window:DateTime('UTC')}")
    if end and sliced:
        conditions.append("window_start < {end:DateTime('UTC')}")
    return conditions


def _checked(settings: Settings, query: Query) -> tuple[datetime | None, datetime | None]:
    """The times of a query whose customer and provider exist."""
    select(load_customers(settings.customers_path), [query.customer])
    if query.provider and query.provider not in PROVIDERS:
        raise ConfigError(
            f"There is no provider '{query.provider}'{closest(query.provider, PROVIDERS)}. "
            f"Choose from {', '.join(PROVIDERS)}."
        )
    begin = windows.parse_time(query.from_, "--from") if query.from_ is not None else None
    end = windows.parse_time(query.to, "--to") if query.to is not None else None
    if begin and end and begin >= end:
        raise ConfigError(f"--from {query.from_} is not before --to {query.to}: swap them, or widen the range.")
    return begin, end


def _newest(client: Client, query: Query, dataset: str) -> tuple[datetime | None, datetime | None]:
    """The customer's newest published window of the family, and the newest of `dataset` that tells of it.

    A reader's window is newer than the customer's where its last collection failed: that window says nothing of it.
    """
    of_customer = (
        "customer_id = {customer:String} AND dataset = {family:String} "
        "AND (empty({provider:String}) OR provider = {provider:String})"
    )
    parameters = {
        "customer": query.customer, "family": query.family, "provider": query.provider or "", "dataset": dataset,
    }  # fmt: skip
    count, collected = client.query(
        f"SELECT count(), toUnixTimestamp(max(window_start)) FROM published_batches WHERE {of_customer}",  # noqa: S608
        parameters=parameters,
    ).result_rows[0]
    if not count:
        return None, None
    if dataset == query.family:
        newest = datetime.fromtimestamp(collected, UTC)
        return newest, newest
    count, computed = client.query(
        "SELECT count(), toUnixTimestamp(max(window_start)) FROM published_batches WHERE dataset = {dataset:String} "
        "AND customer_id = '' AND window_start <= fromUnixTimestamp({collected:UInt32})",
        parameters={**parameters, "collected": collected},
    ).result_rows[0]
    return datetime.fromtimestamp(collected, UTC), datetime.fromtimestamp(computed, UTC) if count else None


def _why_empty(client: Client, query: Query, begin: datetime | None, end: datetime | None) -> str:
    """Whether there is nothing, or nothing was collected."""
    (count,) = client.query(
        "SELECT count() FROM published_batches WHERE customer_id = {customer:String} AND dataset = {family:String} "
        "AND (empty({provider:String}) OR provider = {provider:String}) "
        "AND window_start >= fromUnixTimestamp({begin:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32})",
        parameters={
            "customer": query.customer, "family": query.family, "provider": query.provider or "",
            "begin": int(windows.floor(begin).timestamp()) if begin else 0,
            "end": int(end.timestamp()) if end else 2**32 - 1,
        },
    ).result_rows[0]  # fmt: skip
    if not count:
        return f"No rows: no {query.family} of {query.customer} was collected in that time."
    return "No rows: collected, and nothing there."


def show(result: Result, format_: str, out: TextIO) -> None:
    """Print the rows: a terminal table (shortened), JSON (one array) or CSV (complete)."""
    if result.rows is None:
        if format_ == "json":
            out.write("[]\n")
        return
    if format_ == "json":
        _write_json(result.rows, out)
    elif format_ == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(result.rows.column_names)
        writer.writerows([_text(value) for value in row.values()] for row in _rows(result.rows))
    else:
        _write_table(result.rows, out)


def _write_json(rows: pa.Table, out: TextIO) -> None:
    out.write("[")
    for i, row in enumerate(_rows(rows)):
        out.write(",\n " if i else "\n ")
        json.dump({name: _json(name, value) for name, value in row.items()}, out, ensure_ascii=False)
    out.write("\n]\n")


def _write_table(rows: pa.Table, out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    hidden = HIDDEN_IN_TABLE | ({"metric_type"} if "metric_name" in rows.column_names else set())
    names = [name for name in rows.column_names if name not in hidden]
    for name in names:
        kind = str(rows.schema.field(name).type)
        numeric = kind in {"double", "uint8", "uint32", "uint64"} or kind.startswith("decimal")
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=name != "resource_id")
    for row in _rows(rows.slice(0, TABLE_ROWS)):
        table.add_row(*(_short(row[name]) for name in names))
    # A file or a pipe has no width: nothing is folded there.
    console = Console(file=out) if out.isatty() else Console(file=out, width=10_000)
    console.print(table)
    if rows.num_rows > TABLE_ROWS:
        console.print(f"... {rows.num_rows - TABLE_ROWS:,} more rows; --format csv or json prints all.")


def _rows(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Row by row, without holding all of them as Python objects."""
    for batch in rows.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _json(name: str, value: Any) -> Any:
    """A value as JSON has it: times ISO 8601 with Z, money as text, JSON columns as the objects they hold."""
    if isinstance(value, (date, Decimal)):
        return _text(value)
    if name in JSON_COLUMNS and isinstance(value, str):
        return json.loads(value or "{}")
    return value


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return f"{value:f}"  # never 0E-18
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else value


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Decimal):
        return f"{value:,.4f}"
    return str(_text(value))
