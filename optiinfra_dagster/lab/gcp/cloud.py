"""Google Cloud on the lab's port: Cloud Asset Inventory with its pages, quota and errors, and the price list."""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.gcp.bigquery import BigQuery
from optiinfra_dagster.lab.gcp.billing import Exports
from optiinfra_dagster.lab.gcp.describe import describe
from optiinfra_dagster.lab.gcp.errors import GcpError
from optiinfra_dagster.lab.gcp.estate import GcpEstate
from optiinfra_dagster.lab.gcp.pricelist import RATES
from optiinfra_dagster.lab.gcp.prices import skus
from optiinfra_dagster.lab.gcp.services import ASSET_TYPES
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Service, Services
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.gcp.monitoring import GcpMonitoring
    from optiinfra_dagster.lab.gcp.recordings import GcpRecordings
    from optiinfra_dagster.lab.world import World

_PATH = re.compile(r"/v1/projects/([^/]+)/assets")
_SKUS = re.compile(r"/v1/services/([^/]+)/skus")
_KNOWN = {"assetTypes", "contentType", "pageSize", "pageToken", "prettyPrint", "alt", "$alt", "$prettyPrint"}
_LARGEST = 1000
_API = "cloudasset.googleapis.com"
_UTF8 = {"Content-Type": "application/json; charset=UTF-8"}


@dataclass(slots=True, kw_only=True)
class ListCall(ApiCall):
    """A call for a page of a list. These APIs are global: they have no region."""

    query: dict[str, list[str]]


def _refusal(action: Action, project: str) -> GcpError:
    """The error that a fault stands for."""
    match action:
        case Action.THROTTLE:
            return _over_quota(project)
        case Action.DENY:
            return _denied(project)
        case Action.UNAVAILABLE:
            return GcpError(503, "UNAVAILABLE", "The service is currently unavailable.")
        case Action.EXPIRED | Action.UNKNOWN_KEY:
            text = "Request had invalid authentication credentials. Expected OAuth 2 access token."
            return GcpError(401, "UNAUTHENTICATED", text, "ACCESS_TOKEN_EXPIRED" if action is Action.EXPIRED else "")
        case Action.OPTIN_REQUIRED:
            text = f"Cloud Asset API has not been used in project {project} before or it is disabled."
            return GcpError(403, "PERMISSION_DENIED", text, "SERVICE_DISABLED")
        case _:
            return GcpError(500, "INTERNAL", "Internal error encountered.")


def _over_quota(project: str) -> GcpError:
    text = f"Quota exceeded for quota metric 'ListAssets Requests' of service '{_API}' for consumer '{project}'."
    return GcpError(429, "RESOURCE_EXHAUSTED", text, "RATE_LIMIT_EXCEEDED")


def _denied(project: str) -> GcpError:
    text = f"Permission 'cloudasset.assets.listResource' denied on resource '//{_API}/projects/{project}'."
    return GcpError(403, "PERMISSION_DENIED", text, "IAM_PERMISSION_DENIED")


