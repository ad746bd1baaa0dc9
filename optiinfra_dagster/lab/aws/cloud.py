"""AWS on one endpoint: who calls, what goes wrong on purpose, and which part of the lab answers."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.billing import Billing
from optiinfra_dagster.lab.aws.cloudwatch import CloudWatch
from optiinfra_dagster.lab.aws.estate import Estate
from optiinfra_dagster.lab.aws.listing import page_of
from optiinfra_dagster.lab.aws.pricelist import PriceList
from optiinfra_dagster.lab.aws.services import OPERATIONS
from optiinfra_dagster.lab.aws.sts import Sts
from optiinfra_dagster.lab.aws.wire import Call, read, refusal, write, write_error
from optiinfra_dagster.lab.calls import CallKey, CallLog
from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response
from optiinfra_dagster.lab.service import ApiError, Service

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.recordings import Recordings
    from optiinfra_dagster.lab.world import World

_OWN: dict[tuple[str, str], str] = {
    ("sts", "GetCallerIdentity"): "get_caller_identity",
    ("sts", "AssumeRole"): "assume_role",
    ("cloudwatch", "GetMetricData"): "get_metric_data",
    ("cloudwatch", "GetMetricStatistics"): "get_metric_statistics",
    ("cloudwatch", "ListMetrics"): "list_metrics",
    ("ce", "GetCostAndUsage"): "get_cost_and_usage",
    ("pricing", "GetProducts"): "get_products",
}
_GLOBAL = {"sts", "ce", "pricing"}  # where a region need not be enabled
_ACTED_ELSEWHERE = {Action.PARTIAL, Action.LATE}


class Aws(Service[Call]):
    """AWS for every account of a world. Moto answers what the lab does not describe itself."""

    def __init__(
        self,
        world: World,
        faults: FaultBook,
        log: CallLog,
        now: Callable[[], datetime],
        recordings: Recordings | None = None,
    ) -> None:
        super().__init__(faults, log)
        self.estate = Estate(world)
        self.sts = Sts(world.aws, open_doors=recordings is not None)
        self.recordings = recordings
        self.cloudwatch = CloudWatch(self.estate, now)
        self.billing, self.price_list = Billing(self.estate, now), PriceList(self.estate)

    def claims(self, request: Request) -> bool:
        """True for a request to AWS: it is signed the way AWS wants it."""
        return (request.headers.get("Authorization") or "").startswith("AWS4-HMAC-SHA256")

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        call = read(request)
        if call is not None:
            call.page = page_of(call)
            return self.run(call, request)
        response = self._moto(request, None)
        self._log.note(CallKey("unknown", request.path, "", "", response.status))
        return response

    def admit(self, call: Call, request: Request) -> None:  # noqa: ARG002 - all is in the call
        """Find out who calls, and that the region is one that the account has enabled."""
        self.sts.identify(call)
        account = self.estate.accounts.get(call.account)
        if account is not None and call.service not in _GLOBAL and call.region not in account.regions:
            raise refusal(call, "unknown_key")  # what a region answers whose account has not enabled it

    def refusal(self, call: Call, fault: Fault) -> ApiError | None:
        """The error that a fault stands for, as the call's protocol words it."""
        if fault.action in _ACTED_ELSEWHERE:
            return None
        return refusal(call, fault.action.value, policy=fault.mode if fault.action is Action.DENY else "")

    def reply(self, call: Call, request: Request) -> Response:
        """The answer of the lab, or of Moto."""
        result = self._result(call)
        return self._moto(request, call) if result is None else write(call, result)

    def worded(self, call: Call, error: ApiError) -> Response:
        """An error in the call's protocol."""
        return write_error(call, error)

    def _result(self, call: Call) -> dict[str, Any] | None:
        place = call.service, call.operation
        if self.recordings is not None and (recorded := self.recordings.result(call)) is not None:
            return recorded
        if place in OPERATIONS:
            return OPERATIONS[place](self.estate, call, self.estate.region(call.account, call.region))
        if place in _OWN:
            parts = {"sts": self.sts, "cloudwatch": self.cloudwatch, "ce": self.billing, "pricing": self.price_list}
            part = parts[call.service]
            answer: dict[str, Any] = getattr(part, _OWN[place])(call)
            return answer
        return None

    # --- Moto ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _moto_app(self) -> Any:
        """Moto's server, without a socket. It costs 2.2 CPU-s to import, so only who needs it pays."""
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        return DomainDispatcherApplication(create_backend_app)

    def _moto(self, request: Request, call: Call | None) -> Response:
        headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
        if call is not None:
            headers["HTTP_X_MOTO_ACCOUNT_ID"] = call.account
        environ = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **headers,
        }
        started: list[Any] = []
        body = b"".join(self._moto_app(environ, lambda status, fields, _exc=None: started.extend((status, fields))))
        skip = {"content-length", "connection", "transfer-encoding", "server", "date"}
        fields = {name: value for name, value in started[1] if name.lower() not in skip}
        return Response(int(started[0].partition(" ")[0]), body, fields)
