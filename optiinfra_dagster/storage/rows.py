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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.storage.schema import APPLICATION, BILLED, COST, PERFORMANCE, RESOURCE, TIME, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from optiinfra_dagster.model.cost import Charge, Estimate
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import Metric, Series
    from optiinfra_dagster.model.quality import ApplicationRow
    from optiinfra_dagster.providers.kind import Kind

_NO_KINDS: Mapping[str, Kind] = MappingProxyType({})


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
    customer_id: str,
    provider: str,
    window: datetime,
    resources: Sequence[Resource],
    collected_at: datetime,
    kinds: Mapping[str, Kind] = _NO_KINDS,
) -> pa.Table:
    """An inventory as rows of `RESOURCE` in the slice of `window`.

    `kinds`, by name, say what is true of every resource of a kind; it is not part of `spec_hash`, since a new version
    of the program that knows more of a kind does not change the resource.
    """
    of_kind = [kinds.get(r.kind) for r in resources]
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
        attachable=[kind is not None and kind.attachable for kind in of_kind],
        silent_when_idle=[kind is not None and kind.silent_when_idle for kind in of_kind],
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
IMPORT_MARKER = "reading"

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class ImportedDay:
    """A day of an account that is in the bill; `total` is the cloud's own total of it, None where it has none."""

    day: date
    billing_account_id: str
    sub_account_id: str
    currency: str = ""
    total: Decimal | None = None


def charge_rows(
    customer_id: str,
    provider: str,
    charges: Iterable[Charge],
    imported: Sequence[ImportedDay],
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
    days = [head.start for head in heads] + [midnight(of_day.day) for of_day in imported]
    blank, none = [""] * len(imported), [None] * len(imported)
    amounts = [_exact(sum((charge.amount for charge in line), Decimal(0))) for line in lines]
    return _table(
        BILLED,
        len(days),
        timestamp=days,
        window_start=days,
        customer_id=customer_id,
        provider=provider,
        instance_id=[h.resource_id for h in heads] + blank,
        cost_type=[h.cost_type for h in heads] + [IMPORT_MARKER] * len(imported),
        cost_kind="billed",
        estimated_by="",
        is_final=[all(charge.is_final for charge in line) for line in lines] + [True] * len(imported),
        amount=amounts + [Decimal(0)] * len(imported),
        currency=[h.currency for h in heads] + [r.currency for r in imported],
        billed_cost=amounts + none,
        effective_cost=[_sum(charge.effective_cost for charge in line) for line in lines] + none,
        list_cost=[_sum(charge.list_cost for charge in line) for line in lines] + none,
        charge_period_start=days,
        charge_period_end=[day + _DAY for day in days],
        charge_category=[h.category for h in heads] + blank,
        charge_description=[h.description for h in heads] + blank,
        service_name=[h.service_name for h in heads] + blank,
        resource_id=[h.resource_id for h in heads] + blank,
        resource_name=[names.get(h.resource_id, "") for h in heads] + blank,
        matched=[h.resource_id in names for h in heads] + [False] * len(imported),
        region_id=[h.region_id for h in heads] + blank,
        sub_account_id=[h.sub_account_id for h in heads] + [r.sub_account_id for r in imported],
        billing_account_id=[h.billing_account_id for h in heads] + [r.billing_account_id for r in imported],
        metadata=[to_json(h.metadata) for h in heads]
        + [to_json({} if r.total is None else {"total": f"{r.total:f}"}) for r in imported],
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
    """The estimates of a window as rows of `COST`."""
    resources = [estimate.resource for estimate in estimates]
    amounts = [estimate.amount for estimate in estimates]
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
        currency=[estimate.currency for estimate in estimates],
        billed_cost=None,
        effective_cost=None,
        list_cost=amounts,
        charge_period_start=window,
        charge_period_end=window + WINDOW,
        charge_category="Usage",
        charge_description="",
        service_name=[estimate.service_name for estimate in estimates],
        resource_id=[r.resource_id for r in resources],
        resource_name=[r.resource_name for r in resources],
        matched=True,
        region_id=[r.region for r in resources],
        sub_account_id=[r.account_id for r in resources],
        billing_account_id=[r.account_id for r in resources],
        metadata=[to_json({"priced": estimate.priced}) for estimate in estimates],
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
    return None if None in known else _exact(sum((amount for amount in known if amount is not None), Decimal(0)))


_LAST_DIGIT = Decimal("1e-18")  # of `AMOUNT`
_DIGITS = Context(prec=38)


def _exact(amount: Decimal) -> Decimal:
    """An amount as it is; rounded where it has more digits than the table, as a binary fraction of an export may."""
    exponent = amount.as_tuple().exponent
    return amount.quantize(_LAST_DIGIT, context=_DIGITS) if isinstance(exponent, int) and exponent < -18 else amount


@cache
def _provenance(metric: Metric) -> str:
    """The cloud's names of a metric, as the rows' metadata."""
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
                array = pa.array([storable(value) if isinstance(value, str) else value for value in column], plain)
            arrays.append(array.dictionary_encode() if plain is not field.type else array)
        elif pa.types.is_dictionary(field.type):
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [column]))
        else:
            arrays.append(pa.repeat(pa.scalar(column, field.type), rows))
    return pa.table(arrays, schema=dataset.schema)
