"""Google Cloud on the lab's port: `assets.list` of Cloud Asset Inventory, its pages, its quota and its errors."""

from __future__ import annotations

import json
import re
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from optiinfra_dagster.lab.calls import CallKey, CallLog
from optiinfra_dagster.lab.faults import Action, FaultBook
from optiinfra_dagster.lab.gcp.billing import BigQueryError, Exports
from optiinfra_dagster.lab.gcp.describe import describe
from optiinfra_dagster.lab.gcp.estate import GcpEstate
from optiinfra_dagster.lab.gcp.prices import skus
from optiinfra_dagster.lab.gcp.services import ASSET_TYPES
from optiinfra_dagster.lab.server import Request, Response
from optiinfra_dagster.lab.world import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.monitoring import GcpMonitoring
    from optiinfra_dagster.lab.gcp.recordings import GcpRecordings
    from optiinfra_dagster.lab.world import World

_PATH = re.compile(r"/v1/projects/([^/]+)/assets")
_SKUS = re.compile(r"/v1/services/([^/]+)/skus")
# BigQuery's requests: method, path below /bigquery/v2/projects/, name
_BIGQUERY = (
    ("GET", re.compile(r"([^/]+)/datasets/([^/]+)/tables/([^/]+)"), "tables.get"),
    ("GET", re.compile(r"([^/]+)/datasets/([^/]+)/tables"), "tables.list"),
    ("POST", re.compile(r"([^/]+)/queries"), "jobs.query"),
    ("GET", re.compile(r"([^/]+)/queries/([^/]+)"), "jobs.getQueryResults"),
    ("POST", re.compile(r"([^/]+)/jobs"), "jobs.insert"),
    ("GET", re.compile(r"([^/]+)/jobs/([^/]+)"), "jobs.get"),
)
_KNOWN = {"assetTypes", "contentType", "pageSize", "pageToken", "prettyPrint", "alt", "$alt", "$prettyPrint"}
_LARGEST = 1000
_API = "cloudasset.googleapis.com"


