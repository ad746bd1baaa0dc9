"""Answers of clouds that are remembered for a day."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.day_cache import DAY_SECONDS, DayCache, forget

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_older_than_a_day_is_forgotten_and_its_file_goes(tmp_path: Path) -> None:
    cache = DayCache(tmp_path)
    for name in ("old", "young"):
        cache.put(1, name)
    (oldest, _) = sorted(tmp_path.iterdir())
    at = oldest.stat().st_mtime - DAY_SECONDS - 1
    os.utime(oldest, (at, at))
    (tmp_path / "killed.1-2.part").touch()  # what a kill left, today
    assert forget(tmp_path) == 1
    assert not oldest.exists()
    assert len(list(tmp_path.iterdir())) == 2
    assert forget(tmp_path / "missing") == 0
