"""The row schema of each metrics table, written once, and the functions that turn typed rows into it.

The types are Arrow's; `sql/schema/` holds the same columns as ClickHouse types and a test compares the two. The column
`batch` is the storage's own and is added when a slice is written. Times are UTC, money is decimal, units are those of
the metric catalogue.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.errors import StorageError
from optiinfra_dagster.texts import storable
from optiinfra_dagster.windows import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from optiinfra_dagster.providers.billing import Charge, Estimate
    from optiinfra_dagster.providers.catalog import Metric
    from optiinfra_dagster.providers.types import Resource, Series
    from optiinfra_dagster.quality.collect import ApplicationRow

TIME = pa.timestamp("s", "UTC")
NAME = pa.dictionary(pa.int32(), pa.string())  # LowCardinality(String): few distinct values
MONEY = pa.decimal128(18, 9)  # what API calls cost
AMOUNT = pa.decimal128(38, 18)  # of a bill: Cost Explorer tells 10 digits after the point, exports up to 16


@dataclass(frozen=True)
class Dataset:
    """A metrics table: its name in the ledger, in ClickHouse, its columns, and what identifies a row within a slice.

    `where` tells its rows from those of another dataset in the same table.
    """

    name: str
    table: str
    schema: pa.Schema
    key: tuple[str, ...]
    where: str = "1"


PERFORMANCE = Dataset(
    "performance",
    "performance_metrics",
    pa.schema(
        [
            ("timestamp", TIME),
            ("window_start", TIME),
            ("customer_id", NAME),
            ("provider", NAME),
            ("metric_type", NAME),
            ("resource_id", NAME),
            ("resource_name", NAME),
            ("resource_type", NAME),
            ("region", NAME),
            ("metric_name", NAME),
            ("statistic", NAME),
            ("period_seconds", pa.uint32()),
            ("metric_value", pa.float64()),
            ("unit", NAME),
            ("workload_type", NAME),
            ("metadata", NAME),
            ("collected_at", TIME),
        ]
    ),
    key=("customer_id", "provider", "resource_id", "metric_name", "statistic", "timestamp"),
)

RESOURCE = Dataset(
    "resource",
    "resource_metrics",
    pa.schema(
        [
            ("timestamp", TIME),
            ("window_start", TIME),
            ("customer_id", NAME),
            ("provider", NAME),
            ("metric_type", NAME),
            ("account_id", NAME),
            ("region", NAME),
            ("kind", NAME),
            ("resource_id", pa.string()),
            ("resource_name", pa.string()),
            ("resource_type", NAME),
            ("status", NAME),
            ("cloud_status", NAME),
            ("created_at", TIME),
            ("utilization", pa.float64()),
            ("capacity", pa.float64()),
            ("unit", NAME),
            ("tags", pa.string()),
            ("metadata", pa.string()),
            ("spec_hash", pa.uint64()),
            ("collected_at", TIME),
        ]
    ),
    key=("customer_id", "provider", "resource_id", "window_start"),
)

_COST_SCHEMA = pa.schema(
    [
        ("timestamp", TIME),
        ("window_start", TIME),
        ("customer_id", NAME),
        ("provider", NAME),
        ("instance_id", pa.string()),
        ("cost_type", NAME),
        ("cost_kind", NAME),
        ("estimated_by", NAME),
        ("is_final", pa.bool_()),
        ("amount", AMOUNT),
        ("currency", NAME),
        ("billed_cost", AMOUNT),
        ("effective_cost", AMOUNT),
        ("list_cost", AMOUNT),
        ("charge_period_start", TIME),
        ("charge_period_end", TIME),
        ("charge_category", NAME),
        ("charge_description", pa.string()),
        ("service_name", NAME),
        ("resource_id", pa.string()),
        ("resource_name", pa.string()),
        ("matched", pa.bool_()),
        ("region_id", NAME),
        ("sub_account_id", NAME),
        ("billing_account_id", NAME),
        ("metadata", pa.string()),
        ("collected_at", TIME),
        ("first_seen", TIME),
        ("last_changed", TIME),
    ]
)
_COST_KEY = (
    "customer_id", "provider", "billing_account_id", "sub_account_id", "service_name", "resource_id", "region_id",
    "cost_type", "charge_category", "charge_description", "cost_kind", "currency", "timestamp",
)  # fmt: skip

COST = Dataset("cost", "cost_metrics", _COST_SCHEMA, _COST_KEY, where="cost_kind = 'estimated'")

# A slice is a charge day: `window_start` is its midnight.
BILLED = Dataset("cost_billed", "cost_metrics", _COST_SCHEMA, _COST_KEY, where="cost_kind = 'billed'")

APPLICATION = Dataset(
    "application",
    "application_metrics",
    pa.schema(
        [
            ("timestamp", TIME),
            ("window_start", TIME),
            ("customer_id", NAME),
            ("provider", NAME),
            ("application_id", NAME),
            ("application_name", NAME),
            ("model_name", NAME),
            ("interaction_id", pa.string()),
            ("metric_type", NAME),
            ("score", pa.float64()),
            ("label", NAME),
            ("details", pa.string()),
            ("judge_model", NAME),
            ("judge_version", NAME),
            ("prompt_text", pa.string()),
            ("response_text", pa.string()),
            ("tokens", pa.uint32()),
            ("metadata", pa.string()),
            ("collected_at", TIME),
        ]
    ),
    key=("customer_id", "provider", "application_id", "model_name", "interaction_id", "metric_type"),
)

# The ledger and the states of coverage: storage/slices.py and storage/coverage.py write them.
LEDGER = pa.schema(
    [
        ("dataset", pa.string()),
        ("customer_id", pa.string()),
        ("provider", pa.string()),
        ("window_start", TIME),
        ("batch", pa.uint64()),
        ("rows", pa.uint64()),
        ("content_hash", pa.uint64()),
        ("status", pa.string()),
        ("permanent", pa.bool_()),
        ("error", pa.string()),
        ("api_calls", pa.uint32()),
        ("api_cost_usd", MONEY),
        ("run_id", pa.string()),
        ("published_at", pa.timestamp("ms", "UTC")),
    ]
)

COVERAGE = pa.schema(
    [
        ("customer_id", pa.string()),
        ("provider", pa.string()),
        ("resource_id", pa.string()),
        ("resource_type", pa.string()),
        ("metric_name", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("since", TIME),
        ("until", TIME),
        ("version", pa.uint64()),
    ]
)

DATASETS: Mapping[str, Dataset] = {d.name: d for d in (RESOURCE, PERFORMANCE, COST, BILLED, APPLICATION)}

# When a row was collected says nothing of what it says, so it is not part of a slice's content.
VOLATILE = ("collected_at", "first_seen", "last_changed")


def to_json(values: Mapping[str, Any]) -> str:
    """A JSON object with sorted keys, so that equal content is equal text."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def spec_hash(resource: Resource) -> int:
    """A 64-bit hash of everything whose change is a change of the resource."""
    spec = (
        resource.resource_name,
        resource.resource_type,
        resource.region,
        resource.status,
        resource.capacity,
        resource.unit,
        to_json(resource.tags),
        to_json(resource.metadata),
    )
    return int.from_bytes(hashlib.blake2b(repr(spec).encode(), digest_size=8).digest(), "little")


