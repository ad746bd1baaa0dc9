# ruff: noqa: INP001 - found by its name, in a folder of the path
"""Loaded by every Python under the moved clock.

`time.sleep` asks clock_nanosleep for a moment of the monotonic clock, which libfaketime 0.9.10 moves although it was
told to leave that clock alone: the call fails with EINVAL. select waits for a duration.
"""

import select
import time
from typing import Any


def _sleep(seconds: Any, /) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        select.select([], [], [], left)
    if not seconds:
        select.select([], [], [], 0)


time.sleep = _sleep
