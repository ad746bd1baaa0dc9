"""Vultr as a provider: the module behind each method, imported when it is called, with its HTTP client."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.policy import needed
from optiinfra_dagster.providers.protocol import Provider
from optiinfra_dagster.providers.vultr.account import VultrAccount
from optiinfra_dagster.providers.vultr.bill_sources import bill_sources

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Bill, BillRequest, Component, PriceList, Source
    from optiinfra_dagster.model.inventory import Inventory, Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.metrics import MetricsRequest, MetricsResult
    from optiinfra_dagster.model.problems import Problem
    from optiinfra_dagster.model.sizes import MachineType, MachineTypes, SizeStep
    from optiinfra_dagster.providers.kind import Kind
    from optiinfra_dagster.providers.policy import Policy


class Vultr(Provider[VultrAccount]):
    """Vultr; see `Provider` for what each method is for."""

    name = "vultr"
    account_type = VultrAccount
    metrics_history = timedelta(days=15)  # Prometheus: --storage.tsdb.retention.time, unless somebody changed it
    has_daily_totals = True

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kinds of resource by name."""
        from optiinfra_dagster.providers.vultr.services import KINDS

        return KINDS

    def permissions(self, families: Collection[str]) -> tuple[str, ...]:
        """The permissions of the user whose API key it is, in the words of `acls` in get-account."""
        from optiinfra_dagster.providers.vultr.kind import BILLING, VIEW
        from optiinfra_dagster.providers.vultr.services import LISTINGS

        needed = set[str]()
        if "resource" in families:
            needed |= {kind.permission for kind in LISTINGS}
        if "performance" in families:
            needed |= {kind.permission for kind in LISTINGS if kind.resource_call}
        if "cost" in families:
            needed |= {BILLING, VIEW}
        return tuple(sorted(needed))

    def policy(self, account: VultrAccount | None, families: Collection[str], interactions: str = "") -> Policy:
        """What the user of the key has to be allowed, and no more."""
        from optiinfra_dagster.providers.vultr import policy

        del interactions  # read with keys of their own
        return policy.policy(self.permissions(needed(families)), account.name if account else "OptiInfra")

    def inventory(self, customer_id: str, accounts: Sequence[VultrAccount], meter: Meter) -> Inventory:
        """List every kind of resource in all accounts."""
        from optiinfra_dagster.providers.vultr import inventory

        return inventory.collect(customer_id, accounts, meter)

    def metrics_price(self, request: MetricsRequest[VultrAccount]) -> Decimal:
        """The most that the calls for the request's metrics cost."""
        from optiinfra_dagster.providers.vultr import metrics

        return metrics.price(request)

    def metrics(self, request: MetricsRequest[VultrAccount], meter: Meter) -> MetricsResult:
        """Read the points of the request's range."""
        from optiinfra_dagster.providers.vultr import metrics

        return metrics.collect(request, meter)

    def bill_sources(self, accounts: Sequence[VultrAccount]) -> list[Source[VultrAccount]]:
        """The accounts' bills."""
        return bill_sources(accounts)

    def bills_price(self, request: BillRequest[VultrAccount]) -> Decimal:
        """The most that reading the request's bills costs."""
        from optiinfra_dagster.providers.vultr import billing

        return billing.price(request)

    def bills(self, request: BillRequest[VultrAccount], meter: Meter) -> Bill:
        """Read the request's bills."""
        from optiinfra_dagster.providers.vultr import billing

        return billing.read(request, meter)

    def components(self, resource: Resource) -> list[Component]:
        """The parts of a resource that have a list price."""
        from optiinfra_dagster.providers.vultr import prices

        return prices.components(resource)

    def bill_service(self, kind: str) -> str:
        """The bill's name of the service that charges for a kind."""
        known = self.kinds.get(kind)
        return (known.bill_service if known else "") or kind

    def machine_types(
        self, customer_id: str, accounts: Sequence[VultrAccount], kinds: Collection[str], meter: Meter
    ) -> MachineTypes:
        """The lists of plans."""
        del customer_id
        from optiinfra_dagster.providers.vultr import smaller_types

        return smaller_types.machine_types(accounts, kinds, meter)

    def sized(self, resource: Resource, types: Sequence[MachineType]) -> SizeStep | None:
        """A machine or database in its type and in the next smaller one."""
        from optiinfra_dagster.providers.vultr import smaller_types

        return smaller_types.sized(resource, types)

    def list_prices(
        self,
        customer_id: str,
        accounts: Sequence[VultrAccount],
        wanted: Collection[tuple[str, str]],
        meter: Meter,
        currency: str = "USD",
    ) -> PriceList:
        """The list prices of what is wanted, which are in USD."""
        del currency
        from optiinfra_dagster.providers.vultr import prices

        return prices.fetch(customer_id, accounts, wanted, meter)

    def check(self, customer_id: str, account: VultrAccount, families: Collection[str]) -> list[Problem]:
        """Try the credential and every permission."""
        from optiinfra_dagster.providers.vultr import check

        return check.check(customer_id, account, families)