def resource_rows(
    customer_id: str, provider: str, window: datetime, resources: Sequence[Resource], collected_at: datetime
) -> pa.Table:
    """An inventory as rows of `RESOURCE` in the slice of `window`."""
    return _table(
        RESOURCE,
        len(resources),
        timestamp=window,
        window_start=window,
        customer_id=customer_id,
        provider=provider,
        metric_type="inventory",
        account_id=[r.account_id for r in resources],
        region=[r.region for r in resources],
        kind=[r.kind for r in resources],
        resource_id=[r.resource_id for r in resources],
        resource_name=[r.resource_name for r in resources],
        resource_type=[r.resource_type for r in resources],
        status=[r.status for r in resources],
        cloud_status=[r.cloud_status for r in resources],
        created_at=[r.created_at for r in resources],
        utilization=[r.utilization for r in resources],
        capacity=[r.capacity for r in resources],
        unit=[r.unit for r in resources],
        tags=[to_json(r.tags) for r in resources],
        metadata=[to_json(r.metadata) for r in resources],
        spec_hash=[spec_hash(r) for r in resources],
        collected_at=collected_at,
    )


def performance_rows(customer_id: str, provider: str, series: Sequence[Series], collected_at: datetime) -> pa.Table:
    """Series as rows of `PERFORMANCE`, one per point, each in its series' window, or the one of its timestamp.

    What is the same for all points of a series is written once per series and repeated by index, so the cost per point
    does not grow with the number of columns.
    """
    lengths = np.fromiter((len(s.timestamps) for s in series), dtype=np.int64, count=len(series))
    owner = pa.array(np.repeat(np.arange(len(series), dtype=np.int32), lengths))
    seconds = np.fromiter((t for s in series for t in s.timestamps), dtype=np.int64, count=int(lengths.sum()))
    values = np.fromiter((v for s in series for v in s.values), dtype=np.float64, count=int(lengths.sum()))
    width = int(WINDOW.total_seconds())
    windows = seconds - seconds % width
    if any(s.window for s in series):
        own = np.array([int(s.window.timestamp()) if s.window else -1 for s in series], np.int64)[owner]
        windows = np.where(own < 0, windows, own)

    def of_series(describe: Callable[[Series], str]) -> pa.Array:
        return pa.array([describe(s) for s in series], pa.string()).dictionary_encode().take(owner)

    return _table(
        PERFORMANCE,
        len(seconds),
        timestamp=pa.array(seconds).cast(TIME),
        window_start=pa.array(windows).cast(TIME),
        customer_id=customer_id,
        provider=provider,
        metric_type=of_series(lambda s: s.metric.metric_type),
        resource_id=of_series(lambda s: s.resource.resource_id),
        resource_name=of_series(lambda s: s.resource.resource_name),
        resource_type=of_series(lambda s: s.resource.resource_type),
        region=of_series(lambda s: s.resource.region),
        metric_name=of_series(lambda s: s.metric.name),
        statistic=of_series(lambda s: s.statistic),
        period_seconds=pa.array([s.metric.period for s in series], pa.uint32()).take(owner),
        metric_value=pa.array(values),
        unit=of_series(lambda s: s.metric.unit),
        workload_type=of_series(lambda s: s.resource.tags.get("workload_type", "")),
        metadata=of_series(lambda s: _provenance(s.metric)),
        collected_at=collected_at,
    )


