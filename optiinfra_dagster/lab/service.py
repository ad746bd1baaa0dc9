"""The request loop of every API of the lab: read the call, meet its faults, answer it, and count it.

An API is a `Service`: it says which requests are its own, how to read a call from one, how to answer it, and how to
word an error. Everything else is here. `meet` is for the API that is no HTTP, Cloud Monitoring's gRPC.
"""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from optiinfra_dagster.lab.calls import CallKey, CallLog
from optiinfra_dagster.lab.faults import Action, Fault, FaultBook

if TYPE_CHECKING:
    from optiinfra_dagster.lab.server import Request, Response

Refusals = Mapping[Action, tuple[int, str, str]]
"""The errors that faults stand for in one protocol, as (HTTP status, code, message)."""


@dataclass(slots=True, kw_only=True)
class ApiCall:
    """An API call, as faults match it and the log counts it. A service adds what it reads from a request."""

    service: str = ""
    operation: str = ""
    account: str = ""
    region: str = ""
    page: int = 1  # of a listing
    billed: int = 0  # what its account pays for, such as metrics
    faults: list[Fault] = field(default_factory=list)  # those that the answer itself acts out, such as PARTIAL

    def counted_as(self, status: int) -> CallKey:
        """The key under which it is counted; `status` is 0 where the connection closed."""
        return CallKey(self.service, self.operation, self.account, self.region, status)


class ApiError(Exception):
    """An error that an API answers with; `code` is the word for it in the API's own protocol."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


C = TypeVar("C", bound=ApiCall)


def meet(
    call: C,
    faults: Iterable[Fault],
    refusal: Callable[[C, Fault], ApiError | None],
    wait: Callable[[float], object] = time.sleep,
) -> bool:
    """Act out `faults` in order; False where one closes the connection. Those that are not refused go to `call.faults`.

    Raises:
        ApiError: the `refusal` that a fault stands for.
    """
    for fault in faults:
        if fault.action is Action.DELAY:
            wait(fault.seconds)
        elif fault.action is Action.DISCONNECT:
            return False
        elif error := refusal(call, fault):
            raise error
        else:
            call.faults.append(fault)
    return True


class Service(ABC, Generic[C]):
    """The base class of an API of the lab.

    A subclass has `claims`, `answer`, `reply` and `worded`, and the table `refusals`; where its protocol needs it, it
    overrides `admit` (what is checked before any fault: credentials, quotas), `refusal` and `refusal_headers`.
    """

    refusals: ClassVar[Refusals] = {}
    acts_first: ClassVar[tuple[Action, ...]] = ()  # faults that are met before the others; else they come as asked for

    def __init__(self, faults: FaultBook, log: CallLog) -> None:
        self._faults, self._log = faults, log

    @abstractmethod
    def claims(self, request: Request) -> bool:
        """True for a request that is meant for this API."""

    @abstractmethod
    def answer(self, request: Request) -> Response | None:
        """Answer one request: `run` the call that it makes, as far as it can be read without an error.

        None closes the connection.
        """

    def admit(self, call: C, request: Request) -> None:
        """Read the rest of a call, and refuse it (`ApiError`) for what comes before any fault."""

    @abstractmethod
    def reply(self, call: C, request: Request) -> Response:
        """The answer to a call that no fault ends. Raises `ApiError` for one that the API refuses."""

    @abstractmethod
    def worded(self, call: C, error: ApiError) -> Response:
        """An error as the API words it."""

    def refusal(self, call: C, fault: Fault) -> ApiError | None:
        """The error that a fault stands for; None where the fault is left to the answer."""
        words = self.refusals.get(fault.action)
        return None if words is None else ApiError(*words, self.refusal_headers(call, fault))

    def refusal_headers(self, call: C, fault: Fault) -> dict[str, str]:  # noqa: ARG002 - for those that tell waits
        """The headers of the error that a fault stands for."""
        return {}

    def unexpected(self, error: Exception) -> ApiError:
        """The error that stands for a bug: the caller is told, who would retry a connection that just closed."""
        return ApiError(400, "CloudLabBug", f"bug of the cloud lab: {error!r}")

    def run(self, call: C, request: Request) -> Response | None:
        """Answer a call, and count it; None closes the connection."""
        try:
            self.admit(call, request)
            response = self.respond(call, request)
        except ApiError as error:
            response = self.worded(call, error)
        except Exception as error:  # noqa: BLE001 - see `unexpected`
            traceback.print_exc()
            response = self.worded(call, self.unexpected(error))
        self._log.note(call.counted_as(response.status if response else 0), call.billed)
        return response

    def respond(self, call: C, request: Request) -> Response | None:
        """Meet the faults of a call, then answer it."""
        faults = self._faults.for_call(call)
        if self.acts_first and len(faults) > 1:
            rank = {action: n for n, action in enumerate(self.acts_first)}
            faults = sorted(faults, key=lambda fault: rank.get(fault.action, len(rank)))
        return self.reply(call, request) if meet(call, faults, self.refusal) else None


class Services:
    """A cloud of several APIs, each with requests of its own."""

    services: Sequence[Service[Any]]

    def claims(self, request: Request) -> bool:
        """True for a request that is meant for one of them."""
        return any(service.claims(request) for service in self.services)

    def answer(self, request: Request) -> Response | None:
        """Answer one request, which one of them claims; None closes the connection."""
        return next(service for service in self.services if service.claims(request)).answer(request)