class Gcp(Services):
    """Google Cloud for every project of a world, or, with recordings, the recorded resources for any project.

    Nobody is asked for a credential: none may be sent over plain http. With projects, `monitoring` is there between
    `start` and `stop`.
    """

    def __init__(
        self,
        world: World,
        faults: FaultBook,
        log: CallLog,
        recordings: GcpRecordings | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.estate = GcpEstate(world, now)
        self.exports = Exports(self.estate, world.gcp.exports, now, arrive=world.gcp.bills_arrive)
        self.recordings = recordings
        self.overlap = 0  # assets of a page that the next one names again, as a listing that shifts does
        self.calls_per_minute = 100  # and project, of assets.list (quota page of Cloud Asset Inventory)
        self._assets = Assets(self, faults, log)
        self.monitoring: GcpMonitoring | None = None
        self.services = (BigQuery(self.exports, faults, log), Catalogue(faults, log), self._assets)
        self._world, self._faults, self._log, self._now = world, faults, log, now

    def start(self) -> None:
        """Serve Cloud Monitoring, which is gRPC and so has a port of its own."""
        if self._world.gcp.projects and self.monitoring is None:
            from optiinfra_dagster.lab.gcp.monitoring import GcpMonitoring

            self.monitoring = GcpMonitoring(self._world, self.estate, self._faults, self._log, self._now)

    def stop(self) -> None:
        """Stop serving it."""
        if self.monitoring is not None:
            self.monitoring.stop()
            self.monitoring = None

    def refill(self) -> None:
        """Let a minute pass: every project has its whole quota of Cloud Asset Inventory again."""
        self._assets.refill()


class Catalogue(Service[ListCall]):
    """The price list: `skus.list` of Cloud Billing."""

    def claims(self, request: Request) -> bool:
        """True for a request for prices."""
        return _SKUS.fullmatch(request.path) is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        call = ListCall(service="cloudbilling", operation="ListSkus", query=parse_qs(request.query))
        return self.run(call, request)

    def refusal(self, call: ListCall, fault: Fault) -> ApiError | None:  # noqa: ARG002 - no call names a project
        """The error that a fault stands for."""
        return _refusal(fault.action, "acme")

    def reply(self, call: ListCall, request: Request) -> Response:
        """A page of the prices of one service."""
        match = _SKUS.fullmatch(request.path)
        currency = call.query.get("currencyCode", ["USD"])[0]
        if currency not in RATES:
            raise _invalid(f"Currency code {currency} is not supported.")
        listed = skus(match[1] if match else "", currency)
        start, size = int(call.query.get("pageToken", ["0"])[0]), int(call.query.get("pageSize", ["5000"])[0])
        if not 0 < size <= 5000:
            raise _invalid("page_size must be between 1 and 5000.")
        more = str(start + size) if start + size < len(listed) else ""
        return as_json(200, {"skus": listed[start : start + size], "nextPageToken": more}, _UTF8)

    def worded(self, call: ListCall, error: ApiError) -> Response:
        """An error as Google words it."""
        return _write_error(call, error)


class Assets(Service[ListCall]):
    """Cloud Asset Inventory: `assets.list`, as often as the quota of `cloud` lets it."""

    def __init__(self, cloud: Gcp, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._cloud = cloud
        self._recent: dict[str, deque[float]] = defaultdict(deque)
        self._lock = Lock()

    def claims(self, request: Request) -> bool:
        """True for a request for assets."""
        return _PATH.fullmatch(request.path) is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        match, query = _PATH.fullmatch(request.path), parse_qs(request.query)
        page = query.get("pageToken", [""])[0].partition(".")[0]
        call = ListCall(
            service="cloudasset",
            operation="ListAssets",
            account=unquote(match[1]) if match else "",
            page=int(page) if page.isdigit() else 1,
            query=query,
        )
        return self.run(call, request)

    def admit(self, call: ListCall, request: Request) -> None:  # noqa: ARG002 - all is in the call
        """Take the call out of the quota."""
        self._spend(call.account)

    def refusal(self, call: ListCall, fault: Fault) -> ApiError | None:
        """The error that a fault stands for."""
        return None if fault.action in {Action.PARTIAL, Action.LATE} else _refusal(fault.action, call.account)

    def reply(self, call: ListCall, request: Request) -> Response:  # noqa: ARG002 - all is in the call
        """A page of the assets of one project."""
        return as_json(200, self._page(call), _UTF8)

    def worded(self, call: ListCall, error: ApiError) -> Response:
        """An error as Google words it."""
        return _write_error(call, error)

    def _spend(self, project: str) -> None:
        """Take one call out of the quota of the last 60 seconds; refused calls cost nothing."""
        now = time.monotonic()
        with self._lock:
            recent = self._recent[project]
            while recent and recent[0] <= now - 60:
                recent.popleft()
            if len(recent) >= self._cloud.calls_per_minute:
                raise _over_quota(project)
            recent.append(now)

    def refill(self) -> None:
        """Let a minute pass: every project has its whole quota again."""
        with self._lock:
            self._recent.clear()

    def _page(self, call: ListCall) -> dict[str, Any]:
        query = call.query
        if unknown := query.keys() - _KNOWN:
            raise _invalid(f"The cloud lab does not know assets.list with {', '.join(sorted(unknown))}.")
        wanted = set(query.get("assetTypes", ()))
        if unknown := wanted - ASSET_TYPES:
            raise _invalid(f"Invalid asset types: {', '.join(sorted(unknown))}.")
        size = _page_size(query.get("pageSize", ["0"])[0])
        whole = query.get("contentType", [""])[0] in {"RESOURCE", "1"}  # Google's client sends the number
        start, mark = 0, f"{digest(call.account, sorted(wanted), whole):x}"
        if token := query.get("pageToken", [""])[0]:
            start = max(_start(token, mark) - self._cloud.overlap, 0)
        if (recordings := self._cloud.recordings) is not None:
            shown = [asset for asset in recordings.assets.values() if not wanted or asset["assetType"] in wanted]
            rows, more = shown[start : start + size], start + size < len(shown)
        else:
            if call.account not in self._cloud.estate.projects:
                raise _denied(call.account)  # Google does not tell whether there is such a project
            listed = [
                asset for asset in self._cloud.estate.assets(call.account) if not wanted or asset.asset_type in wanted
            ]
            rows, more = [describe(asset) for asset in listed[start : start + size]], start + size < len(listed)
        if not whole:
            rows = [{key: value for key, value in row.items() if key != "resource"} for row in rows]
        answer: dict[str, Any] = {"readTime": "2024-06-01T00:00:00Z"}
        if rows:
            answer["assets"] = rows  # an empty list is left out of Google's JSON
        if more:
            answer["nextPageToken"] = f"{call.page + 1}.{start + size}.{mark}"
        return answer


def _page_size(text: str) -> int:
    size = int(text) if text.isdigit() else -1
    if not 0 <= size <= _LARGEST:
        raise _invalid(f"page_size must be between 0 and {_LARGEST}, not {text}.")
    return size or 100


def _start(token: str, mark: str) -> int:
    _, start, marked = (*token.split("."), "", "", "")[:3]
    if not start.isdigit() or marked != mark:
        raise _invalid("The page token is invalid, or of a call with other parameters.")
    return int(start)


def _invalid(message: str) -> GcpError:
    return GcpError(400, "INVALID_ARGUMENT", message)


def _write_error(call: ListCall, error: ApiError) -> Response:
    body: dict[str, Any] = {"code": error.status, "message": error.message, "status": error.code}
    if isinstance(error, GcpError) and error.reason:
        body["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": error.reason,
                "domain": "googleapis.com",
                "metadata": {"service": _API, "consumer": f"projects/{call.account}"},
            }
        ]
    return as_json(error.status, {"error": body})
