"""Vultr on the lab's endpoint, under /v2/: its rate limit, its errors, and its answers."""

from __future__ import annotations

import base64
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service
from optiinfra_dagster.lab.vultr.billing import Billing
from optiinfra_dagster.lab.vultr.estate import Estate
from optiinfra_dagster.lab.vultr.metrics import Figures
from optiinfra_dagster.lab.vultr.prometheus import Prometheus
from optiinfra_dagster.lab.vultr.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.vultr.kind import LabResource
    from optiinfra_dagster.lab.vultr.recordings import Recordings
    from optiinfra_dagster.lab.vultr.world import VultrAccount
    from optiinfra_dagster.lab.world import World


@dataclass(frozen=True, slots=True)
class Route:
    """A route: its operation in Vultr's documents, the answer's key, the kind, and the permission that it needs."""

    operation: str
    key: str
    kind: str
    acl: str = "subscriptions_view"
    paged: bool = True


ROUTES = {kind.path: Route(kind.operation, kind.key, kind.name, kind.acl, kind.paged) for kind in KINDS.values()}
_ACCOUNT = Route("get-account", "account", "")

# What costs what, and what was charged
BILLS = {
    **{
        kind.plans.path: Route(kind.plans.operation, kind.plans.key, kind.name, paged=kind.plans.paged)
        for kind in KINDS.values()
        if kind.plans
    },
    "account/bandwidth": Route("get-account-bandwidth", "bandwidth", "", "billing"),
    "billing/pending-charges": Route("list-pending-charges", "pending_charges", "", "billing", paged=False),
    "billing/invoices": Route("list-invoices", "billing_invoices", "", "billing"),
}
_ITEMS = Route("get-invoice-items", "invoice_items", "", "billing")

# The figures of one resource: /v2/<listing>/<id>/<suffix>
OF_ONE = {
    (kind.path, kind.call.suffix): Route(kind.call.operation, kind.call.key, kind.name)
    for kind in KINDS.values()
    if kind.call
}
MOST_DAYS = 180  # of date_range; Vultr's document said 60 once

_REFUSALS: Refusals = {  # Vultr's errors have no code
    Action.THROTTLE: (429, "", "Rate limit exceeded"),
    Action.DENY: (403, "", "You are not authorized to perform this action"),
    Action.ERROR: (500, "", "Internal server error"),
    Action.UNAVAILABLE: (503, "", "Service unavailable"),
    Action.EXPIRED: (401, "", "Invalid API token."),
    Action.UNKNOWN_KEY: (401, "", "Invalid API token."),
}


@dataclass(slots=True, kw_only=True)
class VultrCall(ApiCall):
    """A request to Vultr: its route, None where there is none, the id in its path, and what `admit` reads."""

    service: str = "vultr"
    route: Route | None
    name: str
    query: dict[str, str] = field(default_factory=dict)
    start: int = 0
    size: int = 100
    owner: VultrAccount | None = None


def _refused(status: int, message: str) -> ApiError:
    return ApiError(status, "", message)


class Rate:
    """Counts the requests of the last second. Refused ones count: who does not slow down gets nothing."""

    def __init__(self, limit: int, second: float) -> None:
        self.limit, self._second = limit, second
        self.busiest = 0  # the most that came within any one second
        self._times: deque[float] = deque()
        self._lock = Lock()

    def exceeded(self) -> bool:
        """Count a request; True where it exceeds the limit."""
        with self._lock:
            now = time.monotonic()
            self._times.append(now)
            while self._times[0] <= now - self._second:
                self._times.popleft()
            self.busiest = max(self.busiest, len(self._times))
            return len(self._times) > self.limit


