"""kill -9 at every step of the slice protocol, and readers beside a writer: no reader ever sees half of something."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.writer import Writer
from tests.support import killing
from tests.support.engines import copy_migrated
from tests.support.samples import Row, age, collected, raw, seen_values, select, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# After `verified` another test kills always.
STEPS = [
    "start", "inserted", "verified", "published", "cleaned",
]  # fmt: skip


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], list[Row], list[Any]]:
    """What is there before the killed attempt, after a clean one, and the coverage that it recorded."""
    folder = tmp_path_factory.mktemp("clean") / "clickhouse"
    copy_migrated(folder)
    clickhouse = ClickHouse(f"chdb://{folder}")
    with clickhouse.session():
        writer = Writer(clickhouse, schema.PERFORMANCE)
        writer.flush(killing.first_batch())
        writer.flush(killing.earlier_batch())
        before = view(clickhouse)
        writer.flush(killing.second_batch())
        after = view(clickhouse)
        assert before != after == raw(clickhouse)
        return before, after, coverage(clickhouse)


def coverage(clickhouse: ClickHouse) -> list[Any]:
    return select(clickhouse, "SELECT * EXCEPT (version, state) FROM coverage FINAL ORDER BY ALL")


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_leaves_the_old_or_the_new_and_the_next_attempt_clears_up(
    url: str, step: str, clean: tuple[list[Row], list[Row], list[Any]]
) -> None:
    before, after, covered = clean
    clickhouse = ClickHouse(url, lock_timeout=30)
    Writer(clickhouse, schema.PERFORMANCE).flush(killing.first_batch())

    assert killing.run(killing.attempt, url, step) == -signal.SIGKILL

    with clickhouse.session():
        assert view(clickhouse) == (after if step in {"published", "cleaned"} else before)
        Writer(clickhouse, schema.PERFORMANCE).flush(killing.second_batch())
        assert view(clickhouse) == after == raw(clickhouse)
        assert coverage(clickhouse) == covered
        known = select(clickhouse, "SELECT count() AS n FROM published_versions WHERE isNotNull(until)")
        assert known == [{"n": 8}]  # of acme and hooli: what the kill left is none of them

        age(clickhouse, timedelta(days=2))
        Writer(clickhouse, schema.PERFORMANCE).flush(killing.second_batch())
        assert view(clickhouse) == after
        assert select(clickhouse, "SELECT count() AS n FROM performance_metrics") == [{"n": len(after)}]


def test_a_kill_of_an_attempt_whose_content_nobody_gets_again_is_cleared_up(url: str) -> None:
    """The cloud took its answer back: the next attempt finds what is published already."""
    clickhouse = ClickHouse(url, lock_timeout=30, linger=30)
    Writer(clickhouse, schema.PERFORMANCE).flush(killing.first_batch())
    Writer(clickhouse, schema.PERFORMANCE).flush(killing.earlier_batch())
    before = view(clickhouse)

    assert killing.run(killing.attempt, url, "verified") == -signal.SIGKILL
    Writer(clickhouse, schema.PERFORMANCE).flush(
        [*killing.first_batch(), collected("umbrella", killing.SPAN, rows=None)]
    )

    assert view(clickhouse) == before == raw(clickhouse)


def test_what_a_kill_left_in_the_spool_folder_is_emptied(chdb_url: str, tmp_path: Path) -> None:
    clickhouse = ClickHouse(chdb_url)
    Writer(clickhouse, schema.PERFORMANCE).flush([collected()])
    spool = tmp_path / "clickhouse.spool"
    (spool / "tmpleft.native").write_bytes(b"rubbish")

    Writer(clickhouse, schema.PERFORMANCE).flush([collected(values=[3])])

    assert list(spool.iterdir()) == []


@pytest.fixture
def reading(url: str) -> Iterator[tuple[Any, Any]]:
    """A process that reads on and on: the event that stops it, and the queue of what it saw."""
    started, stop, answers = killing.PROCESSES.Event(), killing.PROCESSES.Event(), killing.PROCESSES.Queue()
    process = killing.PROCESSES.Process(target=killing.read_on, args=(url, started, stop, answers), daemon=True)
    Writer(ClickHouse(url, lock_timeout=60), schema.PERFORMANCE).flush([collected(values=[0])])
    process.start()
    assert started.wait(60)
    yield stop, answers
    stop.set()
    process.join(30)
    process.kill()


@pytest.mark.timeout(300)
def test_readers_beside_a_writer_never_see_an_empty_partial_or_doubled_slice(
    url: str, reading: tuple[Any, Any]
) -> None:
    stop, answers = reading
    clickhouse = ClickHouse(url, lock_timeout=60)
    writer = Writer(clickhouse, schema.PERFORMANCE)
    # An embedded place lets in one process at a time: fewer chances to look, so fewer attempts, several to a turn.
    count, turn = (16, 4) if clickhouse.embedded else (200 if os.environ.get("OPTIINFRA_LONG_TESTS") else 60, 1)
    contents = [tuple([float(i)] * (3 if i % 2 else 12)) for i in range(1, count + 1)]
    for i in range(0, count, turn):
        with clickhouse.session():
            for content in contents[i : i + turn]:
                writer.flush([collected(values=content)])

    stop.set()
    looks, seen = answers.get(timeout=60)
    assert looks > 1
    assert seen <= {(0.0,), *contents}
    assert seen_values(clickhouse) == list(contents[-1])
    assert raw(clickhouse) == view(clickhouse)
