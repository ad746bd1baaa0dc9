"""Customers' Prometheus servers, under /prometheus/: range queries on what the agents of a world tell.

Each account has one, at /prometheus/<account>, and at /prometheus for who brings the account's token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np

from optiinfra_dagster.lab.faults import Action, Fault
from optiinfra_dagster.lab.series import chance
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service
from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.metrics import STEP, Figure, Figures, read_promql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.faults import FaultBook
    from optiinfra_dagster.lab.vultr.estate import Estate
    from optiinfra_dagster.lab.vultr.kind import LabResource
    from optiinfra_dagster.lab.vultr.world import VultrAccount

MOST_POINTS = 11_000  # of a series, in Prometheus' own words below


# The code is Prometheus' type of error; what has none comes from what stands before it, such as a proxy for tokens.
_REFUSALS: Refusals = {
    Action.THROTTLE: (429, "", "too many requests"),
    Action.DENY: (403, "", "Forbidden"),
    Action.ERROR: (500, "internal", "storage: corrupted block"),
    Action.UNAVAILABLE: (503, "timeout", "query timed out in expression evaluation"),
    Action.EXPIRED: (401, "", "Unauthorized"),
    Action.UNKNOWN_KEY: (401, "", "Unauthorized"),
}


@dataclass(slots=True, kw_only=True)
class QueryCall(ApiCall):
    """A request to a Prometheus, and the account that it belongs to: by the name in the path, or else the token."""

    service: str = "prometheus"
    token: str
    owner: VultrAccount | None


class Prometheus(Service[QueryCall]):
    """The Prometheus servers of the accounts of a world."""

    refusals = _REFUSALS

    def __init__(
        self,
        accounts: Sequence[VultrAccount],
        estates: Mapping[str, Estate],
        figures: Figures,
        now: Callable[[], datetime],
        faults: FaultBook,
        log: CallLog,
    ) -> None:
        super().__init__(faults, log)
        self._estates, self._figures, self._now = estates, figures, now
        self._by_token = {account.prometheus_token: account for account in accounts if account.prometheus_token}
        self._by_name = {account.name: account for account in accounts}

    def claims(self, request: Request) -> bool:
        """True for a request to one of the servers."""
        return request.path.startswith("/prometheus/")

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        name, _, operation = request.path.removeprefix("/prometheus/").rpartition("api/v1/")
        owner = self._by_name.get(name.strip("/")) if name else self._by_token.get(token)
        account = owner.name if owner else ""
        return self.run(QueryCall(operation=operation, account=account, token=token, owner=owner), request)

    def reply(self, call: QueryCall, request: Request) -> Response:
        """Answer a range query, to who brings the right token."""
        if call.owner is None or (call.owner.prometheus_token or call.token) != call.token:
            raise ApiError(401, "", "Unauthorized")
        if call.operation != "query_range":
            raise ApiError(404, "", "404 page not found")
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        resources = [resource for kind in self._estates[call.account].kinds.values() for resource in kind]
        return query_range(query, resources, self._figures, self._now(), call.faults)

    def worded(self, call: QueryCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for all calls
        """An error as Prometheus words it, or plain text."""
        if not error.code:
            return Response(error.status, error.message.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        return as_json(error.status, {"status": "error", "errorType": error.code, "error": error.message})


def query_range(
    query: Mapping[str, str], resources: Sequence[LabResource], figures: Figures, now: datetime, faults: Sequence[Fault]
) -> Response:
    """Answer one range query. Raises `ApiError` for one that Prometheus would refuse."""
    start, end, step = (_number(query, name) for name in ("start", "end", "step"))
    if end < start:
        raise ApiError(400, "bad_data", 'invalid parameter "end": end timestamp must not be before start time')
    if step <= 0:
        raise ApiError(
            400,
            "bad_data",
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer",
        )
    if (end - start) / step > MOST_POINTS:
        raise ApiError(
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
            "(?step=XX)",
        )
    times = [start + n * step for n in range((end - start) // step + 1) if start + n * step <= now.timestamp()]
    if query.get("query") == "vector(1)":
        return _matrix([({}, [[time, "1"] for time in times])])
    understood = read_promql(query.get("query", ""))
    if understood is None:
        raise ApiError(400, "bad_data", 'invalid parameter "query": 1:1: parse error: the cloud lab does not know it')
    figure, kept = understood
    machines = [resource for resource in resources if resource.fleet.agent == figure.agent and _runs(resource)]
    rows = _rows(figure, machines, times, figures, now, faults)
    series = [
        ({name: value for name, value in _labels(resource, figure.agent).items() if name in kept}, row)
        for resource, row in zip(machines, rows, strict=True)
        if row
    ]
    if figure.agent == "node_exporter":  # the machine that Prometheus itself runs on
        own = {"instance": "prometheus.internal:9100", "job": "node"}
        series.append(({name: own[name] for name in own if name in kept}, [[time, "1.5"] for time in times]))
    warnings = [fault for fault in faults if fault.action is Action.PARTIAL]
    for fault in warnings:
        del series[:: fault.every]
    return _matrix(series, ["fetching the rest failed: store 2 is not reachable"] if warnings else [])


def _number(query: Mapping[str, str], name: str) -> int:
    try:
        return int(float(query.get(name, "")))
    except (ValueError, OverflowError):
        text = f'invalid parameter "{name}": cannot parse "{query.get(name, "")}" to a valid timestamp'
        raise ApiError(400, "bad_data", text) from None


def _runs(resource: LabResource) -> bool:
    return resource.fleet.state in {None, "running", "active"}


def _labels(resource: LabResource, agent: str) -> dict[str, str]:
    host = {
        "main_ip": resource.address("main"),
        "internal_ip": resource.address("internal"),
        "v6_main_ip": f"[{resource.address6}]",
        "label": resource.name,
        "id": f"node-{resource.index}.internal",
    }[resource.fleet.named_by]
    names = {"instance_id": resource.id} if resource.fleet.named_by == "id" else {}
    if agent == "v-agent":
        vpsid = resource.id if resource.fleet.named_by == "id" else str(digest(resource.seed, "vpsid") % 10**8)
        return {"product": "", "hostname": resource.name, "subid": "", "vpsid": vpsid}
    if agent == "opentelemetry":
        return {"instance": resource.uuid("collector"), "job": "hostmetrics", "host_name": host, "host_id": resource.id}
    if agent == "blackbox_exporter":
        return {"instance": f"https://{resource.address('main')}/health", "job": "blackbox"}
    return {"instance": f"{host}:9100", "job": "node", **names}


def _rows(
    figure: Figure,
    machines: Sequence[LabResource],
    times: Sequence[int],
    figures: Figures,
    now: datetime,
    faults: Sequence[Fault],
) -> list[list[list[Any]]]:
    """The points of each machine. The value of PromQL at a time is of the 300 s before it."""
    if not machines or not times:
        return [[] for _ in machines]
    values = figures.agents(figure, machines, [time - STEP for time in times])
    for fault in faults:
        if fault.action is Action.LATE:
            keys = np.array([resource.seed for resource in machines], np.uint64)[:, None]
            late = np.asarray(times) + fault.seconds * chance(keys, times, 4) > now.timestamp()
            values = np.where(late, np.nan, values)
    return [
        [[time, repr(value)] for time, value in zip(times, row, strict=True) if not math.isnan(value)]
        for row in values.tolist()
    ]


def _matrix(series: Sequence[tuple[dict[str, str], list[list[Any]]]], warnings: Sequence[str] = ()) -> Response:
    result = [{"metric": labels, "values": values} for labels, values in series]
    answer: dict[str, Any] = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    if warnings:
        answer["warnings"] = list(warnings)
    return as_json(200, answer)
