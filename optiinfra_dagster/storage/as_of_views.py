"""Views of what was known at a time: `cost_summary_as_of(as_of = '2026-11-30 02:00:00')` beside `cost_summary_current`.

There is one for each view of published rows, for `costs` and for those of FOCUS. Each is derived from that view as the
engine has it, with the ledger up to the time in place of the whole ledger, so that no SELECT is written twice. Views
which take a window have no such form: what they gave at a time stands in the readers' tables.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.storage import ddl

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.topology import Topology

EVER = datetime(2200, 1, 1, tzinfo=UTC)  # as of which everything is known
PARAMETER = "{as_of:DateTime64(3, 'UTC')}"

# What a view reads, as the engine writes it: the ledger by itself with what is published, or a view that asks it.
_ASKING = re.compile(r"(?:(?:\w+|`[^`]+`)\.)?\b(published_batches|focus_columns)\b(?!\.)")
_PUBLISHED = re.compile(r"\(status IN \('ok', 'partial'\)\)")


def name_of(view: str) -> str:
    """The name of the view of what was known at a time, beside a view of what is known now."""
    return f"{view.removesuffix('_current')}_as_of"


def call(view: str) -> str:
    """The text for a FROM that gives a view's rows as of the parameter `as_of`."""
    return f"{name_of(view)}(as_of = {PARAMETER})"


def text(time: datetime) -> str:
    """A time as the text of the parameter."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def derive(client: Client, topology: Topology) -> None:
    """Make the views that are missing, and again those whose view of what is known now has changed since."""
    rows = client.query(
        "SELECT name, as_select FROM system.tables WHERE database = currentDatabase() AND engine = 'View' "
        "AND (endsWith(name, '_current') OR name = 'costs' OR startsWith(name, 'focus') OR endsWith(name, '_as_of'))"
    ).result_rows
    selects = dict(map(tuple, rows))
    for name in sorted(selects, key=lambda name: (name != "focus_columns", name)):  # which others read
        derived, named = _ASKING.subn(lambda found: call(found[1]), selects[name])
        derived, asked = _PUBLISHED.subn(rf"\g<0> AND (published_at <= {PARAMETER})", derived)
        if name.endswith("_as_of") or not (named or asked) or selects.get(name_of(name)) == derived:
            continue
        ddl.run(client, topology, f"CREATE OR REPLACE VIEW {name_of(name)} AS {derived}")
