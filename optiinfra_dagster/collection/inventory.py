"""Collects the resource family: a snapshot of what a customer runs, which only the present can be given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.collection.outcome import all_permanent, status_of
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.problems import describe
from optiinfra_dagster.model.slices import SliceResult
from optiinfra_dagster.model.text import named
from optiinfra_dagster.storage.rows import resource_rows

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.collection.plan import Context, Task


def collect_inventory(context: Context, task: Task, log: Callable[[str], None]) -> Iterator[SliceResult]:
    """The slices of a customer's inventory: what is there now, for each window that it may be stored under.

    A window that it may not be stored under any more has none: nothing failed, and it stays a gap.
    """
    customer, provider, due = task.customer, context.provider, context.due()
    present = [window for window in task.windows if due.present(window)]
    if past := [window for window in task.windows if window not in present]:
        log(too_late(context, [customer.id], past))
    if not present:
        return
    meter = Meter()
    accounts = customer.accounts(provider.name)
    snapshot = provider.inventory(customer.id, accounts, meter)
    scope = {account.id_in_rows: snapshot.regions.get(account.id_in_rows, []) for account in accounts}
    for i, window in enumerate(present):
        yield SliceResult(
            customer.id,
            provider.name,
            [window],
            status_of(snapshot.problems, has_content=bool(snapshot.resources)),
            rows=resource_rows(customer.id, provider.name, window, snapshot.resources, context.now(), provider.kinds),
            error=describe(snapshot.problems),
            permanent=all_permanent(snapshot.problems),
            api_calls=meter.calls.total() if i == 0 else 0,
            api_cost_usd=meter.cost_usd if i == 0 else Decimal(0),
            scope=scope,
        )


def too_late(context: Context, customers: Collection[str], past: Collection[datetime]) -> str:
    """What is said of inventories that were asked for when they could not be taken any more."""
    which = f"{windows.key(min(past))}{f' to {windows.key(max(past))}' if len(past) > 1 else ''}"
    return (
        f"{context.provider.name}: no inventory of {which} is taken for {named(sorted(customers))}. It tells what "
        f"exists now, and can be taken until {context.settings.snapshot_grace_minutes} minutes after its window. "
        "Nothing can fill that gap."
    )
