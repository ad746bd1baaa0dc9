"""A customer's Prometheus, or whatever answers like one (Mimir, Thanos, VictoriaMetrics), for machines of any cloud.

Which metrics to read is in `prometheus_exporters`, and what becomes of them in `prometheus_figures`; any account may
give the URL and the token. The shapes are those of Prometheus' own document, "HTTP API": range queries.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpx

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.metrics import Series
from optiinfra_dagster.model.retry_after import retry_after
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.providers.httpx_transport import open_client, read_whole
from optiinfra_dagster.providers.prometheus_exporters import MACHINE_LABELS

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from optiinfra_dagster.config.secrets import Endpoint, Reference
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.metrics import Metric

# All queries to one Prometheus in one collection, with all attempts and waits.
TOTAL_SECONDS = 60.0
REQUEST_SECONDS = 20.0
ATTEMPTS = 3
RETRY_SECONDS = 0.5

POINTS_PER_ANSWER = 11_000  # Prometheus refuses a query of more points in a series

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


@dataclass(frozen=True, slots=True)
class PrometheusConfig:
    """The way to a customer's Prometheus: its URL, and the bearer token that it demands, "" for none.

    The URL is https, or of this machine, or the customers file had been refused: a token can travel to it. Where
    `proxies` is false, the proxies of this host's environment are not used; on the way to this machine they never are.
    """

    url: str
    token: str = field(default="", repr=False)
    proxies: bool = True

    @classmethod
    def look_up(cls, url: Endpoint, token: Reference | None) -> PrometheusConfig:
        """The config that two fields of an account refer to.

        Raises:
            ConfigError: a reference leads nowhere.
            CloudError: what holds the token cannot be a token, or the secret store did not answer.
        """
        resolved = url.resolve()
        secret = "" if token is None else token.resolve().strip()
        if not re.fullmatch(r"[!-~]{0,8192}", secret):
            raise CloudError(Cause.PERMISSION, f"what {token} holds is not a token")
        return cls(resolved, secret)


# A series of an answer: its labels, the starts of its periods since the epoch, and a value for each. Series without
# gaps share one list of starts.
Points = tuple[dict[str, Any], list[int], list[float]]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The answer to a range query; `warning` is Prometheus' own remark on an answer that is not whole."""

    series: list[Points]
    warning: str = ""


