"""Azure as a provider: which module does what. SDKs and kinds are imported when a method is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.bill_sources import bill_sources
from optiinfra_dagster.providers.azure.roles import built_in
from optiinfra_dagster.providers.protocol import Provider

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Bill, BillRequest, Component, PriceList, Source
    from optiinfra_dagster.model.inventory import Inventory, Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.metrics import MetricsRequest, MetricsResult
    from optiinfra_dagster.model.problems import Problem
    from optiinfra_dagster.model.sizes import MachineType, SizeStep
    from optiinfra_dagster.providers.kind import Kind
    from optiinfra_dagster.providers.policy import Policy


class Azure(Provider[AzureAccount]):
    """Azure; see `Provider` for what each method is for."""

    name = "azure"
    account_type = AzureAccount
    metrics_history = timedelta(days=93)  # Azure Monitor metrics overview: platform metrics are kept for 93 days

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kinds of resource by name."""
        from optiinfra_dagster.providers.azure.services import KINDS

        return KINDS

    def permissions(self, families: Collection[str]) -> tuple[str, ...]:
        """The roles that the application or identity needs, on the subscription; for an export on its storage too."""
        return built_in(families)

    def policy(self, account: AzureAccount | None, families: Collection[str], interactions: str = "") -> Policy:
        """What lets an account be read, and no more."""
        from optiinfra_dagster.providers.azure import policy

        return policy.policy(account, families, interactions)

    def inventory(self, customer_id: str, accounts: Sequence[AzureAccount], meter: Meter) -> Inventory:
        """List every kind of resource in all accounts."""
        from optiinfra_dagster.providers.azure import inventory

        return inventory.collect(customer_id, accounts, meter)

    def metrics_price(self, request: MetricsRequest[AzureAccount]) -> Decimal:
        """The most that the calls for the request's metrics cost."""
        from optiinfra_dagster.providers.azure import metrics

        return metrics.price(request)

    def metrics(self, request: MetricsRequest[AzureAccount], meter: Meter) -> MetricsResult:
        """Read the points of the request's range."""
        from optiinfra_dagster.providers.azure import metrics

        return metrics.collect(request, meter)

    def bill_sources(self, accounts: Sequence[AzureAccount]) -> list[Source[AzureAccount]]:
        """The accounts' bills."""
        return bill_sources(accounts)

    def bills_price(self, request: BillRequest[AzureAccount]) -> Decimal:
        """The most that reading the request's bills costs."""
        from optiinfra_dagster.providers.azure import billing

        return billing.price(request)

    def bills(self, request: BillRequest[AzureAccount], meter: Meter) -> Bill:
        """Read the request's bills."""
        from optiinfra_dagster.providers.azure import billing

        return billing.read(request, meter)

    def components(self, resource: Resource) -> list[Component]:
        """The parts of a resource that have a list price."""
        from optiinfra_dagster.providers.azure.services import components

        return components(resource)

    def bill_service(self, kind: str) -> str:
        """The bill's name of the service that charges for a kind."""
        known = self.kinds.get(kind)
        return (known.bill_service if known else "") or kind

    def sized(self, resource: Resource, types: Sequence[MachineType]) -> SizeStep | None:
        """A machine or database in its type and in the next smaller one."""
        del types
        from optiinfra_dagster.providers.azure import smaller_types

        return smaller_types.sized(resource)

    def list_prices(
        self,
        customer_id: str,
        accounts: Sequence[AzureAccount],
        wanted: Collection[tuple[str, str]],
        meter: Meter,
        currency: str = "USD",
    ) -> PriceList:
        """Ask the price list."""
        from optiinfra_dagster.providers.azure import prices

        return prices.fetch(customer_id, accounts, wanted, meter, currency)

    def check(self, customer_id: str, account: AzureAccount, families: Collection[str]) -> list[Problem]:
        """Try the credential and every permission."""
        from optiinfra_dagster.providers.azure import check

        return check.check(customer_id, account, families)

    def newest_bill(self, customer_id: str, source: Source[AzureAccount]) -> Bill:
        """Read the newest statement of an export."""
        from optiinfra_dagster.providers.azure import check

        return check.newest_bill(customer_id, source)