class Vultr(Service[VultrCall]):
    """Vultr for every account of a world, or with `recordings` set, for any key, as it was recorded."""

    refusals = _REFUSALS

    def __init__(self, world: World, faults: FaultBook, log: CallLog, now: Callable[[], datetime]) -> None:
        super().__init__(faults, log)
        self._now = now
        self.figures = Figures(world.vultr.replay)  # what tests compare with
        self.billing = Billing(world.vultr.bills_arrive)
        self._accounts = {key: account for account in world.vultr.accounts for key in account.keys}
        self._estates = {account.name: Estate(world, account) for account in world.vultr.accounts}
        self.rate = Rate(world.vultr.limit, world.vultr.second)  # one: all requests come from this host
        self.recordings: Recordings | None = None
        self.prometheus = Prometheus(world.vultr.accounts, self._estates, self.figures, now, faults, log)

    def resources(self, account: str | None = None, kind: str | None = None) -> list[LabResource]:
        """The resources of an account and a kind, each None for all: what a collector must find."""
        estates = (estate for name, estate in self._estates.items() if account in {None, name})
        return [resource for estate in estates for resource in estate.resources(kind)]

    def claims(self, request: Request) -> bool:
        """True for a request that is meant for Vultr."""
        return request.path.startswith("/v2/")

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        route, name = _route(request.path.removeprefix("/v2/").rstrip("/"))
        return self.run(
            VultrCall(operation=route.operation if route else request.path, route=route, name=name), request
        )

    def admit(self, call: VultrCall, request: Request) -> None:
        """Count the request, read its page and its key, and refuse one too many."""
        too_many = self.rate.exceeded()
        call.query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        call.start = _position(call.query.get("cursor", "")) if self.recordings is None else 0
        call.size = _page_size(call.query.get("per_page", "100"))
        call.page = call.start // call.size + 1
        call.owner = self._accounts.get((request.headers.get("Authorization") or "").removeprefix("Bearer "))
        call.account = call.owner.name if call.owner else ""
        if too_many:
            raise _refused(429, f"Rate limit exceeded: {self.rate.limit} requests per second")

    def refusal_headers(self, call: VultrCall, fault: Fault) -> dict[str, str]:  # noqa: ARG002 - the same for all calls
        """The wait that a fault asks for."""
        return {"Retry-After": f"{fault.seconds:.0f}"} if fault.seconds else {}

    def worded(self, call: VultrCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for all calls
        """An error as Vultr words it."""
        return as_json(error.status, {"error": error.message, "status": error.status}, error.headers)

    def reply(self, call: VultrCall, request: Request) -> Response:  # noqa: ARG002 - all is in the call
        """The route's answer to the owner of the key."""
        route, owner = call.route, call.owner
        if route is None:
            raise _refused(404, "Invalid route")
        if self.recordings is not None and route is not _ACCOUNT and (not call.name or route is _ITEMS):
            return as_json(200, self.recordings.page(route.key, call.query.get("cursor", "")))
        if owner is None:
            raise _refused(401, "Invalid API token.")
        if not owner.allows_address:
            raise _refused(401, "Unauthorized IP address: 127.0.0.1")
        if route is not _ACCOUNT and route.acl not in owner.acls:
            raise _refused(403, "You are not authorized to perform this action")
        days = call.query.get("date_range", "30")
        return as_json(200, self._data(route, call.name, owner, call.start, call.size, days))

    def _data(self, route: Route, name: str, account: VultrAccount, start: int, size: int, days: str) -> dict[str, Any]:
        if route is _ACCOUNT:
            return _show(account, float(self._pending_sum(account.name)))
        if route is _ITEMS or route in BILLS.values():
            return self._bill(route, name, account.name, start, size)
        if name:
            return {route.key: self._figures_of(route, name, account.name, days)}
        return self._list(route, self._estates[account.name], start, size)

    def _figures_of(self, route: Route, name: str, account: str, days: str) -> dict[str, Any]:
        """The figures of one resource: a database's usage now, or the traffic of days."""
        resource = self._estates[account].by_id.get(name)
        if resource is None or resource.kind != route.kind:
            raise _refused(404, "Invalid resource ID")
        call = KINDS[resource.kind].call
        if not days.isdigit() or not 1 <= int(days) <= MOST_DAYS:
            raise _refused(400, f"date_range must be from 1 to {MOST_DAYS}")
        return call.answer(self.figures, resource, int(days), self._now()) if call else {}

    def _charged(self, account: str) -> list[LabResource]:
        return list(self._estates[account].resources())

    def _pending_sum(self, account: str) -> Decimal:
        lines = self.billing.pending(account, self._charged(account), self._now())
        return sum((line.total for line in lines), Decimal(0))

    def expected_costs(self, account: str, first: date, last: date) -> dict[tuple[date, str, str], Decimal]:
        """The cost of an account's days, by product and resource id, which a collector must find."""
        return self.billing.expected(account, self._charged(account), first, last, self._now())

    def _bill(self, route: Route, name: str, account: str, start: int, size: int) -> dict[str, Any]:
        """Plans, pending charges, invoices, or the items of the invoice with the number `name`."""
        resources, now = self._charged(account), self._now()
        if route.key == "bandwidth":
            return {"bandwidth": self.billing.bandwidth(account, now)}
        if route.kind:
            used = {each.fleet.plan for each in resources if each.kind == route.kind}
            plans = KINDS[route.kind].plans
            items = plans.show(used) if plans else []
        elif route.key == "pending_charges":
            items = [line.show() for line in self.billing.pending(account, resources, now)]
        elif route is _ITEMS:
            invoices = self.billing.invoices(account, resources, now)
            chosen = next((invoice for invoice in invoices if str(invoice.number) == name), None)
            if chosen is None:
                raise _refused(404, "Invalid invoice ID")
            items = [line.show() for line in chosen.lines]
        else:
            items = [invoice.show() for invoice in self.billing.invoices(account, resources, now)]
        if route.key == "pending_charges" and not route.paged:
            return {route.key: items}
        return _paged(route, items[start : start + size] if route.paged else items, start, size, len(items))

    @staticmethod
    def _list(route: Route, estate: Estate, start: int, size: int) -> dict[str, Any]:
        total = len(estate.kinds.get(route.kind, []))
        shown = estate.show(route.kind, *((start, start + size) if route.paged else (0, total)))
        return _paged(route, shown, start, size, total)


def _paged(route: Route, shown: list[dict[str, Any]], start: int, size: int, total: int) -> dict[str, Any]:
    if not route.paged:
        return {route.key: shown, "meta": {"total": total}}
    links = {
        "next": _cursor(start + size) if start + size < total else "",
        "prev": _cursor(max(start - size, 0)) if start else "",
    }
    return {route.key: shown, "meta": {"total": total, "links": links}}


def _route(path: str) -> tuple[Route | None, str]:
    """The route of a path, and the id of the resource or invoice in it, "" where it has none."""
    if path == "account":
        return _ACCOUNT, ""
    if path in BILLS:
        return BILLS[path], ""
    if items := re.fullmatch(r"billing/invoices/([^/]+)/items", path):
        return _ITEMS, items[1]
    kind, _, rest = path.partition("/")
    name, _, what = rest.partition("/")
    route = OF_ONE.get((kind, what))
    return (route, name) if route and name else (ROUTES.get(path), "")


def _cursor(position: int) -> str:
    return base64.b64encode(f"next__{position}".encode()).decode()


def _position(cursor: str) -> int:
    try:
        return int(base64.b64decode(cursor, validate=True).removeprefix(b"next__")) if cursor else 0
    except ValueError:
        raise _refused(400, "Invalid cursor") from None


def _page_size(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 500:
        raise _refused(400, "per_page must be from 1 to 500")
    return int(text)


def _show(account: VultrAccount, pending: float) -> dict[str, Any]:
    return {
        "account": {
            "name": account.name,
            "email": f"admin@{account.name}.example",
            "acls": account.acls,
            "balance": -100.55,
            "pending_charges": pending,
        }
    }
