"""Labs of a test's own small projects, the accounts that lead into them, and a clock that does not wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.gcp.services import KINDS
from optiinfra_dagster.providers.gcp.account import GcpAccount

PROJECT = "acme-prod"
StartLab = Callable[..., CloudLab]

ALL_KINDS = tuple(name for name, kind in KINDS.items() if kind.in_fleets)


class Clock:
    """Stands in for `time`: a sleep takes no time, and is remembered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.slept.append(seconds)

    def monotonic(self) -> float:
        """The time, as if the sleeps had been real."""
        return time.monotonic() + sum(self.slept)


def fleet(kind: str, count: int = 1, region: str = "us-central1", **more: Any) -> dict[str, Any]:
    """`count` like resources of a world."""
    return {"kind": kind, "region": region, "count": count, **more}


def account(lab: CloudLab, project: str = PROJECT, **fields: Any) -> GcpAccount:
    """A project of the lab."""
    at = {"endpoint_url": lab.url, "monitoring_endpoint_url": lab.gcp.monitoring.url if lab.gcp.monitoring else lab.url}
    return GcpAccount.model_validate({"project_id": project, **at, **fields})


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The provider's clock."""
    clock = Clock()
    for module in ("gcp.check", "gcp.client", "gcp.monitoring", "gcp.metrics", "http"):
        monkeypatch.setattr(f"optiinfra_dagster.providers.{module}.time", clock)
    return clock


@pytest.fixture
def start_lab() -> Iterator[StartLab]:
    """Starts a lab in which the project runs the given fleets, beside other projects."""
    with ExitStack() as labs:

        def start(
            *fleets: dict[str, Any], projects: tuple[dict[str, Any], ...] = (), seed: int = 1, **lab: Any
        ) -> CloudLab:
            replay, exports, arrive = lab.pop("replay", []), lab.pop("exports", []), lab.pop("bills_arrive", {})
            world = {
                "seed": seed,
                "gcp": {
                    "projects": [{"id": PROJECT, "fleets": list(fleets)}, *projects],
                    "replay": replay,
                    "exports": exports,
                    "bills_arrive": arrive,
                },
            }
            return labs.enter_context(CloudLab(world, **lab))

        yield start
