"""Labs of a test's own small subscriptions, and the accounts that lead into them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.providers.azure import client, transport
from optiinfra_dagster.providers.azure.account import AzureAccount

SUBSCRIPTION = "11111111-aaaa-4000-8000-000000000001"
OTHER = "22222222-bbbb-4000-8000-000000000002"
StartLab = Callable[..., CloudLab]


def fleet(kind: str, count: int = 1, region: str = "westeurope", **more: Any) -> dict[str, Any]:
    """`count` like resources of a world."""
    return {"kind": kind, "region": region, "count": count, **more}


def account(lab: CloudLab, subscription: str = SUBSCRIPTION, **fields: Any) -> AzureAccount:
    """A subscription of the lab's, as the customers file names it."""
    return AzureAccount.model_validate({"subscription_id": subscription, "endpoint_url": lab.url, **fields})


NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client waited; they pass at once."""
    waited: list[float] = []
    clock = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + sum(waited), sleep=waited.append)
    monkeypatch.setattr(transport, "time", clock)
    return waited


@pytest.fixture
def start_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartLab]:
    """Starts a lab in which it is `NOW` and one subscription runs the given fleets: Azure keeps metrics for 93 days.

    What is remembered of it, such as a wait that it asked for, is not held against a lab that has its port later.
    """
    monkeypatch.setattr(client, "_PRINCIPALS", {})
    with ExitStack() as labs:

        def start(*fleets: dict[str, Any], others: tuple[dict[str, Any], ...] = (), **azure: Any) -> CloudLab:
            subscriptions = [{"id": SUBSCRIPTION, "fleets": list(fleets)}, *others]
            world = {"azure": {"subscriptions": subscriptions, **azure}}
            return labs.enter_context(CloudLab(world, now=lambda: NOW))

        yield start


BILLED_FLEETS = (
    fleet("azure:vm", 2),
    fleet("azure:vm", region="eastus", name="off", state="deallocated"),
    fleet("azure:sql_server"),
    fleet("azure:application_gateway"),
)


@pytest.fixture
def start_billing(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartLab]:
    """Starts a lab in which it is `NOW`, whose subscription runs `BILLED_FLEETS`, and without a pace of our own."""
    monkeypatch.setattr(transport.COST_PACE, "calls", 10_000)
    with ExitStack() as labs:

        def start(*fleets: dict[str, Any], now: datetime = NOW, **azure: Any) -> CloudLab:
            of_one = {"id": SUBSCRIPTION, "fleets": list(fleets or BILLED_FLEETS), **azure.pop("one", {})}
            world = {"azure": {"subscriptions": [of_one], "cost_queries": 10_000, **azure}}
            return labs.enter_context(CloudLab(world, now=lambda: now))

        yield start
