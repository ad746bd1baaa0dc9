"""The budgets of judging, in tokens and requests: held back before a request is sent, counted when it is over."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Budget:
    """A limit of tokens and requests, what is used of it, and what requests under way may still use."""

    what: str
    tokens: int
    requests: int
    used_tokens: int = 0
    used_requests: int = 0
    held_tokens: int = 0
    held_requests: int = 0

    def has_left(self, tokens: int, *, if_none_held: bool) -> bool:
        """True if one more request of at most `tokens` fits, with what is held or as if nothing were."""
        held_tokens, held_requests = (0, 0) if if_none_held else (self.held_tokens, self.held_requests)
        return (
            self.used_tokens + held_tokens + tokens <= self.tokens
            and self.used_requests + held_requests + 1 <= self.requests
        )


class Admission(Enum):
    """The answer to a request that wants to be sent."""

    GRANTED = "granted"
    LATER = "later"  # it may fit when requests under way have used less than was held back for them
    NEVER = "never"


class Budgets:
    """Several budgets that a request must fit into at once. Thread-safe.

    A request that does not fit beside those under way waits for them. So which ones are refused depends on the order
    in which they ask and on what the earlier ones used, not on how many are under way at a time.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def hold(self, budgets: Sequence[Budget], tokens: int) -> Admission:
        """Hold back one request and its most tokens, if they fit."""
        with self._changed:
            if not all(budget.has_left(tokens, if_none_held=True) for budget in budgets):
                return Admission.NEVER
            if not all(budget.has_left(tokens, if_none_held=False) for budget in budgets):
                return Admission.LATER
            for budget in budgets:
                budget.held_tokens += tokens
                budget.held_requests += 1
            return Admission.GRANTED

    def settle(self, budgets: Sequence[Budget], held: int, used: int, *, sent: bool = True) -> None:
        """Release what `hold` held back and count what was used instead."""
        with self._changed:
            for budget in budgets:
                budget.held_tokens -= held
                budget.held_requests -= 1
                budget.used_tokens += used
                budget.used_requests += sent
            self._changed.notify_all()

    def at_least(self, budget: Budget, tokens: int, requests: int) -> None:
        """Count what others are known to have used of a budget."""
        with self._changed:
            budget.used_tokens = max(budget.used_tokens, tokens)
            budget.used_requests = max(budget.used_requests, requests)

    def wait(self, deadline: float) -> None:
        """Wait until something was settled, a second at most; `deadline` is of `time.monotonic`."""
        with self._changed:
            self._changed.wait(min(1.0, max(deadline - time.monotonic(), 0.0)))
