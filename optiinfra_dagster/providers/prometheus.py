"""A customer's Prometheus, or whatever answers like one (Mimir, Thanos, VictoriaMetrics): what agents told it.

The shapes are those of Prometheus' own document, "HTTP API": range queries.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpx

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.metrics import Series
from optiinfra_dagster.providers.vultr.client import certificates, is_loopback, read_whole, retry_after

if TYPE_CHECKING:
    from types import TracebackType

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.metrics import Metric, MetricsRequest
    from optiinfra_dagster.providers.vultr.account import VultrAccount

    Asked = Sequence[tuple[Sequence[Metric], Sequence[Resource]]]  # a pair for each kind

# All queries to one Prometheus in one collection, with all attempts and waits.
TOTAL_SECONDS = 60.0
REQUEST_SECONDS = 20.0
ATTEMPTS = 3
RETRY_SECONDS = 0.5

POINTS_PER_ANSWER = 11_000  # Prometheus refuses a query of more points in a series

# Labels that may name a machine, the surest first: its id, its address, its name. v-agent takes `vpsid` from Vultr's
# metadata, or from its configuration.
_LABELS = ("vultr_instance_id", "instance_id", "vpsid", "instance", "hostname")

_URL = "Check prometheus_url in the customers file"
_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.PERMISSION, "Check prometheus_token in the customers file"),
    403: (Cause.PERMISSION, "Check prometheus_token in the customers file"),
    404: (Cause.CONFIG, _URL),
    405: (Cause.CONFIG, _URL),
    429: (Cause.THROTTLED, LATER),
    **dict.fromkeys(range(300, 400), (Cause.CONFIG, _URL)),  # sent elsewhere: the token does not follow
    **dict.fromkeys(range(500, 600), (Cause.UNAVAILABLE, LATER)),
}


# A series of an answer: its labels, the starts of its periods since the epoch, and a value for each. Series without
# gaps share one list of starts.
Points = tuple[dict[str, Any], list[int], list[float]]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The answer to a range query; `warning` is what Prometheus says of one that is not whole."""

    series: list[Points]
    warning: str = ""


@dataclass(slots=True)
class Prometheus:
    """The way to one Prometheus, for one collection, which `seconds` bounds from the start."""

    base: str
    token: str
    deadline: float = field(default_factory=lambda: time.monotonic() + TOTAL_SECONDS)
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        """Make the connections ready; nothing is sent yet."""
        self._http = httpx.Client(
            headers={"Accept": "application/json", "User-Agent": "optiinfra"},
            verify=certificates(),
            trust_env=not is_loopback(self.host),  # no proxy shall see a token on its way to this same machine
        )

    def __enter__(self) -> Self:
        """Itself; the connections are closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def host(self) -> str:
        """What messages call it."""
        return urlsplit(self.base).hostname or ""

    def query_range(self, query: str, start: int, end: int, step: int, meter: Meter) -> Matrix:
        """The values of PromQL at `start`, and every `step` seconds after it, to `end` included.

        What PromQL tells at a moment is of the time before it: here it stands at the start of its `step`.

        Raises:
            CloudError: it was refused, or failed to the last attempt.
        """
        asked: dict[str, str | int] = {"query": query, "start": start, "end": end, "step": step}
        attempt = 0
        while True:
            attempt += 1
            wait: float | None = None
            try:
                status, wait, body = self._send(asked, meter)
            except httpx.HTTPError as error:  # only its type is told: the text may quote the token
                failure = self._failure(Cause.UNAVAILABLE, f"{type(error).__name__}. {LATER}")
            else:
                if status == 200:
                    return self._matrix(body, range(start - step, end, step))
                cause, remedy = _STATUSES.get(status, (Cause.BUG, LATER))
                failure = self._failure(cause, f"HTTP {status}{_said(body)}. {remedy}")
            if failure.cause not in {Cause.THROTTLED, Cause.UNAVAILABLE} or attempt == ATTEMPTS:
                raise failure
            wait = RETRY_SECONDS * 2 ** (attempt - 1) if wait is None else wait
            if time.monotonic() + wait >= self.deadline:
                raise failure
            time.sleep(wait)

    def _send(self, asked: Mapping[str, str | int], meter: Meter) -> tuple[int, float | None, bytes]:
        left = min(self.deadline - time.monotonic(), REQUEST_SECONDS)
        if left <= 0:
            raise httpx.PoolTimeout("no time is left")
        meter.count("query_range")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url, timeout = f"{self.base}/api/v1/query_range", httpx.Timeout(left, connect=min(left, 5))
        with self._http.stream("GET", url, params=dict(asked), headers=headers, timeout=timeout) as answer:
            body = read_whole(answer, time.monotonic() + left)
            return answer.status_code, retry_after(answer.headers.get("Retry-After")), body

    def _matrix(self, body: bytes, periods: range) -> Matrix:
        """Read an answer; of points, what is no finite number is left out."""
        starts, ends = list(periods), [start + periods.step for start in periods]

        def keep_numbers(found: dict[str, Any]) -> Any:
            # Done with each series as soon as it is read: 10,000 of them are 70,000 lists, which the garbage collector
            # would walk through again and again while the rest is read.
            values = found.get("values")
            return (dict(found["metric"]), *_points(values, starts, ends)) if isinstance(values, list) else found

        try:
            answer = json.loads(body, object_hook=keep_numbers)
            if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
                raise TypeError
            series = [one for one in answer["data"]["result"] if isinstance(one, tuple)]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise self._failure(Cause.BUG, f"the answer is not one of Prometheus. {_URL}") from None
        # What it only wants to remark on PromQL, some versions tell in the same place.
        warnings = [w for w in answer.get("warnings") or () if isinstance(w, str) and not w.startswith("PromQL")]
        return Matrix(series, self._hidden(_short(warnings[0])) if warnings else "")

    def _failure(self, cause: Cause, what: str) -> CloudError:
        return CloudError(cause, self._hidden(f"query_range of Prometheus at {self.host}: {what}"))

    def _hidden(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text


def _points(told: Sequence[Sequence[Any]], starts: list[int], ends: list[int]) -> tuple[list[int], list[float]]:
    """What a series tells of the periods from `starts` to `ends`; what is no finite number is left out."""
    values = [float(text) for _, text in told]
    if [moment for moment, _ in told] == ends and math.isfinite(sum(values)):
        return starts, values  # nearly all are whole
    start_of = dict(zip(ends, starts, strict=True))
    points = {start_of.get(int(moment)): value for (moment, _), value in zip(told, values, strict=True)}
    kept = {start: value for start, value in points.items() if start is not None and math.isfinite(value)}
    return list(kept), list(kept.values())


def _said(body: bytes) -> str:
    """Prometheus' own words: `{"status": "error", "errorType": "bad_data", "error": ...}`. A page is not quoted."""
    try:
        answer = json.loads(body)
        return f" ({answer['errorType']}: {_short(str(answer['error']))})"
    except (ValueError, KeyError, TypeError):
        return ""


