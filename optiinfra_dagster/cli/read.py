"""What `optiinfra read` finds: one customer's rows of a reader or of the metrics themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.config.customers import FAMILIES, select
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

# What rows are ordered by, as far as they have it, before their time.
ORDER = (
    "provider", "resource_type", "resource_id", "metric_name", "statistic", "days",
    "application_id", "model_name", "interaction_id", "metric_type", "judge_version", "sub_account_id", "service_name",
    "period", "period_start", "charge_day",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows are read from, and what a person sees of them."""

    dataset: str  # the ledger's word for it
    view: str
    shows: tuple[str, ...]  # the most telling first: a terminal shows as many as it has room for
    ordered_by: str = ""  # before `ORDER`
    if_empty: str = "nothing is there"
    time: str = "window_start"  # what --from and --to are about
    length: timedelta = windows.WINDOW  # of a slice
    is_history: bool = False  # not slices of windows: all of it is read


def _metrics(family: str, view: str, shows: str) -> Source:
    """The published rows of a family themselves."""
    return Source(family, view, tuple(shows.split()), time="timestamp")


# family -> reader -> where it is read
SOURCES: dict[str, dict[str, Source]] = {
    "performance": {
        "metrics": _metrics(
            "performance",
            "performance_metrics_current",
            "timestamp provider resource_type resource_name metric_name statistic metric_value unit region resource_id",
        )
    },
    "resource": {},
    "cost": {
        "metrics": _metrics(
            "cost",
            "costs",  # cost_metrics_current has bills and estimates of the same days
            "charge_day provider service_name resource_name amount currency cost_kind cost_type charge_category "
            "region_id is_final sub_account_id resource_id",
        ),
        "restatements": Source(
            "cost",
            "cost_restatements_current",
            ("charge_day", "provider", "service_name", "before", "after", "currency", "seen_at", "sub_account_id"),
            if_empty="no day that was published has been changed by its bill since",
            time="seen_at",
            is_history=True,
        ),
    },
    "application": {
        "metrics": _metrics(
            "application",
            "application_metrics_current",
            "timestamp provider application_id model_name metric_type score label tokens interaction_id",
        )
    },
}
for (_family, _name), _reader in readers().items():
    SOURCES[_family][_name] = Source(
        _reader.table,
        f"{_reader.table}_current",
        _reader.shows,
        _reader.ordered_by,
        _reader.if_empty,
        length=_reader.length,
    )


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
    """The rows, or None where none was ever published, with a note for a person.

    `columns` are those of a table, `title` is what stands above it.
    """

    rows: pa.Table | None
    note: str = ""
    columns: Sequence[str] = ()
    title: str = ""


def known(family: str, reader: str) -> Source:
    """Where a reader is read.

    Raises:
        ConfigError: there is no such family or reader.
    """
    if family not in FAMILIES:
        choice = ", ".join(SOURCES)
        raise ConfigError(f"There is no family '{family}'{closest(family, FAMILIES)}. Choose from {choice}.")
    there = SOURCES[family]
    if reader not in there:
        choice = ", ".join(there)
        raise ConfigError(f"There is no reader '{reader}' of {family}{closest(reader, there)}. Choose from {choice}.")
    return there[reader]