def application_rows(
    customer_id: str,
    provider: str,
    window: datetime,
    rows: Sequence[ApplicationRow],
    judge_model: str,
    judge_version: str,
    collected_at: datetime,
) -> pa.Table:
    """Scores, samples and source of a window as rows of `APPLICATION`."""
    return _table(
        APPLICATION,
        len(rows),
        timestamp=[r.timestamp.replace(microsecond=0) for r in rows],
        window_start=window,
        customer_id=customer_id,
        provider=provider,
        application_id=[r.application_id for r in rows],
        application_name=[r.application_name for r in rows],
        model_name=[r.model_name for r in rows],
        interaction_id=[r.interaction_id for r in rows],
        metric_type=[r.metric_type for r in rows],
        score=[r.score for r in rows],
        label=[r.label for r in rows],
        details=[to_json(r.details) for r in rows],
        judge_model=judge_model,
        judge_version=judge_version,
        prompt_text=[r.prompt_text for r in rows],
        response_text=[r.response_text for r in rows],
        tokens=[r.tokens for r in rows],
        metadata=[to_json(r.metadata) for r in rows],
        collected_at=collected_at,
    )


# The type of the rows that say that a day of an account was read; the cloud's own total is in their metadata.
READING = "reading"

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Reading:
    """That a day of an account is in the bill, and what the cloud itself says it comes to, where it does."""

    day: date
    billing_account_id: str
    sub_account_id: str
    currency: str = ""
    total: Decimal | None = None


