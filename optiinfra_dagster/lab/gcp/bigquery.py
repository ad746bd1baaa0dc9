"""BigQuery's REST API on the lab's port: its requests, and its errors. The answers are those of `billing.Exports`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service

if TYPE_CHECKING:
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.gcp.billing import Exports

# Method, path below /bigquery/v2/projects/, name
_ROUTES = (
    ("GET", re.compile(r"([^/]+)/datasets/([^/]+)/tables/([^/]+)"), "tables.get"),
    ("GET", re.compile(r"([^/]+)/datasets/([^/]+)/tables"), "tables.list"),
    ("POST", re.compile(r"([^/]+)/queries"), "jobs.query"),
    ("GET", re.compile(r"([^/]+)/queries/([^/]+)"), "jobs.getQueryResults"),
    ("POST", re.compile(r"([^/]+)/jobs"), "jobs.insert"),
    ("GET", re.compile(r"([^/]+)/jobs/([^/]+)"), "jobs.get"),
)
_WORDS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_REFUSALS: Refusals = {
    Action.THROTTLE: (403, "rateLimitExceeded", "Exceeded rate limits: too many api requests per user"),
    Action.DENY: (403, "accessDenied", "Access Denied: User does not have permission to query table"),
    Action.EXPIRED: (401, "authError", "Request had invalid authentication credentials."),
    Action.UNKNOWN_KEY: (401, "authError", "Request had invalid authentication credentials."),
    Action.OPTIN_REQUIRED: (
        403,
        "accessNotConfigured",
        "BigQuery API has not been used in project acme before or it is disabled.",
    ),
}
_ELSE = (503, "backendError", "Error encountered during execution. Retrying may solve the problem.")


@dataclass(slots=True, kw_only=True)
class BigQueryCall(ApiCall):
    """A request to BigQuery, with the names in its path."""

    service: str = "bigquery"
    parts: tuple[str, ...]


class BigQuery(Service[BigQueryCall]):
    """BigQuery for the projects of a world."""

    def __init__(self, exports: Exports, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._exports = exports

    def claims(self, request: Request) -> bool:
        """True for a request of BigQuery."""
        return request.path.startswith("/bigquery/v2/")

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        path = unquote(request.path.removeprefix("/bigquery/v2/projects/"))
        operation, parts = path, tuple[str, ...](("",))
        for method, form, name in _ROUTES:
            if method == request.method and (match := form.fullmatch(path)):
                operation, parts = name, match.groups()
        return self.run(BigQueryCall(operation=operation, account=parts[0], parts=parts), request)

    def refusal(self, call: BigQueryCall, fault: Fault) -> ApiError | None:  # noqa: ARG002 - the same for all calls
        """The error that a fault stands for."""
        return ApiError(*_REFUSALS.get(fault.action, _ELSE))

    def reply(self, call: BigQueryCall, request: Request) -> Response:
        """The answer of the exports."""
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        return self._json(200, self._exports.answer(call.operation, request, call.parts, query))

    def worded(self, call: BigQueryCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for all calls
        """An error as BigQuery words it."""
        detail = {"message": error.message, "domain": "global", "reason": error.code}
        body = {"code": error.status, "message": error.message, "errors": [detail]}
        return self._json(error.status, {"error": {**body, "status": _WORDS.get(error.status, "UNAVAILABLE")}})

    @staticmethod
    def _json(status: int, data: object) -> Response:
        return as_json(status, data, {"Content-Type": "application/json; charset=UTF-8"})
