"""Charges of the lab's Azure: Cost Management with its limits, the price list, and exports in blob storage.

Every amount is a function of the world's seed, of a resource and of a day, with at most ten digits after the point and
fifteen in all, so that a JSON number carries it exactly.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from optiinfra_dagster.lab.azure.prices import RATES, of_resource, price_items
from optiinfra_dagster.lab.azure.services import KINDS_BY_TYPE
from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.estate import Estate
    from optiinfra_dagster.lab.azure.world import AzureWorld
    from optiinfra_dagster.lab.calls import CallLog

LARGEST_PAGE = 5000
COST_READER = "microsoft.costmanagement/query/read"

_QUERY = re.compile(r"/subscriptions/([^/]+)/providers/microsoft\.costmanagement/query")
_PRICES = "/api/retail/prices"
_BLOB = re.compile(r"/([a-z0-9]+\.blob\.core\.[a-z0-9.-]+)/([a-z0-9-]+)(?:/(.+))?")
_LAST_DIGIT = Decimal("1e-10")
_DIMENSIONS = ("ServiceName", "ResourceId", "ResourceLocation")


_REFUSALS: Refusals = {
    Action.THROTTLE: (429, "429", "Too many requests. Please retry."),
    Action.DENY: (401, "RBACAccessDenied", "The client does not have authorization to perform action."),
    Action.ERROR: (500, "InternalServerError", "Encountered internal server error."),
    Action.UNAVAILABLE: (503, "ServiceUnavailable", "The service is unavailable."),
    Action.EXPIRED: (401, "ExpiredAuthenticationToken", "The access token expiry is earlier than current time."),
    Action.UNKNOWN_KEY: (401, "InvalidAuthenticationToken", "The access token is invalid."),
    Action.OPTIN_REQUIRED: (401, "AccountCostDisabled", "The billing administrator does not let charges be viewed."),
}


class CostLine(NamedTuple):
    """The charge of one service for one resource on one day. `resource_id` is empty where the bill names none."""

    day: date
    service: str
    resource_id: str  # in lower case
    region: str
    amount: Decimal
    currency: str


class Blob(NamedTuple):
    """An object in blob storage. Azure gives each writing of one an ETag of its own, whatever was written."""

    content: bytes
    modified: datetime
    etag: str


class Billing(Service[ApiCall]):
    """The bills of every subscription of a world."""

    refusals = _REFUSALS
    acts_first = (Action.DELAY, Action.DISCONNECT)

    def __init__(
        self, estate: Estate, world: AzureWorld, seed: int, now: Callable[[], datetime], faults: FaultBook, log: CallLog
    ) -> None:
        super().__init__(faults, log)
        self._estate, self._world, self._seed, self._now = estate, world, seed, now
        self._lock = Lock()
        self._sent: defaultdict[str, list[float]] = defaultdict(list)  # when queries came, by subscription
        self._restated: defaultdict[tuple[str, date], list[tuple[str, Decimal]]] = defaultdict(list)
        self.arrive = world.bills_arrive
        self._blobs: defaultdict[tuple[str, str], dict[str, Blob]] = defaultdict(dict)
        self._written = 0  # blobs

    # --- What is true -------------------------------------------------------------------------------------------------

    def restate(self, subscription: str, day: date, amount: Decimal | str, service: str = "Virtual Machines") -> None:
        """Restate a past day: from now on it has a further line of this amount, without a resource."""
        self._restated[subscription, day].append((service, Decimal(amount)))

    def put_blob(self, host: str, container: str, name: str, content: bytes, modified: datetime | None = None) -> None:
        """Put an object into blob storage, as an export does."""
        self._written += 1
        self._blobs[host, container][name] = Blob(content, modified or self._now(), f"0x8D{self._written:012X}")

    def remove_blob(self, host: str, container: str, name: str) -> None:
        """Remove an object, as an export does that overwrites its last run, and as a retention rule does."""
        del self._blobs[host, container][name]

    def expected(self, subscription: str, first: date, last: date) -> list[CostLine]:
        """The lines that a bill must have of the days from `first` to `last`, as far as they have begun and arrived."""
        day, lines, now = first, list[CostLine](), self._now()
        while day <= min(last, now.date()):
            if self.arrive.so_far(Decimal(1), day, now):
                of_day = self._of_day(subscription, day)
                lines += [line._replace(amount=self.arrive.so_far(line.amount, day, now)) for line in of_day]
            day += timedelta(days=1)
        return lines

    def totals(self, subscription: str, first: date, last: date) -> dict[tuple[date, str], Decimal]:
        """The sum of each day, by day and currency."""
        sums: defaultdict[tuple[date, str], Decimal] = defaultdict(Decimal)
        for line in self.expected(subscription, first, last):
            sums[line.day, line.currency] += line.amount
        return dict(sums)

    def _of_day(self, subscription: str, day: date) -> Iterator[CostLine]:
        known = self._estate.subscriptions.get(subscription)
        if known is None:
            return
        changed = known.currency_change
        currency = changed[1] if changed and day >= changed[0] else known.currency
        for row in self._estate.rows(subscription)[1:]:
            if str(row["properties"].get("timeCreated") or "") > f"{day}T24":
                continue
            # What is used is never quite what the list says: a part of an hour, a discount.
            share = Decimal(9_500 + digest(self._seed, row["id"], day) % 500) / 10_000
            for service, hourly in of_resource(row):
                amount = (hourly * 24 * share).quantize(_LAST_DIGIT)
                yield CostLine(day, service, row["id"].lower(), row["location"], amount, currency)
            kind = KINDS_BY_TYPE.get(row["type"])
            if kind is not None and kind.has_traffic and of_resource(row):
                traffic = Decimal(digest(self._seed, "traffic", row["id"], day) % 2_000_000_000) * _LAST_DIGIT
                yield CostLine(day, "Bandwidth", row["id"].lower(), row["location"], traffic, currency)
        if len(self._estate.rows(subscription)) > 1:
            logs = Decimal(digest(self._seed, "logs", subscription, day) % 30_000_000_000) * _LAST_DIGIT
            yield CostLine(day, "Azure Monitor", "", "", logs, currency)
        for service, amount in self._restated.get((subscription, day), ()):
            yield CostLine(day, service, "", "", amount, currency)

    # --- Protocol -----------------------------------------------------------------------------------------------------

    def claims(self, request: Request) -> bool:
        """True for a path of these services, in whatever case."""
        path = request.path.lower()
        return path == _PRICES or any(known.fullmatch(path) for known in (_QUERY, _BLOB))

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        path = request.path.lower()
        if query := _QUERY.fullmatch(path):
            call = ApiCall(service="costmanagement", operation="Query", account=query[1])
        elif path == _PRICES:
            call = ApiCall(service="retailprices", operation="Prices")
        else:
            whole = _BLOB.fullmatch(request.path)
            operation = "ListBlobs" if "comp=list" in request.query else "GetBlob"
            call = ApiCall(service="blob", operation=operation, account=whole[1] if whole else "")
        return self.run(call, request)

    def reply(self, call: ApiCall, request: Request) -> Response:
        """A page of a query, of the price list or of blobs, or a blob."""
        serve = {
            "Query": self._query, "Prices": self._prices, "ListBlobs": self._list_blobs, "GetBlob": self._get_blob
        }  # fmt: skip
        return serve[call.operation](request, call)

    def refusal_headers(self, call: ApiCall, fault: Fault) -> dict[str, str]:
        """The waits that Cost Management asks for when it throttles."""
        waits = fault.action is Action.THROTTLE and call.service == "costmanagement"
        return _waits(math.ceil(fault.seconds)) if waits else {}

    def worded(self, call: ApiCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for all calls
        """An error as these services word it."""
        return as_json(error.status, {"error": {"code": error.code, "message": error.message}}, error.headers)

    def unexpected(self, error: Exception) -> ApiError:
        """The refusal of a request that cannot be read."""
        return ApiError(400, "BadRequest", f"The request cannot be read: {error!r}")

    def _query(self, request: Request, call: ApiCall) -> Response:
        if request.method != "POST":
            raise ApiError(405, "MethodNotAllowed", "Queries, and every further page, are posted.")
        self._spend(call.account)
        known = self._estate.subscriptions.get(call.account)
        if known is None:
            raise ApiError(404, "SubscriptionNotFound", f"Subscription {call.account} was not found.")
        if not any(fnmatchcase(COST_READER, action.lower()) for action in known.actions):
            raise ApiError(401, "RBACAccessDenied", "The client does not have authorization to perform action.")
        parameters = parse_qs(request.query)
        body = json.loads(request.body)
        first, last, groups = _parameters(body)
        offset = _offset(parameters, body)
        size = min(int(parameters.get("$top", ["1000"])[0]), LARGEST_PAGE, self._world.cost_page)
        rows = self._rows(call.account, first, last, groups)
        end = offset + size
        token = base64.b64encode(json.dumps([end, _mark(body)]).encode()).decode()
        link = (
            f"https://management.azure.com{request.path}?api-version={parameters['api-version'][0]}&$top={size}"
            f"&$skiptoken={quote(token)}"
        )
        kinds = {"Cost": "Number", "UsageDate": "Number"}
        columns = [
            {"name": name, "type": kinds.get(name, "String")} for name in ("Cost", "UsageDate", *groups, "Currency")
        ]
        return as_json(
            200,
            {
                "id": f"{request.path[1:]}/{digest(call.account, offset)}",
                "type": "Microsoft.CostManagement/query",
                "properties": {
                    "nextLink": link if end < len(rows) else None,
                    "columns": columns,
                    "rows": rows[offset:end],
                },
            },
        )

    def _rows(self, subscription: str, first: date, last: date, groups: Sequence[str]) -> list[list[Any]]:
        sums: defaultdict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
        for line in self.expected(subscription, first, last):
            of = {"ServiceName": line.service, "ResourceId": line.resource_id, "ResourceLocation": line.region}
            sums[int(f"{line.day:%Y%m%d}"), *(of[name] for name in groups), line.currency] += line.amount
        return [[float(amount), *key] for key, amount in sorted(sums.items())]

    def _spend(self, subscription: str) -> None:
        """Take one query from the minute's; refuse what goes beyond, with the waits that Azure asks for."""
        now, length = time.monotonic(), self._world.cost_seconds
        with self._lock:
            sent = self._sent[subscription] = [at for at in self._sent[subscription] if at > now - length]
            if len(sent) < self._world.cost_queries:
                sent.append(now)
                return
            wait = math.ceil(sent[0] + length - now)
        raise ApiError(429, "429", "Too many requests. Please retry.", _waits(wait))

    def _prices(self, request: Request, call: ApiCall) -> Response:
        parameters = parse_qs(request.query)
        skip = int(parameters.get("$skip", ["0"])[0])
        filtered = parameters.get("$filter", [""])[0]
        currency = parameters.get("currencyCode", ["'USD'"])[0].strip("'")
        if currency not in RATES:
            raise ApiError(400, "BadRequest", f"Currency code {currency} is not supported.")
        items = price_items(filtered, currency)
        end, size = skip + self._world.price_page, self._world.price_page
        call.page = skip // size + 1
        asked = f"api-version=2023-01-01-preview&currencyCode='{currency}'&$filter={quote(filtered)}"
        link = f"https://prices.azure.com:443{_PRICES}?{asked}&$skip={end}"
        return as_json(
            200,
            {
                "BillingCurrency": currency,
                "CustomerEntityId": "Default",
                "CustomerEntityType": "Retail",
                "Items": items[skip:end],
                "NextPageLink": link if end < len(items) else None,
                "Count": len(items[skip:end]),
            },
        )

    def _list_blobs(self, request: Request, _call: ApiCall) -> Response:
        """https://learn.microsoft.com/rest/api/storageservices/list-blobs."""
        place = _BLOB.fullmatch(request.path)
        parameters = {name: values[0] for name, values in parse_qs(request.query).items()}
        if place is None or (place[1], place[2]) not in self._blobs:
            raise ApiError(404, "ContainerNotFound", "The specified container does not exist.")
        held = self._blobs[place[1], place[2]]
        names = sorted(
            name
            for name in held
            if name.startswith(parameters.get("prefix", "")) and name >= parameters.get("marker", "")
        )
        size = int(parameters.get("maxresults", "5000"))
        blobs = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties>"
            f"<Last-Modified>{held[name].modified:%a, %d %b %Y %H:%M:%S GMT}</Last-Modified>"
            f"<Etag>{held[name].etag}</Etag><Content-Length>{len(held[name].content)}</Content-Length></Properties></Blob>"
            for name in names[:size]
        )
        marker = f"<NextMarker>{escape(names[size])}</NextMarker>" if len(names) > size else "<NextMarker />"
        body = f'\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{blobs}</Blobs>{marker}'
        return Response(200, f"{body}</EnumerationResults>".encode(), {"Content-Type": "application/xml"})

    def _get_blob(self, request: Request, _call: ApiCall) -> Response:
        place = _BLOB.fullmatch(request.path)
        held = self._blobs.get((place[1], place[2]), {}) if place else {}
        name = unquote(place[3]) if place else ""
        if name not in held:
            raise ApiError(404, "BlobNotFound", "The specified blob does not exist.")
        etag = f'"{held[name].etag}"'
        if request.headers.get("If-Match", etag) != etag:
            raise ApiError(412, "ConditionNotMet", "The condition of the request's headers is not met.")
        return Response(200, held[name].content, {"Content-Type": "application/octet-stream", "ETag": etag})


