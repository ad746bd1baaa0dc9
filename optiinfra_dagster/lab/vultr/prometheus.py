"""Customers' Prometheus servers, under /prometheus/: range queries on what the agents of a world tell.

Each account has one, at /prometheus/<account>, and at /prometheus for who brings the account's token.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from optiinfra_dagster.lab.aws.metrics import chance
from optiinfra_dagster.lab.faults import Action, Fault
from optiinfra_dagster.lab.server import Response
from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.metrics import STEP, Figure, Figures, read_promql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optiinfra_dagster.lab.vultr.kind import LabResource

MOST_POINTS = 11_000  # of a series, in Prometheus' own words below


class RefusedError(Exception):
    """An answer with which a query ends early."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def error(status: int, kind: str, text: str, headers: dict[str, str] | None = None) -> Response:
    """An error as Prometheus words it."""
    body = json.dumps({"status": "error", "errorType": kind, "error": text}).encode()
    return Response(status, body, {"Content-Type": "application/json", **(headers or {})})


def plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """An answer of what stands before a Prometheus, such as a proxy that checks tokens."""
    return Response(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})


REFUSALS = {
    Action.THROTTLE: plain(429, "too many requests"),
    Action.DENY: plain(403, "Forbidden"),
    Action.ERROR: error(500, "internal", "storage: corrupted block"),
    Action.UNAVAILABLE: error(503, "timeout", "query timed out in expression evaluation"),
    Action.EXPIRED: plain(401, "Unauthorized"),
    Action.UNKNOWN_KEY: plain(401, "Unauthorized"),
}


def query_range(
    query: Mapping[str, str], resources: Sequence[LabResource], figures: Figures, now: datetime, faults: Sequence[Fault]
) -> Response:
    """Answer one range query. Raises `RefusedError` for one that Prometheus would refuse."""
    start, end, step = (_number(query, name) for name in ("start", "end", "step"))
    if end < start:
        raise RefusedError(
            error(400, "bad_data", 'invalid parameter "end": end timestamp must not be before start time')
        )
    if step <= 0:
        raise RefusedError(
            error(
                400,
                "bad_data",
                'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
                "Try a positive integer",
            )
        )
    if (end - start) / step > MOST_POINTS:
        raise RefusedError(
            error(
                400,
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
                "(?step=XX)",
            )
        )
    times = [start + n * step for n in range((end - start) // step + 1) if start + n * step <= now.timestamp()]
    if query.get("query") == "vector(1)":
        return _matrix([({}, [[time, "1"] for time in times])])
    understood = read_promql(query.get("query", ""))
    if understood is None:
        raise RefusedError(
            error(400, "bad_data", 'invalid parameter "query": 1:1: parse error: the cloud lab does not know it')
        )
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
        raise RefusedError(error(400, "bad_data", text)) from None


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
    return Response(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
