"""The rate limit of Vultr's API, which all customers of this host share: it is one of the source address."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

ARRIVAL_SECONDS = 2.0  # a request that is not answered by then has reached Vultr
RECENT_SECONDS = 10.0  # whose requests were answered or refused since then counts, for whom a refusal is meant


class Limiter:
    """At most `slots` requests in any `second`, whatever threads and network do. Thread-safe.

    A request takes a slot before it is sent, and the slot comes free one `second` after the answer came. So every
    request that reached the server within any one second still holds its slot at the end of that second: there are
    never more of them than slots. A token bucket counts where requests leave, and is overrun where requests that
    left one by one arrive together, as they do after a stall of this host or of the network. Only a request that
    hangs gives its slot back earlier, or a few customers who get no answers would leave none to the others.

    What other processes of this address send shows as refusals: each pauses everybody and halves the slots, which
    then come back one a second. Such refusals come to all accounts alike; where at least half of the accounts are
    answered and never refused, a refusal is not about the address, and no reason for the others to wait.
    """

    def __init__(self, slots: int, second: float) -> None:
        self._most, self._second = slots, second
        self._slots = float(slots)
        self._held: dict[object, float] = {}  # when each slot comes free, at the latest
        self._resume = self._cut = 0.0
        self._answered: dict[str, float] = {}  # account -> when it last was
        self._refused: dict[str, float] = {}
        self._turn = threading.Lock()  # one thread waits for a slot, the others for their turn: no herd wakes each time
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, deadline: float) -> Iterator[None]:
        """Hold a slot during a request; `deadline` is a time of `time.monotonic`.

        Raises:
            TimeoutError: there was none before the deadline.
        """
        if not self._turn.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            raise TimeoutError
        try:
            with self._changed:
                while (wait := self._wait()) > 0:
                    if time.monotonic() + wait > deadline:
                        raise TimeoutError
                    self._changed.wait(wait)
                mine = object()
                self._held[mine] = time.monotonic() + ARRIVAL_SECONDS + self._second
        finally:
            self._turn.release()
        try:
            yield
        finally:
            with self._changed:
                if mine in self._held:
                    self._held[mine] = min(self._held[mine], time.monotonic() + self._second)
                self._changed.notify()

    def _wait(self) -> float:
        now = time.monotonic()
        self._held = {holder: free for holder, free in self._held.items() if free > now}
        if now < self._resume:
            return self._resume - now
        return 0.0 if len(self._held) < int(self._slots) else min(self._held.values()) - now

    def accepted(self, account: str = "") -> None:
        """Note that a request was answered: after a refusal, slots come back one by one."""
        with self._changed:
            self._slots = min(self._slots + 1 / self._slots, self._most)
            self._answered[account] = time.monotonic()

    def refused(self, pause: float, account: str = "") -> bool:
        """Note that a request was one too many: nobody sends for `pause` seconds, and then fewer at a time.

        Returns:
            False where that is the account's own trouble, so that only its own requests should wait.
        """
        with self._changed:
            now = time.monotonic()
            self._refused[account] = now
            refused, answered = (
                {name for name, moment in moments.items() if moment > now - RECENT_SECONDS}
                for moments in (self._refused, self._answered)
            )
            if len(refused) <= len(answered - refused):
                return False
            self._resume = max(self._resume, now + pause)
            if now >= self._cut:  # once for all that were refused together
                self._slots, self._cut = max(self._slots / 2, 1.0), now + pause + self._second
            return True
