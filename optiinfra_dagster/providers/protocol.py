"""The contract of a provider: what the rest of the program asks of a cloud. No SDK is imported here.

A provider is a folder with a class that fits `Provider`, and two lines in `registry.py`. Its methods import the modules
that need an SDK, and its kinds, when they are called, so that who needs its name and accounts alone pays for no more:
the four SDKs together take 3.5 CPU-s and 350 MB to import, the kinds 0.05 CPU-s.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, TypeVar

from optiinfra_dagster.config.accounts import Account
from optiinfra_dagster.config.customers import FAMILIES, Family
from optiinfra_dagster.model.cost import Bill, PriceList
from optiinfra_dagster.model.metrics import MetricsResult
from optiinfra_dagster.model.sizes import MachineTypes
from optiinfra_dagster.providers.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from optiinfra_dagster.model.cost import BillRequest, Component, Source
    from optiinfra_dagster.model.inventory import Inventory, Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.metrics import MetricsRequest
    from optiinfra_dagster.model.problems import Problem
    from optiinfra_dagster.model.sizes import MachineType, SizeStep
    from optiinfra_dagster.providers.kind import Kind

AccountT = TypeVar("AccountT", bound=Account)


class Provider(Protocol[AccountT]):
    """A cloud, for accounts of one model. Families that a provider does not have keep the methods' defaults.

    Methods that call the cloud count every call on the `meter`. They do not raise for what a cloud may answer: what
    could not be had is a `Problem` of the result, which is complete only if it has none. A `CloudError` or
    `ConfigError` that they raise all the same fails the slices of that customer only.
    """

    @property
    def name(self) -> str:
        """The key of its accounts in customers.yaml, and the value of `provider` in every table."""
        ...

    @property
    def account_type(self) -> type[AccountT]:
        """The model of its accounts."""
        ...

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that are collected from it."""
        return FAMILIES

    @property
    def metrics_history(self) -> timedelta:
        """The time for which the cloud keeps the points of metrics: older windows cannot be collected any more."""
        return timedelta(0)

    @property
    def has_daily_totals(self) -> bool:
        """True if some metrics are totals of whole days, so that `MetricsRequest.daily` is of use."""
        return False

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Its kinds of resource by name: what is listed, measured and priced, and the permissions that takes."""
        return {}

    def permissions(self, families: Collection[str]) -> tuple[str, ...]:
        """The permissions that a credential needs for `families`, in the cloud's own words, sorted."""
        del families
        return ()

    def policy(self, account: AccountT | None, families: Collection[str], interactions: str = "") -> Policy:
        """What lets an account be read for `families`, and no more, for who administers it; None is any account.

        `interactions` is the place of the application's log, where it is read as this account; else empty.
        """
        del account, interactions
        return Policy("\n".join(self.permissions(families)))

    def check(self, customer_id: str, account: AccountT, families: Collection[str]) -> list[Problem]:
        """The permissions and settings that the families of an account lack, each with its remedy."""
        ...

    # --- resource ---------------------------------------------------------------------------------------------------

    def inventory(self, customer_id: str, accounts: Sequence[AccountT], meter: Meter) -> Inventory:
        """Every resource of the accounts, as it is now, each once."""
        ...

    # --- performance ------------------------------------------------------------------------------------------------

    def metrics_price(self, request: MetricsRequest[AccountT]) -> Decimal:
        """The most, in USD, that the cloud charges the customer for one `metrics` of this request."""
        del request
        return Decimal(0)

    def metrics(self, request: MetricsRequest[AccountT], meter: Meter) -> MetricsResult:
        """The points of the request's range, and exactly one coverage for each catalogue metric of each resource."""
        del request, meter
        return MetricsResult()

    # --- cost -------------------------------------------------------------------------------------------------------

    def bill_sources(self, accounts: Sequence[AccountT]) -> list[Source[AccountT]]:
        """The bills that the accounts have, with the cadence of each. Makes no call and imports no SDK."""
        del accounts
        return []

    def bills_price(self, request: BillRequest[AccountT]) -> Decimal:
        """The most, in USD, that the cloud charges the customer for one `bills` of this request."""
        del request
        return Decimal(0)

    def bills(self, request: BillRequest[AccountT], meter: Meter) -> Bill:
        """The charges of the request's days, and which days were read whole."""
        del request, meter
        return Bill()

    def newest_bill(self, customer_id: str, source: Source[AccountT]) -> Bill:
        """The newest statement of a shared bill, to check whose charges it has; a problem where that is dear."""
        del customer_id, source
        return Bill()

    def components(self, resource: Resource) -> list[Component]:
        """The parts of a resource that have a price by the hour; none for what is free, stopped or paid by use."""
        del resource
        return []

    def bill_service(self, kind: str) -> str:
        """The service that the bill charges a kind of resource under; the kind itself where that is not known."""
        return kind

    def machine_types(
        self, customer_id: str, accounts: Sequence[AccountT], kinds: Collection[str], meter: Meter
    ) -> MachineTypes:
        """The types of some kinds that only a list of the cloud tells; none where a type's name tells its size."""
        del customer_id, accounts, kinds, meter
        return MachineTypes()

    def sized(self, resource: Resource, types: Sequence[MachineType]) -> SizeStep | None:
        """A machine or database of a type, and in the next smaller one; None for what has no type. Makes no call.

        `types` are those of `machine_types`.
        """
        del resource, types
        return None

    def list_prices(
        self,
        customer_id: str,
        accounts: Sequence[AccountT],
        wanted: Collection[tuple[str, str]],
        meter: Meter,
        currency: str = "USD",
    ) -> PriceList:
        """The list prices of `wanted`, as (region, key of a component); what has no price is left out.

        They are in `currency` where the cloud lists them so, else in its own. Nothing is converted.
        """
        del customer_id, accounts, wanted, meter, currency
        return PriceList()
