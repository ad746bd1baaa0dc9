"""Labs of a test's own small worlds, and the accounts that lead into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.vultr.services import KINDS as LAB_KINDS
from optiinfra_dagster.providers import prometheus
from optiinfra_dagster.providers.vultr import client
from optiinfra_dagster.providers.vultr.account import VultrAccount

KEY = "ACMES-VULTR-KEY-1"
TOKEN = "planted-prometheus-token"
KINDS = tuple(LAB_KINDS)
StartLab = Callable[..., CloudLab]


def fleet(kind: str, count: int = 1, **more: Any) -> dict[str, Any]:
    """`count` like resources of a world."""
    return {"kind": kind, "count": count, **more}


def acme(**fields: Any) -> VultrAccount:
    """The account of most tests."""
    way_in = {"api_key": {"env": "ACME_VULTR_KEY"}, "endpoint_url": {"env": "OPTIINFRA_LAB_VULTR"}}
    return VultrAccount.model_validate({**way_in, **fields})


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shrink every wait to a thousandth, and begin without connections, so that no test meets another's limit."""
    lines: dict[str, Any] = {}
    monkeypatch.setattr(client, "_LINES", lines)
    for name in ("SECOND", "RETRY_SECONDS", "PAUSE_SECONDS"):
        monkeypatch.setattr(client, name, getattr(client, name) / 1000)
    monkeypatch.setattr(prometheus, "RETRY_SECONDS", 0.001)
    yield
    for line in lines.values():
        line.http.close()


@pytest.fixture
def start_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartLab]:
    """Starts a lab in which Acme runs the given fleets, and points the collector at it by environment."""
    with ExitStack() as labs:

        def start(
            *fleets: dict[str, Any],
            accounts: tuple[dict[str, Any], ...] = (),
            now: Callable[[], datetime] = lambda: datetime.now(UTC),
            replay: tuple[dict[str, Any], ...] = (),
            **more: Any,
        ) -> CloudLab:
            mine = {"name": "acme", "keys": [KEY], "prometheus_token": TOKEN, "fleets": list(fleets), **more}
            world = {"accounts": [mine, *accounts], "limit": 10**6, "replay": replay}
            lab = labs.enter_context(CloudLab({"vultr": world}, now=now))
            for name, value in {**lab.env, "ACME_VULTR_KEY": KEY, "ACME_PROMETHEUS_TOKEN": TOKEN}.items():
                monkeypatch.setenv(name, value)
            return lab

        yield start
