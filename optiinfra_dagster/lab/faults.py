"""Fault injection: faults that a test or a person asks for, matched against each call.

A fault fires for the calls that it matches, after the first `skip` of them, `times` times, each with `probability`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from threading import Lock
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from optiinfra_dagster.lab.values import digest


class Action(StrEnum):
    """The effect of a fault on a call; the wording of an error is that of the call's own protocol."""

    THROTTLE = "throttle"
    DENY = "deny"
    ERROR = "error"
    UNAVAILABLE = "unavailable"
    EXPIRED = "expired"
    UNKNOWN_KEY = "unknown_key"
    OPTIN_REQUIRED = "optin_required"
    NOT_SUBSCRIBED = "not_subscribed"  # AWS: the account has not signed up for the service
    UNKNOWN_CALL = "unknown_call"  # AWS: the service does not have the call there
    DISCONNECT = "disconnect"  # the connection closes without an answer
    DELAY = "delay"  # the answer comes `seconds` later; other faults still apply
    PARTIAL = "partial"  # metrics: every `every`-th id is cut short, with the status `mode` and no further page;
    # storage: the connection ends half-way through an object
    CAPACITY = "capacity"  # Groq's flex tier is full
    ODD = "odd"  # Groq: one of the odd answers and refusals of `lab/groq/odd.py`, which `mode` names
    MALFORMED = "malformed"  # Groq: an answer that is `mode`: json (default; not JSON), schema, truncated, empty, body
    LATE = "late"  # metrics: each point becomes final 0 to `seconds` late; until then it is missing, or low


class Fault(BaseModel):
    """An injected fault. A field that is not given matches everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action
    service: str | None = None  # the name of boto3's client
    operation: str | None = None
    account: str | None = None
    region: str | None = None
    page: int = 1  # of a listing, and every later one
    skip: int = 0
    times: int | None = None
    probability: float = Field(default=1.0, ge=0, le=1)
    seconds: float = 0.0
    # late: missing (default) or low; partial: PartialData (default) or InternalError; deny: the policy of AWS that does
    mode: str = ""
    every: int = Field(default=2, ge=1)


class Matchable(Protocol):
    """The fields of a call that faults are matched against."""

    service: str
    operation: str
    account: str
    region: str
    page: int


class FaultBook:
    """The faults in force. Chance follows from `seed`, so that a run can be repeated."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lock = Lock()
        self._faults: list[tuple[Fault, list[int]]] = []  # with [matched, fired] so far

    def add(self, faults: Iterable[Fault | dict[str, Any]]) -> None:
        """Put further faults in force. Raises `pydantic.ValidationError` for one that makes no sense."""
        checked = [(Fault.model_validate(fault), [0, 0]) for fault in faults]
        with self._lock:
            self._faults += checked

    def clear(self) -> None:
        """Lift all faults."""
        with self._lock:
            self._faults = []

    def for_call(self, call: Matchable) -> list[Fault]:
        """The faults that `call` meets, in the order in which they were asked for."""
        if not self._faults:
            return []
        with self._lock:
            return [fault for n, (fault, seen) in enumerate(self._faults) if self._fires(n, fault, seen, call)]

    def _fires(self, n: int, fault: Fault, seen: list[int], call: Matchable) -> bool:
        if call.page < fault.page or any(
            wanted not in {None, getattr(call, name)}
            for name, wanted in (
                ("service", fault.service),
                ("operation", fault.operation),
                ("account", fault.account),
                ("region", fault.region),
            )
        ):
            return False
        seen[0] += 1
        if seen[0] <= fault.skip or (fault.times is not None and seen[1] >= fault.times):
            return False
        if fault.probability < 1 and digest(self._seed, n, seen[0]) >= fault.probability * 2**64:
            return False
        seen[1] += 1
        return True
