"""What a cloud does not measure, in the tables: told with the document, and filled where the customer can tell it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MACHINE = {"kind": "vultr:instance", "agent": "node_exporter", "name": "web", "created": "2026-10-01T00:00:00Z"}


@pytest.mark.parametrize("has_prometheus", [False, True])
def test_what_is_not_offered_stands_in_coverage_until_a_prometheus_tells_it(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, has_prometheus: bool
) -> None:
    clock = [NOON]
    keys = {"name": "acme", "keys": ["acme-vultr-key"], "prometheus_token": "planted-token"}
    lab = start_lab({"vultr": {"accounts": [{**keys, "fleets": [MACHINE]}], "limit": 10**6}}, now=lambda: clock[0])
    monkeypatch.setenv("ACME_VULTR_KEY", "acme-vultr-key")
    monkeypatch.setenv("ACME_TOKEN", "planted-token")
    account: dict[str, Any] = {"api_key": {"env": "ACME_VULTR_KEY"}, "endpoint_url": lab.url}
    if has_prometheus:
        account |= {"prometheus_url": f"{lab.url}/prometheus", "prometheus_token": {"env": "ACME_TOKEN"}}
    customer = {"id": "acme", "name": "Acme", "vultr": [account]}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [customer]}))

    for family in ("resource", "performance"):
        clock[0] = NOON + timedelta(minutes=21)
        spine.collect(family, [NOON], provider="vultr", now=lambda: clock[0])
        assert spine.last(family, "acme")["outcome"] == "ok"

    told_of = spine.query("SELECT metric_name, toString(state) AS state, reason FROM coverage_current")
    coverage = {row["metric_name"]: row for row in told_of}
    names = {row["metric_name"] for row in spine.view("performance_metrics")}
    assert coverage["response_time"]["state"] == ("agent_missing" if has_prometheus else "not_offered")
    if has_prometheus:
        assert {"cpu", "memory", "disk_io"}.isdisjoint(coverage)
        told = coverage["memory_utilization"]
        assert (told["state"], told["reason"]) == ("collected", "from the customer's Prometheus, by node_exporter")
        assert {"memory_utilization", "cpu_utilization", "disk_read", "disk_utilization"} <= names
    else:
        assert {"memory_utilization", "cpu_utilization"}.isdisjoint(names)
        for figure in ("cpu", "memory", "disk_io", "response_time"):
            assert coverage[figure]["state"] == "not_offered"
            assert "https://www.vultr.com/api/" in coverage[figure]["reason"]
