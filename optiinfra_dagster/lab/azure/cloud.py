"""Azure on the lab's port: Azure Monitor, and Resource Graph with its paging, its quota, its silence and its errors.

The query language is not evaluated: of a query, the table, the list of types, an excluded end of ids and the columns
are read, so that a row shows what the query names and nothing else.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.azure.billing import Billing
from optiinfra_dagster.lab.azure.estate import Estate, subscription_row
from optiinfra_dagster.lab.azure.kind import Row
from optiinfra_dagster.lab.azure.metrics import Call, Metrics, MonitorError, is_monitor, read_call
from optiinfra_dagster.lab.azure.recordings import load_rows
from optiinfra_dagster.lab.calls import CallKey, CallLog
from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from optiinfra_dagster.lab.world import World

PAGE = 1000
"""Rows of the largest page."""

_PATH = "/providers/microsoft.resourcegraph/resources"
_PERMISSIONS = re.compile(r"/subscriptions/([^/]+)/providers/microsoft\.authorization/permissions")
_SUBSCRIPTIONS = "microsoft.resources/subscriptions"

# action: (HTTP status, code, message)
_REFUSALS: dict[Action, tuple[int, str, str]] = {
    Action.THROTTLE: (429, "RateLimiting", "Client application has been throttled and should not attempt to repeat."),
    Action.DENY: (403, "AuthorizationFailed", "The client does not have authorization to perform action 'read'."),
    Action.ERROR: (500, "InternalServerError", "Encountered internal server error."),
    Action.UNAVAILABLE: (503, "ServiceUnavailable", "The service is unavailable."),
    Action.EXPIRED: (401, "ExpiredAuthenticationToken", "The access token expiry is earlier than current time."),
    Action.UNKNOWN_KEY: (401, "InvalidAuthenticationToken", "The access token is invalid."),
    Action.OPTIN_REQUIRED: (404, "SubscriptionNotFound", "The subscription could not be found."),
}


class _RefusedError(Exception):
    """An answer that is an error, in the form of Resource Graph."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def response(self) -> Response:
        detail = {"code": self.code, "message": self.message}
        error = {"code": "BadRequest" if self.status == 400 else self.code, "message": self.message}
        return _json(self.status, {"error": {**error, "details": [detail]}}, self.headers)


