"""The engines that tests copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.engines import copy_migrated

if TYPE_CHECKING:
    from pathlib import Path

LONG_AGO = "toDateTime('2026-03-01 00:00:00', 'UTC')"


@pytest.mark.parametrize(("expiring", "kept"), [(False, 1), (True, 0)])
def test_rows_under_fixed_dates_stay_whatever_the_real_date(tmp_path: Path, expiring: bool, kept: int) -> None:
    """Where they expire, as in the product, they are dropped by the engine, which goes by the real clock."""
    with ClickHouse(f"chdb://{copy_migrated(tmp_path / 'place', expiring=expiring)}").session() as client:
        client.command(f"INSERT INTO application_log_files (modified) SELECT {LONG_AGO}")
        client.command("OPTIMIZE TABLE application_log_files FINAL")
        assert client.query("SELECT count() FROM application_log_files").result_rows == [(kept,)]