def _short(text: str) -> str:
    return " ".join(text.split())[:200]


def open_prometheus(account: VultrAccount) -> Prometheus | None:
    """Look up the URL and the token that an account names; None where it names no Prometheus. Nothing is sent yet.

    The URL is https, or of this machine, or the customers file had been refused: a token can travel to it.

    Raises:
        ConfigError: a reference leads nowhere.
        CloudError: what holds the token cannot be a token, or the secret store did not answer.
    """
    url = account.prometheus()
    if url is None:
        return None
    token = "" if account.prometheus_token is None else account.prometheus_token.resolve().strip()
    if not re.fullmatch(r"[!-~]{0,8192}", token):
        raise CloudError(Cause.PERMISSION, f"what {account.prometheus_token} holds is not a token")
    return Prometheus(url.rstrip("/").removesuffix("/api/v1"), token)


# --- Whose series it is ---------------------------------------------------------------------------------------------


class Machines:
    """Finds the resource that a series tells of: by id, by address, or by a name that only one of them has."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._by_name: dict[str, Resource | None] = {}
        self._found: dict[tuple[Any, ...], tuple[int, Resource] | None] = {}  # each question names them again
        for one in resources:
            facts = (one.metadata.get(fact) for fact in ("main_ip", "internal_ip", "v6_main_ip", "hostname"))
            names = {str(name).lower() for name in (one.resource_id, one.resource_name, *facts) if name}
            for name in names:
                # Private networks use the same addresses again, and anybody may give a label twice.
                self._by_name[name] = None if name in self._by_name else one

    def owner(self, labels: Mapping[str, Any]) -> tuple[int, Resource] | None:
        """The resource that the labels name, and by the how-manieth label; None if it is none of these."""
        names = tuple(map(labels.get, _LABELS))
        try:
            return self._found[names]
        except KeyError:
            return self._found.setdefault(names, self._search(names))
        except TypeError:  # a label that is no text at all
            return self._search(names)

    def _search(self, names: Iterable[Any]) -> tuple[int, Resource] | None:
        for rank, value in enumerate(names):
            found = self._by_name.get(_host(value)) if isinstance(value, str) else None
            if found is not None:
                return rank, found
        return None


# Nearly all targets: a name or an IPv4 address, perhaps with a port. Parsing each as a URL would take 20 times as long.
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+)(:[0-9]+)?")


def _host(target: str) -> str:
    """What is probed or scraped, without scheme, port and path: `10.0.0.3:9100` is `10.0.0.3`."""
    if plain := _HOST_AND_PORT.fullmatch(target):
        return plain[1].lower()
    try:
        return str(ipaddress.ip_address(target))
    except ValueError:
        pass
    try:
        host = urlsplit(target if "://" in target else f"//{target}").hostname or ""
        return str(ipaddress.ip_address(host)) if ":" in host else host
    except ValueError:
        return ""


# --- All questions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What a Prometheus told.

    `found` are the resources that have a series, by the name of its metric; `failures` the questions, by their PromQL,
    that were not answered in full.
    """

    series: list[Series]
    found: dict[str, set[str]]
    failures: dict[str, CloudError]
    questions: int