@dataclass(slots=True)
class Prometheus:
    """The connections to one Prometheus, for one collection, whose calls `TOTAL_SECONDS` bounds from the start."""

    config: PrometheusConfig
    deadline: float = field(default_factory=lambda: time.monotonic() + TOTAL_SECONDS)
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        """Make the connections ready; nothing is sent yet."""
        self._http = open_client(self.host, proxies=self.config.proxies)

    def __enter__(self) -> Self:
        """Return this client; its connections are closed at the end of the `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def host(self) -> str:
        """The host name, as messages have it."""
        return urlsplit(self.config.url).hostname or ""

    def query_range(self, promql: str, start: int, end: int, step: int, meter: Meter) -> Matrix:
        """The values of PromQL at `start`, and every `step` seconds after it, to `end` included.

        The value of PromQL at a moment is of the time before it: here it stands at the start of its `step`.

        Raises:
            CloudError: it was refused, or failed to the last attempt.
        """
        query: dict[str, str | int] = {"query": promql, "start": start, "end": end, "step": step}

        def send() -> Matrix:
            try:
                status, wait, body = self._send(query, meter)
            except httpx.HTTPError as error:  # only its type is quoted: the text may quote the token
                raise self._failure(Cause.UNAVAILABLE, f"{type(error).__name__}. {LATER}") from None
            if status == 200:
                return self._matrix(body, range(start - step, end, step))
            cause, remedy = _STATUSES.get(status, (Cause.BUG, LATER))
            raise self._failure(cause, f"HTTP {status}{_error_text(body)}. {remedy}", wait)

        patience = Patience(RETRY_SECONDS, attempts=ATTEMPTS, longest_named_wait=TOTAL_SECONDS)
        return retrying(dict.fromkeys((Cause.THROTTLED, Cause.UNAVAILABLE), patience), self.deadline)(send)

    def _send(self, query: Mapping[str, str | int], meter: Meter) -> tuple[int, float | None, bytes]:
        seconds = min(self.deadline - time.monotonic(), REQUEST_SECONDS)
        if seconds <= 0:
            raise httpx.PoolTimeout("no time is left")
        meter.count("query_range")
        headers = {"Authorization": f"Bearer {self.config.token}"} if self.config.token else {}
        url = f"{self.config.url.rstrip('/').removesuffix('/api/v1')}/api/v1/query_range"
        timeout = httpx.Timeout(seconds, connect=min(seconds, 5))
        with self._http.stream("GET", url, params=dict(query), headers=headers, timeout=timeout) as answer:
            body = read_whole(answer, time.monotonic() + seconds)
            return answer.status_code, retry_after(answer.headers.get("Retry-After")), body

    def _matrix(self, body: bytes, periods: range) -> Matrix:
        """The series of an answer; points that are no finite number are left out."""
        starts, ends = list(periods), [start + periods.step for start in periods]

        def keep_numbers(item: dict[str, Any]) -> Any:
            # Done with each series as soon as it is read: 10,000 of them are 70,000 lists, which the garbage collector
            # would walk through again and again while the rest is read.
            values = item.get("values")
            return (dict(item["metric"]), *_points(values, starts, ends)) if isinstance(values, list) else item

        try:
            answer = json.loads(body, object_hook=keep_numbers)
            if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
                raise TypeError
            series = [item for item in answer["data"]["result"] or () if isinstance(item, tuple)]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise self._failure(Cause.BUG, f"the answer is not one of Prometheus. {_URL}") from None
        # Some versions put mere remarks on PromQL in the same place.
        warnings = [w for w in answer.get("warnings") or () if isinstance(w, str) and not w.startswith("PromQL")]
        if answer.get("isPartial") is True:  # VictoriaMetrics says it so, and does not say why
            warnings.append("the answer is partial: a part of the storage did not answer")
        return Matrix(series, self._masked(_short(warnings[0])) if warnings else "")

    def _failure(self, cause: Cause, what: str, wait: float | None = None) -> CloudError:
        return CloudError(cause, self._masked(f"query_range of Prometheus at {self.host}: {what}"), wait)

    def _masked(self, text: str) -> str:
        return text.replace(self.config.token, "***") if self.config.token else text


def _points(pairs: Sequence[Sequence[Any]], starts: list[int], ends: list[int]) -> tuple[list[int], list[float]]:
    """The points of a series in the periods from `starts` to `ends`, without those that are no finite number."""
    values = [float(text) for _, text in pairs]
    if [moment for moment, _ in pairs] == ends and math.isfinite(sum(values)):
        return starts, values  # nearly all are whole
    start_of = dict(zip(ends, starts, strict=True))
    points = {start_of.get(int(moment)): value for (moment, _), value in zip(pairs, values, strict=True)}
    finite = {start: value for start, value in points.items() if start is not None and math.isfinite(value)}
    return list(finite), list(finite.values())


def _error_text(body: bytes) -> str:
    """Prometheus' own words: `{"status": "error", "errorType": "bad_data", "error": ...}`. A page is not quoted."""
    try:
        answer = json.loads(body)
        return f" ({answer['errorType']}: {_short(str(answer['error']))})"
    except (ValueError, KeyError, TypeError):
        return ""


def _short(text: str) -> str:
    return " ".join(text.split())[:200]


# --- The resource of a series ---------------------------------------------------------------------------------------

# The facts of resources that a label may hold: numbers, addresses and host names.
_NAMING_FACTS = (
    "instance_id",
    *("main_ip", "internal_ip", "v6_main_ip", "private_ip", "public_ip", "ip_address"),
    *("hostname", "dns_name"),
)


_REUSED = frozenset({"instance", "hostname", "host_name"})
"""Labels that hold a name or an address, which another machine may have had before."""


