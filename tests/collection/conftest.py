"""A spine of the test's own, and labs it is pointed at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab import CloudLab
from tests.support.engines import empty
from tests.support.spine import Spine, world

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.storage.clickhouse import ClickHouse

StartLab = Callable[..., CloudLab]


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore try again at once: its random waits add up to 7 s for a call."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))


@pytest.fixture
def start_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartLab]:
    """Starts a lab of a world, and points the SDK at it by environment."""
    with ExitStack() as labs:

        def start(of: dict[str, Any] | None = None, **options: Any) -> CloudLab:
            lab = labs.enter_context(CloudLab(world() if of is None else of, **options))
            for name, value in lab.env.items():
                monkeypatch.setenv(name, value)
            return lab

        yield start


@pytest.fixture
def spine(tmp_path: Path, open_engine: ClickHouse) -> Iterator[Spine]:
    """A spine in a folder of its own, without customers yet; its engine, held open, is empty and elsewhere."""
    spine = Spine.at(tmp_path / "home", open_engine.place)
    spine.clickhouse = open_engine
    with open_engine.session() as client:
        yield spine
        empty(client)


@pytest.fixture
def free_spine(tmp_path: Path, open_engine: ClickHouse) -> Iterator[Spine]:
    """A spine with the same engine, of which no session is held.

    Collections of costs and of LLM quality have sessions in threads of their own.
    """
    spine = Spine.at(tmp_path / "home", open_engine.place)
    spine.clickhouse = open_engine
    yield spine
    with open_engine.session() as client:
        empty(client)
