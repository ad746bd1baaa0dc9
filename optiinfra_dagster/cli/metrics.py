"""The command `optiinfra metrics`: the metrics of the installation itself in Prometheus' text format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from optiinfra_dagster.automation.own_metrics import OwnMetrics
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.storage.clickhouse import ClickHouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from optiinfra_dagster.config.settings import Settings

PATIENCE_SECONDS = 5  # for ClickHouse: Prometheus gives up on a scrape after 10


def text(settings: Settings, warn: Callable[[str], None], *, by_customer: bool) -> str:
    """The metrics of now."""
    return generate_latest(_registry(settings, warn, by_customer)).decode()


def serve(settings: Settings, say: Callable[[str], None], address: str, port: int, *, by_customer: bool) -> None:
    """Answer each request with the metrics of its moment, until interrupted.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    registry = _registry(settings, lambda line: say(f"warning: {line}"), by_customer)
    try:
        server, thread = start_http_server(port, address, registry)
    except (OSError, UnicodeError) as error:  # of what cannot be a name of a host
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{address}:{port} cannot be listened on: {reason}. Choose another --serve or --address."
        ) from error
    host = f"[{address}]" if ":" in address else address
    say(f"Metrics are at http://{host}:{server.server_port}/metrics")
    thread.join()


def _registry(settings: Settings, warn: Callable[[str], None], by_customer: bool) -> CollectorRegistry:
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    clickhouse = ClickHouse.of(settings, lock_timeout=PATIENCE_SECONDS, answer_seconds=PATIENCE_SECONDS)
    registry = CollectorRegistry()
    registry.register(OwnMetrics(settings, clickhouse, by_customer=by_customer, warn=warn))
    return registry