@dataclass(slots=True)
class _Call:
    """One query, as faults see it. `account` is its subscription, or how many there are."""

    account: str = ""
    principal: str = ""
    page: int = 1
    service: str = "resourcegraph"
    operation: str = "Resources"
    region: str = ""


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a query: the rows from `offset` on, at most `top` of them."""

    query: str
    subscriptions: list[str]
    offset: int
    top: int


class Azure:
    """Azure for every subscription of a world, or, after `replay`, for recorded resources."""

    def __init__(self, world: World, faults: FaultBook, log: CallLog, now: Callable[[], datetime]) -> None:
        self.estate = Estate(world)
        self.metrics = Metrics(self.estate, world.azure, world.seed, now)
        self.billing = Billing(self.estate, world.azure, world.seed, now, faults, log)
        self._world = world.azure
        self._faults, self._log = faults, log
        self._recorded: list[Row] | None = None
        self._lock = Lock()
        self._windows: dict[str, tuple[float, int]] = {}  # principal: (begin of its window, queries in it)
        self._answers: dict[str, list[Row]] = {}

    def replay(self, files: Iterable[Path]) -> list[Row]:
        """From now on, show what these recordings show, in whichever subscription is asked for."""
        self._recorded = load_rows(files)
        self._answers.clear()
        return self._recorded

    def claims(self, request: Request) -> bool:
        """True for a request that is meant for Azure, by its path."""
        path = request.path.lower()
        is_ours = path == _PATH or _PERMISSIONS.fullmatch(path) is not None or is_monitor(path)
        return is_ours or self.billing.claims(path)

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        if is_monitor(request.path.lower()):
            return self._monitor(request)
        if self.billing.claims(request.path.lower()):
            return self.billing.answer(request)
        call = _Call()
        response: Response | None
        try:
            response = self._answer(request, call)
        except _RefusedError as refused:
            response = refused.response()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            response = _RefusedError(400, "InvalidRequest", f"The request cannot be read: {error!r}").response()
        key = CallKey(call.service, call.operation, call.account, "", response.status if response else 0)
        self._log.note(key)
        return response

    def _monitor(self, request: Request) -> Response | None:
        """Answer a call of Azure Monitor, each of which is billed, whatever becomes of it."""
        call = Call("", "", "", {}, [])
        response: Response | None = None
        try:
            call = read_call(request)
            self.metrics.locate(call)
            faults = self._faults.for_call(call)
            for fault in faults:
                if fault.action is Action.DELAY:
                    time.sleep(fault.seconds)
            if not any(fault.action is Action.DISCONNECT for fault in faults):
                response = next((_refused(fault) for fault in faults if fault.action in _REFUSALS), None)
                response = response or _json(200, self.metrics.answer(call, faults), {})
        except MonitorError as refused:
            body = {"code": refused.code, "message": refused.message}
            # The hosts of metrics wrap an error, Resource Manager's provider of metrics does not.
            response = _json(refused.status, {"error": body} if call.operation == "getBatch" else body, {})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            response = _json(400, {"error": {"code": "BadRequest", "message": f"It cannot be read: {error!r}"}}, {})
        key = CallKey(call.service, call.operation, call.account, call.region, response.status if response else 0)
        self._log.note(key, billed=1)
        return response

    def _answer(self, request: Request, call: _Call) -> Response | None:
        permissions = _PERMISSIONS.fullmatch(request.path.lower())
        if permissions:
            call.service, call.operation, call.account = "authorization", "Permissions", permissions[1]
        elif request.method != "POST":
            raise _RefusedError(405, "MethodNotAllowed", "Queries are posted.")
        page = None if permissions else self._read(request, call)
        quota = {} if permissions else self._spend(call.principal)
        faults = self._faults.for_call(call)
        for fault in faults:
            if fault.action is Action.DELAY:
                time.sleep(fault.seconds)
            elif fault.action is Action.DISCONNECT:
                return None
            elif fault.action in _REFUSALS:
                raise self._refusal(fault)
        if page is None:
            subscription = self.estate.subscriptions.get(call.account)
            roles = [{"actions": subscription.actions, "notActions": []}] if subscription else []
            return _json(200, {"value": roles}, {})
        return _json(200, self._show(page, any(fault.action is Action.PARTIAL for fault in faults)), quota)

    def _read(self, request: Request, call: _Call) -> _Page:
        body = json.loads(request.body)
        query, options = body["query"], body.get("options") or {}
        subscriptions = [name.lower() for name in body.get("subscriptions") or ()]
        call.account = subscriptions[0] if len(subscriptions) == 1 else f"{len(subscriptions)} subscriptions"
        call.principal = f"{subscriptions}"  # nobody logs in to the lab: who asks for the same is the same
        top = options.get("$top", PAGE)
        if not 1 <= top <= PAGE:
            raise _RefusedError(400, "InvalidRequest", f"$top is {top}, and must lie between 1 and {PAGE}.")
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

    def _refusal(self, fault: Fault) -> _RefusedError:
        headers = {}
        if fault.action is Action.THROTTLE:
            headers = {"x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": _clock(fault.seconds)}
        return _RefusedError(*_REFUSALS[fault.action], headers)

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
            raise _RefusedError(*_REFUSALS[Action.THROTTLE], headers)
        return headers

    def _query(self, query: str, subscriptions: list[str]) -> list[Row]:
        key = json.dumps([query, subscriptions])
        if key not in self._answers:
            if self._recorded is None:
                held = [row for subscription in subscriptions for row in self.estate.readable(subscription)]
            else:
                held = [*map(subscription_row, subscriptions), *self._recorded]
            self._answers[key] = evaluate(query, held)
        return self._answers[key]


def _refused(fault: Fault) -> Response:
    """The answer of Azure Monitor under a fault; throttling is 429, or 529 where the fault's mode says so."""
    status, code, message = _REFUSALS[fault.action]
    headers = {}
    if fault.action is Action.THROTTLE:
        status = 529 if fault.mode == "529" else 429
        headers = {"Retry-After": str(math.ceil(fault.seconds))} if fault.seconds else {}
    return _json(status, {"error": {"code": code, "message": message}}, headers)


