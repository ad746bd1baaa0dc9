"""DAGSTER_HOME gets our dagster.yaml, also where it has an older one that nobody edited."""

from __future__ import annotations

import multiprocessing
import stat
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.automation.status.gather import need_instance
from optiinfra_dagster.cli import dagster_runs
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model.errors import ConfigError

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

SHIPPED = (files("optiinfra_dagster") / "dagster.yaml").read_bytes()
# The dagster.yaml of this version; where it changes, the old value goes to `runs.SHIPPED_BEFORE`.
CURRENT = "14c7fe7099de8da8cb1248f9171a81a66f9c67c1c7687b611425563103bd44b3"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by what is tested, and put back after it
    return Settings(dagster_home=tmp_path / "home")


def prepare(settings: Settings, before: bytes | None) -> tuple[bytes, list[str]]:
    """The dagster.yaml after it, and the warnings."""
    own = settings.dagster_home / "dagster.yaml"
    settings.dagster_home.mkdir()
    if before is not None:
        own.write_bytes(before)
    warnings: list[str] = []
    dagster_runs.prepare_home(settings, warnings.append)
    assert [path.name for path in settings.dagster_home.iterdir()] == ["dagster.yaml"]
    return own.read_bytes(), warnings


def test_each_version_that_was_shipped_is_known() -> None:
    assert sha256(SHIPPED).hexdigest() == CURRENT
    assert CURRENT not in dagster_runs.SHIPPED_BEFORE


def test_a_new_home_gets_the_file(settings: Settings) -> None:
    assert prepare(settings, None) == (SHIPPED, [])


def test_an_older_file_that_nobody_edited_is_replaced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    older = b"telemetry: {enabled: false}\n"
    monkeypatch.setattr(dagster_runs, "SHIPPED_BEFORE", {sha256(older).hexdigest()})
    assert prepare(settings, older) == (SHIPPED, [])


def test_an_edited_file_stays_and_what_it_lacks_is_told(settings: Settings) -> None:
    edited = (
        b"concurrency: {runs: {max_concurrent_runs: 8, tag_concurrency_limits: [{key: dagster/backfill, limit: 2}]}}\n"
    )
    after, (warning,) = prepare(settings, edited)
    assert after == edited
    for part in (str(settings.dagster_home / "dagster.yaml"), "optiinfra/repair", "tag_concurrency_limits"):
        assert part in warning
    assert "dagster/backfill," not in warning


@pytest.mark.parametrize("more", [b"\nui: {}\n", b"# PostgreSQL\n"])
def test_an_edited_file_with_every_limit_is_no_cause_for_a_warning(settings: Settings, more: bytes) -> None:
    assert prepare(settings, SHIPPED + more) == (SHIPPED + more, [])


@pytest.mark.parametrize("text", [b"", b"concurrency:\n", b"{", b"[]"])
def test_a_file_that_is_none_is_left_to_dagster(settings: Settings, text: bytes) -> None:
    assert prepare(settings, text)[0] == text


@pytest.mark.parametrize(
    ("before", "after"), [(None, 0o700), (0o755, 0o700), (0o750, 0o750), (0o700, 0o700), (0o777, 0o700)]
)
def test_others_may_not_look_into_the_folder(settings: Settings, before: int | None, after: int) -> None:
    """With `store_text` it holds what people asked an LLM; a folder that is open to a group was opened on purpose."""
    if before is not None:
        settings.dagster_home.mkdir()
        settings.dagster_home.chmod(before)
    dagster_runs.prepare_home(settings)
    assert stat.S_IMODE(settings.dagster_home.stat().st_mode) == after


def _open(folder: Path, ready: Barrier, said: Queue[str]) -> None:
    settings = Settings(dagster_home=folder)
    ready.wait(60)
    try:
        need_instance(settings)
        said.put("opened")
    except ConfigError as error:
        said.put(str(error))


def test_commands_that_are_the_first_in_a_home_at_once_all_open_it(settings: Settings) -> None:
    dagster_runs.prepare_home(settings)
    processes = multiprocessing.get_context("spawn")
    ready, said = processes.Barrier(4), processes.Queue()
    started = [processes.Process(target=_open, args=(settings.dagster_home, ready, said)) for _ in range(4)]
    for one in started:
        one.start()
    for one in started:
        one.join(120)
    assert [said.get(timeout=5) for _ in started] == ["opened"] * 4
