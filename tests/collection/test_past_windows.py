"""A past window of metrics that is collected again keeps each point, whether or not it can be asked for again."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ACCOUNT = "111111111111"
WORLDS: dict[str, dict[str, Any]] = {
    "vultr": {
        "accounts": [
            {
                "name": "acme",
                "keys": ["acme-vultr-key"],
                "prometheus_token": "planted-token",
                "fleets": [
                    {"kind": "vultr:instance", "agent": "node_exporter", "name": "web",
                     "created": "2026-10-01T00:00:00Z"},
                    {"kind": "vultr:database", "name": "orders", "created": "2026-10-01T00:00:00Z"},
                ],
            }
        ],
        "limit": 10**6,
    },
    "aws": {
        "accounts": [
            {
                "id": ACCOUNT, "access_keys": [f"KEY{ACCOUNT}"], "regions": ["us-east-1"], "roles": ["reader"],
                "fleets": [{"kind": "s3:bucket", "region": "us-east-1", "created": "2026-10-01T00:00:00Z"},
                           {"kind": "ec2:instance", "region": "us-east-1", "created": "2026-10-01T00:00:00Z"}],
            }
        ]
    },
}  # fmt: skip
ONLY_PRESENT = {
    "vultr": {("uptime", "snapshot"), ("memory_utilization", "snapshot"), ("network_in", "daily_average")},
    "aws": {("storage_used", "average")},
}


def points(spine: Spine) -> dict[tuple[str, str, str, datetime], float]:
    """What readers see."""
    return {
        (row["resource_name"], row["metric_name"], row["statistic"], row["timestamp"]): row["metric_value"]
        for row in spine.view("performance_metrics")
    }


def write_customer(spine: Spine, lab: CloudLab, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    monkeypatch.setenv("ACME_VULTR_KEY", "acme-vultr-key")
    monkeypatch.setenv("ACME_TOKEN", "planted-token")
    account = {
        "vultr": {"api_key": {"env": "ACME_VULTR_KEY"}, "endpoint_url": lab.url,
                  "prometheus_url": f"{lab.url}/prometheus", "prometheus_token": {"env": "ACME_TOKEN"}},
        "aws": {"account_id": ACCOUNT, "role_arn": f"arn:aws:iam::{ACCOUNT}:role/reader", "regions": ["us-east-1"],
                "endpoint_url": lab.url},
    }  # fmt: skip
    customer = {"id": "acme", "name": "Acme", provider: [account[provider]]}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [customer]}))


@pytest.mark.parametrize(("provider", "is_partial"), [("vultr", False), ("vultr", True), ("aws", False)])
def test_what_only_the_present_told_stays_when_its_window_is_collected_again(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, provider: str, is_partial: bool
) -> None:
    clock = [NOON + timedelta(minutes=21)]
    lab = start_lab({provider: WORLDS[provider]}, now=lambda: clock[0])
    write_customer(spine, lab, monkeypatch, provider)

    def collect(family: str, window: datetime, *, refresh: bool = False) -> None:
        spine.collect(family, [window], provider=provider, refresh=refresh, now=lambda: clock[0])

    collect("resource", NOON)
    if is_partial:
        lab.control.add_faults({"action": "deny", "service": "prometheus"})
    collect("performance", NOON)
    assert spine.last("performance", "acme")["outcome"] == ("partial" if is_partial else "ok")
    before = points(spine)
    lab.control.clear_faults()
    for minutes in (36, 51):
        clock[0] = NOON + timedelta(minutes=minutes)
        collect("resource", NOON + timedelta(minutes=minutes - 21))
    collect("performance", NOON, refresh=True)
    assert spine.last("performance", "acme")["outcome"] == "ok"
    after = points(spine)
    assert ONLY_PRESENT[provider] <= {(metric, statistic) for _, metric, statistic, _ in before}
    assert before.items() <= after.items()
    assert (len(after) > len(before)) is is_partial

    # NOON is the newest window, and has them.
    lacking = spine.query("SELECT reason FROM coverage_current WHERE state != 'collected'")
    assert not [row for row in lacking if "present only" in row["reason"] or "whole days" in row["reason"]]


@pytest.mark.parametrize("provider", ["aws", "vultr"])
def test_points_of_what_is_gone_and_of_what_no_longer_tells_stay(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """A machine that was deleted, in a range that ends after that; a Prometheus that keeps its points no longer."""
    clock = [NOON + timedelta(minutes=21)]
    lab = start_lab({provider: WORLDS[provider]}, now=lambda: clock[0])
    write_customer(spine, lab, monkeypatch, provider)
    for family in ("resource", "performance"):
        spine.collect(family, [NOON], provider=provider, now=lambda: clock[0])
    before = points(spine)

    later, clock[0] = NOON + timedelta(minutes=15), NOON + timedelta(minutes=51)
    world = copy.deepcopy(WORLDS[provider])
    fleets = world["accounts"][0]["fleets"]
    if provider == "aws":
        fleets.pop()
    else:
        del fleets[0]["agent"]
    write_customer(spine, start_lab({provider: world}, now=lambda: clock[0]), monkeypatch, provider)
    spine.collect("resource", [later + timedelta(minutes=15)], provider=provider, now=lambda: clock[0])
    spine.collect("performance", [NOON, later], provider=provider, refresh=True, now=lambda: clock[0])
    assert {metric for _, metric, _, _ in before} >= {"cpu_utilization", "network_in"}
    assert before.items() <= points(spine).items()  # totals of days may stand in the newer window now
