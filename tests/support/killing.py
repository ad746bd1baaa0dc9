"""What runs in a process that is killed half-way, and the processes to do it in."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.storage import migrations, schema
from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, ClickHouse
from optiinfra_dagster.storage.writer import Writer
from tests.support.samples import BORDER, EARLY, LATE, collected, failed, windows_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext

    from optiinfra_dagster.model.slices import SliceResult

# Each process is forked from a server that has imported what costs seconds to import.
PROCESSES: ForkServerContext = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["clickhouse_connect", "pandas", "pyarrow.compute", "dagster", "tests.support.killing"]
)


def run(target: Callable[..., object], *arguments: object) -> int | None:
    """Run `target` in a process of its own; returns its exit code, which is negative for a signal."""
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


def die() -> None:
    """Kill this process at once, so that it can do nothing more."""
    os.kill(os.getpid(), signal.SIGKILL)


SPAN = windows_from(
    BORDER - (windows_from(BORDER, 3)[-1] - BORDER), 4
)  # two windows before a month's border, two after


def first_batch() -> list[SliceResult]:
    """What was published before the attempt that is killed."""
    return [
        collected("acme", SPAN, names=["i-1", "i-2"], values=[1], collected_at=EARLY),
        collected("hooli", SPAN, values=[1, 1, 1], collected_at=EARLY),
        collected("initech", SPAN, values=[1], collected_at=EARLY),
    ]


def earlier_batch() -> list[SliceResult]:
    """What the attempt that is killed has published before it comes to its second batch, by the same open engine."""
    return [collected("stark", SPAN, values=[7, 8], collected_at=LATE), failed("wayne", SPAN)]


def second_batch() -> list[SliceResult]:
    """The attempt that is killed: a resource less, points more, the same again, a customer more, a failure."""
    covered = [Coverage("i-1", ResourceType.COMPUTE, "cpu_utilization", CoverageState.COLLECTED)]
    return [
        collected("acme", SPAN, names=["i-1"], values=[2], collected_at=LATE, coverage=covered),
        collected("hooli", SPAN, values=[2, 2, 2, 2], collected_at=LATE),
        collected("initech", SPAN, values=[1], collected_at=LATE),
        collected("umbrella", SPAN, values=[2], collected_at=LATE),
        failed("vandelay", SPAN),
    ]


def attempt(url: str, at: str) -> None:
    """Write batches as a run does; in the second, die once the step `at` is done; at `start`, between the batches."""
    clickhouse = ClickHouse(url, linger=LINGER_SECONDS)

    def steps(name: str) -> None:
        if name == at:
            die()

    Writer(clickhouse, schema.PERFORMANCE, run_id="killed").flush(earlier_batch())
    steps("start")
    Writer(clickhouse, schema.PERFORMANCE, run_id="killed", steps=steps).flush(second_batch())


def migrate(url: str, statements: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Bring a place up to date, and get a signal after so many statements."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background ignores
    clickhouse = ClickHouse(url)
    with clickhouse.session(migrated=False) as client:
        command, left = client.command, [statements]

        def counted(*arguments: Any, **named: Any) -> Any:
            answer = command(*arguments, **named)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), by)
            return answer

        client.command = counted  # type: ignore[method-assign]
        migrations.migrate(client, alone=clickhouse.embedded)


def hold(url: str, opened: Any, release: Any) -> None:
    """Keep a session open from `opened` until `release`."""
    with ClickHouse(url).session():
        opened.set()
        release.wait(60)


def read_on(url: str, started: Any, stop: Any, answers: Any) -> None:
    """Look at the slice of `recollect` over and over; tell which contents were seen and how many looks it took."""
    from tests.support.samples import seen_values

    clickhouse = ClickHouse(url, lock_timeout=60)
    seen: set[tuple[float, ...]] = set()
    looks = 0
    while not stop.is_set():
        seen.add(tuple(seen_values(clickhouse)))
        looks += 1
        started.set()
        stop.wait(0.03)  # the lock of an embedded place is not handed over in turn
    answers.put((looks, seen))
