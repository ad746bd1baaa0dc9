"""CloudWatch: GetMetricData, GetMetricStatistics and ListMetrics, with the limits that the real ones have.

Moto needs 81 s for 2,100 series and knows no limits. Here all series of a request are computed as one matrix.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from optiinfra_dagster.lab.aws.kind import Dimensions
from optiinfra_dagster.lab.aws.metrics import Points, Series, generate, series_of
from optiinfra_dagster.lab.aws.wire import AwsError, Call
from optiinfra_dagster.lab.faults import Action, Fault
from optiinfra_dagster.lab.series import DAY, RecordedPoints, chance, recorded_points
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region
    from optiinfra_dagster.lab.aws.world import Replay

MAX_QUERIES = 500
MAX_POINTS = 100_800
MAX_DATAPOINTS = 1440  # of GetMetricStatistics
RETENTION = ((60, 3 * 3600), (300, 15 * DAY), (3600, 63 * DAY), (2**40, 455 * DAY))  # (periods below, kept seconds)
_STATISTIC = re.compile(r"Average|Sum|Minimum|Maximum|SampleCount|p(100|\d{1,2}(\.\d{1,10})?)")
_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")
MOST_SAMPLES = 500_000  # computed at once
Key = tuple[str, str, Dimensions]
Row = RecordedPoints  # what an answer holds of a question: times ascending, values
Cursor = tuple[int, int]  # (time, number of the question) of a page's first point
NOTHING: Row = (np.empty(0, np.int64), np.empty(0))


class Metrics:
    """Every series of one region of one account, found by what names it in a question."""

    def __init__(self, region: Region, replays: Iterable[Replay]) -> None:
        self._region = region
        self._replays = list(replays)
        self._resources: dict[str, list[LabResource]] = {}
        for resource in region.all:
            self._resources.setdefault(resource.id, []).append(resource)
        self._series: dict[Key, Series] = {}
        self._known: set[str] = set()
        self._lock = Lock()

    def find(self, namespace: str, metric: str, dimensions: Dimensions) -> Series | None:
        """The series of exactly these dimensions (sorted pairs), or None: every series names its resource by id."""
        for _, identifier in dimensions:
            if identifier not in self._known:
                self._learn(identifier)
        return self._series.get((namespace, metric, dimensions))

    def _learn(self, identifier: str) -> None:
        with self._lock:
            for resource in self._resources.get(identifier, []):
                for series in self.of(resource):
                    self._series[series.metric.namespace, series.metric.name, series.dimensions] = series
            if identifier in self._resources:
                self._known.add(identifier)

    def of(self, resource: LabResource) -> Iterable[Series]:
        """The series of one resource, the recorded ones among them."""
        for series in series_of(resource):
            replay = next((r for r in self._replays if _replaces(r, series)), None)
            yield series if replay is None else dataclasses.replace(series, recorded=_recorded(replay))

    @property
    def all(self) -> Iterable[Series]:
        """Every series, resource by resource."""
        for resource in self._region.all:
            yield from self.of(resource)


def _replaces(replay: Replay, series: Series) -> bool:
    named = replay.resource in {series.resource.id, series.resource.name}
    return named and (replay.namespace, replay.metric) == (series.metric.namespace, series.metric.name)


def _recorded(replay: Replay) -> Row:
    """The times and values of a recorded series, shifted; the values of equal times are averaged."""
    return recorded_points(replay.file, replay.shift_seconds, replay.ends_at)


@dataclass(slots=True)
class _Question:
    """A valid MetricDataQuery."""

    id: str
    label: str
    key: Key
    series: Series | None
    statistic: str
    period: int


class CloudWatch:
    """The metrics of a world's accounts. `now` is the lab's clock: there are no points after it."""

    def __init__(self, estate: Estate, now: Callable[[], datetime]) -> None:
        self._estate, self._now = estate, now
        self._metrics: dict[tuple[str, str], Metrics] = {}
        self._lock = Lock()

    def metrics(self, account: str, region: str) -> Metrics:
        """The series of one region of one account."""
        with self._lock:
            metrics = self._metrics.get((account, region))
            if metrics is None:
                place = self._estate.region(account, region)
                metrics = self._metrics[account, region] = Metrics(place, self._estate.world.aws.replay)
            return metrics

    def expected_points(  # noqa: PLR0913 - what names a series, and what is asked of it
        self,
        account: str,
        region: str,
        resource: str,
        namespace: str,
        metric: str,
        *,
        statistic: str,
        period: int,
        start: datetime,
        end: datetime,
        narrowed_to: str = "",
    ) -> dict[datetime, float]:
        """The points that GetMetricData must give in all its pages, by time: the ground truth of tests.

        `resource` is an id, name or ARN; `narrowed_to` one more dimension (`path=/`), where several series have the
        name. Faults play no part. Empty where the resource does not publish the metric.
        """
        wanted = {tuple(narrowed_to.split("="))} if narrowed_to else set()
        place = self._estate.region(account, region)
        series = next(
            (
                each
                for (_, name), candidate in place.by_name.items()
                if name == resource
                for each in self.metrics(account, region).of(candidate)
                if (each.metric.namespace, each.metric.name) == (namespace, metric) and wanted <= set(each.dimensions)
            ),
            None,
        )
        question = _Question("q", "", (namespace, metric, ()), series, statistic, period)
        first, last, now = (int(time.timestamp()) for time in (start, end, self._now()))
        [(times, values)] = _Page([question], first, min(last, now), now, 2**62, [], backwards=False).read(None)[0]
        return {
            datetime.fromtimestamp(time, UTC): value
            for time, value in zip(times.tolist(), values.tolist(), strict=True)
        }

    # --- ListMetrics --------------------------------------------------------------------------------------------------

    def list_metrics(self, call: Call) -> dict[str, Any]:
        """ListMetrics: 500 a page; dimensions filter by name, and by value where one is given."""
        wanted = [(dimension["Name"], dimension.get("Value")) for dimension in call.params.get("Dimensions") or []]
        matching = [
            series
            for series in self.metrics(call.account, call.region).all
            if call.params.get("Namespace") in {None, series.metric.namespace}
            and call.params.get("MetricName") in {None, series.metric.name}
            and all(any(name == n and value in {None, v} for n, v in series.dimensions) for name, value in wanted)
        ]
        start = (call.page - 1) * 500
        more = {"NextToken": f"{call.page + 1}.list"} if start + 500 < len(matching) else {}
        return {"Metrics": [_shown(series) for series in matching[start : start + 500]], **more}

    # --- GetMetricData ------------------------------------------------------------------------------------------------

    def get_metric_data(self, call: Call) -> dict[str, Any]:
        """GetMetricData: one page of points, ids that are not finished carrying `PartialData`."""
        questions = self._read(call)
        statistics: dict[Key, set[str]] = {}
        for question in questions:
            statistics.setdefault(question.key, set()).add(question.statistic)
        call.billed = sum(-(-len(names) // 5) for names in statistics.values())  # up to 5 statistics are one metric

        now = int(self._now().timestamp())
        start, end = _time(call, "StartTime"), _time(call, "EndTime")
        if start >= end:
            raise _invalid("The parameter StartTime must be less than the parameter EndTime.")
        age = now - start
        start = start // (unit := 60 if age < 15 * DAY else 300 if age < 63 * DAY else 3600) * unit
        limit = int(call.params.get("MaxDatapoints") or MAX_POINTS)
        if not 1 <= limit <= MAX_POINTS:
            raise _invalid(f"The value {limit} for parameter MaxDatapoints must be between 1 and {MAX_POINTS}.")
        backwards = call.params.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        late = [fault for fault in call.faults if fault.action is Action.LATE]
        rows, more = _Page(questions, start, min(end, now), now, limit, late, backwards=backwards).read(_token(call))
        status = "Complete" if more is None else "PartialData"
        step = -1 if backwards else 1
        results = [
            {
                "Id": question.id,
                "Label": question.label,
                "Timestamps": times[::step].tolist(),
                "Values": values[::step].tolist(),
                "StatusCode": status,
            }
            for question, (times, values) in zip(questions, rows, strict=True)
        ]
        for fault in call.faults:
            if fault.action is Action.PARTIAL:
                _cut(results, fault)
                more = None
        answer: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
        if more is not None:
            answer["NextToken"] = f"{call.page + 1}.{more[0]}.{more[1]}.{_fingerprint(call)}"
        return answer

    # --- GetMetricStatistics ------------------------------------------------------------------------------------------

    def get_metric_statistics(self, call: Call) -> dict[str, Any]:
        """GetMetricStatistics: the older call, for one metric; nothing is billed within the free million a month."""
        metrics, period = self.metrics(call.account, call.region), int(call.params["Period"])
        statistics = [*(call.params.get("Statistics") or []), *(call.params.get("ExtendedStatistics") or [])]
        named = {name: call.params.get(name) for name in ("Namespace", "MetricName", "Dimensions")}
        stats = [{"Metric": named, "Period": period, "Stat": stat} for stat in statistics]
        questions = [
            _question({"Id": f"s{n}", "MetricStat": stat}, "Statistics", metrics) for n, stat in enumerate(stats)
        ]
        now, start, end = int(self._now().timestamp()), _time(call, "StartTime"), _time(call, "EndTime")
        if (end - start) // period > MAX_DATAPOINTS:
            raise _invalid(f"You have requested more than the limit of {MAX_DATAPOINTS} datapoints.")
        late = [fault for fault in call.faults if fault.action is Action.LATE]
        rows, _ = _Page(questions, start, min(end, now), now, 2**62, late, backwards=False).read(None)
        datapoints: dict[int, dict[str, Any]] = {}
        for statistic, (times, values) in zip(statistics, rows, strict=True):
            for time, value in zip(times.tolist(), values.tolist(), strict=True):
                point = datapoints.setdefault(time, {"Timestamp": datetime.fromtimestamp(time, UTC)})
                place = (
                    point
                    if statistic in (call.params.get("Statistics") or [])
                    else point.setdefault("ExtendedStatistics", {})
                )
                place[statistic] = value
        return {"Label": named["MetricName"], "Datapoints": list(datapoints.values())}

    def _read(self, call: Call) -> list[_Question]:
        """The questions of a call whose answers are wanted. Raises `AwsError` for one that AWS would refuse."""
        queries = call.params.get("MetricDataQueries") or []
        if not queries:
            raise _invalid("The parameter MetricDataQueries is required.", "MissingParameter")
        if len(queries) > MAX_QUERIES:
            raise _invalid(f"The collection MetricDataQueries must not have a size greater than {MAX_QUERIES}.")
        if len({query["Id"] for query in queries}) < len(queries):
            raise _invalid("The values for parameter id in MetricDataQueries are not unique.")
        metrics = self.metrics(call.account, call.region)
        questions = [_question(query, f"MetricDataQueries.member.{n}", metrics) for n, query in enumerate(queries, 1)]
        hidden = {query["Id"] for query in queries if query.get("ReturnData") in {False, "false"}}
        return [question for question in questions if question.id not in hidden]


def _question(query: dict[str, Any], where: str, metrics: Metrics) -> _Question:
    if "MetricStat" not in query or query.get("Expression"):
        raise _invalid(f"{where}: the cloud lab knows MetricStat only, no expressions.")
    stat, metric = query["MetricStat"], query["MetricStat"]["Metric"]
    period, statistic = int(stat["Period"]), stat["Stat"]
    if not _ID.fullmatch(query["Id"]):
        raise _invalid(f"The value {query['Id']} for parameter {where}.Id is not matching the expected pattern.")
    if period not in {1, 5, 10, 20, 30} and (period < 60 or period % 60):
        raise _invalid(f"The parameter {where}.MetricStat.Period must be a multiple of 60.")
    if not _STATISTIC.fullmatch(statistic):
        raise _invalid(f"The value {statistic} for parameter {where}.MetricStat.Stat is not supported.")
    dimensions = tuple(sorted((dimension["Name"], dimension["Value"]) for dimension in metric.get("Dimensions") or []))
    series = metrics.find(metric["Namespace"], metric["MetricName"], dimensions)
    if series is not None and stat.get("Unit") not in {None, series.metric.unit}:
        series = None
    key = (metric["Namespace"], metric["MetricName"], dimensions)
    return _Question(query["Id"], query.get("Label") or metric["MetricName"], key, series, statistic, period)


def _time(call: Call, name: str) -> int:
    value = call.params.get(name)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return int(value.timestamp() if isinstance(value, datetime) else value or 0)


def _invalid(message: str, code: str = "ValidationError") -> AwsError:
    return AwsError(400, code, message)


def _fingerprint(call: Call) -> int:
    return digest({key: value for key, value in call.params.items() if key != "NextToken"})


def _token(call: Call) -> Cursor | None:
    """The first point of the page that a token asks for, by time and question; None for the first page."""
    if not call.params.get("NextToken"):
        return None
    parts = str(call.params["NextToken"]).split(".")
    if len(parts) != 4 or not all(part.lstrip("-").isdigit() for part in parts) or int(parts[3]) != _fingerprint(call):
        raise AwsError(400, "InvalidNextToken", "The token is not valid for this request.")
    return int(parts[1]), int(parts[2])


def _shown(series: Series) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in series.dimensions]
    return {"Namespace": series.metric.namespace, "MetricName": series.metric.name, "Dimensions": dimensions}


def _cut(results: list[dict[str, Any]], fault: Fault) -> None:
    """Shorten every n-th result by half, as CloudWatch does when it could not read everything."""
    for result in results[:: fault.every]:
        half = len(result["Values"]) // 2
        result |= {"Values": result["Values"][:half], "Timestamps": result["Timestamps"][:half]}
        result["StatusCode"] = fault.mode or "PartialData"


class _Page:
    """Reads points in the order (time, question) until the page is full."""

    def __init__(
        self,
        questions: Sequence[_Question],
        start: int,
        end: int,
        now: int,
        limit: int,
        late: list[Fault],
        *,
        backwards: bool,
    ) -> None:
        self.questions, self.start, self.end, self.now = questions, start, end, now
        self.limit, self.backwards, self.late = limit, backwards, late

    def read(self, cursor: Cursor | None) -> tuple[list[Row], Cursor | None]:
        """The points of each question, oldest first, and where the next page begins, if there is one."""
        series = [
            (question.period, question.series.metric.period) for question in self.questions if question.series
        ] or [(60, 60)]
        rate, native_rate = sum(1 / max(pair) for pair in series), sum(1 / native for _, native in series)
        span = int(min(self.limit / rate, MOST_SAMPLES / native_rate)) + max(map(max, series))
        pieces_of: list[list[Row]] = [[] for _ in self.questions]
        total, low, high = 0, self.start, self.end
        if cursor is not None:
            low, high = (low, min(high, cursor[0] + 1)) if self.backwards else (max(low, cursor[0]), high)
        while low < high and total <= self.limit:
            first, last = (max(low, high - span), high) if self.backwards else (low, min(high, low + span))
            for n, row in enumerate(self._between(first, last)):
                piece = row if cursor is None else self._split(cursor, n, row)[1]
                total += len(piece[0])
                pieces_of[n].append(piece)
            low, high = (low, first) if self.backwards else (last, high)
        rows = [self._joined(pieces) for pieces in pieces_of]
        if total <= self.limit:
            return rows, None
        cursor = self._cursor(rows)
        return [self._split(cursor, n, row)[0] for n, row in enumerate(rows)], cursor

    def _joined(self, pieces: list[Row]) -> Row:
        if len(pieces) < 2:
            return pieces[0] if pieces else NOTHING
        ordered = pieces[::-1] if self.backwards else pieces
        return np.concatenate([times for times, _ in ordered]), np.concatenate([values for _, values in ordered])

    def _cursor(self, rows: list[Row]) -> Cursor:
        """The first point that the page has no room for."""
        times = np.concatenate([times for times, _ in rows])
        numbers = np.repeat(np.arange(len(rows)), [len(times) for times, _ in rows])
        last = np.lexsort((numbers, -times if self.backwards else times))[self.limit]
        return int(times[last]), int(numbers[last])

    def _split(self, cursor: Cursor, n: int, row: Row) -> tuple[Row, Row]:
        """The points of question n before the cursor, and those from it on, in the order of the scan."""
        times, values = row
        earlier = n < cursor[1]
        at = int(np.searchsorted(times, cursor[0], side="right" if earlier != self.backwards else "left"))
        lower, upper = (times[:at], values[:at]), (times[at:], values[at:])
        return (upper, lower) if self.backwards else (lower, upper)

    def _between(self, low: int, high: int) -> list[Row]:
        """The points of each question whose periods start in [low, high)."""
        rows: list[Row] = [NOTHING] * len(self.questions)
        alike: dict[object, list[int]] = {}
        for n, question in enumerate(self.questions):
            if question.series is not None:
                place = question.series if question.series.recorded else question.series.metric.period
                alike.setdefault((place, question.period), []).append(n)
        for numbers in alike.values():
            alike_questions = [self.questions[n] for n in numbers]
            series = list({question.key: question.series for question in alike_questions if question.series}.values())
            points = self._points(series, alike_questions[0].period, low, high)
            position = {id(each): n for n, each in enumerate(series)}
            seen = points.count > 0
            complete = bool(seen.all())
            values = {name: points.statistic(name) for name in {question.statistic for question in alike_questions}}
            for n, question in zip(numbers, alike_questions, strict=True):
                at = position[id(question.series)]
                row = values[question.statistic][at]
                rows[n] = (points.times, row) if complete else (points.times[seen[at]], row[seen[at]])
        return rows

    def _points(self, series: list[Series], period: int, low: int, high: int) -> Points:
        """The points of like series: what is kept for this period, has happened by now, and is not late."""
        low = max(low, self.now - next(kept for finest, kept in RETENTION if period < finest))
        native, recorded = series[0].metric.period, series[0].recorded
        if recorded is None or period > native:
            low, high = -(-low // period) * period, -(-high // period) * period
        high = min(high, self.now + 1 - native)
        if recorded is None:
            points = generate(series, np.arange(-(-low // native) * native, high, native, dtype=np.int64))
        else:
            here = (recorded[0] >= low) & (recorded[0] < high)
            values = recorded[1][here][None, :]
            points = Points(recorded[0][here], values, values, values, np.ones_like(values))
        for fault in self.late:
            keys = np.array([each.key for each in series], np.uint64)[:, None]
            final = points.times + native + fault.seconds * chance(keys, points.times, 4) <= self.now
            points = points.scaled(final, 0.5) if fault.mode == "low" else points.only(final)
        return points if recorded is not None and period <= native else points.folded(period)
