"""Azure on the lab's port: Azure Monitor, and Resource Graph with its paging, its quota, its silence and its errors.

The query language is not evaluated: of a query, the table, the list of types, an excluded end of ids, what may not be
null and the columns are read, so that a row shows what the query names and nothing else.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.azure.billing import Billing
from optiinfra_dagster.lab.azure.estate import Estate, subscription_row
from optiinfra_dagster.lab.azure.kind import Row
from optiinfra_dagster.lab.azure.metrics import Metrics, MonitorCall, MonitorError, is_monitor, read_call
from optiinfra_dagster.lab.azure.recordings import load_rows
from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service, Services

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from optiinfra_dagster.lab.azure.world import AzureWorld
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.world import World

PAGE = 1000
"""Rows of the largest page."""

_PATH = "/providers/microsoft.resourcegraph/resources"
_PERMISSIONS = re.compile(r"/subscriptions/([^/]+)/providers/microsoft\.authorization/permissions")
_SUBSCRIPTIONS = "microsoft.resources/subscriptions"

_REFUSALS: Refusals = {
    Action.THROTTLE: (429, "RateLimiting", "Client application has been throttled and should not attempt to repeat."),
    Action.DENY: (403, "AuthorizationFailed", "The client does not have authorization to perform action 'read'."),
    Action.ERROR: (500, "InternalServerError", "Encountered internal server error."),
    Action.UNAVAILABLE: (503, "ServiceUnavailable", "The service is unavailable."),
    Action.EXPIRED: (401, "ExpiredAuthenticationToken", "The access token expiry is earlier than current time."),
    Action.UNKNOWN_KEY: (401, "InvalidAuthenticationToken", "The access token is invalid."),
    Action.OPTIN_REQUIRED: (404, "SubscriptionNotFound", "The subscription could not be found."),
}


@dataclass(slots=True, kw_only=True)
class GraphCall(ApiCall):
    """A query. `account` is its subscription, or the number of them. For permissions there is no `page_of_rows`."""

    service: str = "resourcegraph"
    operation: str = "Resources"
    page_of_rows: _Page | None = None
    quota: dict[str, str] = field(default_factory=dict)  # the headers that tell what is left of it


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a query: the rows from `offset` on, at most `top` of them."""

    query: str
    subscriptions: list[str]
    offset: int
    top: int


class Azure(Services):
    """Azure for every subscription of a world, or, after `replay`, for recorded resources."""

    def __init__(self, world: World, faults: FaultBook, log: CallLog, now: Callable[[], datetime]) -> None:
        self.estate = Estate(world)
        self.metrics = Metrics(self.estate, world.azure, world.seed, now)
        self.billing = Billing(self.estate, world.azure, world.seed, now, faults, log)
        self._graph = ResourceGraph(self.estate, world.azure, faults, log)
        self.services = (Monitor(self.metrics, faults, log), self.billing, self._graph)

    def replay(self, files: Iterable[Path]) -> list[Row]:
        """Replay recordings: from now on, they are shown in whichever subscription is asked for."""
        return self._graph.replay(load_rows(files))


