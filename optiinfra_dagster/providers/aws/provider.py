"""AWS as a provider: which module does what. SDKs and kinds are imported when a method is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.aws.bill_sources import bill_sources
from optiinfra_dagster.providers.protocol import Provider

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Bill, BillRequest, Component, PriceList, Source
    from optiinfra_dagster.model.inventory import Inventory, Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.metrics import MetricsRequest, MetricsResult
    from optiinfra_dagster.model.problems import Problem
    from optiinfra_dagster.model.sizes import MachineType, SizeStep
    from optiinfra_dagster.providers.aws.kind import AwsKind
    from optiinfra_dagster.providers.policy import Policy


class Aws(Provider[AwsAccount]):
    """AWS; see `Provider` for what each method is for."""

    name = "aws"
    account_type = AwsAccount
    metrics_history = timedelta(days=63)  # CloudWatch user guide: points of 5 minutes are kept for 63 days
    has_daily_totals = True

    @property
    def kinds(self) -> Mapping[str, AwsKind]:
        """The kinds of resource by name."""
        from optiinfra_dagster.providers.aws.services import KINDS

        return KINDS

    def permissions(self, families: Collection[str]) -> tuple[str, ...]:
        """The IAM actions that the role or user must be allowed for `families`.

        An account with a `cost_export` needs s3:ListBucket and s3:GetObject on its bucket, in place of
        ce:GetCostAndUsage.
        """
        from optiinfra_dagster.providers.aws.services import actions

        return actions(families)

    def policy(self, account: AwsAccount | None, families: Collection[str], interactions: str = "") -> Policy:
        """What lets an account be read, and no more."""
        from optiinfra_dagster.providers.aws import policy

        return policy.policy(account, families, interactions)

    def inventory(self, customer_id: str, accounts: Sequence[AwsAccount], meter: Meter) -> Inventory:
        """List every kind of resource in all accounts."""
        from optiinfra_dagster.providers.aws import inventory

        return inventory.collect(customer_id, accounts, meter)

    def metrics_price(self, request: MetricsRequest[AwsAccount]) -> Decimal:
        """The most that the calls for the request's metrics cost."""
        from optiinfra_dagster.providers.aws import metrics

        return metrics.price(request)

    def metrics(self, request: MetricsRequest[AwsAccount], meter: Meter) -> MetricsResult:
        """Read the points of the request's range."""
        from optiinfra_dagster.providers.aws import metrics

        return metrics.collect(request, meter)

    def bill_sources(self, accounts: Sequence[AwsAccount]) -> list[Source[AwsAccount]]:
        """The accounts' bills."""
        return bill_sources(accounts)

    def bills_price(self, request: BillRequest[AwsAccount]) -> Decimal:
        """The most that reading the request's bills costs."""
        from optiinfra_dagster.providers.aws import billing

        return billing.price(request)

    def bills(self, request: BillRequest[AwsAccount], meter: Meter) -> Bill:
        """Read the request's bills."""
        from optiinfra_dagster.providers.aws import billing

        return billing.read(request, meter)

    def components(self, resource: Resource) -> list[Component]:
        """The parts of a resource that have a list price."""
        from optiinfra_dagster.providers.aws import prices

        return prices.components(resource)

    def bill_service(self, kind: str) -> str:
        """The bill's name of the service that charges for a kind."""
        known = self.kinds.get(kind)
        return (known.bill_service if known else "") or kind

    def sized(self, resource: Resource, types: Sequence[MachineType]) -> SizeStep | None:
        """A machine or database in its type and in the next smaller one."""
        del types
        from optiinfra_dagster.providers.aws import smaller_types

        return smaller_types.sized(resource)

    def list_prices(
        self,
        customer_id: str,
        accounts: Sequence[AwsAccount],
        wanted: Collection[tuple[str, str]],
        meter: Meter,
        currency: str = "USD",
    ) -> PriceList:
        """Ask the price list."""
        from optiinfra_dagster.providers.aws import prices

        return prices.fetch(customer_id, accounts, wanted, meter, currency)

    def check(self, customer_id: str, account: AwsAccount, families: Collection[str]) -> list[Problem]:
        """Try the credential and every permission."""
        from optiinfra_dagster.providers.aws import check

        return check.check(customer_id, account, families)

    def newest_bill(self, customer_id: str, source: Source[AwsAccount]) -> Bill:
        """Read the newest statement of an export; Cost Explorer is not asked."""
        from optiinfra_dagster.providers.aws import check

        return check.newest_bill(customer_id, source)
