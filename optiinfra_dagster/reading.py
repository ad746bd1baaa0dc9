"""What `optiinfra read` finds: one customer's rows of a reader or of the metrics themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster import windows
from optiinfra_dagster.assets.readers import LENGTHS, READERS
from optiinfra_dagster.customers import FAMILIES, PROVIDERS, load_customers, select
from optiinfra_dagster.errors import ConfigError
from optiinfra_dagster.references import closest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

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

# What comes first: what costs most, and days in their order.
FIRST = {
    "cost_by_resource": "period, currency, amount DESC",
    "cost_by_service": "period, currency, amount DESC",
    "cost_waste": "currency DESC, monthly_amount DESC",
    "cost_trends": "provider, currency, period, period_start",
}

# What a table shows of a reader, the most telling first: a terminal shows as many as it has room for.
COLUMNS = {
    "performance_metrics": "timestamp provider resource_type resource_name metric_name statistic metric_value unit "
    "region resource_id",
    "performance_latest": "window_start provider resource_type resource_name metric_name statistic metric_value unit "
    "timestamp as_of region resource_id",
    "performance_summary": "window_start provider resource_type metric_name statistic resources points mean minimum "
    "maximum p95 unit complete",
    "performance_by_resource": "window_start provider resource_type resource_name metric_name statistic mean minimum "
    "maximum last_value unit points last_at region resource_id",
    "performance_hourly": "window_start provider resource_type resource_name metric_name statistic n expected total "
    "minimum maximum unit region resource_id",
    "performance_daily": "window_start provider resource_type resource_name metric_name statistic n expected total "
    "minimum maximum unit region resource_id",
    "performance_trends": "window_start provider resource_type resource_name metric_name statistic days mean p95 unit "
    "coverage change_percent direction slope_per_day minimum maximum n region resource_id",
    "resource_inventory": "window_start provider resource_type resource_name status capacity unit region kind as_of "
    "complete resource_id",
    "resource_by_type": "window_start provider resource_type kind resources running stopped other capacity unit "
    "regions as_of complete",
    "resource_changes": "window_start provider resource_type resource_name change before after previous_window region "
    "resource_id",
    "resource_summary": "window_start provider resource_type region status resources capacity unit as_of complete",
    "cost_metrics": "charge_day provider service_name resource_name amount currency cost_kind cost_type "
    "charge_category region_id is_final sub_account_id resource_id",
    "cost_restatements": "charge_day provider service_name before after currency seen_at sub_account_id",
    "cost_summary": "window_start provider sub_account_id period amount currency billed estimated estimated_share "
    "provisional days as_of",
    "cost_trends": "window_start provider period period_start amount currency change change_percent billed estimated "
    "provisional days complete",
    "cost_by_resource": "window_start period provider resource_name cost_type amount currency billed estimated "
    "provisional services region_id sub_account_id as_of resource_id",
    "cost_by_service": "window_start period provider service_name cost_type amount currency billed estimated "
    "provisional resources sub_account_id as_of",
    "cost_waste": "window_start provider resource_type resource_name reason monthly_amount currency amount_from "
    "evidence status region as_of complete resource_id",
    "application_metrics": "timestamp provider application_id model_name metric_type score label tokens interaction_id",
    "application_quality": "window_start period provider application_id model_name metric_type n population mean low "
    "high worse_than_last_week last_week_mean not_assessable failures over_budget tokens usd very_poor poor fair good "
    "excellent self_preference as_of complete",
    "application_hallucinations": "window_start period provider application_id model_name n population rate rate_low "
    "rate_high corrected_rate worse_than_last_week last_week_rate none minor major unsupported_claims not_assessable "
    "failures over_budget tokens usd self_preference as_of complete",
    "application_toxicity": "window_start period provider application_id model_name n population rate rate_low "
    "rate_high corrected_rate worse_than_last_week last_week_rate none mild moderate severe categories not_assessable "
    "failures over_budget tokens usd self_preference as_of complete",
    "application_summary": "window_start period provider application_id model_name judged population coherence "
    "relevance accuracy hallucination toxicity hallucination_rate toxicity_rate worse not_assessable failures "
    "over_budget tokens usd self_preference as_of complete",
}

# What it means that a reader has no rows of a window that was collected.
NOTHING = {
    "resource_changes": "nothing changed since the complete inventory before, or there is none yet",
    "cost_waste": "nothing that costs is known to be unattached, stopped or idle",
    "cost_restatements": "no day that was published has been changed by its bill since",
    "performance_trends": "no whole hour of the period was rolled up yet",
}


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


def known(family: str, reader: str) -> str:
    """The table behind a reader.

    Raises:
        ConfigError: there is no such family or reader.
    """
    if family not in FAMILIES:
        choice = ", ".join(SOURCES)
        raise ConfigError(f"There is no family '{family}'{closest(family, FAMILIES)}. Choose from {choice}.")
    readers = SOURCES[family]
    if reader not in readers:
        choice = ", ".join(readers)
        raise ConfigError(f"There is no reader '{reader}' of {family}{closest(reader, readers)}. Choose from {choice}.")
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
            return Result(None, f"No {query.family} was collected yet for {_whom(query)}: {_why_never(client, query)}.")
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
        first = [FIRST[table]] if table in FIRST else []
        order = [*first, *(name for name in ORDER if name in columns), time]
        sql = (
            f"SELECT * FROM {view} WHERE {' AND '.join(conditions)} "  # noqa: S608 - names are the code's own
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
        note = "" if rows.num_rows else _why_empty(client, query, begin, end, NOTHING.get(table, "nothing is there"))
    return Result(rows, note, COLUMNS[table].split(), f"{_whom(query)}: {query.family} {query.reader}")


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
