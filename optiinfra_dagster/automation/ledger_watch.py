"""Shared parts of the sensors that read the ledger: a cache until it changes, and the wait before another try."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import dagster as dg

from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import LEDGER_TABLE

# A tick waits so long for the embedded engine; the daemon gives up on a tick after 60 s.
LOCK_SECONDS = 20.0
FIRST_DELAY = timedelta(minutes=5)
LONGEST_DELAY = timedelta(hours=6)
MAX_REQUESTS_PER_TICK = 4
ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

ResultT = TypeVar("ResultT")
Requests = Iterator[dg.RunRequest | dg.SkipReason]


def skip_on_config_error(requests: Callable[[], Requests]) -> Requests:
    """Yield a tick's requests; a bad customers file or a ClickHouse out of reach skips the tick with that message.

    Otherwise every tick, two a minute, would write a traceback into the daemon's log and the UI.
    """
    try:
        yield from list(requests())
    except OptiInfraError as error:
        yield dg.SkipReason(str(error))


class LedgerCache:
    """Keeps what a sensor read of an embedded ledger until the ledger changes.

    Opening the engine costs 0.3 CPU-s, 45 times a window. A server's ledger is read by every tick. A result that
    depends on the time too is kept only once the ledger has been the same for longer than `settling`.
    """

    def __init__(self, clickhouse: ClickHouse, settling: timedelta = timedelta(0)) -> None:
        self._clickhouse = clickhouse
        self._settling = settling
        self._writes: Mapping[str, tuple[int, int]] | None = None
        self._seen_at = datetime.min.replace(tzinfo=UTC)  # when these were first seen
        self._kept: tuple[object, Any] | None = None

    def get(self, key: object, now: datetime, load: Callable[[], ResultT]) -> ResultT:
        """Return the kept result for `key`, or call `load()` if the ledger has changed since."""
        writes = self._clickhouse.newest_writes(LEDGER_TABLE)  # before it is read: what is written then is seen
        if writes is None or writes != self._writes:
            self._writes, self._seen_at, self._kept = writes, now, None
        if self._kept and self._kept[0] == key:
            kept: ResultT = self._kept[1]
            return kept
        result = load()
        if writes is not None and now - self._seen_at >= self._settling:
            self._kept = key, result
        return result


def retry_delay(attempts: int) -> timedelta:
    """The wait after so many attempts: 5, 10, 20, 40 ... minutes, at most 6 hours."""
    doublings: int = min(max(attempts - 1, 0), 20)
    return min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)
