"""A log of the lab's calls: counts of requests, and of the metrics that CloudWatch would charge for."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple


class CallKey(NamedTuple):
    """The key of a request's count; `status` is that of HTTP, 0 where the connection was closed without one."""

    service: str
    operation: str
    account: str
    region: str
    status: int


@dataclass(slots=True)
class Calls:
    """The count of requests. `billed_metrics` is by account, `per_second` by whole second since the epoch."""

    requests: Counter[CallKey] = field(default_factory=Counter)
    billed_metrics: Counter[str] = field(default_factory=Counter)
    per_second: Counter[int] = field(default_factory=Counter)

    def count(
        self,
        service: str | None = None,
        operation: str | None = None,
        account: str | None = None,
        region: str | None = None,
        status: int | None = None,
    ) -> int:
        """The number of requests that match; `None` matches all."""
        wanted = (service, operation, account, region, status)
        return sum(
            count
            for key, count in self.requests.items()
            if all(want in {None, have} for want, have in zip(wanted, key, strict=True))
        )

    def to_json(self) -> dict[str, Any]:
        """The counts as `GET /lab/calls` shows them."""
        return {
            "requests": [{**key._asdict(), "count": count} for key, count in sorted(self.requests.items())],
            "billed_metrics": dict(self.billed_metrics),
            "per_second": dict(sorted(self.per_second.items())),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Calls:
        """The counts that `to_json` wrote."""
        calls = cls()
        for row in data["requests"]:
            calls.requests[CallKey(*(row[name] for name in CallKey._fields))] = row["count"]
        calls.billed_metrics.update(data["billed_metrics"])
        calls.per_second.update({int(second): count for second, count in data["per_second"].items()})
        return calls


class CallLog:
    """Counts requests from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls = Calls()

    def note(self, key: CallKey, billed: int = 0) -> None:
        """Count one request, and the metrics that its account pays for."""
        with self._lock:
            self._calls.requests[key] += 1
            self._calls.per_second[int(time.time())] += 1
            if billed:
                self._calls.billed_metrics[key.account] += billed

    def clear(self) -> None:
        """Forget everything counted so far."""
        with self._lock:
            self._calls = Calls()

    def copy(self) -> Calls:
        """The counts as they are now."""
        with self._lock:
            calls = self._calls
            return Calls(calls.requests.copy(), calls.billed_metrics.copy(), calls.per_second.copy())
