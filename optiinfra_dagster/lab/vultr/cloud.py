"""Vultr on the lab's endpoint, under /v2/: who calls, how often, what goes wrong on purpose, and what is listed."""

from __future__ import annotations

import base64
import json
import time
import traceback
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from optiinfra_dagster.lab.calls import CallKey, CallLog
from optiinfra_dagster.lab.faults import Action, FaultBook
from optiinfra_dagster.lab.server import Request, Response
from optiinfra_dagster.lab.vultr.estate import Estate, LabResource

if TYPE_CHECKING:
    from optiinfra_dagster.lab.vultr.recordings import Recordings
    from optiinfra_dagster.lab.vultr.world import VultrAccount
    from optiinfra_dagster.lab.world import World


@dataclass(frozen=True, slots=True)
class Route:
    """One listing: its name in Vultr's documents, where the answer holds it, and the permission that it needs."""

    operation: str
    key: str
    kind: str
    acl: str = "subscriptions_view"
    paged: bool = True


ROUTES = {
    "instances": Route("list-instances", "instances", "vultr:instance"),
    "bare-metals": Route("list-baremetals", "bare_metals", "vultr:bare_metal"),
    "blocks": Route("list-blocks", "blocks", "vultr:block"),
    "vfs": Route("list-vfs", "vfs", "vultr:vfs"),
    "object-storage": Route("list-object-storages", "object_storages", "vultr:object_storage", "objstore"),
    "databases": Route("list-databases", "databases", "vultr:database", paged=False),
    "load-balancers": Route("list-load-balancers", "load_balancers", "vultr:load_balancer", "loadbalancer"),
    "vpcs": Route("list-vpcs", "vpcs", "vultr:vpc"),
    "kubernetes/clusters": Route("list-kubernetes-clusters", "vke_clusters", "vultr:kubernetes"),
}
_ACCOUNT = Route("get-account", "account", "")

_REFUSALS: dict[Action, tuple[int, str]] = {
    Action.THROTTLE: (429, "Rate limit exceeded"),
    Action.DENY: (403, "You are not authorized to perform this action"),
    Action.ERROR: (500, "Internal server error"),
    Action.UNAVAILABLE: (503, "Service unavailable"),
    Action.EXPIRED: (401, "Invalid API token."),
    Action.UNKNOWN_KEY: (401, "Invalid API token."),
}


@dataclass(slots=True)
class Call:
    """One request, as faults and counts see it."""

    operation: str
    account: str = ""
    page: int = 1
    service: str = "vultr"
    region: str = ""


class _Refused(Exception):  # noqa: N818 - a refusal, in HTTP's words
    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.response = _json(status, {"error": text, "status": status}, headers)


def _json(status: int, data: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})


class Rate:
    """Counts the requests of the last second. Refused ones count: who does not slow down gets nothing."""

    def __init__(self, limit: int, second: float) -> None:
        self.limit, self._second = limit, second
        self.busiest = 0  # the most that came within any one second
        self._times: deque[float] = deque()
        self._lock = Lock()

    def exceeded(self) -> bool:
        """Count a request; whether it is one too many."""
        with self._lock:
            now = time.monotonic()
            self._times.append(now)
            while self._times[0] <= now - self._second:
                self._times.popleft()
            self.busiest = max(self.busiest, len(self._times))
            return len(self._times) > self.limit