def _waits(seconds: int) -> dict[str, str]:
    """The headers of a refusal: each limit tells its own wait, and only the longest is enough."""
    prefix = "x-ms-ratelimit-microsoft.costmanagement"
    return {
        f"{prefix}-qpu-retry-after": "0",
        f"{prefix}-entity-retry-after": str(seconds),
        f"{prefix}-tenant-retry-after": str(seconds // 2),
    }


def _parameters(body: dict[str, Any]) -> tuple[date, date, list[str]]:
    """Days and groups of a query.

    Raises:
        ApiError: Cost Management does not answer such a query.
    """
    dataset = body["dataset"]
    groups = [group["name"] for group in dataset.get("grouping") or ()]
    if body["type"] != "ActualCost" or body["timeframe"] != "Custom" or dataset["granularity"] != "Daily":
        raise ApiError(400, "BadRequest", "The lab wants the daily actual costs of custom days.")
    if len(groups) > 2 or set(groups) - set(_DIMENSIONS):
        raise ApiError(400, "BadRequest", f"At most two groups, and of {_DIMENSIONS}: not {groups}.")
    if [(sum_["name"], sum_["function"]) for sum_ in dataset["aggregation"].values()] != [("Cost", "Sum")]:
        raise ApiError(400, "BadRequest", "The lab sums Cost.")
    first, last = (datetime.fromisoformat(body["timePeriod"][end]).date() for end in ("from", "to"))
    if not 0 <= (last - first).days < 31:
        raise ApiError(400, "BadRequest", f"{first} to {last} is no range of at most 31 days.")
    return first, last, groups


def _mark(body: dict[str, Any]) -> int:
    return digest(json.dumps(body, sort_keys=True))


def _offset(parameters: dict[str, list[str]], body: dict[str, Any]) -> int:
    token = parameters.get("$skiptoken")
    if not token:
        return 0
    offset, mark = json.loads(base64.b64decode(token[0]))
    if mark != _mark(body):
        raise ApiError(400, "BadRequest", "The skip token belongs to another query.")
    return int(offset)
