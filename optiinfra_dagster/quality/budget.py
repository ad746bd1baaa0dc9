"""The budgets of judging, in tokens and requests: held back before a request is sent, counted when it is over.

A customer's day (UTC) is spread over the day, so that the evening is judged too: what may be used grows by a 96th with
each quarter of an hour, and what is not used stays. Windows of the past have a part of the day for themselves, which
is there all day. So a backfill takes nothing from the windows that are collected as they end.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.spend import Amount, Purse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optiinfra_dagster.storage.spend import Spend

TICKS = timedelta(days=1) // windows.WINDOW
LATE_AFTER = timedelta(hours=2)
"""From the end of a window to when it counts as one of the past: the first tries at a failed slice come before that."""


@dataclass(slots=True)
class Budget:
    """A limit of tokens and requests, what is used of it, and what requests under way may still use."""

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

    def grow(self, budget: Budget, more: Amount) -> None:
        """Add to the limit of a budget."""
        with self._changed:
            budget.tokens += more.tokens
            budget.requests += more.requests
            self._changed.notify_all()

    def wait(self, deadline: float) -> None:
        """Wait until something was settled, a second at most; `deadline` is of `time.monotonic`."""
        with self._changed:
            self._changed.wait(min(1.0, max(deadline - time.monotonic(), 0.0)))


# --- A customer's day -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allowance:
    """The part of a customer's day that some judging may use, as of `now`.

    `late` is the part for windows of the past. `providers` are the customer's clouds, of which each may use as much in
    a quarter of an hour as the others; what one leaves then is anybody's. Not `spread` is the whole day at once.
    """

    day: Amount
    now: datetime
    late: bool = False
    late_share: float = 0.0
    provider: str = ""
    providers: tuple[str, ...] = ("",)
    spread: bool = False

    @classmethod
    def of_window(
        cls, day: Amount, late_share: float, window: datetime, now: datetime, provider: str, providers: tuple[str, ...]
    ) -> Allowance:
        """What the judging of a window may use; `window` is its start."""
        late = now > window + windows.WINDOW + LATE_AFTER
        return cls(day, now.astimezone(UTC), late, late_share, provider, providers or (provider,), spread=not late)

    @property
    def tick(self) -> datetime:
        """The quarter of an hour that it is."""
        return windows.floor(self.now)

    @property
    def limit(self) -> Amount:
        """What may have been used of this part of the day by now, by all clouds."""
        ticks = (self.tick - self._midnight) // windows.WINDOW + 1 if self.spread else TICKS
        return Amount(*(part * ticks // TICKS for part in self._part))

    def left(self, spent: Mapping[str, Amount], spent_now: Mapping[str, Amount]) -> Amount:
        """What is left, negative if too much was taken; `spent` today and in this tick, by cloud."""
        kept = [
            sum(
                max(0, part // (TICKS * len(self.providers)) - spent_now.get(other, Amount(0, 0))[n])
                for other in self.providers
                if self.spread and other != self.provider
            )
            for n, part in enumerate(self._part)
        ]
        used = [sum(amount[n] for amount in spent.values()) for n in range(2)]
        return Amount(*(limit - of - keep for limit, of, keep in zip(self.limit, used, kept, strict=True)))

    def told(self) -> str:
        """What was allowed and when more comes, for people."""
        tokens, requests = self.limit
        if self.late:
            return (
                f"windows of the past may use {tokens:,} tokens and {requests:,} requests of the customer's day, more "
                f"come at 00:00 UTC"
            )
        if self.spread and self.tick + windows.WINDOW < self._midnight + timedelta(days=1):
            more = self.tick + windows.WINDOW
            return (
                f"until {more:%H:%M} UTC the customer's day allows {tokens:,} tokens and {requests:,} requests, more "
                f"come then"
            )
        return f"the customer's day allows {tokens:,} tokens and {requests:,} requests, more come at 00:00 UTC"

    @property
    def _part(self) -> Amount:
        late = Amount(*(int(of_day * self.late_share) for of_day in self.day))
        if self.late:
            return late
        return Amount(*(of_day - of_late for of_day, of_late in zip(self.day, late, strict=True)))

    @property
    def _midnight(self) -> datetime:
        return self.now.replace(hour=0, minute=0, second=0, microsecond=0)


class Wallet:
    """What a customer's judging has of its day: reserved as it is needed, the rest given back at the end."""

    def __init__(self, spend: Spend, customer_id: str, allowance: Allowance, budgets: Budgets) -> None:
        self._spend, self._allowance, self._budgets = spend, allowance, budgets
        self._purse = Purse(customer_id, allowance.now, allowance.late, allowance.provider)
        self.budget = Budget(0, 0)

    def fill(self, tokens: int, requests: int) -> bool:
        """Reserve more; False if nothing is left of what may be used by now."""
        granted = self._spend.reserve(self._purse, Amount(tokens, requests), self._allowance.tick, self._allowance.left)
        self._budgets.grow(self.budget, granted)
        return any(granted)

    def close(self) -> None:
        """Give back what was not used."""
        budget = self.budget
        rest = Amount(budget.tokens - budget.used_tokens, budget.requests - budget.used_requests)
        self._budgets.grow(budget, Amount(-rest.tokens, -rest.requests))
        self._spend.give_back(self._purse, rest)
