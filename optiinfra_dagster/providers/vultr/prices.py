"""List prices on Vultr, per hour. Which parts a kind is priced by, and the list that has their prices, are its own.

Plans have a monthly price. An hour costs a 672nd of it, and a month at most the whole; of GPU plans it is a 730th
(https://docs.vultr.com/support/platform/billing/how-am-i-billed-for-my-servers, which also says that stopped servers
cost as much as running ones). Volumes have no price list: the price of a GB is taken from the customer's own volumes,
whose listings have their price, and that of a registry's plan from the customer's own registries. Load balancers and
snapshots have none either: a price of the documents stands for it.

Not priced: object storage and inference, which are billed by use; reserved IPs, whose price no document tells; the
control plane of a Kubernetes cluster, which is free unless it is highly available, and its nodes, which are instances
of their own; traffic; and instances with a licence of software or with protection against floods, which cost more than
their plan.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Component, Price, PriceList
from optiinfra_dagster.model.errors import CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import open_account
from optiinfra_dagster.providers.vultr.kind import VIEW, PriceSource
from optiinfra_dagster.providers.vultr.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

_SECONDS = 120.0

# The longest prefix first: that of plans is empty, and fits every key.
_SOURCES: Sequence[PriceSource] = sorted(
    (kind.price_source for kind in KINDS.values() if kind.price_source), key=lambda source: -len(source.prefix)
)
_FIXED = {kind.fixed_price.key: kind.fixed_price for kind in KINDS.values() if kind.fixed_price}


def components(resource: Resource) -> list[Component]:
    """The parts of a resource that have a price by the hour; stopped ones cost the same."""
    kind = KINDS.get(resource.kind)
    return [] if kind is None or kind.price_parts is None else list(kind.price_parts(resource))


def fetch(
    _customer_id: str, accounts: Sequence[VultrAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The list prices of `wanted`, as (region, key of a component): each of the first account that has it.

    Plans cost the same for all; the price of a GB of a volume is known only to an account that has one.
    """
    prices: dict[tuple[str, str], Price] = {("", key): _FIXED[key] for _, key in wanted if key in _FIXED}
    problems: list[Problem] = []
    for account in accounts:
        missing = {key for region, key in wanted if prices.keys().isdisjoint({(region, key), ("", key)})}
        needed = {_source_of(key) for key in missing}
        try:
            opened = open_account(account, _SECONDS)
            for source in (source for source in _SOURCES if source in needed):
                items = opened.pages(source.operation, source.path, source.key, meter, VIEW, money=True)
                prices |= {(price.region, price.key): price for price in source.read(items) if price.key in missing}
        except CollectionError as error:
            problems.append(Problem.of(account_name(account), error))
    return PriceList(list(prices.values()), problems)


def _source_of(key: str) -> PriceSource:
    """The list that has the price of a component."""
    return next(source for source in _SOURCES if key.startswith(source.prefix))
