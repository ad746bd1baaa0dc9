"""What a day of the demo world's customers costs by the estimate, beside the bill of that day.

For each cloud and customer: the estimate of a day, which is the inventory of now times the price list for 96 windows,
the bill of the day, and the services that make the difference. A service without an estimate has no price model. What
of a service is charged by use has none either: capacity units of load balancers, transfer, requests, Aurora's storage.
The nodes of Vultr's clusters are on the lab's bill, but not among its instances, as they are with Vultr.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.collection.cost import estimated
from optiinfra_dagster.config.settings import DEMO_CUSTOMERS
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import BillRequest
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage.bills import KnownPrice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optiinfra_dagster.config.customers import Customer

_WINDOWS = timedelta(days=1) // windows.WINDOW


@dataclass
class Compared:
    """A customer's day on one cloud, in USD by service, and the resources whose price the list did not tell."""

    provider: str
    customer: str
    estimated: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    billed: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    unpriced: list[str] = field(default_factory=list)

    @property
    def without_model(self) -> dict[str, Decimal]:
        """What of the bill is of services that nothing is estimated of."""
        return {service: usd for service, usd in self.billed.items() if service not in self.estimated}


def compare(provider: str, customer: Customer, day: date) -> Compared:
    """Collect, estimate and read a customer's day; a problem is an error here."""
    cloud = PROVIDERS[provider]
    accounts, meter = customer.accounts(provider), Meter()
    listed = cloud.inventory(customer.id, accounts, meter).resources
    parts = {one.resource_id: cloud.components(one) for one in listed}
    wanted = {(one.region, part.key) for one in listed for part in parts[one.resource_id]}
    told = cloud.list_prices(customer.id, accounts, wanted, meter)
    now = datetime.now(UTC)
    known = {(one.region, one.key): KnownPrice(one, now, now) for one in told.prices}
    sources = cloud.bill_sources(accounts)
    bill = cloud.bills(BillRequest(customer.id, sources, listed, day, day), meter)
    problems = [*told.problems, *bill.problems]
    assert not problems, problems
    assert all(day in bill.read[source.id] for source in sources)
    found = Compared(provider, customer.id)
    for one in listed:
        estimate = estimated(one, cloud, known)
        if estimate is not None:
            found.estimated[estimate.service_name] += estimate.amount * _WINDOWS
        elif parts[one.resource_id]:
            found.unpriced.append(one.resource_id)
    for charge in bill.charges:
        found.billed[charge.service_name] += charge.amount
    return found


def compared(day: date) -> Iterator[Compared]:
    """Every customer of the demo world on each of its clouds."""
    with CloudLab() as world:
        os.environ.update(world.env)
        customers = load_customers(DEMO_CUSTOMERS)
        for provider in PROVIDERS:
            yield from (compare(provider, customer, day) for customer in customers if customer.accounts(provider))


def main() -> None:
    """Print a line for each customer, and under it the services whose bill is not as estimated."""
    day = datetime.now(UTC).date() - timedelta(days=2)  # Google's export tells of yesterday only after hours
    for one in compared(day):
        ours, bill, without = (sum(of.values(), Decimal(0)) for of in (one.estimated, one.billed, one.without_model))
        print(
            f"{one.provider} {one.customer}, {day}: {ours:.2f} USD estimated, {bill:.2f} billed, "
            f"error {_percent(ours, bill)}; without what has no price model {_percent(ours, bill - without)}"
        )
        for service in sorted({*one.estimated, *one.billed}):
            ours, bill = one.estimated.get(service, Decimal(0)), one.billed.get(service, Decimal(0))
            if abs(ours - bill) >= Decimal("0.005"):
                model = f"{_percent(ours, bill)}" if service in one.estimated else "no price model"
                print(f"    {service:<50}{ours:>10.2f} estimated{bill:>10.2f} billed   {model}")
        if one.unpriced:
            print(f"    not in the price list: {', '.join(one.unpriced)}")


def _percent(estimate: Decimal, bill: Decimal) -> str:
    return f"{100 * (estimate - bill) / bill:+.2f} %" if bill else "without a bill"
