"""How the collections of some customers stand: `optiinfra status`, of them alone and without what is the host's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.assistant.private import Private
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.providers.registry import load_customers

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


def standing(clickhouse: ClickHouse, settings: Settings, ids: tuple[str, ...]) -> dict[str, Any]:
    """By customer what is late, failing, lost or over budget, and what is unusual; JSON-ready.

    Raises:
        StorageError: the ledger cannot be read.
    """
    # These load Dagster, which readers do without.
    from optiinfra_dagster.automation.status import of_ledger, sections

    now = datetime.now(UTC)
    customers = select(load_customers(settings.customers_path), ids)
    found = []
    with clickhouse.session() as client:
        for customer in customers:
            private = Private(settings, customer)
            facts = of_ledger.read_facts(client, [customer], settings, now)
            gaps = of_ledger.read_gaps(client, [customer], settings, now)
            spending = of_ledger.read_spending(client, [customer], settings, now)
            items = [
                sections.collections(facts, settings, None, now),
                sections.customers(facts, settings, now),
                sections.gaps(gaps, facts.failing),
                sections.budgets(facts, spending, settings),
            ]
            unusual = [*sections.unusual_costs(facts), *sections.worse_quality(facts)]
            found.append(
                {
                    "customer": customer.id,
                    "paused": customer.paused,
                    "items": [
                        {
                            "item": one.item.value,
                            "state": one.state.value,
                            "details": [
                                {"state": part.state.value, "of": part.name, "text": private.masked(part.text)}
                                for part in one.parts
                            ],
                            "more": one.more,
                        }
                        for one in items
                    ],
                    "unusual": [private.masked(one.text) for one in unusual],
                }
            )
    return {"at": f"{now:%Y-%m-%dT%H:%M:%SZ}", "customers": found}
