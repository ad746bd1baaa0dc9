"""Cloud Monitoring on a port of its own: time series and metric descriptors over gRPC, with Google's own messages.

Series are aligned and reduced here as Google does it, from the samples of each one. What is imported for that takes
most of a second, so this module is imported by a lab that is started and has a project.
"""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.api.metric_pb2 import MetricDescriptor  # type: ignore[import-untyped]
from google.cloud.monitoring_v3 import types
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc_status import rpc_status  # type: ignore[import-untyped]

from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.gcp.aggregation import PERCENTILES, AlignedSeries, ReducedSeries, label_of, mean, percentile
from optiinfra_dagster.lab.gcp.errors import GcpError
from optiinfra_dagster.lab.gcp.kind import AGENT
from optiinfra_dagster.lab.gcp.metrics import SAMPLE, Raw
from optiinfra_dagster.lab.gcp.services import BY_TYPE, PUBLISHED
from optiinfra_dagster.lab.series import chance, recorded_points
from optiinfra_dagster.lab.service import ApiCall, meet
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.gcp.estate import GcpEstate
    from optiinfra_dagster.lab.gcp.kind import LabAsset, LabMetric
    from optiinfra_dagster.lab.world import World

_API = "monitoring.googleapis.com"
_SERVICE = "google.monitoring.v3.MetricService"
_MOST_POINTS = 100_000  # of a page (ListTimeSeriesRequest.page_size)

TimeSeries: Any = types.TimeSeries.pb()
SeriesRequest: Any = types.ListTimeSeriesRequest.pb()
SeriesResponse: Any = types.ListTimeSeriesResponse.pb()
DescriptorsRequest: Any = types.ListMetricDescriptorsRequest.pb()
DescriptorsResponse: Any = types.ListMetricDescriptorsResponse.pb()
Aligner, Reducer = types.Aggregation.Aligner, types.Aggregation.Reducer

# What each aligner takes, as (metric kinds, value types) (Aggregation.Aligner); those that the lab knows.
_NUMBERS = {"INT64", "DOUBLE"}
_ALIGNERS: dict[str, tuple[set[str], set[str]]] = {
    "ALIGN_MEAN": ({"GAUGE", "DELTA"}, _NUMBERS),
    "ALIGN_MAX": ({"GAUGE", "DELTA"}, _NUMBERS),
    "ALIGN_SUM": ({"GAUGE", "DELTA"}, _NUMBERS | {"DISTRIBUTION"}),
    "ALIGN_RATE": ({"CUMULATIVE", "DELTA"}, _NUMBERS),
    "ALIGN_DELTA": ({"CUMULATIVE", "DELTA"}, _NUMBERS | {"DISTRIBUTION"}),
    "ALIGN_FRACTION_TRUE": ({"GAUGE"}, {"BOOL"}),
}
_REDUCERS = {"REDUCE_NONE", "REDUCE_MEAN", "REDUCE_SUM", "REDUCE_MAX", *PERCENTILES}

_DENIED = "Permission monitoring.timeSeries.list denied (or the resource may not exist)."
# Fault -> HTTP status, code, what Google says, reason of google.rpc.ErrorInfo.
_ERRORS: dict[Action, tuple[int, str, str, str]] = {
    Action.THROTTLE: (
        429,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded for quota metric 'Time series queries' and limit 'Time series queries per minute'.",
        "RATE_LIMIT_EXCEEDED",
    ),
    Action.DENY: (403, "PERMISSION_DENIED", _DENIED, ""),
    Action.UNAVAILABLE: (503, "UNAVAILABLE", "The service is currently unavailable.", ""),
    Action.EXPIRED: (
        401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "ACCESS_TOKEN_EXPIRED"
    ),
    Action.UNKNOWN_KEY: (
        401, "UNAUTHENTICATED", "Request is missing required authentication credential.", "CREDENTIALS_MISSING"
    ),
    Action.OPTIN_REQUIRED: (
        403,
        "PERMISSION_DENIED",
        "Cloud Monitoring API has not been used in this project before or it is disabled.",
        "SERVICE_DISABLED",
    ),
}  # fmt: skip
_INTERNAL = (500, "INTERNAL", "Internal error encountered.", "")


def _refusal(_call: ApiCall, fault: Fault) -> GcpError | None:
    left_to_the_answer = fault.action in {Action.PARTIAL, Action.LATE}
    return None if left_to_the_answer else GcpError(*_ERRORS.get(fault.action, _INTERNAL))


def _invalid(message: str) -> GcpError:
    return GcpError(400, "INVALID_ARGUMENT", message)


# --- Filters --------------------------------------------------------------------------------------------------------