class Vultr:
    """Vultr for every account of a world, or with `recordings` set, for any key, as it was recorded."""

    def __init__(self, world: World, faults: FaultBook, log: CallLog) -> None:
        self._accounts = {key: account for account in world.vultr.accounts for key in account.keys}
        self._estates = {account.name: Estate(world, account) for account in world.vultr.accounts}
        self._faults, self._log = faults, log
        self.rate = Rate(world.vultr.limit, world.vultr.second)  # one: all requests come from this host
        self.recordings: Recordings | None = None

    def resources(self, account: str | None = None, kind: str | None = None) -> list[LabResource]:
        """The resources of an account and a kind, each None for all: what a collector must find."""
        estates = (estate for name, estate in self._estates.items() if account in {None, name})
        return [one for estate in estates for one in estate.resources(kind)]

    def claims(self, request: Request) -> bool:
        """Whether a request is meant for Vultr."""
        return request.path.startswith("/v2/")

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        route = _ACCOUNT if request.path == "/v2/account" else ROUTES.get(request.path.removeprefix("/v2/").rstrip("/"))
        call = Call(route.operation if route else request.path)
        response: Response | None
        try:
            response = self._answer(call, route, request)
        except _Refused as refusal:
            response = refusal.response
        except Exception as bug:  # noqa: BLE001 - told to the caller, who would retry a connection that just closed
            traceback.print_exc()
            response = _json(400, {"error": f"bug of the cloud lab: {bug!r}", "status": 400})
        self._log.note(CallKey("vultr", call.operation, call.account, "", response.status if response else 0))
        return response

    def _answer(self, call: Call, route: Route | None, request: Request) -> Response | None:
        too_many = self.rate.exceeded()
        asked = {name: values[-1] for name, values in parse_qs(request.query).items()}
        start = _position(asked.get("cursor", "")) if self.recordings is None else 0
        size = _page_size(asked.get("per_page", "100"))
        call.page = start // size + 1
        key = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        account = self._accounts.get(key)
        call.account = account.name if account else ""
        if too_many:
            raise _Refused(429, f"Rate limit exceeded: {self.rate.limit} requests per second")
        if not self._faults_let_pass(call):
            return None
        if route is None:
            raise _Refused(404, "Invalid route")
        if self.recordings is not None and route is not _ACCOUNT:
            return _json(200, self.recordings.page(route.key, asked.get("cursor", "")))
        if account is None:
            raise _Refused(401, "Invalid API token.")
        if not account.allows_address:
            raise _Refused(401, "Unauthorized IP address: 127.0.0.1")
        if route is _ACCOUNT:
            return _json(200, _show(account))
        if route.acl not in account.acls:
            raise _Refused(403, "You are not authorized to perform this action")
        return _json(200, self._list(route, self._estates[account.name], start, size))

    def _faults_let_pass(self, call: Call) -> bool:
        """Do what was asked to go wrong with a call; whether it is to be answered at all."""
        for fault in self._faults.for_call(call):
            if fault.action is Action.DELAY:
                time.sleep(fault.seconds)
            elif fault.action is Action.DISCONNECT:
                return False
            elif fault.action in _REFUSALS:
                status, text = _REFUSALS[fault.action]
                raise _Refused(status, text, {"Retry-After": f"{fault.seconds:.0f}"} if fault.seconds else None)
        return True

    @staticmethod
    def _list(route: Route, estate: Estate, start: int, size: int) -> dict[str, Any]:
        total = len(estate.kinds.get(route.kind, []))
        if not route.paged:
            return {route.key: estate.show(route.kind, 0, total), "meta": {"total": total}}
        links = {
            "next": _cursor(start + size) if start + size < total else "",
            "prev": _cursor(max(start - size, 0)) if start else "",
        }
        return {
            route.key: estate.show(route.kind, start, start + size),
            "meta": {"total": total, "links": links},
        }


def _cursor(position: int) -> str:
    return base64.b64encode(f"next__{position}".encode()).decode()


def _position(cursor: str) -> int:
    try:
        return int(base64.b64decode(cursor, validate=True).removeprefix(b"next__")) if cursor else 0
    except ValueError:
        raise _Refused(400, "Invalid cursor") from None


def _page_size(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 500:
        raise _Refused(400, "per_page must be from 1 to 500")
    return int(text)


def _show(account: VultrAccount) -> dict[str, Any]:
    return {
        "account": {
            "name": account.name,
            "email": f"admin@{account.name}.example",
            "acls": account.acls,
            "balance": -100.55,
            "pending_charges": 60.25,
        }
    }
