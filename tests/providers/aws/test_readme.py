"""What the README says that asking AWS costs, beside what the lab's CloudWatch bills."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import MetricsRequest
from optiinfra_dagster.providers.aws import inventory, metrics
from tests.conftest import PROJECT
from tests.providers.aws.conftest import StartLab, acme, fleet

START, END = datetime(2026, 11, 20, 11, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLLS = Decimal(96 * 365) / 12  # of a month, every 15 minutes
ROW = re.compile(
    r"\| AWS \|.*: (\d+) an instance, (\d+) a volume, (\d+) an agent \| about (\d+) USD, (\d+) with agents"
)


def test_a_month_of_a_thousand_machines_costs_what_the_readme_says(start_lab: StartLab) -> None:
    said = ROW.search((PROJECT / "README.md").read_text(encoding="utf-8"))
    assert said is not None, f"the README's row of AWS does not match {ROW.pattern}"
    of_instance, of_volume, of_agent, plain, with_agents = map(int, said.groups())

    def month(machines: int = 10, **more: Any) -> Decimal:
        """A month of a thousand machines like those of a small world, each with a volume."""
        lab = start_lab(fleet("ec2:instance", machines, **more))
        meter = Meter()
        found = inventory.collect("acme", [acme()], Meter()).resources
        request = MetricsRequest("acme", [acme()], [one for one in found if one.kind in KINDS], START, END)
        assert metrics.collect(request, meter).problems == []
        (billed,) = lab.control.calls().billed_metrics.values()
        assert meter.cost_usd == billed * Decimal("0.00001")
        per_machine.append(billed // machines)
        return meter.cost_usd * 1000 / machines * POLLS

    per_machine: list[int] = []
    assert (plain, with_agents) == (round(month()), round(month(agent=True)))
    assert per_machine == [of_instance + of_volume, of_instance + of_volume + of_agent]


KINDS = {"ec2:instance", "ebs:volume"}
