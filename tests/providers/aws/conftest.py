"""Labs of a test's own small worlds, and the accounts that lead into them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.providers.aws import client
from optiinfra_dagster.providers.aws.account import AwsAccount

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource

ACME = "111111111111"
NOW = datetime(2026, 11, 20, 12, 7, 30, tzinfo=UTC)
StartLab = Callable[..., CloudLab]


def fleet(kind: str, count: int = 1, region: str = "us-east-1", **more: Any) -> dict[str, Any]:
    """`count` like resources of a world."""
    return {"kind": kind, "region": region, "count": count, **more}


def acme(**fields: Any) -> AwsAccount:
    """The account of most tests: entered by role, collected in one region."""
    role = {"role_arn": f"arn:aws:iam::{ACME}:role/reader"}
    return AwsAccount.model_validate({"account_id": ACME, "regions": ["us-east-1"], **role, **fields})


def expected(lab: CloudLab, *kinds: str, account: str = ACME) -> dict[str, LabResource]:
    """What an account of the lab runs, by ARN."""
    regions = lab.aws.estate.accounts[account].regions
    places = [lab.aws.estate.region(account, region) for region in regions]
    return {one.arn: one for place in places for kind in kinds for one in place.of(kind)}


def nobody_at(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Point a service at a port on which nobody listens, as the name of a host that does not exist leads nowhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore try again at once: its random waits add up to 7 s for a call."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))


@pytest.fixture(scope="session")
def port() -> int:
    """A port for all labs of this process, one after the other: so the clients, 0.1 CPU-s for a lab, serve them all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: int = server.getsockname()[1]
    return found


@pytest.fixture
def start_lab(monkeypatch: pytest.MonkeyPatch, port: int) -> Iterator[StartLab]:
    """Starts a lab in which Acme runs the given fleets, and points the SDK at it by environment."""
    monkeypatch.setattr(client, "_ACCOUNTS", {})  # sessions of an earlier lab mean nothing to this one
    with ExitStack() as labs:

        def start(
            *fleets: dict[str, Any],
            accounts: tuple[dict[str, Any], ...] = (),
            replay: list[dict[str, Any]] | None = None,
            seed: int = 1,
            **options: Any,
        ) -> CloudLab:
            labs.close()  # the lab before this one, if there is one: both would have the same port
            regions = sorted({one["region"] for one in fleets} | {"us-east-1"})
            mine = {"id": ACME, "access_keys": ["ACMEKEY"], "regions": regions, "fleets": list(fleets)}
            world = {"seed": seed, "aws": {"accounts": [mine, *accounts], "replay": replay or []}}
            lab = labs.enter_context(CloudLab(world, port, now=lambda: NOW, **options))
            for name, value in lab.env.items():
                monkeypatch.setenv(name, value)
            return lab

        yield start