def charge_rows(
    customer_id: str,
    provider: str,
    charges: Iterable[Charge],
    readings: Sequence[Reading],
    names: Mapping[str, str],
    collected_at: datetime,
) -> pa.Table:
    """A bill as rows of `BILLED`, each in the slice of its day, and a row for each day of an account that was read.

    Charges that differ in nothing but their amounts are added up. `names` are the names of the known resources by id.
    """
    summed: dict[tuple[object, ...], list[Charge]] = {}
    for charge in charges:
        key = (
            charge.day, charge.billing_account_id, charge.sub_account_id, charge.service_name, charge.resource_id,
            charge.region_id, charge.cost_type, charge.category, charge.description, charge.currency,
        )  # fmt: skip
        summed.setdefault(key, []).append(charge)
    lines = list(summed.values())
    heads = [line[0] for line in lines]
    days = [head.start for head in heads] + [midnight(reading.day) for reading in readings]
    blank, none = [""] * len(readings), [None] * len(readings)
    amounts = [_exact(sum((one.amount for one in line), Decimal(0))) for line in lines]
    return _table(
        BILLED,
        len(days),
        timestamp=days,
        window_start=days,
        customer_id=customer_id,
        provider=provider,
        instance_id=[h.resource_id for h in heads] + blank,
        cost_type=[h.cost_type for h in heads] + [READING] * len(readings),
        cost_kind="billed",
        estimated_by="",
        is_final=[all(one.is_final for one in line) for line in lines] + [True] * len(readings),
        amount=amounts + [Decimal(0)] * len(readings),
        currency=[h.currency for h in heads] + [r.currency for r in readings],
        billed_cost=amounts + none,
        effective_cost=[_sum(one.effective_cost for one in line) for line in lines] + none,
        list_cost=[_sum(one.list_cost for one in line) for line in lines] + none,
        charge_period_start=days,
        charge_period_end=[day + _DAY for day in days],
        charge_category=[h.category for h in heads] + blank,
        charge_description=[h.description for h in heads] + blank,
        service_name=[h.service_name for h in heads] + blank,
        resource_id=[h.resource_id for h in heads] + blank,
        resource_name=[names.get(h.resource_id, "") for h in heads] + blank,
        matched=[h.resource_id in names for h in heads] + [False] * len(readings),
        region_id=[h.region_id for h in heads] + blank,
        sub_account_id=[h.sub_account_id for h in heads] + [r.sub_account_id for r in readings],
        billing_account_id=[h.billing_account_id for h in heads] + [r.billing_account_id for r in readings],
        metadata=[to_json(h.metadata) for h in heads]
        + [to_json({} if r.total is None else {"total": f"{r.total:f}"}) for r in readings],
        collected_at=collected_at,
        first_seen=collected_at,
        last_changed=collected_at,
    )


def estimate_rows(
    customer_id: str,
    provider: str,
    window: datetime,
    estimates: Sequence[Estimate],
    estimated_by: str,
    collected_at: datetime,
) -> pa.Table:
    """What resources cost in a window by the price list, as rows of `COST`."""
    resources = [one.resource for one in estimates]
    amounts = [one.amount for one in estimates]
    return _table(
        COST,
        len(estimates),
        timestamp=window,
        window_start=window,
        customer_id=customer_id,
        provider=provider,
        instance_id=[r.resource_id for r in resources],
        cost_type=[r.resource_type for r in resources],
        cost_kind="estimated",
        estimated_by=estimated_by,
        is_final=False,
        amount=amounts,
        currency=[one.currency for one in estimates],
        billed_cost=None,
        effective_cost=None,
        list_cost=amounts,
        charge_period_start=window,
        charge_period_end=window + WINDOW,
        charge_category="Usage",
        charge_description="",
        service_name=[one.service_name for one in estimates],
        resource_id=[r.resource_id for r in resources],
        resource_name=[r.resource_name for r in resources],
        matched=True,
        region_id=[r.region for r in resources],
        sub_account_id=[r.account_id for r in resources],
        billing_account_id=[r.account_id for r in resources],
        metadata=[to_json({"priced": one.priced}) for one in estimates],
        collected_at=collected_at,
        first_seen=collected_at,
        last_changed=collected_at,
    )