_TABLE = re.compile(r"\s*(Resources|ResourceContainers)\s*\|")
_TYPES = re.compile(r"\btype\s*(?:in~\s*\(([^)]*)\)|=~\s*('[^']*'))")
_WITHOUT = re.compile(r"\bid\s+!endswith\s+'([^']*)'")
_PROJECT = re.compile(r"\|\s*project\s+([^|]+)")
_ORDER = re.compile(r"\|\s*order\s+by\s+id\s+asc\s*$")
_NAMED = re.compile(r"(\w+)\s*=\s*(.+)", re.DOTALL)
_FUNCTION = re.compile(r"(coalesce|array_length)\s*\((.*)\)", re.DOTALL)

_Value = Callable[[Row], Any]


def evaluate(query: str, held: list[Row]) -> list[Row]:
    """The rows that a query gives, in order and cut to its columns.

    Raises:
        _RefusedError: the query would not give stable pages, or is of a form that the lab does not know.
    """
    projected = _PROJECT.search(query)
    columns = [] if projected is None else [_column(part) for part in _split(projected[1])]
    if not _ORDER.search(query.strip()) or "id" not in dict(columns):
        raise _RefusedError(400, "InvalidQuery", "Pages are not stable: project id, and order by id asc.")
    table, listed = _TABLE.match(query), _TYPES.search(query)
    if table is None or listed is None:
        raise _RefusedError(400, "InvalidQuery", "The lab wants a query of Resources or ResourceContainers by type.")
    types = set(re.findall(r"'([^']*)'", (listed[1] or listed[2]).lower()))
    without = tuple(end.lower() for end in _WITHOUT.findall(query)) or ("\0",)
    containers = table[1] == "ResourceContainers"
    chosen = [
        row
        for row in held
        if (row["type"] == _SUBSCRIPTIONS) is containers
        and row["type"] in types
        and not row["id"].lower().endswith(without)
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
        raise _RefusedError(400, "InvalidQuery", f"The lab wants a name for {text!r}.")
    return (named[1], _expression(named[2])) if named else (text, _expression(text))


def _expression(text: str) -> _Value:
    called = _FUNCTION.fullmatch(text)
    if called is None:
        if not re.fullmatch(r"\w+(?:\.\w+)*", text):
            raise _RefusedError(400, "InvalidQuery", f"The lab cannot evaluate {text!r}.")
        return partial(_at, text.split("."))
    values = [_expression(part) for part in _split(called[2])]
    if called[1] == "coalesce":
        return lambda row: next((value for read in values if (value := read(row)) is not None), None)
    return lambda row: len(value) if isinstance(value := values[0](row), list) else None


def _at(path: list[str], row: Row) -> Any:
    value: Any = row
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _token(offset: int, query: str, subscriptions: list[str]) -> str:
    return base64.b64encode(json.dumps([offset, hash((query, *subscriptions))]).encode()).decode()


def _read_token(token: str | None, query: str, subscriptions: list[str]) -> int:
    if not token:
        return 0
    offset, mark = json.loads(base64.b64decode(token))
    if mark != hash((query, *subscriptions)):
        raise _RefusedError(400, "InvalidSkipToken", "The skip token belongs to another query.")
    return int(offset)


def _clock(seconds: float) -> str:
    whole = max(math.ceil(seconds), 0)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _json(status: int, data: Any, headers: dict[str, str]) -> Response:
    return Response(status, json.dumps(data).encode(), {"Content-Type": "application/json", **headers})
