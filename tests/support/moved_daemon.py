"""`dagster-daemon` for a moved clock: its threads sleep until a moment of that clock, not for a number of real seconds.

Dagster's scheduler sleeps until the next minute, and backfills for half of one, by one wait for the event that ends
them. Where the clock jumps over that moment they would sleep on, up to a minute of real time for each jump.
"""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from dagster._daemon import controller
from dagster._daemon.cli import main


class _Shutdown(threading.Event):
    """The event that ends the daemon's threads; a wait for it ends sooner where the clock jumps over its end."""

    def wait(self, timeout: float | None = None) -> bool:
        end, latest = time.time() + (timeout or 0), time.monotonic() + (timeout or 0)
        while not self.is_set() and (left := min(end - time.time(), latest - time.monotonic())) > 0:
            super().wait(min(left, 0.5))
        return self.is_set()


if __name__ == "__main__":
    vars(controller)["threading"] = SimpleNamespace(Event=_Shutdown, Thread=threading.Thread)
    main()