def midnight(day: date) -> datetime:
    """The start of a day, zoned UTC: the slice of what was charged on it."""
    return datetime.combine(day, time(), UTC)


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """A sum, unknown where a part is."""
    known = list(amounts)
    return None if None in known else _exact(sum((one for one in known if one is not None), Decimal(0)))


_LAST_DIGIT = Decimal("1e-18")  # of `AMOUNT`
_DIGITS = Context(prec=38)


def _exact(amount: Decimal) -> Decimal:
    """An amount as it is; rounded where it has more digits than the table, as a binary fraction of an export may."""
    exponent = amount.as_tuple().exponent
    return amount.quantize(_LAST_DIGIT, context=_DIGITS) if isinstance(exponent, int) and exponent < -18 else amount


@cache
def _provenance(metric: Metric) -> str:
    """What the cloud calls a metric, as the rows' metadata."""
    return to_json({"api_metric": metric.api_metric, "namespace": metric.namespace})


def _table(dataset: Dataset, rows: int, **columns: object) -> pa.Table:
    """Arrays, lists and constants as a table of `dataset`'s schema."""
    arrays = []
    for field in dataset.schema:
        column = columns[field.name]
        if isinstance(column, pa.Array):
            arrays.append(column)
        elif isinstance(column, list):
            plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            try:
                array = pa.array(column, plain)
            except UnicodeEncodeError:
                array = pa.array([storable(one) if isinstance(one, str) else one for one in column], plain)
            arrays.append(array.dictionary_encode() if plain is not field.type else array)
        elif pa.types.is_dictionary(field.type):
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [column]))
        else:
            arrays.append(pa.repeat(pa.scalar(column, field.type), rows))
    return pa.table(arrays, schema=dataset.schema)


def content_hashes(rows: pa.Table) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Of each slice in `rows`: how many rows it has, and a 64-bit hash of their content.

    The key is (customer_id, provider, window_start in epoch seconds). The hash does not depend on the order of the rows
    nor on `VOLATILE` columns, and counts every duplicate: it is the sum of the rows' own hashes.
    """
    if rows.num_rows == 0:
        return {}
    hashes = row_hashes(rows)
    identity = {name: rows[name].combine_chunks() for name in ("customer_id", "provider")}
    codes = {name: pc.dictionary_encode(plain(column)) for name, column in identity.items()}
    seconds = rows["window_start"].cast(pa.int64()).to_numpy()
    customers, providers = (codes[n].indices.to_numpy(zero_copy_only=False) for n in ("customer_id", "provider"))
    order = np.lexsort((seconds, providers, customers))
    changes = np.flatnonzero(
        (np.diff(customers[order]) != 0) | (np.diff(providers[order]) != 0) | (np.diff(seconds[order]) != 0)
    )
    starts = np.concatenate(([0], changes + 1))
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(hashes[order], starts)
    counts = np.diff(np.append(starts, len(order)))
    names = {n: codes[n].dictionary.to_pylist() for n in codes}
    return {
        (names["customer_id"][customers[i]], names["provider"][providers[i]], int(seconds[i])): (int(n), int(h))
        for i, n, h in zip(order[starts], counts, sums, strict=True)
    }


def row_hashes(rows: pa.Table) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A 64-bit hash of each row but its `VOLATILE` columns: every column's hashes, mixed in the order of the columns.

    Names are hashed once per distinct value, so that a row costs a few operations on whole arrays per column.
    """
    rows = rows.drop_columns([c for c in VOLATILE if c in rows.column_names]).combine_chunks()
    mixed: np.ndarray[Any, np.dtype[np.uint64]] = np.full(rows.num_rows, 0x9E3779B97F4A7C15, np.uint64)
    for column in rows.columns:
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        with np.errstate(over="ignore"):
            mixed = (mixed ^ _words(array)) * np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(31)
    return mixed