class Machines:
    """Finds the resource of a series: by its id, its address, or a name that no other of `resources` has.

    `labels` are those that may name one, the surest first. Of an id the last part counts: `i-0abc` of
    `arn:aws:ec2:us-east-1:123456789012:instance/i-0abc`; and the id of its own that a machine has beside its name
    (Google's number, Azure's vmId).
    """

    def __init__(self, resources: Sequence[Resource], labels: Sequence[str] = MACHINE_LABELS) -> None:
        self._labels = labels
        self._reused = {rank for rank, label in enumerate(labels) if label in _REUSED}
        self._created = {one.resource_id: one.created_at.timestamp() for one in resources if one.created_at}
        self._by_name: dict[str, Resource | None] = {}
        self._owners: dict[tuple[Any, ...], tuple[int, Resource] | None] = {}  # each question names them again
        for resource in resources:
            names = resource.resource_id.rpartition("/")[2], resource.resource_name, resource.instance_uid
            facts = (resource.metadata.get(fact) for fact in _NAMING_FACTS)
            for name in {str(name).lower() for name in (*names, *facts) if name}:
                # Private networks use the same addresses again, and anybody may give a label twice.
                self._by_name[name] = None if name in self._by_name else resource

    def owner(self, labels: Mapping[str, Any]) -> tuple[int, Resource] | None:
        """The resource that the labels name, behind the rank of the label that did; None if they name none."""
        names = tuple(map(labels.get, self._labels))
        try:
            return self._owners[names]
        except KeyError:
            return self._owners.setdefault(names, self._search(names))
        except TypeError:  # a label that is no text at all
            return self._search(names)

    def since_creation(self, owned: _ResourceSeries) -> _ResourceSeries:
        """A series without what a predecessor told, which had the same name or address before the resource was made."""
        if owned.rank not in self._reused:
            return owned
        created = self._created.get(owned.resource.resource_id, 0.0)
        if owned.starts[0] >= created:
            return owned
        points = zip(owned.starts, owned.values, strict=True)
        own_points = {start: value for start, value in points if start >= created}
        return owned._replace(starts=list(own_points), values=list(own_points.values()))

    def _search(self, names: Iterable[Any]) -> tuple[int, Resource] | None:
        for rank, value in enumerate(names):
            host = _host(value) if isinstance(value, str) else ""
            resource = self._by_name.get(host) or self._by_name.get(_made_of(host))
            if resource is not None:
                return rank, resource
        return None


# Nearly all targets: a name or an IPv4 address, perhaps with a port. Parsing each as a URL would take 20 times as long.
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+)(:[0-9]+)?")


def _host(target: str) -> str:
    """The host that is probed or scraped, without scheme, port and path: `10.0.0.3:9100` is `10.0.0.3`."""
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


# The names that clouds make of an address, an id or a name, which is the group. EC2 calls a machine by its address, and
# in short it calls itself so, or by its id; Compute Engine by its name. Hosts of databases begin with theirs, or hold
# an id.
_CLOUD_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        r"ip-(\d+-\d+-\d+-\d+)(?:\.ec2\.internal|\.[a-z0-9-]+\.compute\.internal)?",
        r"(i-[0-9a-f]+)(?:\.ec2\.internal|\.[a-z0-9-]+\.compute\.internal)",
        r"([a-z0-9-]+)(?:\.[a-z0-9-]+)?\.c\.[a-z0-9.:-]+\.internal",
        r"([a-z0-9-]+)\.(?:cluster-)?[a-z0-9]+\.[a-z0-9-]+\.(?:rds|docdb|neptune)\.amazonaws\.com(?:\.cn)?",
        r"([a-z0-9-]+)\.(?:(?:postgres|mysql|mariadb)\.database\.azure\.com|(?:database|redis\.cache)\.windows\.net)",
        r"vultr-prod-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[a-z0-9-]+\.vultrdb\.com",
    )
)


def _made_of(host: str) -> str:
    """The address, id or name that a cloud made a host's name of; "" for other names."""
    named = next(filter(None, (pattern.fullmatch(host) for pattern in _CLOUD_NAMES)), None)
    found = named[1] if named else ""
    return found.replace("-", ".") if found[:1].isdigit() and host.startswith("ip-") else found


# --- All questions --------------------------------------------------------------------------------------------------

Questions = Sequence[tuple[Sequence["Metric"], Sequence["Resource"]]]
"""Metrics of a kind, whose API metric is PromQL, and the resources of that kind to read them of."""


@dataclass(frozen=True, slots=True)
class PrometheusResult:
    """The series that a Prometheus had.

    `known` holds the ids of the resources that have a series, by the name of its metric; `failures` the questions, by
    their PromQL, that were not answered in full; `questions` is their number.
    """

    series: list[Series]
    known: dict[str, set[str]]
    failures: dict[str, CloudError]
    questions: int


