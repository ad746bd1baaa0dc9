"""A cache of a cloud's answers for one day, so that a provider need not ask for them in every window.

A run lives for one window, so this is kept in files. It only ever saves calls: what is missing, unreadable or too old
is asked for again.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

DAY_SECONDS = 86_400.0


class DayCache:
    """JSON values by key, in a folder; each is forgotten after a day. Threads and processes may share it."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def get(self, *key: str) -> Any:
        """The value remembered under `key`; None if there is none, or it is older than a day."""
        try:
            entry = json.loads(self._path(key).read_text(encoding="utf-8"))
            fresh = 0 <= self._clock() - entry["at"] < DAY_SECONDS and entry["key"] == list(key)
            return entry["value"] if fresh else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, value: Any, *key: str) -> None:
        """Remember a JSON value, whole or not at all; a folder that cannot be written to remembers nothing."""
        path = self._path(key)
        part = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"at": self._clock(), "key": list(key), "value": value}), encoding="utf-8")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)

    def _path(self, key: tuple[str, ...]) -> Path:
        return self._folder / f"{blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()}.json"


def forget(folder: Path, now: Callable[[], float] = time.time) -> int:
    """Delete what was remembered more than a day ago; returns how many values."""
    forgotten = 0
    for path in folder.glob("*") if folder.is_dir() else ():
        with suppress(OSError):  # another process forgets, too
            if now() - path.stat().st_mtime > DAY_SECONDS:
                path.unlink()
                forgotten += 1
    return forgotten
