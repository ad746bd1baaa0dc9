"""The metrics of the lab's Azure Monitor, and the three calls that read them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import numpy as np

from optiinfra_dagster.lab.azure.samples import MINUTE, Samples, grains, minutes
from optiinfra_dagster.lab.azure.services import KINDS_BY_TYPE
from optiinfra_dagster.lab.faults import Action, Fault
from optiinfra_dagster.lab.series import DAY, Whole, chance, recorded_points
from optiinfra_dagster.lab.service import ApiCall, ApiError
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.estate import Estate
    from optiinfra_dagster.lab.azure.kind import LabMetric, Row
    from optiinfra_dagster.lab.azure.world import AzureWorld
    from optiinfra_dagster.lab.server import Request

KEPT = 93 * DAY
MAX_RESOURCES, MAX_METRICS = 50, 20

AGGREGATIONS = {"average", "count", "maximum", "minimum", "total"}
GRAINS = {"PT1M": 60, "PT5M": 300, "PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT6H": 21600, "PT12H": 43200, "P1D": DAY}
ACTION = "microsoft.insights/metrics/read"
"""The action that the role of the collector must allow on the subscription."""


PUBLISHED: dict[str, tuple[LabMetric, ...]] = {
    azure_type: kind.metrics for azure_type, kind in KINDS_BY_TYPE.items() if kind.metrics
}
"""The metrics of a type of resource, which is their namespace too, in lower case."""


def publishes(row: Row) -> bool:
    """True for a resource that measures anything now: it runs, and a disk is attached."""
    return KINDS_BY_TYPE[row["type"]].publishes(row)


class MonitorError(ApiError):
    """A call that Azure Monitor refuses."""


# --- Calls ------------------------------------------------------------------------------------------------------------

_BATCH = re.compile(r"/subscriptions/([^/]+)/metrics:getbatch")
_SCOPE = re.compile(r"/subscriptions/([^/]+)/providers/microsoft\.insights/metrics")
_RESOURCE = re.compile(r"(/subscriptions/([^/]+)/.+)/providers/microsoft\.insights/metrics")
_NAMED_RESOURCE = re.compile(r"microsoft\.resourceid eq '([^']+)'")


@dataclass(slots=True, kw_only=True)
class MonitorCall(ApiCall):
    """A call of Azure Monitor. Each is billed, whatever becomes of it."""

    service: str = "monitor"
    billed: int = 1
    parameters: dict[str, Any] = field(default_factory=dict)  # names in lower case
    resource_ids: list[str] = field(default_factory=list)  # in lower case; empty where the call names none


def is_monitor(path: str) -> bool:
    """True for a path, in lower case, of Azure Monitor."""
    return path.endswith(("/metrics:getbatch", "/providers/microsoft.insights/metrics"))


def read_call(call: MonitorCall, request: Request) -> None:
    """Read a request to Azure Monitor into its call. Raises `MonitorError` where it cannot be told."""
    path = unquote(request.path).lower()
    parameters: dict[str, Any] = dict(parse_qsl(request.query))
    body = json.loads(request.body) if request.body.strip() else {}
    if match := _BATCH.fullmatch(path):
        ids = body.get("resourceids")
        if not isinstance(ids, list):
            raise MonitorError(400, "BadRequest", "The body has no resourceids.")
        call.operation, call.account = "getBatch", match[1]
        call.resource_ids = [str(resource_id).lower() for resource_id in ids]
    elif match := _SCOPE.fullmatch(path):
        call.operation, call.account = "ListAtSubscriptionScope", match[1]
        parameters |= body
    elif match := _RESOURCE.fullmatch(path):
        call.operation, call.account, call.resource_ids = "List", match[2], [match[1]]
    else:
        raise MonitorError(404, "NotFound", f"There is nothing at {path}.")
    call.parameters = {name.lower().lstrip("$"): value for name, value in parameters.items()}
    call.region = str(call.parameters.get("region") or "").lower()


@dataclass(frozen=True, slots=True)
class _Parameters:
    """A call's parameters, checked."""

    namespace: str
    metrics: list[LabMetric]
    aggregations: list[str]
    grain: int
    start: int
    end: int