def read_rows(clickhouse: ClickHouse, settings: Settings, query: Query) -> Result:
    """The customer's rows: of the newest published window, or of the times asked for.

    `metrics` go by the points' own timestamps, readers by the windows they were computed for.
    """
    source = known(query.family, query.reader)
    begin, end = _checked(settings, query)
    with clickhouse.session() as client:
        collected, computed = _newest(client, query, source.dataset)
        if collected is None:
            return Result(None, f"No {query.family} was collected yet for {_whom(query)}: {_why_never(client, query)}.")
        if computed is None:
            return Result(None, f"The reader {query.family} {query.reader} was not computed yet: run `optiinfra run`.")
        if begin is None and end is None and not source.is_history:
            begin, end = computed, computed + windows.WINDOW
        elif begin and source.time == "window_start":
            # The slice that holds the time begins before it.
            begin = windows.floor_to(source.length, begin)
        conditions = _conditions(query, source.time, begin, end, sliced=not source.is_history)
        columns = {row[0] for row in client.query(f"DESCRIBE TABLE {source.view}").result_rows}
        if query.resource_id:
            if "resource_id" not in columns:
                raise ConfigError(f"{query.family} {query.reader} has no rows per resource: leave out --resource-id.")
            conditions.append("resource_id = {resource:String}")
        order = [*filter(None, [source.ordered_by]), *(name for name in ORDER if name in columns), source.time]
        sql = (
            f"SELECT * FROM {source.view} WHERE {' AND '.join(conditions)} "  # noqa: S608 - names are the code's own
            f"ORDER BY {', '.join(order)}" + (f" LIMIT {query.limit}" if query.limit else "")
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
        note = "" if rows.num_rows else _why_empty(client, query, begin, end, source.if_empty)
    return Result(rows, note, source.shows, f"{_whom(query)}: {query.family} {query.reader}")


def _whom(query: Query) -> str:
    return f"{query.customer} on {query.provider}" if query.provider else query.customer


def _why_never(client: Client, query: Query) -> str:
    """What the newest attempt said, if there was any."""
    attempts = client.query(
        "SELECT provider, toString(status), error FROM metric_batches "
        "WHERE customer_id = {customer:String} AND dataset = {family:String} "
        "AND (empty({provider:String}) OR provider = {provider:String}) ORDER BY published_at DESC, batch DESC LIMIT 1",
        parameters={"customer": query.customer, "family": query.family, "provider": query.provider or ""},
    ).result_rows
    if not attempts:
        return f"run `optiinfra collect --customer {query.customer}`"
    provider, status, error = attempts[0]
    said = f"the last attempt ({provider}) is recorded as {status}"
    return f"{said}: {error.rstrip('.')}" if error else said


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
    if begin and begin > (now := datetime.now(UTC)):
        raise ConfigError(f"--from {query.from_} is in the future; it is {now:%Y-%m-%dT%H:%MZ} now.")
    if begin and end and begin >= end:
        raise ConfigError(f"--from {query.from_} is not before --to {query.to}: swap them, or widen the range.")
    return begin, end


def _newest(client: Client, query: Query, dataset: str) -> tuple[datetime | None, datetime | None]:
    """The customer's newest published window of the family, and the newest of `dataset` that tells of it.

    A reader's window is newer than the customer's where its last collection failed: that window says nothing of it.
    """
    of_customer = (
        "customer_id = {customer:String} AND dataset = {family:String} AND status IN ('ok', 'partial') "
        "AND (empty({provider:String}) OR provider = {provider:String})"
    )
    parameters: dict[str, Any] = {
        "customer": query.customer, "family": query.family, "provider": query.provider or "", "dataset": dataset,
    }  # fmt: skip
    collected = _latest(client, of_customer, parameters, datetime.now(UTC) - timedelta(days=1))
    if collected is None or dataset == query.family:
        return collected, collected
    of_reader = (
        "dataset = {dataset:String} AND customer_id = '' AND status IN ('ok', 'partial') "
        "AND window_start <= fromUnixTimestamp({collected:UInt32})"
    )
    parameters["collected"] = int(collected.timestamp())
    return collected, _latest(client, of_reader, parameters, collected - timedelta(days=1))


def _latest(client: Client, condition: str, parameters: Mapping[str, Any], day: datetime) -> datetime | None:
    """The newest window in the ledger that meets a condition; the whole history is read only if `day` on has none."""
    for since in (int(day.timestamp()), 0):
        count, newest = client.query(
            "SELECT count(), toUnixTimestamp(max(window_start)) FROM metric_batches "  # noqa: S608
            f"WHERE {condition} AND window_start >= fromUnixTimestamp({{since:UInt32}})",
            parameters={**parameters, "since": since},
        ).result_rows[0]
        if count:
            return datetime.fromtimestamp(newest, UTC)
    return None


def _why_empty(client: Client, query: Query, begin: datetime | None, end: datetime | None, nothing: str) -> str:
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
        return f"No rows: no {query.family} of {_whom(query)} was collected in that time."
    if query.resource_id:
        return f"No rows: collected, and nothing is known of {query.resource_id}. Ids are as in resource_id, in full."
    return f"No rows: collected, and {nothing}."
