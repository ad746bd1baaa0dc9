"""Trying a call again: how long, how often, and after which waits. What all clients share; it knows no SDK."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception

from optiinfra_dagster.model.errors import Cause, CloudError


@dataclass(frozen=True, slots=True)
class Patience:
    """The retry policy of calls that failed for one cause. All times are in seconds.

    The wait before attempt n + 1 is `first_wait` x 2^(n-1), at most `longest_wait`, drawn within `jitter` of it; where
    the cloud names a wait (`CloudError.retry_after`), that one, if it is not longer than `longest_named_wait`, which is
    `longest_wait` unless it is set. After `attempts` of the same cause, or where the wait would end later than `total`
    after the first attempt, the error stands.
    """

    first_wait: float
    longest_wait: float = 30.0
    attempts: int | None = None
    total: float = float("inf")
    jitter: tuple[float, float] = (0.75, 1.25)
    longest_named_wait: float | None = None


HoldBack = Callable[[CloudError, float], float]
"""Takes a failure and the wait before the next attempt, and gives the wait that this caller has left to sleep. A rate
limiter that holds back all callers at its door leaves 0."""


class _Waits:
    """The waits between the attempts of one call, and when they end. An instance serves one call."""

    def __init__(self, policy: Mapping[Cause, Patience], deadline: float, hold_back: HoldBack | None) -> None:
        self._policy, self._deadline, self._hold_back = policy, deadline, hold_back
        self._started = time.monotonic()
        self._failures: dict[Cause, int] = {}

    def may_retry(self, error: BaseException) -> bool:
        return isinstance(error, CloudError) and error.cause in self._policy

    def wait(self, state: RetryCallState) -> float:
        error = self._error(state)
        failures = self._failures[error.cause] = self._failures.get(error.cause, 0) + 1
        patience = self._policy[error.cause]
        wait = error.retry_after
        if wait is None:
            doubled = min(patience.longest_wait, patience.first_wait * 2.0 ** (failures - 1))
            wait = doubled * random.uniform(*patience.jitter)  # noqa: S311 - not for secrecy
        return wait if self._hold_back is None else self._hold_back(error, wait)

    def stop(self, state: RetryCallState) -> bool:
        error, wait = self._error(state), state.upcoming_sleep
        patience = self._policy[error.cause]
        if patience.attempts is not None and self._failures[error.cause] >= patience.attempts:
            return True
        longest = patience.longest_wait if patience.longest_named_wait is None else patience.longest_named_wait
        if error.retry_after is not None and error.retry_after > longest:
            return True
        return time.monotonic() + wait > min(self._deadline, self._started + patience.total)

    @staticmethod
    def _error(state: RetryCallState) -> CloudError:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, CloudError):
            raise TypeError("only cloud errors are tried again")
        return error


def retrying(
    policy: Mapping[Cause, Patience],
    deadline: float = float("inf"),
    sleep: Callable[[float], None] = time.sleep,
    hold_back: HoldBack | None = None,
) -> Retrying:
    """Retry a call: `retrying(POLICY, deadline)(send)` calls `send()` until it gives a result.

    A `CloudError` whose cause `policy` names is tried again as its `Patience` says, never past `deadline`
    (`time.monotonic()`); every other error, and the last one, is raised as it is. `hold_back` learns of every failure
    that `policy` names, the last one included.
    """
    waits = _Waits(policy, deadline, hold_back)
    return Retrying(
        retry=retry_if_exception(waits.may_retry), wait=waits.wait, stop=waits.stop, sleep=sleep, reraise=True
    )