class Monitor(Service[MonitorCall]):
    """Azure Monitor."""

    refusals = _REFUSALS
    acts_first = (Action.DELAY, Action.DISCONNECT)

    def __init__(self, metrics: Metrics, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._metrics = metrics

    def claims(self, request: Request) -> bool:
        """True for a request for metrics."""
        return is_monitor(request.path.lower())

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        return self.run(MonitorCall(), request)

    def admit(self, call: MonitorCall, request: Request) -> None:
        """Read the call."""
        read_call(call, request)
        self._metrics.locate(call)

    def reply(self, call: MonitorCall, request: Request) -> Response:  # noqa: ARG002 - all is in the call
        """The values of metrics."""
        return as_json(200, self._metrics.answer(call))

    def refusal(self, call: MonitorCall, fault: Fault) -> ApiError | None:
        """The error that a fault stands for; its mode makes 529 of throttling, and 501 of an error."""
        error = super().refusal(call, fault)
        if error is not None and fault.action is Action.ERROR and fault.mode == "501":
            return ApiError(501, "NotImplemented", "The requested operation is not implemented.")
        if error is not None and fault.action is Action.THROTTLE and fault.mode == "529":
            error.status = 529
        return error

    def refusal_headers(self, call: MonitorCall, fault: Fault) -> dict[str, str]:  # noqa: ARG002 - the same for all
        """The wait that a throttled call is told."""
        waits = fault.action is Action.THROTTLE and fault.seconds
        return {"Retry-After": str(math.ceil(fault.seconds))} if waits else {}

    def worded(self, call: MonitorCall, error: ApiError) -> Response:
        """An error; that of Resource Manager's provider of metrics stands alone, all others are wrapped."""
        body = {"code": error.code, "message": error.message}
        alone = isinstance(error, MonitorError) and call.operation != "getBatch"
        return as_json(error.status, body if alone else {"error": body}, error.headers)

    def unexpected(self, error: Exception) -> ApiError:
        """The refusal of a request that cannot be read."""
        return ApiError(400, "BadRequest", f"It cannot be read: {error!r}")


class ResourceGraph(Service[GraphCall]):
    """Resource Graph, and beside it the permissions on a subscription."""

    refusals = _REFUSALS

    def __init__(self, estate: Estate, world: AzureWorld, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._estate, self._world = estate, world
        self._recorded: list[Row] | None = None
        self._lock = Lock()
        self._windows: dict[str, tuple[float, int]] = {}  # subscriptions: (begin of its window, queries in it)
        self._answers: dict[str, list[Row]] = {}

    def replay(self, rows: list[Row]) -> list[Row]:
        """Show these rows from now on, in whichever subscription is asked for."""
        self._recorded = rows
        self._answers.clear()
        return rows

    def claims(self, request: Request) -> bool:
        """True for a query, and for a request for permissions."""
        path = request.path.lower()
        return path == _PATH or _PERMISSIONS.fullmatch(path) is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        if permissions := _PERMISSIONS.fullmatch(request.path.lower()):
            call = GraphCall(service="authorization", operation="Permissions", account=permissions[1])
            return self.run(call, request)
        return self.run(GraphCall(), request)

    def admit(self, call: GraphCall, request: Request) -> None:
        """Read a query, and take it from the quota."""
        if call.operation == "Permissions":
            return
        if request.method != "POST":
            raise ApiError(405, "MethodNotAllowed", "Queries are posted.")
        call.page_of_rows = self._read(request, call)
        call.quota = self._spend(f"{call.page_of_rows.subscriptions}")  # nobody logs in: who asks the same is the same

    def reply(self, call: GraphCall, request: Request) -> Response:  # noqa: ARG002 - all is in the call
        """A page of a query, or permissions."""
        if call.page_of_rows is None:
            subscription = self._estate.subscriptions.get(call.account)
            roles = [{"actions": subscription.actions, "notActions": []}] if subscription else []
            return as_json(200, {"value": roles})
        truncated = any(fault.action is Action.PARTIAL for fault in call.faults)
        return as_json(200, self._show(call.page_of_rows, truncated), call.quota)

    def refusal_headers(self, call: GraphCall, fault: Fault) -> dict[str, str]:  # noqa: ARG002 - the same for all
        """The quota that a throttled call is told."""
        if fault.action is not Action.THROTTLE:
            return {}
        return {"x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": _clock(fault.seconds)}

    def worded(self, call: GraphCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for all calls
        """An error in the form of Resource Graph."""
        detail = {"code": error.code, "message": error.message}
        body = {"code": "BadRequest" if error.status == 400 else error.code, "message": error.message}
        return as_json(error.status, {"error": {**body, "details": [detail]}}, error.headers)

    def unexpected(self, error: Exception) -> ApiError:
        """The refusal of a request that cannot be read."""
        return ApiError(400, "InvalidRequest", f"The request cannot be read: {error!r}")

    def _read(self, request: Request, call: GraphCall) -> _Page:
        body = json.loads(request.body)
        query, options = body["query"], body.get("options") or {}
        subscriptions = [name.lower() for name in body.get("subscriptions") or ()]
        call.account = subscriptions[0] if len(subscriptions) == 1 else f"{len(subscriptions)} subscriptions"
        top = options.get("$top", PAGE)
        if not 1 <= top <= PAGE:
            raise ApiError(400, "InvalidRequest", f"$top is {top}, and must lie between 1 and {PAGE}.")
        page = _Page(query, subscriptions, _read_token(options.get("$skipToken"), query, subscriptions), top)
        call.page = page.offset // top + 1
        return page

    def _show(self, page: _Page, truncated: bool) -> dict[str, Any]:
        rows = self._query(page.query, page.subscriptions)
        shown = rows[page.offset : page.offset + (page.top // 2 if truncated else page.top)]
        end = page.offset + len(shown)
        more = end < len(rows) and not truncated
        return {
            "totalRecords": len(rows),
            "count": len(shown),
            "data": shown,
            "facets": [],
            "resultTruncated": "true" if truncated else "false",
            **({"$skipToken": _token(end, page.query, page.subscriptions)} if more else {}),
        }

    def _spend(self, principal: str) -> dict[str, str]:
        """Take one query from the quota; the headers that tell what is left of it.

        https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
        """
        now, length = time.monotonic(), self._world.quota_seconds
        with self._lock:
            begin, spent = self._windows.get(principal, (now, 0))
            if now - begin >= length:
                begin, spent = now, 0
            self._windows[principal] = (begin, spent + 1)
        remaining = self._world.quota - spent - 1
        headers = {
            "x-ms-user-quota-remaining": str(max(remaining, 0)),
            "x-ms-user-quota-resets-after": _clock(begin + length - now),
        }
        if remaining < 0:
            raise ApiError(*_REFUSALS[Action.THROTTLE], headers)
        return headers

    def _query(self, query: str, subscriptions: list[str]) -> list[Row]:
        key = json.dumps([query, subscriptions])
        if key not in self._answers:
            if self._recorded is None:
                held = [row for subscription in subscriptions for row in self._estate.readable(subscription)]
            else:
                held = [*map(subscription_row, subscriptions), *self._recorded]
            self._answers[key] = evaluate(query, held)
        return self._answers[key]


_TABLE = re.compile(r"\s*(Resources|ResourceContainers)\s*\|")
_TYPES = re.compile(r"\btype\s*(?:in~\s*\(([^)]*)\)|=~\s*('[^']*'))")
_WITHOUT = re.compile(r"\bid\s+!endswith\s+'([^']*)'")
_PROJECT = re.compile(r"\|\s*project\s+([^|]+)")
_NOT_NULL = re.compile(r"\|\s*where\s+isnotnull\(([\w.]+)\)")
_ORDER = re.compile(r"\|\s*order\s+by\s+id\s+asc\s*$")
_NAMED = re.compile(r"(\w+)\s*=\s*(.+)", re.DOTALL)
_FUNCTION = re.compile(r"(coalesce|array_length)\s*\((.*)\)", re.DOTALL)

_Value = Callable[[Row], Any]


def evaluate(query: str, held: list[Row]) -> list[Row]:
    """The rows that a query gives, in order and cut to its columns.

    Raises:
        ApiError: the query would not give stable pages, or is of a form that the lab does not know.
    """
    projected = _PROJECT.search(query)
    columns = [] if projected is None else [_column(part) for part in _split(projected[1])]
    if not _ORDER.search(query.strip()) or "id" not in dict(columns):
        raise ApiError(400, "InvalidQuery", "Pages are not stable: project id, and order by id asc.")
    table, listed = _TABLE.match(query), _TYPES.search(query)
    if table is None or listed is None:
        raise ApiError(400, "InvalidQuery", "The lab wants a query of Resources or ResourceContainers by type.")
    types = set(re.findall(r"'([^']*)'", (listed[1] or listed[2]).lower()))
    without = tuple(end.lower() for end in _WITHOUT.findall(query)) or ("\0",)
    filled = [_expression(path) for path in _NOT_NULL.findall(query)]
    containers = table[1] == "ResourceContainers"
    chosen = [
        row
        for row in held
        if (row["type"] == _SUBSCRIPTIONS) is containers
        and row["type"] in types
        and not row["id"].lower().endswith(without)
        and all(read(row) is not None for read in filled)
    ]
    chosen.sort(key=lambda row: str(row["id"]))
    return [{name: value(row) for name, value in columns} for row in chosen]


def _split(text: str) -> list[str]:
    """Cut at the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _column(text: str) -> tuple[str, _Value]:
    """`vmSize = properties.hardwareProfile.vmSize` as a name and what reads its value off a row."""
    named = _NAMED.fullmatch(text)
    if named is None and not re.fullmatch(r"\w+", text):
        raise ApiError(400, "InvalidQuery", f"The lab wants a name for {text!r}.")
    return (named[1], _expression(named[2])) if named else (text, _expression(text))


def _expression(text: str) -> _Value:
    called = _FUNCTION.fullmatch(text)
    if called is None:
        if not re.fullmatch(r"\w+(?:(?:\.\w+)|(?:\[\d+\]))*", text):
            raise ApiError(400, "InvalidQuery", f"The lab cannot evaluate {text!r}.")
        return partial(_at, [int(key) if key.isdigit() else key for key in re.findall(r"\w+", text)])
    values = [_expression(part) for part in _split(called[2])]
    if called[1] == "coalesce":
        return lambda row: next((value for read in values if (value := read(row)) is not None), None)
    return lambda row: len(value) if isinstance(value := values[0](row), list) else None


def _at(path: list[str | int], row: Row) -> Any:
    value: Any = row
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _token(offset: int, query: str, subscriptions: list[str]) -> str:
    return base64.b64encode(json.dumps([offset, hash((query, *subscriptions))]).encode()).decode()


def _read_token(token: str | None, query: str, subscriptions: list[str]) -> int:
    if not token:
        return 0
    offset, mark = json.loads(base64.b64decode(token))
    if mark != hash((query, *subscriptions)):
        raise ApiError(400, "InvalidSkipToken", "The skip token belongs to another query.")
    return int(offset)


def _clock(seconds: float) -> str:
    whole = max(math.ceil(seconds), 0)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
