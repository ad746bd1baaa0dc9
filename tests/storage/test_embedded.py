"""An embedded engine that stays open between sessions, and gives way as soon as another process or folder needs it."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import DATABASE
from tests.support import killing
from tests.support.engines import copy_migrated

if TYPE_CHECKING:
    from pathlib import Path

LONG = 3600.0  # what lingers so long is closed by something else


def client_of(clickhouse: ClickHouse) -> Any:
    """The client of a session, which is over when this returns."""
    with clickhouse.session() as client:
        assert client.command("SELECT 1") == 1
        return client


def test_one_engine_is_opened_for_session_after_session(chdb_url: str) -> None:
    clickhouse = ClickHouse(chdb_url, linger=LONG)
    first = client_of(clickhouse)
    assert client_of(clickhouse) is first
    with pytest.raises(StorageError, match="no_such_table"), clickhouse.session() as client:
        client.command("SELECT * FROM no_such_table")
    assert client_of(clickhouse) is not first  # after an error the next session begins anew


def test_a_new_folder_is_for_its_user_alone_and_an_older_one_stays_as_it_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for folder in ("new", "old"):
            if folder == "old":
                (tmp_path / "old").mkdir(mode=0o750)
            with ClickHouse(f"chdb://{tmp_path}/{folder}").session(migrated=False) as client:
                client.command("SELECT 1")
    finally:
        os.umask(before)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir() if one.is_dir()}
    assert modes == {"new": 0o700, "new.spool": 0o700, "old": 0o750, "old.spool": 0o700}


def test_an_engine_without_a_session_gives_way_to_another_process(chdb_url: str) -> None:
    clickhouse = ClickHouse(chdb_url, linger=LONG)
    first = client_of(clickhouse)
    assert killing.run(write_and_linger, chdb_url) == 0
    with clickhouse.session() as client:
        assert client is not first
        assert client.command("SELECT key FROM prices") == "written"


def write_and_linger(url: str) -> None:
    """Write a row; the process then ends with its engine open."""
    with ClickHouse(url, lock_timeout=50, linger=LONG).session() as client:
        client.command("INSERT INTO prices (key) VALUES ('written')")


def test_a_process_that_has_session_after_session_gives_way_too(chdb_url: str) -> None:
    clickhouse, stop = ClickHouse(chdb_url, lock_timeout=60, linger=LONG), threading.Event()

    def work() -> None:
        while not stop.is_set():
            with clickhouse.session() as client:
                client.command("SELECT 1")

    busy = threading.Thread(target=work)
    busy.start()
    try:
        assert killing.run(write_and_linger, chdb_url) == 0
    finally:
        stop.set()
        busy.join(60)


def test_an_engine_is_closed_when_it_was_not_used_for_long_enough(chdb_url: str, tmp_path: Path) -> None:
    clickhouse = ClickHouse(chdb_url, linger=0.01)
    client_of(clickhouse)
    for thread in threading.enumerate():
        if thread.name == "clickhouse-idle":
            thread.join(60)
    shutil.rmtree(tmp_path / "clickhouse")  # nobody writes there any more
    assert client_of(clickhouse)


def test_an_engine_whose_folder_went_away_is_opened_anew(chdb_url: str, tmp_path: Path) -> None:
    """What is written into a deleted folder would be lost without an error."""
    clickhouse = ClickHouse(chdb_url, linger=LONG)
    first = client_of(clickhouse)
    (tmp_path / "clickhouse").rename(tmp_path / "elsewhere")
    with clickhouse.session(migrated=False) as client:
        assert client is not first
    assert (tmp_path / "clickhouse").is_dir()


def test_an_engine_gives_way_to_another_folder_of_its_process(tmp_path: Path, chdb_url: str) -> None:
    with ClickHouse(chdb_url, linger=LONG).session() as client:
        client.command("INSERT INTO prices (key) VALUES ('here')")
    with ClickHouse(f"chdb://{copy_migrated(tmp_path / 'other')}").session() as client:
        assert client.command("SELECT count() FROM prices") == 0
    with ClickHouse(chdb_url).session() as client:
        assert client.command("SELECT key FROM prices") == "here"


def test_what_was_written_is_known_of_a_closed_engine_whatever_it_merges_and_clears(chdb_url: str) -> None:
    clickhouse = ClickHouse(chdb_url)
    assert clickhouse.path
    states = []

    def step(*statements: str) -> None:
        with clickhouse.session() as client:
            for statement in statements:
                client.command(statement)
        states.append(clickhouse.newest_writes("noted"))

    assert clickhouse.newest_writes("noted") is None
    step("CREATE TABLE noted (month UInt32, n UInt32) ENGINE = MergeTree PARTITION BY month ORDER BY n")
    step("INSERT INTO noted VALUES (202611, 1)")
    step("INSERT INTO noted VALUES (202611, 2), (202612, 3)")
    step("SELECT * FROM noted", "OPTIMIZE TABLE noted FINAL")
    for merged in ("202611_1_1_0", "202611_2_2_0", "202612_3_3_0"):  # which the engine clears away half a minute later
        shutil.rmtree(clickhouse.path / "data" / DATABASE / "noted" / merged)
    step("SELECT * FROM noted")
    step("DELETE FROM noted WHERE n = 1")
    step("INSERT INTO noted VALUES (202611, 4)")

    assert states[:3] == [{}, {"202611": (1, 0)}, {"202611": (2, 0), "202612": (3, 0)}]
    assert states[3] == states[4] == states[2]
    assert len({repr(state) for state in states[4:]}) == 3
