"""The lab as its users hold it: `CloudLab` runs it, `LabControl` steers a running one over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

from pydantic import ValidationError

from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.calls import CallLog, Calls
from optiinfra_dagster.lab.faults import Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response, Server, as_json
from optiinfra_dagster.lab.world import World

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource

DEMO_WORLD = Path(__file__).with_name("demo_world.yaml")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Cloud(Protocol):
    """A simulated cloud of the lab: recognizes its own requests, and answers them."""

    def claims(self, request: Request) -> bool:
        """True for a request that is meant for this cloud."""

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""


class CloudLab:
    """The clouds of one world on one local port, served from a background thread between `start` and `stop`.

    `world` is a path, a dict or a `World`; `now` is the clock of the metrics: no point lies after it.
    With `recordings`, a folder of recorded AWS answers or a list of such files, AWS answers from those instead, for
    every account and region; any role may be assumed, and what was not recorded is empty.
    """

    def __init__(
        self,
        world: World | Path | str | dict[str, Any] | None = None,
        port: int = 0,
        *,
        recordings: Path | Sequence[Path] | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        from optiinfra_dagster.lab.aws.cloud import Aws
        from optiinfra_dagster.lab.aws.recordings import Recordings
        from optiinfra_dagster.lab.azure.cloud import Azure
        from optiinfra_dagster.lab.gcp.cloud import Gcp
        from optiinfra_dagster.lab.groq.cloud import GroqApi
        from optiinfra_dagster.lab.storage.azure_blob import AzureBlob
        from optiinfra_dagster.lab.storage.gcs import Gcs
        from optiinfra_dagster.lab.storage.objects import Objects
        from optiinfra_dagster.lab.storage.s3 import S3
        from optiinfra_dagster.lab.vultr.cloud import Vultr

        default = DEMO_WORLD if recordings is None else World()
        self.world = World.load(default if world is None else world)
        self._log, self._faults = CallLog(), FaultBook(self.world.seed)
        recorded = None if recordings is None else Recordings(recordings)
        self.aws = Aws(self.world, self._faults, self._log, now, recorded)
        self.expected_points = self.aws.cloudwatch.expected_points  # what GetMetricData must give
        self.vultr = Vultr(self.world, self._faults, self._log, now)
        self.azure = Azure(self.world, self._faults, self._log, now)
        self.gcp = Gcp(self.world, self._faults, self._log, now=now)
        self.groq = GroqApi(self.world, self._faults, self._log)
        self.storage = Objects(self.world, now)
        s3 = S3(self.storage, self.aws.sts, self.aws.estate, self._faults, self._log)
        gcs = Gcs(self.storage, self._faults, self._log)
        blob = AzureBlob(self.storage, self._faults, self._log)
        self._clouds: list[Cloud] = [
            self.groq,
            s3,
            gcs,
            blob,
            self.aws,
            self.gcp,
            self.azure,
            self.vultr,
            self.vultr.prometheus,
        ]
        self._server = Server(self._answer, port)

    @property
    def url(self) -> str:
        """The lab's base URL, e.g. `http://127.0.0.1:40123`."""
        return self._server.url

    @property
    def env(self) -> dict[str, str]:
        """The environment that points SDKs and the demo customers file at the lab."""
        return {
            "OPTIINFRA_LAB_AWS": self.url,
            "OPTIINFRA_LAB_GCP": self.url,
            **({"OPTIINFRA_LAB_GCP_MONITORING": self.gcp.monitoring.url} if self.gcp.monitoring else {}),
            "OPTIINFRA_LAB_AZURE": self.url,
            "OPTIINFRA_LAB_AZURE_METRICS": self.url,
            "OPTIINFRA_LAB_VULTR": self.url,
            "OPTIINFRA_LAB_VULTR_PROMETHEUS": f"{self.url}/prometheus",
            "GROQ_BASE_URL": self.url,
            "GROQ_API_KEY": next(iter(self.world.groq.keys)),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab",
            "AWS_DEFAULT_REGION": "us-east-1",
            **self.world.secrets,
        }

    @property
    def control(self) -> LabControl:
        """A client for this lab."""
        return LabControl(self.url)

    def resources(
        self, account: str | None = None, region: str | None = None, kind: str | None = None
    ) -> list[LabResource]:
        """The AWS resources of the world (None: any): what an inventory must find."""
        return self.aws.estate.resources(account, region, kind)

    def start(self) -> Self:
        """Begin to serve."""
        self.gcp.start()
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop serving and close all connections."""
        self._server.stop()
        self.gcp.stop()

    def close(self) -> None:
        """Give up the port of a lab that was never started."""
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _answer(self, request: Request) -> Response | None:
        if request.path.startswith("/lab/"):
            return self._steer(request)
        for cloud in self._clouds:
            if cloud.claims(request):
                return cloud.answer(request)
        return as_json(404, {"error": f"no cloud of this lab knows {request.method} {request.path}"})

    def _steer(self, request: Request) -> Response:
        match request.method, request.path:
            case "GET", "/lab/calls":
                return as_json(200, self._log.copy().to_json())
            case "POST", "/lab/faults":
                try:
                    self._faults.add(json.loads(request.body))
                except (ValidationError, ValueError) as error:
                    return as_json(400, {"error": str(error)})
            case "DELETE", "/lab/faults":
                self._faults.clear()
            case "POST", "/lab/restate" | "/lab/bills":
                change = self._restate if request.path == "/lab/restate" else self._let_bills_arrive
                try:
                    change(**json.loads(request.body))
                except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                    return as_json(400, {"error": f"{change.__doc__}: {error!r}"})
            case "POST", "/lab/expire":
                self.aws.sts.expire()
            case "POST", "/lab/reset":
                self._faults.clear()
                self._log.clear()
            case _:
                return as_json(404, {"error": f"the lab has no {request.method} {request.path}"})
        return as_json(200, {})

    def _restate(self, provider: str, account: str, day: str, amount: str) -> None:
        """A restatement has provider, account, day (yyyy-mm-dd) and amount (text)."""
        restate: dict[str, Callable[[str, date, Decimal], None]] = {
            "aws": self.aws.billing.restate,
            "gcp": self.gcp.exports.restate_project,
            "azure": self.azure.billing.restate,
            "vultr": self.vultr.billing.restate,
        }
        restate[provider](account, date.fromisoformat(day), Decimal(amount))

    def _let_bills_arrive(self, provider: str, hours: float, share: str) -> None:
        """The arrival of bills has provider, hours and share (text)."""
        bills: dict[str, Any] = {
            "aws": self.aws.billing,
            "gcp": self.gcp.exports,
            "azure": self.azure.billing,
            "vultr": self.vultr.billing,
        }
        bills[provider].arrive = BillsArrive(hours=hours, share=Decimal(share))


class LabControl:
    """Steers a running lab: what was called, what shall go wrong, what bills say anew."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc

    def calls(self) -> Calls:
        """Every request since the start or the last reset, counted."""
        return Calls.from_json(self._send("GET", "/lab/calls"))

    def add_faults(self, *faults: Fault | dict[str, Any]) -> None:
        """Put faults in force. Raises `ValueError` for one that the lab does not understand."""
        self._send("POST", "/lab/faults", [Fault.model_validate(one).model_dump(mode="json") for one in faults])

    def clear_faults(self) -> None:
        """Lift all faults."""
        self._send("DELETE", "/lab/faults")

    def restate(self, provider: str, account: str, day: date, amount: Decimal | str) -> None:
        """Let a past day of an account, project or subscription have cost so much more, or less, from now on."""
        told = {"provider": provider, "account": account, "day": day.isoformat(), "amount": str(amount)}
        self._send("POST", "/lab/restate", told)

    def let_bills_arrive(self, provider: str, hours: float, share: Decimal | str = "0") -> None:
        """Let a share of a day's charges be there at once from now on, and the rest so long after the day's end."""
        self._send("POST", "/lab/bills", {"provider": provider, "hours": hours, "share": str(share)})

    def expire_sessions(self) -> None:
        """End every session that AssumeRole handed out so far."""
        self._send("POST", "/lab/expire")

    def reset(self) -> None:
        """Lift all faults and forget all counts."""
        self._send("POST", "/lab/reset")

    def _send(self, method: str, path: str, data: Sequence[Any] | dict[str, Any] | None = None) -> Any:
        connection = HTTPConnection(self._host, timeout=10)
        try:
            connection.request(method, path, None if data is None else json.dumps(data))
            answer = connection.getresponse()
            body = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(body["error"])
        return body
