"""Real processes under a clock that the test moves: the cloud lab and Dagster's daemon, by libfaketime.

The moved clock runs as fast as the real one, a number of seconds ahead of it, and jumps when the test says so. Time
that only measures durations (the monotonic clock: timeouts, sleeps) is left alone.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LIBRARIES = [
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    *Path("/usr/lib").glob("faketime/libfaketimeMT.so.1"),
]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def morning() -> datetime:
    """Ten o'clock of today or soon, on a day that is far from a month's end.

    The embedded engine lives by the real clock: what is older than a reader's table keeps would be dropped at once.
    """
    day = datetime.now(UTC).replace(hour=10, minute=0, second=0, microsecond=0)
    while not 2 <= day.day <= 26:
        day += timedelta(days=1)
    return day


class MovedClock:
    """A clock ahead of the real one; `env` puts it on a process and its children."""

    def __init__(self, folder: Path, start: datetime) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime (Debian package libfaketime) is not installed, so no process's clock can be moved")
        self._file = folder / "clock"
        self._offset = timedelta(seconds=int((start - datetime.now(UTC)).total_seconds()))
        self._write()
        self.env: Mapping[str, str] = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds between readings of the file; none at all is four times slower
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("moved")), str(PROJECT)]),
            "TZ": "UTC",
        }

    def now(self) -> datetime:
        """What the processes think it is."""
        return datetime.now(UTC) + self._offset

    def advance_to(self, moment: datetime) -> None:
        """Jump forward; a moment that has passed changes nothing."""
        if moment > self.now():
            self._offset += timedelta(seconds=int((moment - self.now()).total_seconds()) + 1)
            self._write()

    def set_back(self, by: timedelta) -> None:
        """Jump back, as after a wrong time was put right."""
        self._offset -= by
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset.total_seconds():+.0f}s\n")
        new.replace(self._file)  # a process that reads it at this moment finds the old or the new one


class Process:
    """A child in a process group of its own; its output goes to a file, which is shown when a test fails."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._out: IO[bytes] = log.open("ab")
        self._process = subprocess.Popen(
            command, cwd=PROJECT, env=dict(env), stdout=self._out, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.pid = self._process.pid

    def stop(self, patience: float = 30.0) -> None:
        """End it and all its children."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                break
            time.sleep(0.2)  # to end, then to be gone: who is not their parent cannot wait for a group's members
        self._process.wait(patience)
        self._out.close()

    @property
    def ended(self) -> bool:
        """True once it has ended by itself."""
        return self._process.poll() is not None

    def descendants(self) -> list[int]:
        """The process and all its living descendants."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of the process, its living descendants and those that they have waited for."""
        total = 0
        for pid in self.descendants():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(int(ticks) for ticks in fields[11:15])
        return total / TICKS_PER_SECOND


def start_lab(env: Mapping[str, str], world: Path, log: Path) -> tuple[Process, dict[str, str]]:
    """The cloud lab as a process, and the environment that points to it."""
    process = Process([sys.executable, "-m", "optiinfra_dagster.lab", "--world", str(world)], env, log)
    until(lambda: "# serving" in log.read_text() or process.ended, 60, f"the lab to start: {log}")
    exports = [line.removeprefix("export ") for line in log.read_text().splitlines() if line.startswith("export ")]
    return process, {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in exports)}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come true within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.25)  # what is waited for is in other processes, which tell nobody