class Metrics:
    """The metrics of a world's subscriptions. `now` is the lab's clock: there are no samples after it."""

    def __init__(self, estate: Estate, world: AzureWorld, seed: int, now: Callable[[], datetime]) -> None:
        self._estate, self._world, self._seed, self._now = estate, world, seed, now
        self._lock = Lock()
        self._rows: dict[str, dict[str, Row]] = {}  # subscription: rows by id in lower case
        self._keys: dict[tuple[str, str], int] = {}
        self._recorded = cache(recorded_points)

    def locate(self, call: MonitorCall) -> None:
        """Find out which region a call is about, where its resources tell that and it does not."""
        if not call.region and call.resource_ids:
            call.region = self.rows(call.account).get(call.resource_ids[0], {}).get("location", "")

    def answer(self, call: MonitorCall) -> dict[str, Any]:
        """Answer one call of three kinds. Raises `MonitorError` for one that Azure would refuse."""
        actions = [action.lower() for action in self._subscription(call.account).actions]
        if not any(fnmatchcase(ACTION, action) for action in actions):
            message = f"The client does not have authorization to perform action '{ACTION}' over the subscription."
            raise MonitorError(403, "AuthorizationFailed", message)
        if call.parameters.get("api-version") not in {"2023-10-01", "2024-02-01"}:
            raise MonitorError(400, "UnsupportedApiVersion", f"No api-version {call.parameters.get('api-version')!r}.")
        parameters = self._read(call)
        late = [fault for fault in call.faults if fault.action is Action.LATE]
        partial = next((fault for fault in call.faults if fault.action is Action.PARTIAL), None)
        if call.operation == "ListAtSubscriptionScope":
            return self._subscription_scope(call, parameters, late, partial)
        rows = self._checked(call, parameters)
        shown = self._by_resource(rows, parameters, late)
        if call.operation == "List":
            return self._envelope(parameters, call.region) | {"value": shown[0]}
        values = [
            {**self._envelope(parameters, call.region), "value": metrics, "resourceid": row["id"]}
            for row, metrics in zip(rows, shown, strict=True)
        ]
        return {"values": values if partial is None else _cut(values, partial)}

    def expected(
        self, resource_id: str, metric: str, aggregation: str, start: datetime, end: datetime, grain: int = 300
    ) -> dict[int, float]:
        """The points that Azure must give in the end, by seconds since the epoch: the ground truth of tests."""
        row = self.rows(resource_id.split("/")[2].lower())[resource_id.lower()]
        known = {published.name: published for published in PUBLISHED.get(row["type"], ())}
        if metric not in known:
            return {}
        first, last = (int(moment.timestamp()) for moment in (start, end))
        parameters = _Parameters(row["type"], [known[metric]], [aggregation.lower()], grain, first, last)
        [[samples]] = [self._samples([row], parameters, [])]
        values = samples.value(aggregation.lower())[0]
        return {
            int(time): float(value)
            for time, value, count in zip(samples.times, values, samples.count[0], strict=True)
            if count
        }

    def rows(self, subscription: str) -> dict[str, Row]:
        """The resources of a subscription by id in lower case."""
        with self._lock:
            if subscription not in self._rows:
                rows = self._estate.rows(subscription)[1:]
                self._rows[subscription] = {row["id"].lower(): row for row in rows}
            return self._rows[subscription]

    def _subscription(self, subscription: str) -> Any:
        known = self._estate.subscriptions.get(subscription)
        if known is None:
            raise MonitorError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        return known

    def _read(self, call: MonitorCall) -> _Parameters:
        raw = call.parameters
        namespace = str(raw.get("metricnamespace") or "").lower()
        if not namespace and call.operation == "List":
            namespace = self.rows(call.account).get(call.resource_ids[0], {}).get("type", "")
        known = {published.name.lower(): published for published in PUBLISHED.get(namespace, ())}
        names = [name for name in str(raw.get("metricnames") or "").split(",") if name]
        if not names or len(names) > MAX_METRICS:
            raise MonitorError(400, "BadRequest", f"Between 1 and {MAX_METRICS} metric names, not {len(names)}.")
        rows = self.rows(call.account)
        asked = [rows.get(resource_id, {}) for resource_id in call.resource_ids]
        lacking = {metric.lower() for row in asked for metric in row.get("unmeasured", ())}
        for name in names:
            if name.lower() not in known or name.lower() in lacking:
                provider, _, kind = namespace.partition("/")
                valid = ",".join(published.name for published in known.values())
                where = f"provider: {provider}, resource Type: {kind}, metric: {name}, Valid metrics: {valid}"
                raise MonitorError(400, "BadRequest", f"Failed to find metric configuration for {where}")
        aggregations = [name.strip().lower() for name in str(raw.get("aggregation") or "average").split(",")]
        if unknown := set(aggregations) - AGGREGATIONS:
            raise MonitorError(400, "BadRequest", f"Invalid aggregation {sorted(unknown)}.")
        grain = GRAINS.get(str(raw.get("interval") or "PT1M").upper())
        if grain is None:
            raise MonitorError(400, "BadRequest", f"Detected invalid time grain input: {raw.get('interval')}.")
        if coarse := [name for name in names if known[name.lower()].grain > grain]:
            message = f"Detected invalid time grain input: {raw.get('interval')}, supported ones for {coarse[0]}: PT1H."
            raise MonitorError(400, "BadRequest", message)
        if call.operation == "getBatch":
            span = [str(raw.get(name) or "") for name in ("starttime", "endtime")]
        else:
            span = str(raw.get("timespan") or "").split("/")
        start, end = _span(span)
        return _Parameters(namespace, [known[name.lower()] for name in names], aggregations, grain, start, end)

    def _checked(self, call: MonitorCall, parameters: _Parameters) -> list[Row]:
        """The rows that a call names, which must be alike."""
        ids = call.resource_ids
        if not 1 <= len(ids) <= MAX_RESOURCES:
            raise MonitorError(400, "BadRequest", f"Between 1 and {MAX_RESOURCES} resource ids, not {len(ids)}.")
        rows = self.rows(call.account)
        for resource_id in ids:
            if not resource_id.startswith(f"/subscriptions/{call.account}/"):
                raise MonitorError(400, "BadRequest", "All resources must be of the subscription of the request.")
            if resource_id not in rows:
                raise MonitorError(404, "ResourceNotFound", f"The resource '{resource_id}' was not found.")
        named = [rows[resource_id] for resource_id in ids]
        if {row["type"] for row in named} != {parameters.namespace}:
            raise MonitorError(400, "BadRequest", f"All resources must be of the type {parameters.namespace}.")
        if len({row["location"] for row in named}) > 1:
            raise MonitorError(400, "BadRequest", "All resources must be in the same region.")
        return named

    def _subscription_scope(
        self, call: MonitorCall, parameters: _Parameters, late: Sequence[Fault], partial: Fault | None
    ) -> dict[str, Any]:
        if not call.region:
            raise MonitorError(400, "BadRequest", "The region is missing.")
        rows = [
            row
            for row in self.rows(call.account).values()
            if (row["type"], row["location"]) == (parameters.namespace, call.region) and publishes(row)
        ]
        wanted = str(call.parameters.get("filter") or "").lower()
        named = _NAMED_RESOURCE.findall(wanted)
        if wanted and not named:
            raise MonitorError(400, "BadRequest", "The lab knows filters of Microsoft.ResourceId only.")
        if named and named != ["*"]:
            rows = [row for row in rows if row["id"].lower() in set(named)]
        if wanted:
            rows = rows[: int(call.parameters.get("top") or 10)]
        if partial is not None:
            rows = [row for n, row in enumerate(rows, 1) if n % partial.every]
        shown = self._by_resource(rows, parameters, late)
        metrics = []
        for n, metric in enumerate(parameters.metrics):
            series = []
            for row, mine in zip(rows, shown, strict=True):
                label = {"name": {"value": "Microsoft.ResourceId", "localizedValue": "Microsoft.ResourceId"}}
                series.append(mine[n]["timeseries"][0] | {"metadatavalues": [{**label, "value": row["id"].lower()}]})
            if not wanted and rows:
                series = [_together([of_row["data"] for of_row in series], parameters.aggregations)]
            scope = f"/subscriptions/{call.account}"
            metrics.append(_metric(scope, metric) | {"timeseries": series})
        return self._envelope(parameters, call.region) | {"value": metrics}

    def _envelope(self, parameters: _Parameters, region: str) -> dict[str, Any]:
        grain = next(name for name, seconds in GRAINS.items() if seconds == parameters.grain)
        start, end = _iso(parameters.start), _iso(parameters.end)
        return {
            "cost": 0,
            "starttime": start,
            "endtime": end,
            "timespan": f"{start}/{end}",
            "interval": grain,
            "namespace": KINDS_BY_TYPE[parameters.namespace].azure_type,
            "resourceregion": region,
        }

    def _by_resource(
        self, rows: Sequence[Row], parameters: _Parameters, late: Sequence[Fault]
    ) -> list[list[dict[str, Any]]]:
        """The metrics of each row, as an answer shows them."""
        shown: list[list[dict[str, Any]]] = [[] for _ in rows]
        for number, samples in enumerate(self._samples(rows, parameters, late)):
            stamps = [_iso(time) for time in samples.times.tolist()]
            values = {aggregation: samples.value(aggregation).tolist() for aggregation in parameters.aggregations}
            counts = samples.count.tolist()
            for n, row in enumerate(rows):
                data: list[dict[str, Any]] = []
                for at, stamp in enumerate(stamps):
                    point: dict[str, Any] = {"timeStamp": stamp}
                    if counts[n][at]:  # what is missing has no value, and is never 0
                        for aggregation in parameters.aggregations:
                            point[aggregation] = values[aggregation][n][at]
                    data.append(point)
                metric = _metric(row["id"], parameters.metrics[number])
                shown[n].append(metric | {"timeseries": [{"metadatavalues": [], "data": data}]})
        return shown

    def _samples(self, rows: Sequence[Row], parameters: _Parameters, late: Sequence[Fault]) -> Iterable[Samples]:
        """The samples of all rows for each metric: those that are kept, have happened by now, and are not late."""
        now = int(self._now().timestamp())
        grain = parameters.grain
        starts = np.arange(parameters.start // grain * grain, parameters.end, grain, dtype=np.int64)
        times = np.arange(
            max(parameters.start // grain * grain, now - KEPT), min(parameters.end, now - MINUTE + 1), dtype=np.int64
        )
        times = times[times % MINUTE == 0]
        alive = np.array([publishes(row) for row in rows], bool)
        created = np.array([_created(row) for row in rows], np.int64)
        for metric in parameters.metrics:
            keys = np.array([self._key(row, metric) for row in rows], np.uint64)
            values, seen = minutes([metric] * len(rows), keys, created, times)  # type: ignore[arg-type]
            seen = seen & alive[:, None]
            for fault in late:
                final = times + MINUTE + fault.seconds * chance(keys[:, None], times, 4) <= now
                if fault.mode == "low":
                    values = np.where(final, values, values * 0.5)
                else:
                    seen = seen & final
            aggregated = grains(times, values, seen, starts, grain)
            for n, row in enumerate(rows):
                self._replay(row, metric, n, aggregated, starts, grain, now)
            yield aggregated

    def _replay(
        self, row: Row, metric: LabMetric, n: int, aggregated: Samples, starts: Whole, grain: int, now: int
    ) -> None:
        """Put recorded values in the place of generated ones."""
        for replay in self._world.replay:
            if replay.metric != metric.name or replay.resource.lower() not in {row["name"].lower(), row["id"].lower()}:
                continue
            times, values = self._recorded(replay.file, replay.shift_seconds, replay.ends_at)
            past = times <= now
            mine = grains(times[past], values[past][None, :], np.ones((1, past.sum()), bool), starts, grain)
            for name in ("total", "least", "most", "count"):
                getattr(aggregated, name)[n] = getattr(mine, name)[0]

    def _key(self, row: Row, metric: LabMetric) -> int:
        place = (row["id"], metric.name)
        if place not in self._keys:
            self._keys[place] = digest(self._seed, row["id"], metric.name)
        return self._keys[place]


def _created(row: Row) -> int:
    """The second from which on there are points under a row's id: those of one of the same name before it remain."""
    if row.get("replaces"):
        return int(row["replaces"].timestamp())
    text = row["properties"].get("timeCreated") or row["properties"].get("creationDate")
    return int(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp()) if text else 0


def _metric(resource_id: str, metric: LabMetric) -> dict[str, Any]:
    return {
        "id": f"{resource_id}/providers/Microsoft.Insights/metrics/{metric.name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": metric.name, "localizedValue": metric.name},
        "displayDescription": metric.name,
        "unit": metric.unit,
        "errorCode": "Success",
    }


def _together(series: Sequence[Sequence[dict[str, Any]]], aggregations: Sequence[str]) -> dict[str, Any]:
    """Aggregate several series into one, as an answer shows them where no filter splits them."""
    of = {"total": sum, "count": sum, "maximum": max, "minimum": min, "average": lambda all_: sum(all_) / len(all_)}
    data = []
    for points in zip(*series, strict=True):
        point = {"timeStamp": points[0]["timeStamp"]}
        for aggregation in aggregations:
            if values := [each[aggregation] for each in points if aggregation in each]:
                point[aggregation] = of[aggregation](values)  # type: ignore[operator]
        data.append(point)
    return {"metadatavalues": [], "data": data}


def _cut(values: list[dict[str, Any]], fault: Fault) -> list[dict[str, Any]]:
    """Leave out every n-th resource; or, where the fault names an errorCode, give that for its metrics instead."""
    if not fault.mode:
        return [value for n, value in enumerate(values, 1) if n % fault.every]
    for value in values[:: fault.every]:
        for metric in value["value"]:
            metric |= {"timeseries": [], "errorCode": fault.mode, "errorMessage": "The metric could not be read."}
    return values


def _span(texts: Sequence[str]) -> tuple[int, int]:
    try:
        start, end = (datetime.fromisoformat(text).astimezone(UTC) for text in texts)
    except ValueError as error:
        raise MonitorError(400, "BadRequest", f"Invalid time span {texts}.") from error
    if start >= end:
        raise MonitorError(400, "BadRequest", "The start must be before the end.")
    return int(start.timestamp()), int(end.timestamp())


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