_TERM = re.compile(r'([\w.]+)\s*=\s*(?:"([^"]*)"|one_of\(([^)]*)\))')


def _terms(text: str) -> dict[str, set[str]]:
    """A filter of terms joined by AND, as selector -> the values that are meant."""
    terms: dict[str, set[str]] = {}
    for part in text.split(" AND "):
        match = _TERM.fullmatch(part.strip())
        if match is None or match[1] in terms:
            raise _invalid(f"The cloud lab cannot read {part!r} in the supplied filter.")
        terms[match[1]] = {match[2]} if match[3] is None else set(re.findall(r'"([^"]*)"', match[3]))
    return terms


# --- The service ----------------------------------------------------------------------------------------------------


class GcpMonitoring:
    """Cloud Monitoring for every project of a world. `now` is its clock: no sample that came later is shown.

    Nobody is asked for a credential: none may be sent over plain http. Hangs (a fault's delay) end with the lab. With
    `doubles`, each series of a page comes twice, as real ones sometimes do.
    """

    def __init__(
        self, world: World, estate: GcpEstate, faults: FaultBook, log: CallLog, now: Callable[[], datetime]
    ) -> None:
        self._world, self._estate, self._faults, self._log, self._now = world, estate, faults, log, now
        self.doubles = False
        self._raw: dict[tuple[str, str], Raw] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="lab-monitoring")
        self._server = grpc.server(self._pool, options=[("grpc.max_send_message_length", -1)])
        handlers = {
            "ListTimeSeries": grpc.unary_unary_rpc_method_handler(
                self._list_time_series, SeriesRequest.FromString, SeriesResponse.SerializeToString
            ),
            "ListMetricDescriptors": grpc.unary_unary_rpc_method_handler(
                self._list_descriptors, DescriptorsRequest.FromString, DescriptorsResponse.SerializeToString
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def url(self) -> str:
        """The address that it listens on, as a customers file names it."""
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """Stop serving, and end all calls."""
        self._stopped.set()
        self._server.stop(None).wait()
        self._pool.shutdown(wait=False)

    def raw(self, project: str, metric: LabMetric) -> Raw:
        """The series of one metric in one project, kept once made."""
        with self._lock:
            if (project, metric.type) not in self._raw:
                recorded = {
                    replay.resource: recorded_points(replay.file, replay.shift_seconds, replay.ends_at)
                    for replay in self._world.gcp.replay
                    if replay.metric == metric.type
                }
                self._raw[project, metric.type] = Raw.of(metric, self._estate.ever(project, metric.kind), recorded)
            return self._raw[project, metric.type]

    def _list_time_series(self, request: Any, context: Any) -> Any:
        page = request.page_token.partition(".")[0]
        number = int(page) if page.isdigit() else 1
        call = ApiCall(service="monitoring", operation="ListTimeSeries", account=_project(request.name), page=number)
        return self._answer(call, context, lambda: self._page(call, request))

    def _list_descriptors(self, request: Any, context: Any) -> Any:
        call = ApiCall(service="monitoring", operation="ListMetricDescriptors", account=_project(request.name))
        return self._answer(call, context, lambda: self._descriptors(call.account, request))

    def _answer(self, call: ApiCall, context: Any, answer: Callable[[], Any]) -> Any:
        status = 200
        result: Any = None
        try:
            if not meet(call, self._faults.for_call(call), _refusal, self._stopped.wait):
                raise GcpError(0, "UNAVAILABLE", "Socket closed")  # the end of a connection, as gRPC tells it
            if call.account not in self._estate.projects:
                raise GcpError(403, "PERMISSION_DENIED", _DENIED)
            result = answer()
            call.billed = len(getattr(result, "time_series", ()))
        except GcpError as refusal:
            status = refusal.status
            context.abort_with_status(rpc_status.to_status(_status(refusal, call)))
        except Exception as bug:  # noqa: BLE001 - told to the caller
            traceback.print_exc()
            status = 400
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"bug of the cloud lab: {bug!r}")
        finally:
            self._log.note(call.counted_as(status), call.billed)
        return result

    # --- Descriptors ----------------------------------------------------------------------------------------------

    def _descriptors(self, project: str, request: Any) -> Any:
        wanted = _terms(request.filter).get("metric.type", set()) if request.filter else set(BY_TYPE)
        answer = DescriptorsResponse()
        for metric in PUBLISHED:
            if metric.type in wanted and self._known(project, metric):
                descriptor = answer.metric_descriptors.add(
                    name=f"projects/{project}/metricDescriptors/{metric.type}",
                    type=metric.type,
                    metric_kind=MetricDescriptor.MetricKind.Value(metric.metric_kind),
                    value_type=MetricDescriptor.ValueType.Value(metric.value_type),
                    monitored_resource_types=metric.resource.split(),
                )
                descriptor.metadata.sample_period.seconds = SAMPLE
                descriptor.metadata.ingest_delay.seconds = metric.delay
        return answer

    def _known(self, project: str, metric: LabMetric) -> bool:
        """True for a metric that the project has: an agent's once one wrote it, Google's own always."""
        return not metric.type.startswith(AGENT) or bool(self.raw(project, metric).labels)

    # --- Time series ----------------------------------------------------------------------------------------------

    def _page(self, call: ApiCall, request: Any) -> Any:
        terms = _terms(request.filter)
        metric = self._metric(call.account, terms)
        aggregation = request.aggregation
        aligner, reducer = _checked(aggregation, metric)
        start, end = request.interval.start_time.seconds, request.interval.end_time.seconds
        if not 0 < start < end:
            raise _invalid("Field interval.start_time must be before interval.end_time.")
        if terms.get("project", {call.account}) != {call.account}:
            return SeriesResponse()  # the lab's projects see no metrics of each other
        raw = self.raw(call.account, metric)
        raw = raw.only([row for row in range(len(raw.labels)) if _matches(raw, row, terms)])
        period = aggregation.alignment_period.seconds
        aligned = self._aligned(raw, aligner, start, end, period, call.faults)
        reduced = ReducedSeries.of(raw, aligned, reducer, list(aggregation.group_by_fields))
        mark = f"{digest(request.filter, str(request.interval), str(aggregation)):x}"
        offset = _offset(request.page_token, mark)
        size = min(request.page_size or _MOST_POINTS, _MOST_POINTS)
        answer = SeriesResponse()
        headers = request.view == types.ListTimeSeriesRequest.TimeSeriesView.HEADERS
        more = reduced.write(answer, metric, offset, size, headers=headers)
        if self.doubles:
            answer.time_series.extend(list(answer.time_series))
        for fault in call.faults:
            if fault.action is Action.PARTIAL:
                del answer.time_series[:: fault.every]
                answer.execution_errors.add(code=14, message=fault.mode or "some shards did not answer")
        if more:
            answer.next_page_token = f"{call.page + 1}.{offset + size}.{mark}"
        return answer

    def _metric(self, project: str, terms: dict[str, set[str]]) -> LabMetric:
        named = terms.get("metric.type", set())
        if len(named) != 1:
            raise _invalid("The provided filter must specify a single metric. Time series data are limited to one.")
        metric = BY_TYPE.get(next(iter(named)))
        if metric is None or not self._known(project, metric):
            text = f'Cannot find metric(s) that match type = "{next(iter(named))}". If a metric was created recently, '
            raise GcpError(404, "NOT_FOUND", text + "it could take up to 10 minutes to become available.")
        return metric

    def _aligned(
        self, raw: Raw, aligner: str, start: int, end: int, period: int, faults: Sequence[Fault]
    ) -> AlignedSeries:
        """Bring every series to one value for each period; periods end at the end of the interval, and before."""
        first = end - (end - start) // period * period
        minutes = np.arange(first // SAMPLE * SAMPLE, end, SAMPLE, dtype=np.int64)
        minutes = minutes[(minutes + SAMPLE > first) & (minutes + SAMPLE <= end)]
        ends = minutes + SAMPLE
        values, there = raw.samples(minutes)
        now = int(self._now().timestamp())
        there &= ends + raw.metric.delay <= now
        for fault in faults:
            if fault.action is Action.LATE:
                late = ends + raw.metric.delay + fault.seconds * chance(raw.keys[:, None], minutes, 4)
                if fault.mode == "low":
                    values = np.where(late <= now, values, values * 0.5)
                else:
                    there &= late <= now
        period_ends = first + -(-(ends - first) // period) * period
        starts = np.flatnonzero(np.diff(period_ends, prepend=-1))
        return AlignedSeries.of(raw, aligner, period, period_ends[starts], starts, values, there)

    # --- Truth ----------------------------------------------------------------------------------------------------

    def expected(
        self,
        project: str,
        asset: LabAsset,
        metric_type: str,
        statistic: str,
        start: datetime,
        end: datetime,
        where: str = "",
    ) -> dict[int, float]:
        """The ground truth of tests: a statistic of a resource's metric, by the start of each 5 minutes.

        `statistic` is an aligner of numbers (reduced by its own kind) or a percentile's reducer; `where` a filter on
        labels. Worked out sample by sample, without what serves the calls; faults and delays play no part.
        """
        raw, terms = self.raw(project, BY_TYPE[metric_type]), _terms(where) if where else {}
        rows = [n for n, owner in enumerate(raw.assets) if owner is asset and _matches(raw, n, terms)]
        minutes = np.arange(int(start.timestamp()), int(end.timestamp()), SAMPLE, dtype=np.int64)
        values, there = raw.samples(minutes)
        buckets = raw.buckets(values) if raw.metric.value_type == "DISTRIBUTION" else None
        expected: dict[int, float] = {}
        for moment in range(int(start.timestamp()), int(end.timestamp()), 300):
            columns = [n for n, minute in enumerate(minutes) if moment <= minute < moment + 300]
            samples = {row: [float(values[row, n]) for n in columns if there[row, n]] for row in rows}
            series = list(filter(None, samples.values()))
            if not series:
                continue
            if buckets is not None:
                union = [sum(buckets[row, n] for row in rows for n in columns if there[row, n])]
                of_all = np.array(union)
                value = mean(of_all) if statistic == "REDUCE_MEAN" else percentile(of_all, PERCENTILES[statistic])
                expected[moment] = float(value[0]) * raw.metric.value_unit
            elif statistic == "ALIGN_RATE":
                expected[moment] = sum(map(sum, series)) / 300
            elif statistic == "REDUCE_SUM":
                expected[moment] = sum(sum(row) / len(row) for row in series)
            elif statistic == "ALIGN_SUM":
                expected[moment] = sum(map(sum, series))
            elif statistic == "ALIGN_MAX":
                expected[moment] = max(map(max, series))
            else:
                expected[moment] = sum(sum(row) / len(row) for row in series) / len(series)
        return {moment: value for moment, value in expected.items() if not np.isnan(value)}


def _project(name: str) -> str:
    return name.removeprefix("projects/")


def _status(refusal: GcpError, call: ApiCall) -> Status:
    status = Status(code=grpc.StatusCode[refusal.code].value[0], message=refusal.message)
    if refusal.reason:
        info = ErrorInfo(reason=refusal.reason, domain="googleapis.com")
        info.metadata.update({"service": _API, "consumer": f"projects/{call.account}"})
        detail = AnyMessage()
        detail.Pack(info)
        status.details.append(detail)
    return status


def _checked(aggregation: Any, metric: LabMetric) -> tuple[str, str]:
    """The aligner and reducer, if Google would let them at the metric."""
    aligner, reducer = Aligner(aggregation.per_series_aligner).name, Reducer(aggregation.cross_series_reducer).name
    if aligner == "ALIGN_NONE" and reducer != "REDUCE_NONE":
        raise _invalid("Field aggregation.perSeriesAligner must be set where there is a crossSeriesReducer.")
    if aligner == "ALIGN_NONE":  # raw samples are each a period of their own
        aggregation.alignment_period.seconds = SAMPLE
        aligner = {"GAUGE": "ALIGN_MEAN"}.get(metric.metric_kind, "ALIGN_DELTA")
        return ("ALIGN_FRACTION_TRUE" if metric.value_type == "BOOL" else aligner), reducer
    if aligner not in _ALIGNERS or reducer not in _REDUCERS:
        raise _invalid(f"The cloud lab does not know {aligner} with {reducer}.")
    kinds, value_types = _ALIGNERS[aligner]
    if metric.metric_kind not in kinds or metric.value_type not in value_types:
        raise _invalid(
            f"The aligner {aligner} cannot be applied to metrics with kind {metric.metric_kind} and value type "
            f"{metric.value_type}."
        )
    if aggregation.alignment_period.seconds < 60:
        raise _invalid("Field aggregation.alignmentPeriod must be at least 60 seconds.")
    if reducer in PERCENTILES and metric.value_type != "DISTRIBUTION":
        raise _invalid("The cloud lab reduces distributions to percentiles, no numbers.")
    if metric.value_type == "DISTRIBUTION" and reducer not in {"REDUCE_NONE", "REDUCE_MEAN", *PERCENTILES}:
        raise _invalid(f"The cloud lab does not reduce distributions by {reducer}.")
    return aligner, reducer


def _matches(raw: Raw, row: int, terms: dict[str, set[str]]) -> bool:
    """True for a series that meets the terms of a filter on its labels."""
    for selector, wanted in terms.items():
        if selector == "resource.type" and (raw.labels[row].of or raw.metric.resource) not in wanted:
            return False
        if selector.startswith(("metric.label", "resource.label")) and label_of(raw, row, selector) not in wanted:
            return False
    return True


def _offset(token: str, mark: str) -> int:
    if not token:
        return 0
    _, offset, marked = (*token.split("."), "", "", "")[:3]
    if not offset.isdigit() or marked != mark:
        raise _invalid("Field pageToken is invalid, or of a call with other parameters.")
    return int(offset)
