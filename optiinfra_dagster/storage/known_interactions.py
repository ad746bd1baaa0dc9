"""The ids by which interactions are known (`application_interactions`), for feedback that comes later."""

from __future__ import annotations

import hashlib
from array import array
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from optiinfra_dagster.storage.schema import NAME, TIME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from optiinfra_dagster.storage.clickhouse import ClickHouse

ROWS_AT_ONCE = 200_000


class Ids:
    """The ids of a window's interactions, 28 bytes for each id."""

    def __init__(self) -> None:
        self.hashes, self.interactions, self.moments, self.applications = array("Q"), array("Q"), array("q"), array("I")
        self.names: dict[tuple[str, str], int] = {}

    def add(
        self, interaction_id: str, ids: Iterable[str], trace_id: str, timestamp: datetime, application: tuple[str, str]
    ) -> None:
        """Note an interaction: its own id, further ones, that of its trace, and its application's id and name."""
        own = hash_of("id", interaction_id)
        hashes = {own, *(hash_of("id", one) for one in ids if one)}
        if trace_id:
            hashes.add(hash_of("trace", trace_id))
        number = self.names.setdefault(application, len(self.names))
        moment = round(timestamp.timestamp() * 1e6)
        for one in hashes:
            self.hashes.append(one)
            self.interactions.append(own)
            self.moments.append(moment)
            self.applications.append(number)


def hash_of(kind: str, name: str) -> int:
    """The number under which an id is kept, as ClickHouse's `halfMD5(concat(kind, ' ', name))`."""
    told = f"{kind} {name}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.md5(told, usedforsecurity=False).digest()[:8])


class KnownInteractions:
    """Keeps the ids of interactions."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def keep(self, customer_id: str, provider: str, window: datetime, ids: Ids) -> None:
        """Keep the ids of a window; those that are kept already change nothing.

        Raises:
            StorageError: they could not be kept.
        """
        count = len(ids.hashes)
        names = [pa.array([name[part] for name in ids.names], pa.string()) for part in (0, 1)]
        for at in range(0, count, ROWS_AT_ONCE):
            part = slice(at, at + ROWS_AT_ONCE)
            rows = len(ids.hashes[part])
            numbers = np.array(ids.applications[part], np.int32)
            table = pa.table(
                {
                    "customer_id": _same(customer_id, rows),
                    "id_hash": np.array(ids.hashes[part], np.uint64),
                    "timestamp": pa.array(np.array(ids.moments[part], "datetime64[us]"), pa.timestamp("us", "UTC")),
                    "interaction_hash": np.array(ids.interactions[part], np.uint64),
                    "window_start": pa.repeat(pa.scalar(window, TIME), rows),
                    "provider": _same(provider, rows),
                    "application_id": pa.DictionaryArray.from_arrays(numbers, names[0]),
                    "application_name": pa.DictionaryArray.from_arrays(numbers, names[1]),
                }
            )
            with self._clickhouse.session(writes="application_interactions") as client:
                client.insert_arrow("application_interactions", table)


def _same(name: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([name])).cast(NAME)
