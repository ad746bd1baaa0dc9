"""The status of some customers' collections: `optiinfra status` of them alone, without what is the host's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from optiinfra_dagster.assistant.private import Private
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import load_customers

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.assistant.tool import Call
    from optiinfra_dagster.automation.status.items import Section
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

T = TypeVar("T")

UNKNOWN = "unknown"  # the state of what could not be looked at
_UNREAD = {"state": UNKNOWN, "of": "", "text": "it could not be looked at; the log of the server says why"}


def standing(clickhouse: ClickHouse, settings: Settings, call: Call) -> dict[str, Any]:
    """By customer what is late, failing, lost or over budget, and what is unusual; JSON-ready.

    Each part is looked at by itself: one that fails is `unknown`, the log is told why, and `complete` is false.

    Raises:
        StorageError: ClickHouse cannot be reached.
    """
    now = datetime.now(UTC)
    customers = select(load_customers(settings.customers_path), call.customers)
    with clickhouse.session() as client:
        found = [_of_customer(client, settings, customer, now, call.tell) for customer in customers]
    return {
        "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "complete": all(one["complete"] for one in found),
        "customers": found,
    }


class _Parts:
    """Looks at parts, each by itself: what is broken must not hide the others."""

    def __init__(self, tell: Callable[[Exception], None]) -> None:
        self._tell = tell
        self.not_known: list[str] = []

    def look(self, name: str, make: Callable[[], T]) -> T | None:
        """The part; None where it failed.

        Raises:
            OperationalError: the server is gone, and so is all else.
        """
        from clickhouse_connect.driver.exceptions import OperationalError

        try:
            return make()
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - of any kind: it is told to the log, and said to be unknown
            self._tell(error)
            self.not_known.append(name)
            return None


def _of_customer(
    client: Client, settings: Settings, customer: Customer, now: datetime, tell: Callable[[Exception], None]
) -> dict[str, Any]:
    # These load Dagster, which readers do without.
    from optiinfra_dagster.automation.status import ledger_facts, sections
    from optiinfra_dagster.automation.status.items import Item

    private, parts, of, ids = (
        Private(settings, customer),
        _Parts(tell),
        (client, [customer], settings, now),
        [customer.id],
    )
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    facts = parts.look("the newest windows", lambda: ledger_facts.read_collections(*of))
    sections_of: dict[Item, Callable[[ledger_facts.Facts], Section]] = {
        Item.COLLECTIONS: lambda facts: sections.collections(facts, settings, None, now),
        Item.CUSTOMERS: lambda facts: sections.customers(facts, settings, now),
        Item.GAPS: lambda facts: sections.gaps(ledger_facts.read_gaps(*of), facts.failing),
        Item.BUDGETS: lambda facts: sections.budgets(facts, ledger_facts.read_spending(*of), settings),
    }
    items = []
    for item, make in sections_of.items():
        one = parts.look(item.value, partial(make, facts)) if facts is not None else None
        details = (
            [{"state": part.state.value, "of": part.name, "text": private.masked(part.text)} for part in one.parts]
            if one is not None
            else [_UNREAD]
        )
        state, more = (one.state.value, one.more) if one is not None else (UNKNOWN, 0)
        items.append({"item": item.value, "state": state, "details": details, "more": more})
    costs = parts.look("unusual costs", lambda: ledger_facts.unusual_costs(client, ids, newest)) or ()
    worse = parts.look("worse answers", lambda: ledger_facts.quality_worse(client, ids, newest)) or ()
    unusual = [*sections.unusual_costs(costs), *sections.worse_quality(worse)]
    return {
        "customer": customer.id,
        "paused": customer.paused,
        "complete": not parts.not_known,
        "not_known": parts.not_known,
        "items": items,
        "unusual": [private.masked(one.text) for one in unusual],
    }
