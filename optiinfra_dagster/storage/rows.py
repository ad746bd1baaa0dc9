"""Typed rows as Arrow tables in the schemas of `schema.py`.

The column `batch` is the storage's own and is added when a slice is written. Times are UTC, money is decimal, units are
those of the metric catalogue.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from optiinfra_dagster.model.text import storable, to_json
from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.storage.schema import APPLICATION, PERFORMANCE, RESOURCE, TIME, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import Metric, Series
    from optiinfra_dagster.model.quality import ApplicationRow
    from optiinfra_dagster.providers.kind import Kind

_NO_KINDS: Mapping[str, Kind] = MappingProxyType({})


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
    return table_of(
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
        instance_uid=[r.instance_uid for r in resources],
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


def performance_rows(
    customer_id: str, provider: str, series: Sequence[Series], collected_at: datetime, poll_seconds: int = 0
) -> pa.Table:
    """Series as rows of `PERFORMANCE`, one per point, each in its series' window, or the one of its timestamp.

    A state at the moment of asking stands until it is asked again, `poll_seconds` later where that is longer than its
    metric's period: who is polled once an hour has one an hour, and lacks none.

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

    return table_of(
        PERFORMANCE,
        len(seconds),
        timestamp=pa.array(seconds).cast(TIME),
        window_start=pa.array(windows).cast(TIME),
        customer_id=customer_id,
        provider=provider,
        metric_type=of_series(lambda s: s.metric.metric_type),
        resource_id=of_series(lambda s: s.resource.resource_id),
        instance_uid=of_series(lambda s: s.resource.instance_uid),
        resource_name=of_series(lambda s: s.resource.resource_name),
        resource_type=of_series(lambda s: s.resource.resource_type),
        region=of_series(lambda s: s.resource.region),
        metric_name=of_series(lambda s: s.metric.name),
        statistic=of_series(lambda s: s.statistic),
        period_seconds=pa.array([_period(s, poll_seconds) for s in series], pa.uint32()).take(owner),
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
    return table_of(
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
        judge_version=[r.judge_version or judge_version for r in rows],
        prompt_text=[r.prompt_text for r in rows],
        response_text=[r.response_text for r in rows],
        tokens=[r.tokens for r in rows],
        metadata=[to_json(r.metadata) for r in rows],
        collected_at=collected_at,
    )


def _period(series: Series, poll_seconds: int) -> int:
    return max(series.metric.period, poll_seconds) if series.statistic == "snapshot" else series.metric.period


@cache
def _provenance(metric: Metric) -> str:
    """The cloud's names of a metric, as the rows' metadata."""
    return to_json({"api_metric": metric.api_metric, "namespace": metric.namespace})


def table_of(dataset: Dataset, rows: int, **columns: object) -> pa.Table:
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