def read_metrics(
    prometheus: Prometheus,
    machines: Machines,
    questions: Questions,
    start: datetime,
    end: datetime,
    meter: Meter,
) -> PrometheusResult:
    """Read the points of [start, end): each PromQL once for all resources, which `machines` finds by their labels.

    Where several have one name, a later one counts for the resources that an earlier one has no points of. What would
    fail for all questions alike ends them: a Prometheus that does not answer, or a token that it refuses.
    """
    by_promql: dict[str, dict[str, Metric]] = {}  # PromQL -> kind -> metric
    wanted: dict[str, set[str]] = defaultdict(set)  # name -> resources
    for metrics, resources in questions:
        for metric in metrics:
            by_promql.setdefault(metric.api_metric, {})[metric.kind] = metric
            wanted[metric.name].update(resource.resource_id for resource in resources)
    result = PrometheusResult([], {name: set() for name in wanted}, {}, len(by_promql))
    dead: CloudError | None = None
    for promql, by_kind in by_promql.items():
        metric = next(iter(by_kind.values()))
        known = result.known[metric.name]
        if len(known) == len(wanted[metric.name]):
            continue
        if dead is not None:
            result.failures[promql] = dead
            continue
        try:
            matrix = _read(prometheus, metric, start, end, meter)
        except CloudError as error:
            result.failures[promql] = error
            dead = None if error.cause is Cause.BUG else error
            continue
        if matrix.warning:
            message = f"Prometheus at {prometheus.host}: {matrix.warning}"
            result.failures[promql] = CloudError(Cause.INCOMPLETE, message)
        missing = wanted[metric.name] - known
        new = [
            _series(owned, by_kind[owned.resource.kind])
            for owned in _owned(machines, matrix)
            if owned.resource.kind in by_kind and owned.resource.resource_id in missing
        ]
        known.update(series.resource.resource_id for series in new)
        result.series.extend(new)
    return result


class _ResourceSeries(NamedTuple):
    """A series of a resource; `rank` is that of the label which named it."""

    resource: Resource
    rank: int
    labels: dict[str, Any]
    starts: list[int]
    values: list[float]

    def with_rest_of(self, other: _ResourceSeries) -> _ResourceSeries:
        """One series of two: where both have a point, that counts whose label names the resource most surely."""
        surer, rest = sorted((self, other), key=lambda one: (one.rank, str(one.labels)))
        points = dict(zip(rest.starts, rest.values, strict=True)) | dict(zip(surer.starts, surer.values, strict=True))
        starts = sorted(points)
        return surer._replace(starts=starts, values=[points[start] for start in starts])


def _series(owned: _ResourceSeries, metric: Metric) -> Series:
    factor, offset, values = metric.factor, metric.offset, owned.values
    if factor != 1 or offset:
        values = [value * factor + offset for value in values]
    return Series(owned.resource, metric, metric.statistic_name(metric.statistics[0]), owned.starts, values)


def _read(prometheus: Prometheus, metric: Metric, start: datetime, end: datetime, meter: Meter) -> Matrix:
    """The answer to one question over the whole range, in as many queries as Prometheus needs."""
    step = metric.period
    first, last = (-(-int(moment.timestamp()) // step) * step for moment in (start, end))
    whole = Matrix([])
    for begin in range(first + step, last + 1, step * POINTS_PER_ANSWER):
        finish = min(begin + step * (POINTS_PER_ANSWER - 1), last)
        matrix = prometheus.query_range(metric.api_metric, begin, finish, step, meter)
        whole = Matrix(whole.series + matrix.series, whole.warning or matrix.warning)
    return whole


def _owned(machines: Machines, matrix: Matrix) -> Iterator[_ResourceSeries]:
    """The series of each resource: of several at a moment, that whose label names it most surely.

    Several are the parts of a long range, or follow each other where a machine's labels changed, as with a new image.
    """
    best: dict[str, _ResourceSeries] = {}
    for labels, starts, values in matrix.series:
        owner = machines.owner(labels) if values else None
        if owner is None:
            continue
        rank, resource = owner
        owned = machines.since_creation(_ResourceSeries(resource, rank, labels, starts, values))
        known = best.get(resource.resource_id)
        best[resource.resource_id] = owned if known is None else known.with_rest_of(owned)
    yield from (owned for owned in best.values() if owned.values)
