"""The command `optiinfra status`: how everything stands, whatever is broken."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.automation.status import show
from optiinfra_dagster.automation.status.gather import Look, look, open_instance
from optiinfra_dagster.automation.status.items import State
from optiinfra_dagster.storage.clickhouse import ClickHouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from optiinfra_dagster.config.settings import Settings

PATIENCE_SECONDS = 15  # for ClickHouse: what answers later is as good as dead to who looks


def print_status(settings: Settings, out: Callable[[str], None], *, as_json: bool, details: bool) -> bool:
    """Print the status; true if nothing is red. Nothing is written, made or mended."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    clickhouse = ClickHouse.of(settings, lock_timeout=PATIENCE_SECONDS, answer_seconds=PATIENCE_SECONDS)
    instance = open_instance(settings)
    status = look(settings, clickhouse, instance, datetime.now(UTC), Look())
    if as_json:
        out(show.to_json(status))
    else:
        for line in show.lines(status, details=details):
            out(line)
    return status.state is not State.RED
