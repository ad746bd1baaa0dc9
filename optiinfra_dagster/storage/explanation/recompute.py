"""Runs a reader's SELECT again and compares one row with what is stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.storage.explanation import statements
from optiinfra_dagster.storage.explanation.model import Recomputation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.sql import Reader

_NEAR = 1e-9  # sums of floats differ in their last digits by the order in which they are added


def row(client: Client, reader: Reader, stored: Mapping[str, Any], types: Mapping[str, str]) -> Recomputation | None:
    """The row as the SELECT gives it now; None for a line of a timeline, which is not a row of the reader."""
    names = [name for name in types if name in stored and name != "window_start"]
    if not set(reader.key) <= set(names):
        return None
    where = " AND ".join(statements.condition(name, types[name], stored[name]) for name in reader.key)
    columns = ", ".join(f"CAST({name} AS {types[name]}) AS {name}" for name in names)
    found = client.query(
        f"SELECT * FROM (SELECT {columns} FROM ({reader.select})) WHERE {where}",  # noqa: S608 - names are the code's own
        parameters=statements.of_window(stored["window_start"]),
        tz_mode="aware",
    )
    rows = list(found.named_results())
    if not rows:
        return Recomputation(found=False, differs={})
    # Of several rows with the key the one that is most like it.
    differs = min(
        ({name: (stored[name], one[name]) for name in names if not _alike(stored[name], one[name])} for one in rows),
        key=len,
    )
    return Recomputation(found=True, differs=differs)


def _alike(stored: Any, now: Any) -> bool:
    if isinstance(stored, float) and isinstance(now, float):
        return math.isclose(stored, now, rel_tol=_NEAR, abs_tol=_NEAR) or (stored != stored and now != now)  # noqa: PLR0124
    if isinstance(stored, (list, tuple)) and isinstance(now, (list, tuple)):
        return len(stored) == len(now) and all(map(_alike, stored, now))
    return bool(stored == now)
