"""Google Cloud as a provider: which module does what. SDKs and kinds are imported when a method is called.

A cost collection asks for sources, prices and components in every window, and for bills when one is due: only then is
BigQuery's client imported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.gcp import bill_sources, permissions
from optiinfra_dagster.providers.gcp.account import GcpAccount
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


class Gcp(Provider[GcpAccount]):
    """Google Cloud; see `Provider` for what each method is for."""

    name = "gcp"
    account_type = GcpAccount
    metrics_history = timedelta(days=42)  # Cloud Monitoring keeps points as sampled for 6 weeks, then every 10 minutes

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kinds of resource by name."""
        from optiinfra_dagster.providers.gcp.services import KINDS

        return KINDS

    def permissions(self, families: Collection[str]) -> tuple[str, ...]:
        """The roles to grant to the credential on each project, sorted; those of cost where the export is.

        Where an account has `impersonate`, these are granted to that service account, and the credential itself needs
        roles/iam.serviceAccountTokenCreator on it.
        """
        return permissions.of_families(families)

    def policy(self, account: GcpAccount | None, families: Collection[str], interactions: str = "") -> Policy:
        """What lets an account be read, and no more."""
        from optiinfra_dagster.providers.gcp import policy

        return policy.policy(account, families, interactions)

    def inventory(self, customer_id: str, accounts: Sequence[GcpAccount], meter: Meter) -> Inventory:
        """List every kind of resource in all accounts."""
        from optiinfra_dagster.providers.gcp import inventory

        return inventory.collect(customer_id, accounts, meter)

    def metrics_price(self, request: MetricsRequest[GcpAccount]) -> Decimal:
        """The most that the calls for the request's metrics cost."""
        from optiinfra_dagster.providers.gcp import metrics

        return metrics.price(request)

    def metrics(self, request: MetricsRequest[GcpAccount], meter: Meter) -> MetricsResult:
        """Read the points of the request's range."""
        from optiinfra_dagster.providers.gcp import metrics

        return metrics.collect(request, meter)

    def bill_sources(self, accounts: Sequence[GcpAccount]) -> list[Source[GcpAccount]]:
        """The accounts' bills."""
        return bill_sources.bill_sources(accounts)

    def bills_price(self, request: BillRequest[GcpAccount]) -> Decimal:
        """The most that reading the request's bills costs."""
        return bill_sources.price(request)

    def bills(self, request: BillRequest[GcpAccount], meter: Meter) -> Bill:
        """Read the request's bills."""
        from optiinfra_dagster.providers.gcp import billing

        return billing.read(request, meter)

    def components(self, resource: Resource) -> list[Component]:
        """The parts of a resource that have a list price."""
        kind = self.kinds.get(resource.kind)
        return list(kind.price_parts(resource)) if kind is not None and kind.price_parts is not None else []

    def bill_service(self, kind: str) -> str:
        """The bill's name of the service that charges for a kind."""
        known = self.kinds.get(kind)
        return (known.bill_service if known else "") or kind

    def sized(self, resource: Resource, types: Sequence[MachineType]) -> SizeStep | None:
        """A machine or database in its type and in the next smaller one."""
        del types
        from optiinfra_dagster.providers.gcp import smaller_types

        return smaller_types.sized(resource)

    def list_prices(
        self,
        customer_id: str,
        accounts: Sequence[GcpAccount],
        wanted: Collection[tuple[str, str]],
        meter: Meter,
        currency: str = "USD",
    ) -> PriceList:
        """Ask the price list."""
        from optiinfra_dagster.providers.gcp import prices

        return prices.fetch(customer_id, accounts, wanted, meter, currency)

    def check(self, customer_id: str, account: GcpAccount, families: Collection[str]) -> list[Problem]:
        """Try the credential and every permission."""
        from optiinfra_dagster.providers.gcp import check

        return check.check(customer_id, account, families)

    def newest_bill(self, customer_id: str, source: Source[GcpAccount]) -> Bill:
        """Read the last days of a billing export."""
        from optiinfra_dagster.providers.gcp import check

        return check.newest_bill(customer_id, source)