def _words(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Each value as 64 bits: numbers as they are, everything else by a hash of its text; one word if all are equal."""
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    if pa.types.is_floating(array.type):
        bits = (np.asarray(array.fill_null(0.0) if array.null_count else array, dtype=np.float64) + 0.0).view(np.uint64)
    elif pa.types.is_integer(array.type):
        bits = np.asarray(array.fill_null(0) if array.null_count else array).astype(np.uint64)
    else:
        names = array if isinstance(array, pa.DictionaryArray) else array.cast(pa.string()).dictionary_encode()
        distinct = np.array([_word(name) for name in names.dictionary.to_pylist()], dtype=np.uint64)
        if len(distinct) == 1 and not names.null_count:
            return distinct
        # With a place of its own for null, which a dictionary does not have.
        indices = names.indices.fill_null(len(distinct)) if names.null_count else names.indices
        words: np.ndarray[Any, np.dtype[np.uint64]] = np.append(distinct, np.uint64(1))[np.asarray(indices)]
        return words
    # A null is not the number that stands in for it.
    return np.where(np.asarray(array.is_null()), np.uint64(0x94D049BB133111EB), bits) if array.null_count else bits


def _word(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def owners(rows: pa.Table) -> list[tuple[str, str]]:
    """The (customer_id, provider) pairs that own rows, in order."""
    pairs = pa.table({name: plain(rows[name]) for name in ("customer_id", "provider")}).group_by(
        ["customer_id", "provider"]
    )
    return sorted((row["customer_id"], row["provider"]) for row in pairs.aggregate([]).to_pylist())


def of_slice(rows: pa.Table, customer_id: str, provider: str) -> pa.Table:
    """The rows of one customer and provider."""
    return rows.filter(
        pc.and_(pc.equal(plain(rows["customer_id"]), customer_id), pc.equal(plain(rows["provider"]), provider))
    )


def plain(array: pa.Array) -> pa.Array:
    """A dictionary array decoded, any other as it is."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def conform(dataset: Dataset, rows: pa.Table) -> pa.Table:
    """Rows read from ClickHouse, or given as plain columns, in the order and types of `dataset`'s schema.

    Raises:
        StorageError: a column is missing, has values of another type, or times without a zone.
    """
    if missing := [name for name in dataset.schema.names if name not in rows.column_names]:
        raise StorageError(f"{dataset.table}: the column {', '.join(missing)} is missing.")
    arrays = []
    for field in dataset.schema:
        array = plain(rows[field.name])
        if field.type == TIME and pa.types.is_timestamp(array.type) and array.type.tz is None:
            raise StorageError(f"{dataset.table}.{field.name} holds times without time zone: give them one.")
        is_name = pa.types.is_dictionary(field.type)
        try:
            array = array.cast(field.type.value_type if is_name else field.type)
        except pa.ArrowInvalid as error:
            raise StorageError(f"{dataset.table}.{field.name}: {error}") from error
        arrays.append(array.dictionary_encode() if is_name else array)
    return pa.table(arrays, schema=dataset.schema)


def concat(dataset: Dataset, tables: Iterable[pa.Table]) -> pa.Table:
    """Tables of one dataset as one, with shared dictionaries."""
    return pa.concat_tables([dataset.schema.empty_table(), *tables]).unify_dictionaries().combine_chunks()


def of_windows(rows: pa.Table, windows: Iterable[datetime]) -> pa.Table:
    """The rows of some windows."""
    return rows.filter(pc.is_in(rows["window_start"], pa.array(list(windows), TIME)))


def between(rows: pa.Table, first: datetime, last: datetime) -> pa.Table:
    """The rows of the windows from `first` to `last`, both included."""
    return rows.filter(
        pc.and_(
            pc.greater_equal(rows["window_start"], pa.scalar(first, TIME)),
            pc.less_equal(rows["window_start"], pa.scalar(last, TIME)),
        )
    )