class GcpError(Exception):
    """An error as Google words it: HTTP status, status of google.rpc.Code, reason of google.rpc.ErrorInfo."""

    def __init__(self, status: int, word: str, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.word, self.message, self.reason = status, word, message, reason


@dataclass(slots=True)
class _Call:
    """One call, as faults and counts know it. The API is global: it has no region."""

    account: str
    query: dict[str, list[str]]
    service: str = "cloudasset"
    operation: str = "ListAssets"
    region: str = ""
    page: int = 1


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
            return GcpError(401, "UNAUTHENTICATED", text, "ACCESS_TOKEN_EXPIRED")
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


class Gcp:
    """Google Cloud for every project of a world, or, with recordings, the recorded resources for any project.

    100 calls a minute and project are answered (quota page of Cloud Asset Inventory). Nobody is asked for a
    credential: none may be sent over plain http. With projects, `monitoring` is there between `start` and `stop`.
    """

    calls_per_minute = 100

    def __init__(
        self,
        world: World,
        faults: FaultBook,
        log: CallLog,
        recordings: GcpRecordings | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.estate = GcpEstate(world)
        self.recordings = recordings
        self.exports = Exports(self.estate, world.gcp.exports, now)
        self.monitoring: GcpMonitoring | None = None
        self._world, self._faults, self._log, self._now = world, faults, log, now
        self._recent: dict[str, deque[float]] = defaultdict(deque)
        self._lock = Lock()

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

    def claims(self, request: Request) -> bool:
        """True for a request of Cloud Asset Inventory, BigQuery or the price catalogue."""
        known = _PATH.fullmatch(request.path) or _SKUS.fullmatch(request.path)
        return known is not None or request.path.startswith("/bigquery/v2/")

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        if request.path.startswith("/bigquery/v2/"):
            return self._answer_bigquery(request)
        if catalogue := _SKUS.fullmatch(request.path):
            return self._answer_catalogue(catalogue[1], parse_qs(request.query))
        match = _PATH.fullmatch(request.path)
        call = _Call(unquote(match[1]) if match else "", parse_qs(request.query))
        page = call.query.get("pageToken", [""])[0].partition(".")[0]
        call.page = int(page) if page.isdigit() else 1
        try:
            response = self._answer(call)
        except GcpError as error:
            response = _write_error(call, error)
        except Exception as bug:  # noqa: BLE001 - told to the caller, who would retry a connection that just closed
            traceback.print_exc()
            response = _write_error(call, GcpError(400, "CLOUD_LAB_BUG", repr(bug)))
        status = response.status if response else 0
        self._log.note(CallKey(call.service, call.operation, call.account, call.region, status))
        return response

    def _answer(self, call: _Call) -> Response | None:
        self._spend(call.account)
        for fault in self._faults.for_call(call):
            if fault.action is Action.DELAY:
                time.sleep(fault.seconds)
            elif fault.action is Action.DISCONNECT:
                return None
            elif fault.action not in {Action.PARTIAL, Action.LATE}:
                raise _refusal(fault.action, call.account)
        return Response(200, json.dumps(self._page(call)).encode(), {"Content-Type": "application/json; charset=UTF-8"})

    def _answer_bigquery(self, request: Request) -> Response | None:
        path = unquote(request.path.removeprefix("/bigquery/v2/projects/"))
        operation, parts = path, tuple[str, ...](("",))
        for method, form, name in _BIGQUERY:
            if method == request.method and (match := form.fullmatch(path)):
                operation, parts = name, match.groups()
        call = _Call(parts[0], parse_qs(request.query), "bigquery", operation)
        try:
            for fault in self._faults.for_call(call):
                if fault.action is Action.DISCONNECT:
                    self._note(call, 0)
                    return None
                if fault.action is not Action.DELAY:
                    raise _bigquery_refusal(fault.action)
                time.sleep(fault.seconds)
            query = {name: values[-1] for name, values in call.query.items()}
            response = _as_json(200, self.exports.answer(operation, request, parts, query))
        except BigQueryError as error:
            words = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}
            detail = {"message": error.message, "domain": "global", "reason": error.reason}
            body = {"code": error.status, "message": error.message, "errors": [detail]}
            response = _as_json(error.status, {"error": {**body, "status": words.get(error.status, "UNAVAILABLE")}})
        except Exception as bug:  # noqa: BLE001 - told to the caller, who would retry a connection that just closed
            traceback.print_exc()
            response = _as_json(400, {"error": {"code": 400, "message": f"bug of the cloud lab: {bug!r}"}})
        self._note(call, response.status)
        return response

    def _answer_catalogue(self, service: str, query: dict[str, list[str]]) -> Response | None:
        call = _Call("", query, "cloudbilling", "ListSkus")
        try:
            for fault in self._faults.for_call(call):
                if fault.action is not Action.DELAY:
                    raise _refusal(fault.action, "acme")
            listed = skus(service)
            start, size = int(query.get("pageToken", ["0"])[0]), int(query.get("pageSize", ["5000"])[0])
            if not 0 < size <= 5000:
                raise _invalid("page_size must be between 1 and 5000.")
            more = {"nextPageToken": str(start + size)} if start + size < len(listed) else {"nextPageToken": ""}
            response = _as_json(200, {"skus": listed[start : start + size], **more})
        except GcpError as error:
            response = _write_error(call, error)
        self._note(call, response.status)
        return response

    def _note(self, call: _Call, status: int) -> None:
        self._log.note(CallKey(call.service, call.operation, call.account, "", status))

    def _spend(self, project: str) -> None:
        """Take one call out of the quota of the last 60 seconds; refused calls cost nothing."""
        now = time.monotonic()
        with self._lock:
            recent = self._recent[project]
            while recent and recent[0] <= now - 60:
                recent.popleft()
            if len(recent) >= self.calls_per_minute:
                raise _over_quota(project)
            recent.append(now)

    def refill(self) -> None:
        """Let a minute pass: every project has its whole quota again."""
        with self._lock:
            self._recent.clear()

    def _page(self, call: _Call) -> dict[str, Any]:
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
            start = _start(token, mark)
        if self.recordings is not None:
            shown = [asset for asset in self.recordings.assets.values() if not wanted or asset["assetType"] in wanted]
            rows, more = shown[start : start + size], start + size < len(shown)
        else:
            if call.account not in self.estate.projects:
                raise _denied(call.account)  # Google does not tell whether there is such a project
            listed = [asset for asset in self.estate.assets(call.account) if not wanted or asset.asset_type in wanted]
            rows, more = [describe(asset) for asset in listed[start : start + size]], start + size < len(listed)
        if not whole:
            rows = [{key: value for key, value in row.items() if key != "resource"} for row in rows]
        answer: dict[str, Any] = {"readTime": "2024-06-01T00:00:00Z"}
        if rows:
            answer["assets"] = rows  # an empty list is left out of Google's JSON
        if more:
            answer["nextPageToken"] = f"{call.page + 1}.{start + size}.{mark}"
        return answer


def _as_json(status: int, data: dict[str, Any]) -> Response:
    return Response(status, json.dumps(data).encode(), {"Content-Type": "application/json; charset=UTF-8"})


def _bigquery_refusal(action: Action) -> BigQueryError:
    match action:
        case Action.THROTTLE:
            return BigQueryError(403, "rateLimitExceeded", "Exceeded rate limits: too many api requests per user")
        case Action.DENY:
            return BigQueryError(403, "accessDenied", "Access Denied: User does not have permission to query table")
        case Action.EXPIRED | Action.UNKNOWN_KEY:
            return BigQueryError(401, "authError", "Request had invalid authentication credentials.")
        case Action.OPTIN_REQUIRED:
            text = "BigQuery API has not been used in project acme before or it is disabled."
            return BigQueryError(403, "accessNotConfigured", text)
    return BigQueryError(503, "backendError", "Error encountered during execution. Retrying may solve the problem.")


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


def _write_error(call: _Call, error: GcpError) -> Response:
    body: dict[str, Any] = {"code": error.status, "message": error.message, "status": error.word}
    if error.reason:
        body["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": error.reason,
                "domain": "googleapis.com",
                "metadata": {"service": _API, "consumer": f"projects/{call.account}"},
            }
        ]
    return Response(error.status, json.dumps({"error": body}).encode(), {"Content-Type": "application/json"})