def ask(prometheus: Prometheus, asked: Asked, request: MetricsRequest[VultrAccount], meter: Meter) -> Told:
    """Ask each question once for all resources; of several for one name, later ones where resources are without points.

    What would fail for all questions alike ends them: a Prometheus that does not answer, or a token that it refuses.
    """
    questions: dict[str, dict[str, Metric]] = {}  # PromQL -> kind -> metric
    waiting: Counter[str] = Counter()  # name -> how many resources are without points so far
    for metrics, resources in asked:
        for metric in metrics:
            questions.setdefault(metric.api_metric, {})[metric.kind] = metric
        waiting.update(dict.fromkeys((metric.name for metric in metrics), len(resources)))
    machines = Machines([one for _, resources in asked for one in resources])
    told = Told([], {name: set() for name in waiting}, {}, len(questions))
    dead: CloudError | None = None
    for promql, by_kind in questions.items():
        some = next(iter(by_kind.values()))
        found = told.found[some.name]
        if len(found) == waiting[some.name]:
            continue
        if dead is not None:
            told.failures[promql] = dead
            continue
        try:
            matrix = _read(prometheus, some, request, meter)
        except CloudError as error:
            told.failures[promql] = error
            dead = None if error.cause is Cause.BUG else error
            continue
        if matrix.warning:
            told.failures[promql] = CloudError(Cause.INCOMPLETE, f"Prometheus at {prometheus.host}: {matrix.warning}")
        new = [
            _series(owned, by_kind[owned.resource.kind])
            for owned in _owned(machines, matrix)
            if owned.resource.kind in by_kind and owned.resource.resource_id not in found
        ]
        found.update(series.resource.resource_id for series in new)
        told.series.extend(new)
    return told


class _Owned(NamedTuple):
    """A series of a resource; `rank` is the how-manieth of the labels that may name one did."""

    resource: Resource
    rank: int
    labels: dict[str, Any]
    starts: list[int]
    values: list[float]

    def is_surer_than(self, other: _Owned) -> bool:
        return (self.rank, str(self.labels)) < (other.rank, str(other.labels))

    def with_more(self, starts: Sequence[int], values: Sequence[float]) -> _Owned:
        """The same with the next part of a long range."""
        points = dict(zip([*self.starts, *starts], [*self.values, *values], strict=True))
        return self._replace(starts=list(points), values=list(points.values()))


def _series(owned: _Owned, metric: Metric) -> Series:
    factor, offset, values = metric.factor, metric.offset, owned.values
    if factor != 1 or offset:
        values = [value * factor + offset for value in values]
    return Series(owned.resource, metric, metric.statistic_name("avg"), owned.starts, values)


def _read(prometheus: Prometheus, metric: Metric, request: MetricsRequest[VultrAccount], meter: Meter) -> Matrix:
    """One question over the whole range, in as many queries as Prometheus needs."""
    step = metric.period
    first, last = (-(-int(moment.timestamp()) // step) * step for moment in (request.start, request.end))
    whole = Matrix([])
    for start in range(first + step, last + 1, step * POINTS_PER_ANSWER):
        end = min(start + step * (POINTS_PER_ANSWER - 1), last)
        matrix = prometheus.query_range(metric.api_metric, start, end, step, meter)
        whole = Matrix(whole.series + matrix.series, whole.warning or matrix.warning)
    return whole


def _owned(machines: Machines, matrix: Matrix) -> Iterable[_Owned]:
    """The points of each resource: of several series, those whose label names it most surely."""
    best: dict[str, _Owned] = {}
    for labels, starts, values in matrix.series:
        owner = machines.owner(labels) if values else None
        if owner is None:
            continue
        rank, resource = owner
        one = _Owned(resource, rank, labels, starts, values)
        known = best.get(resource.resource_id)
        if known is not None and known.labels == labels:
            best[resource.resource_id] = known.with_more(starts, values)
        elif known is None or one.is_surer_than(known):
            best[resource.resource_id] = one
    return best.values()
