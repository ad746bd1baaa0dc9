"""The engine inside this process: its folder is opened by one process at a time, and stays open while none waits.

One process at a time can have the folder open, and opening costs 0.3 CPU-s, most of it for attaching tables, where what
a session does often takes a hundredth of that. So an engine may stay open for the sessions that follow, but not while
another process waits: to wait, a process holds the lock `<folder>.queue`, which whoever has the folder can see.

ClickHouse's `lazy_load_tables` would halve what opening costs. In 26.9 tables that were attached so refuse every delete
and are missing in `system.parts`: https://github.com/ClickHouse/ClickHouse/issues/120415 and 120416.
"""

from __future__ import annotations

import atexit
import importlib
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from filelock import FileLock, Timeout

from optiinfra_dagster.model.errors import BusyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

TURN_SECONDS = 1.0  # how long a process may have session after session while another one waits
POLL_SECONDS = 0.05  # how often an engine without a session looks whether somebody waits


def holder(path: Path) -> str:
    """The process that holds the engine at a folder: `process 1234 (dagster-daemon)`; empty for none, or if not known.

    The kernel lists locks by the inode of the locked file (https://man7.org/linux/man-pages/man5/proc_locks.5.html).
    """
    with suppress(OSError, ValueError):
        inode = str(path.with_name(f"{path.name}.lock").stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] != "->" and fields[-3].rpartition(":")[2] == inode:
                command = Path(f"/proc/{int(fields[4])}/comm").read_text(encoding="utf-8", errors="replace")
                return f"process {fields[4]} ({command.strip()})"
    return ""


def load_library() -> None:
    """Load the engine's library, without pyarrow and its numpy where nothing needed them before: 0.13 CPU-s.

    chdb does without pyarrow where it is not installed (its `state/sqlitelike.py`), which `None` says, and looks for it
    when it is loaded, for answers as Arrow tables; clickhouse-connect makes those itself. Another thread must not find
    it missing meanwhile, so it is hidden only where there is none.
    """
    if "pyarrow" in sys.modules or threading.active_count() > 1:
        return
    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("chdb.state")
    finally:
        del sys.modules["pyarrow"]


class Engine:
    """The engine at one folder. Thread-safe: sessions take turns, those within another one share its client.

    Args:
        path: the folder; made where it is missing.
        connect: opens it.
        lock_timeout: how long to wait for other processes, in seconds.
        linger: how long it stays open without a session, in seconds.
    """

    _latest: ClassVar[Engine | None] = None  # a process can have one folder open, not two

    def __init__(self, path: Path, connect: Callable[[], Client], *, lock_timeout: float, linger: float) -> None:
        self._path = path
        self._connect = connect
        self._lock_timeout = lock_timeout
        self._linger = linger
        # Opened by one thread, closed by another.
        self._turn = FileLock(f"{path}.lock", thread_local=False)
        self._queue = FileLock(f"{path}.queue", thread_local=False)
        self._spool = path.with_name(f"{path.name}.spool")
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._in_session = False
        self._opened = self._left = 0.0

    @contextmanager
    def session(self) -> Iterator[Client]:
        """The open engine's client.

        Raises:
            StorageError: the folder is held by another process, or cannot be used.
        """
        with self._lock:
            if self._in_session and self._client is not None:
                yield self._client
                return
            if self._is_gone():  # what is written there from now on is lost
                self.close()
            client = self._client or self._open()
            elsewhere, stays = tempfile.tempdir, False
            try:
                # Inserts reach the engine through temporary files, which a kill leaves behind: they have a folder.
                self._in_session, tempfile.tempdir = True, str(self._spool)
                yield client
                stays = self._linger > 0 and not (time.monotonic() - self._opened > TURN_SECONDS and self._is_wanted())
            finally:
                tempfile.tempdir = elsewhere
                self._in_session, self._left = False, time.monotonic()
                if not stays:
                    self.close()

    def close(self) -> None:
        """Close it, unless a session has it."""
        with self._lock:
            if self._client is None or self._in_session:
                return
            client, self._client = self._client, None
            try:
                client.close()
            finally:
                self._turn.release(force=True)
                atexit.unregister(self._close_soon)

    def _open(self) -> Client:
        if Engine._latest is not None and Engine._latest is not self:
            Engine._latest._close_soon()
        self._take_turn()
        try:
            for left_behind in [*self._spool.glob("tmp*.native"), *self._spool.glob("tmp*.raw")]:
                left_behind.unlink(missing_ok=True)
            client = self._connect()
        except BaseException:
            self._turn.release(force=True)
            raise
        self._client, self._opened, Engine._latest = client, time.monotonic(), self
        if self._linger:
            atexit.register(self._close_soon)
            threading.Thread(target=self._close_when_idle, args=(client,), name="clickhouse-idle", daemon=True).start()
        return client

    def _take_turn(self) -> None:
        if "?" in str(self._path):
            raise StorageError(f"chdb://{self._path} cannot be used: the engine takes a question mark for its end.")
        give_up = time.monotonic() + self._lock_timeout
        try:
            # For this user alone, wherever it is: with `store_text` it holds what people asked an LLM.
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._spool.mkdir(mode=0o700, exist_ok=True)
            with self._queue.acquire(timeout=self._lock_timeout, poll_interval=0.01):
                self._turn.acquire(timeout=max(0.0, give_up - time.monotonic()), poll_interval=0.01)
        except Timeout:
            raise BusyError(
                f"chdb://{self._path} is in use by another process and was not released within "
                f"{self._lock_timeout:g} s. Wait for the running collection, stop the process that holds it, or use a "
                "ClickHouse server."
            ) from None
        except OSError as error:
            raise StorageError(
                f"chdb://{self._path} cannot be used: {error.strerror or error} ({error.filename}). "
                "Set OPTIINFRA_CLICKHOUSE_URL to a writable place, or DAGSTER_HOME, below which it is by default."
            ) from error

    def _is_wanted(self) -> bool:
        """True if another process waits, or the folder went away."""
        if self._is_gone():  # looking at the queue would make its folder again
            return True
        try:
            with self._queue.acquire(timeout=0):
                return False
        except OSError:  # Timeout is one
            return True

    def _is_gone(self) -> bool:
        return not self._path.is_dir()

    def _close_when_idle(self, client: Client) -> None:
        """Until `client` is closed: close it as soon as nobody here needs it, or somebody elsewhere does."""
        while True:
            time.sleep(POLL_SECONDS)
            if not self._lock.acquire(blocking=False):
                continue  # in a session, which looks for itself
            try:
                if self._client is client and (time.monotonic() - self._left > self._linger or self._is_wanted()):
                    self.close()
                if self._client is not client:
                    return
            finally:
                self._lock.release()

    def _close_soon(self) -> None:
        """Make way for another folder, or end with the process; what a session of another thread has stays open."""
        if self._lock.acquire(timeout=TURN_SECONDS):
            try:
                self.close()
            finally:
                self._lock.release()
