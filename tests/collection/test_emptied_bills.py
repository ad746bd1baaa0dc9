"""A bill that tells nothing of a month any more, from each cloud to the views: what was known of it stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.collection import run
from optiinfra_dagster.lab.server import Response
from optiinfra_dagster.providers.azure import transport
from tests.collection.test_arriving_bills import HOUR, WINDOW, accounts
from tests.collection.test_corrections import WORLD
from tests.collection.test_cost import at_once

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def empty(lab: CloudLab, provider: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bill of the newest month tell nothing, as a cloud does before it has figures."""
    if how == "no content":
        monkeypatch.setattr(lab.azure.billing, "_query", lambda *_: Response(204, b"", {}))
    else:
        lab.control.let_bills_arrive(provider, 24 * 400)


@pytest.mark.parametrize(
    ("provider", "how"),
    [
        ("aws", "no charges"),
        ("azure", "no content"),
        ("gcp", "a table without rows"),
        ("vultr", "no pending charges"),
    ],
)
def test_a_bill_that_turns_empty_is_not_taken_for_no_costs(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, provider: str, how: str
) -> None:
    clock = [NOON]
    lab = start_lab({provider: WORLD[provider]}, now=lambda: clock[0])
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    monkeypatch.setattr(transport.COST_PACE, "calls", 1000)
    monkeypatch.setenv("ACME_VULTR_KEY", "acme-vultr-key")
    acme = {"id": "acme", "name": "Acme", provider: [accounts(provider, lab.url)]}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))

    def collect(hours: float) -> tuple[dict[Any, Decimal], str]:
        """Collect so many hours after the first time: what is billed by day then, and what was wrong."""
        window = NOON + hours * HOUR
        clock[0] = window + WINDOW + timedelta(minutes=5)
        spine.collect("cost", [window], provider=provider, now=lambda: clock[0])
        rows = spine.query(
            "SELECT toDate(window_start, 'UTC') AS day, sum(t.amount) AS amount FROM cost_metrics_current AS t "
            "WHERE cost_kind = 'billed' AND cost_type NOT IN ('reading', 'left_out') AND t.amount != 0 GROUP BY day"
        )
        said = spine.query(
            "SELECT error FROM metric_batches WHERE dataset = 'cost' ORDER BY window_start DESC, batch DESC LIMIT 1"
        )
        return {row["day"]: row["amount"] for row in rows}, said[0]["error"]

    before, error = collect(0)
    assert len(before) > 40
    assert "the bill has nothing of" not in error

    with monkeypatch.context() as patch:
        empty(lab, provider, how, patch)
        after, error = collect(13)
    assert {day: after.get(day) for day in before} == before
    assert "the bill has nothing of" in error
    assert "had charges before" in error

    later, error = collect(13.25)
    assert later == after
    assert "the bill has nothing of" in error
    assert "It is read again after 20" in error

    lab.control.let_bills_arrive(provider, 0)
    healed, error = collect(26)
    assert healed.keys() >= before.keys()
    assert max(healed) > max(before)
    if provider != "vultr":  # whose lines are spread over more days by then
        assert {day: healed[day] for day in before} == before
    assert "the bill has nothing of" not in error
