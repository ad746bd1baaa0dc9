"""Stores how each judge's server has to be asked (`judge_dialects`), so that it is found out once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.storage.inserts import insert_rows

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse


class Dialects:
    """The dialects of servers and models in one ClickHouse, as JSON."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def recall(self, base_url: str, model: str) -> str | None:
        """The newest dialect of a model at a server; None if there is none, or it was forgotten.

        Raises:
            StorageError: it could not be read.
        """
        with self._clickhouse.session(reads="judge_dialects") as client:
            rows = client.query(
                "SELECT argMax(dialect, found_at) FROM judge_dialects "
                "WHERE base_url = {base_url:String} AND model = {model:String}",
                parameters={"base_url": base_url, "model": model},
            ).result_rows
        return rows[0][0] or None if rows else None

    def keep(self, base_url: str, model: str, dialect: str) -> None:
        """Remember a dialect; empty to forget.

        Raises:
            StorageError: it could not be written.
        """
        row = [datetime.now(UTC), base_url, model, dialect]
        with self._clickhouse.session(writes="judge_dialects") as client:
            insert_rows(client, "judge_dialects", ["found_at", "base_url", "model", "dialect"], [row])
