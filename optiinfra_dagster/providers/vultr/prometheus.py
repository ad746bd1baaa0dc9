"""A customer's Prometheus, or whatever answers like one (Mimir, Thanos, VictoriaMetrics): what agents told it.

The shapes are those of Prometheus' own document, "HTTP API": range queries.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx

from optiinfra_dagster.errors import Cause, CloudError
from optiinfra_dagster.providers.types import Series
from optiinfra_dagster.providers.vultr.client import certificates, is_loopback, read_whole, retry_after

if TYPE_CHECKING:
    from types import TracebackType

    from optiinfra_dagster.customers import VultrAccount
    from optiinfra_dagster.providers.catalog import Metric
    from optiinfra_dagster.providers.types import Meter, MetricsRequest, Resource

    Asked = Sequence[tuple[Resource, Sequence[Metric]]]

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
_LATER = "It is asked again with the next collection"
_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.PERMISSION, "Check prometheus_token in the customers file"),
    403: (Cause.PERMISSION, "Check prometheus_token in the customers file"),
    404: (Cause.CONFIG, _URL),
    405: (Cause.CONFIG, _URL),
    429: (Cause.THROTTLED, _LATER),
    **dict.fromkeys(range(300, 400), (Cause.CONFIG, _URL)),  # sent elsewhere: the token does not follow
    **dict.fromkeys(range(500, 600), (Cause.UNAVAILABLE, _LATER)),
}


@dataclass(frozen=True, slots=True)
class Matrix:
    """The answer to a range query: each series' labels, and its values by the start of their period, since the epoch.

    `warning` is what Prometheus says of an answer that is not whole.
    """

    series: list[tuple[dict[str, str], dict[int, float]]]
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
                failure = self._failure(Cause.UNAVAILABLE, f"{type(error).__name__}. {_LATER}")
            else:
                if status == 200:
                    return self._matrix(body, range(start - step, end, step))
                cause, remedy = _STATUSES.get(status, (Cause.BUG, _LATER))
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
        try:
            answer = json.loads(body)
            if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
                raise TypeError
            series = [
                (
                    {name: value for name, value in one["metric"].items() if isinstance(value, str)},
                    _points(one.get("values"), periods),
                )
                for one in answer["data"]["result"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._failure(Cause.BUG, f"the answer is not one of Prometheus. {_URL}") from None
        # What it only wants to remark on PromQL, some versions tell in the same place.
        warnings = [w for w in answer.get("warnings") or () if isinstance(w, str) and not w.startswith("PromQL")]
        return Matrix(series, self._hidden(_short(warnings[0])) if warnings else "")

    def _failure(self, cause: Cause, what: str) -> CloudError:
        return CloudError(cause, self._hidden(f"query_range of Prometheus at {self.host}: {what}"))

    def _hidden(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text


def _points(values: Iterable[Sequence[Any]] | None, periods: range) -> dict[int, float]:
    points = {int(moment) - periods.step: float(text) for moment, text in values or ()}
    odd = [start for start, value in points.items() if start not in periods or not math.isfinite(value)]
    for start in odd:
        del points[start]
    return points


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
        self._found: dict[tuple[str | None, ...], tuple[int, Resource] | None] = {}  # each question names them again
        for one in resources:
            facts = (one.metadata.get(fact) for fact in ("main_ip", "internal_ip", "v6_main_ip", "hostname"))
            names = {str(name).lower() for name in (one.resource_id, one.resource_name, *facts) if name}
            for name in names:
                # Private networks use the same addresses again, and anybody may give a label twice.
                self._by_name[name] = None if name in self._by_name else one

    def owner(self, labels: Mapping[str, str]) -> tuple[int, Resource] | None:
        """The resource that the labels name, and by the how-manieth label; None if it is none of these."""
        names = tuple(map(labels.get, _LABELS))
        if names not in self._found:
            self._found[names] = self._search(names)
        return self._found[names]

    def _search(self, names: Iterable[str | None]) -> tuple[int, Resource] | None:
        for rank, value in enumerate(names):
            found = self._by_name.get(_host(value)) if isinstance(value, str) else None
            if found is not None:
                return rank, found
        return None


def _host(target: str) -> str:
    """What is probed or scraped, without scheme, port and path: `10.0.0.3:9100` is `10.0.0.3`."""
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
    """What a Prometheus told: series of resources, and by their PromQL the questions that were not answered in full."""

    series: list[Series]
    failures: dict[str, CloudError]
    questions: int


def ask(prometheus: Prometheus, asked: Asked, request: MetricsRequest[VultrAccount], meter: Meter) -> Told:
    """Ask each question once for all resources; of several for one name, later ones where resources are without points.

    What would fail for all questions alike ends them: a Prometheus that does not answer, or a token that it refuses.
    """
    questions: dict[str, dict[str, Metric]] = {}  # PromQL -> kind -> metric
    waiting: dict[str, set[str]] = {}  # name -> resources without points so far
    for resource, metrics in asked:
        for metric in metrics:
            questions.setdefault(metric.api_metric, {})[resource.kind] = metric
            waiting.setdefault(metric.name, set()).add(resource.resource_id)
    machines = Machines([resource for resource, _ in asked])
    told = Told([], {}, len(questions))
    dead: CloudError | None = None
    for promql, by_kind in questions.items():
        some = next(iter(by_kind.values()))
        left = waiting[some.name]
        if not left:
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
        for resource, points in _owned(machines, matrix):
            if resource.resource_id in left and resource.kind in by_kind:
                left.discard(resource.resource_id)
                told.series.append(_series(resource, by_kind[resource.kind], points))
    return told


def _series(resource: Resource, metric: Metric, points: Mapping[int, float]) -> Series:
    factor, offset = metric.factor, metric.offset
    values = [value * factor + offset for value in points.values()]
    return Series(resource, metric, metric.statistic_name("avg"), list(points), values)


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


def _owned(machines: Machines, matrix: Matrix) -> Iterable[tuple[Resource, dict[int, float]]]:
    """The points of each resource: of several series, those whose label names it most surely."""
    best: dict[str, tuple[int, dict[str, str]]] = {}
    found: dict[str, tuple[Resource, dict[int, float]]] = {}
    for labels, points in matrix.series:
        owner = machines.owner(labels) if points else None
        if owner is None:
            continue
        rank, resource = owner
        name = resource.resource_id
        if name in best and best[name][1] == labels:  # the next part of a long range
            found[name][1].update(points)
        elif name not in best or (rank, str(labels)) < (best[name][0], str(best[name][1])):
            best[name] = rank, labels
            found[name] = resource, points
    return found.values()
