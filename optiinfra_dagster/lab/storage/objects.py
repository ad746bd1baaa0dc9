"""The objects in the lab's buckets: the logs of the world's LLM applications, and what a test puts there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.llm.interactions import WINDOW, Log

if TYPE_CHECKING:
    from optiinfra_dagster.lab.world import World

_DELIVERY = timedelta(seconds=20)  # from the end of a window to its file


@dataclass(frozen=True, slots=True)
class Object:
    """A stored object. Its bytes are made when they are asked for."""

    key: str
    modified: datetime
    read: Callable[[], bytes]

    @property
    def etag(self) -> str:
        """The MD5 of its bytes in quotes, as S3 tells it."""
        return f'"{md5(self.read(), usedforsecurity=False).hexdigest()}"'


class Objects:
    """Every bucket of the lab: `s3://bucket`, `gs://bucket`, `https://account.blob.core.windows.net/container`.

    Nothing is there before its time (`now`).
    """

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        self._now = now
        self._logs: dict[str, list[Log]] = defaultdict(list)
        self._put: dict[str, dict[str, Object]] = defaultdict(dict)
        for application in world.applications:
            bucket, _ = _split(application.location)
            self._logs[bucket].append(Log(world.seed, application))

    def put(self, url: str, data: bytes, modified: datetime | None = None) -> None:
        """Put an object into a bucket, which need not exist: `s3://bucket/key`."""
        bucket, key = _split(url)
        self._put[bucket][key] = Object(key, modified or self._now(), lambda: data)

    def listed(self, bucket: str, prefix: str = "") -> list[Object] | None:
        """The objects of a bucket whose keys begin so, by key; None if there is no such bucket."""
        if bucket not in self._logs and bucket not in self._put:
            return None
        found = {one.key: one for log in self._logs.get(bucket, ()) for one in self._of_log(log, prefix)}
        found.update(self._put.get(bucket, {}))
        return sorted((one for key, one in found.items() if key.startswith(prefix)), key=lambda one: one.key)

    def expected(self, bucket: str, provider: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """The records that a bucket's applications on a provider logged in [start, end): the ground truth of tests."""
        return [
            record
            for log in self._logs[bucket]
            if log.application.provider == provider
            for window in _windows(start, end)
            for record in log.records(window)
            if start <= record["timestamp"] < end
        ]

    def _of_log(self, log: Log, prefix: str) -> Iterator[Object]:
        application, now = log.application, self._now()
        ending = "jsonl.gz" if application.compressed else "jsonl"
        delay = WINDOW + _DELIVERY + timedelta(minutes=application.late_minutes)
        for window in _windows(now - timedelta(hours=application.history_hours), now):
            first = window.replace(minute=0) if application.growing else window
            folder = _filled(_split(application.location)[1], application.provider, first)
            name = f"{first:%H%M}-{application.provider}-{application.id}"
            for copy in range(1 + application.doubled):
                key, modified = f"{folder}{name}{'-again' * copy}.{ending}", window + delay + copy * WINDOW
                if not key.startswith(prefix) or modified > now:
                    continue
                if application.cut and modified + WINDOW > now:
                    yield Object(key, modified, lambda window=window: _half(log.content(window)))  # type: ignore[misc]
                elif application.growing:  # the newest of its states is the one that is listed
                    yield Object(key, modified, lambda first=first, last=window: _joined(log, first, last))  # type: ignore[misc]
                else:
                    written = modified + WINDOW * application.cut
                    yield Object(key, written, lambda window=window: log.content(window))  # type: ignore[misc]


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _joined(log: Log, first: datetime, last: datetime) -> bytes:
    return b"".join(log.content(window) for window in _windows(first, last + WINDOW))


def _split(url: str) -> tuple[str, str]:
    parts = url.split("/", 4 if url.startswith("https://") else 3)
    return "/".join(parts[:-1]), parts[-1]


def _filled(template: str, provider: str, window: datetime) -> str:
    parts = {"provider": provider, "yyyy": "%Y", "mm": "%m", "dd": "%d", "hh": "%H"}
    return re.sub(r"\{(\w+)\}", lambda match: window.strftime(parts.get(match[1], match[0])), template)


def _windows(start: datetime, end: datetime) -> Iterator[datetime]:
    """The starts of the windows that overlap a time."""
    window = datetime.fromtimestamp(start.timestamp() // 900 * 900, UTC)
    while window < end:
        yield window
        window += WINDOW
