"""The typed rows that every provider's cost folder yields: what was charged, and what things cost by the price list.

Money is Decimal from the wire on, with its currency beside it; nothing is converted. Days are UTC. The names are those
of FOCUS 1.x (https://focus.finops.org). Nothing here knows Dagster, ClickHouse or an SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Generic

from optiinfra_dagster.model.account import AccountT
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.months import first_of_month, start_of_month
from optiinfra_dagster.model.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.memory import DayMemory


class Category(StrEnum):
    """FOCUS ChargeCategory."""

    USAGE = "Usage"
    PURCHASE = "Purchase"
    TAX = "Tax"
    CREDIT = "Credit"
    ADJUSTMENT = "Adjustment"


CORRECTION = "Correction"  # the only word of FOCUS ChargeClass


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge: the amount for one thing on one day, as the cloud's bill or export has it. Credits are negative.

    `billing_account_id` is the id of the `Source` that was read, `sub_account_id` the one that the charge is
    of: AWS account, GCP project, Azure subscription, Vultr account. `resource_id` is the inventory's id where the bill
    names the resource, "" where it does not. `is_final` is False while the cloud may still restate the day.
    `cost_type` is a `ResourceType` where the service tells it, else `other`; `amount` is FOCUS BilledCost.

    `period` is the first day of the month whose bill has the charge; None stands for the month of its day. A refund or
    a correction is in a later bill than its day. The fields below are what a source may tell besides, by the names of
    FOCUS; "" and None where it does not. `payer_account_id` is FOCUS' BillingAccountId, the account that is invoiced;
    `charge_start` and `charge_end` are the charge's own period where that is not its day; `tags` is the JSON object of
    the line's own tags.
    """

    day: date
    billing_account_id: str
    sub_account_id: str
    service_name: str
    amount: Decimal
    currency: str
    category: Category = Category.USAGE
    cost_type: str = "other"
    effective_cost: Decimal | None = None
    list_cost: Decimal | None = None
    resource_id: str = ""
    region_id: str = ""
    is_final: bool = False
    description: str = ""
    metadata: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    period: date | None = None
    contracted_cost: Decimal | None = None
    charge_class: str = ""  # or CORRECTION
    charge_frequency: str = ""
    charge_start: datetime | None = None
    charge_end: datetime | None = None
    invoice_id: str = ""
    invoice_issuer: str = ""
    publisher: str = ""
    payer_account_id: str = ""
    payer_account_name: str = ""
    sub_account_name: str = ""
    sku_id: str = ""
    sku_price_id: str = ""
    pricing_category: str = ""
    pricing_quantity: Decimal | None = None
    pricing_unit: str = ""
    consumed_quantity: Decimal | None = None
    consumed_unit: str = ""
    commitment_id: str = ""
    commitment_type: str = ""
    commitment_status: str = ""  # FOCUS CommitmentDiscountStatus: Used or Unused
    availability_zone: str = ""
    tags: str = ""

    @property
    def start(self) -> datetime:
        """The start of the day, zoned."""
        return datetime.combine(self.day, time(), UTC)

    @property
    def billing_period(self) -> date:
        """The first day of the month whose bill has the charge."""
        return self.period or first_of_month(self.day)


class LeftOutBecause(StrEnum):
    """Why a part of a statement is not among a customer's charges."""

    ANOTHER_ACCOUNT = "of an account that the customer does not have"
    ANOTHER_BILL = "of an account that another bill of the customer is for"
    BILLING_ACCOUNT = "of the billing account itself"
    ANOTHER_PROVIDER = "of another provider"
    NOT_OVER = "of a day that is not over"
    OUTSIDE = "of a day that the export's file is not about"
    TOO_OLD = "of a day older than costs are kept"
    PART_OF_ANOTHER = "a part of a charge that is told whole"

    @property
    def is_not_theirs(self) -> bool:
        """True for what may be somebody else's: a person should know of it."""
        return self in {LeftOutBecause.ANOTHER_ACCOUNT, LeftOutBecause.BILLING_ACCOUNT}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An amount of a statement that is not among the charges; charges and what was left out add up to the statement.

    `day` is the day that it is told with: the charge's own, or the first day of the statement's month. `account_id` is
    the account or provider that it is of.
    """

    day: date
    billing_account_id: str
    account_id: str
    because: LeftOutBecause
    amount: Decimal
    currency: str
    rows: int = 0
    period: date | None = None

    @property
    def billing_period(self) -> date:
        """The first day of the month whose bill has it."""
        return self.period or first_of_month(self.day)


def by_month(parts: Iterable[LeftOut]) -> list[LeftOut]:
    """The sums of the days of each month's bill, the newest months and in them the largest sums first."""
    sums: dict[tuple[date, str, str, LeftOutBecause, str], tuple[Decimal, int]] = {}
    with localcontext(prec=60):  # 38 digits are stored
        for part in parts:
            key = part.billing_period, part.billing_account_id, part.account_id, part.because, part.currency
            amount, rows = sums.get(key, (Decimal(0), 0))
            sums[key] = amount + part.amount, rows + part.rows
    whole = [
        LeftOut(month, bill, account, because, amount, currency, rows, month)
        for (month, bill, account, because, currency), (amount, rows) in sums.items()
    ]
    return sorted(whole, key=lambda part: (part.day, abs(part.amount)), reverse=True)


@dataclass(frozen=True, slots=True)
class Total:
    """The total of one account, day and currency: what the charges and what was left out must add up to.

    Of a source that tells statements, it is that of a statement, with the first day of its month. `is_apart` is True
    where the cloud tells the total apart from the lines, and False for the sum of a statement's own lines.
    """

    day: date
    billing_account_id: str
    currency: str
    amount: Decimal
    is_apart: bool = False


@dataclass(slots=True)
class Bill:
    """The result of reading a customer's bills.

    `read` holds, by the id of the source, every day of which all was read that there is so far: the charges replace
    whatever was known of those days, so a day without charges had none. What could not be read is not in `read`, and in
    `problems`, whose account_id is the id of the source.

    `arriving` holds those of the days that were read of which more is to come: the source's settling time since the end
    of the day was not over when it was written. Its charges are kept, and are not yet what the day cost.

    `periods` holds the months of a source that tells statements of months: the charges replace what was known of those
    statements, on whatever day it was charged, and nothing of other months' statements. A source that is not in it
    tells days: its charges are of the days in `read`, and replace all that was known of them.
    """

    charges: list[Charge] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)
    read: dict[str, list[date]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    arriving: dict[str, set[date]] = field(default_factory=dict)
    periods: dict[str, set[date]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    def merge(self, part: Bill) -> None:
        """Add what another reading gave, of other sources or of other days."""
        self.charges += part.charges
        self.totals += part.totals
        self.problems += part.problems
        self.left_out += part.left_out
        for source_id, days in part.read.items():
            self.read.setdefault(source_id, []).extend(days)
        for ours, theirs in ((self.arriving, part.arriving), (self.periods, part.periods)):
            for source_id, of_source in theirs.items():
                ours.setdefault(source_id, set()).update(of_source)

    def currency_problems(self) -> list[Problem]:
        """A problem for each month of a source that is charged in several currencies: its sums mean nothing."""
        currencies: dict[tuple[str, date], set[str]] = {}
        for charge in self.charges:
            if charge.amount:
                month = first_of_month(charge.day)
                currencies.setdefault((charge.billing_account_id, month), set()).add(charge.currency)
        return [
            Problem(
                source_id,
                "",
                "",
                Cause.CONFIG,
                f"{month:%Y-%m} is charged in {' and '.join(sorted(several))}: each charge keeps its own currency, and "
                "nothing is converted. Look at this month's costs by currency",
            )
            for (source_id, month), several in sorted(currencies.items())
            if len(several) > 1
        ]


@dataclass(frozen=True, slots=True)
class Source(Generic[AccountT]):
    """A bill that can be read: of an AWS account, a billing export, an Azure subscription, a Vultr account.

    `id` is the charges' billing_account_id. `covers` names the accounts of the customers file that it is the bill of.
    It is read again after `cadence`: no cloud's bill changes more often. After a reading that did not end well it is
    left alone for `pause`, which is as long where every call costs money.

    `is_shared` is true where it may also tell of accounts that it does not cover; these are left out. With
    `account_charges`, what is charged to the billing account itself (tax, support) is this customer's.
    """

    id: str
    account: AccountT
    covers: tuple[str, ...]
    cadence: timedelta
    pause: timedelta = timedelta(hours=1)
    is_shared: bool = False
    account_charges: bool = False


@dataclass(frozen=True, slots=True)
class BillRequest(Generic[AccountT]):
    """A request to read bills: the sources that are due, and the days from `first` to `last`.

    `last` is the newest day that is over. `resources` is the newest inventory, to match lines with. `read_at` tells
    when a source was last read with success, for those that tell what changed since. `memory` may be None. `now` is
    when the bills are read, None for the end of `last`.
    """

    customer_id: str
    sources: Sequence[Source[AccountT]]
    resources: Sequence[Resource]
    first: date
    last: date
    read_at: Mapping[str, datetime] = field(default_factory=dict)
    memory: DayMemory | None = None
    now: datetime | None = None

    @property
    def at(self) -> datetime:
        """When the bills are read."""
        return self.now or datetime.combine(self.last + timedelta(days=1), time(), UTC)

    @property
    def days(self) -> list[date]:
        """Every day of the range."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


@dataclass(frozen=True, slots=True)
class Component:
    """A part of what a resource costs by the price list: `quantity` units of what `key` names, for every hour.

    `key` is the provider's own word for what has a price, the same in its price list: `BoxUsage:m6i.large`.
    `monthly_hours` is how many hours of a calendar month are charged at most; 0 for all of them.
    """

    key: str
    quantity: Decimal
    monthly_hours: int = 0

    def charged_hours(self, start: datetime, length: timedelta, since: datetime | None) -> Decimal:
        """The hours that are charged of a time in UTC, of something that was made at `since`; None is long ago."""
        whole = Decimal(length // timedelta(minutes=1)) / 60
        if not self.monthly_hours:
            return whole
        month = start_of_month(start)
        created = since.replace(minute=0, second=0, microsecond=0) if since is not None else month
        begun = created if month < created <= start else month
        left = self.monthly_hours - Decimal((start - begun) // timedelta(minutes=1)) / 60
        return min(whole, max(Decimal(0), left))


@dataclass(frozen=True, slots=True)
class Price:
    """A list price: one unit of `key` for an hour in a region. `region` "" is everywhere."""

    region: str
    key: str
    hourly: Decimal
    currency: str
    description: str = ""


@dataclass(slots=True)
class PriceList:
    """The prices that a cloud gave, and what it could not tell."""

    prices: list[Price] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a resource in one window by the price list; `priced` says how: `2 x BoxUsage:m6i.large`.

    `service_name` is the bill's word for what charges for it, or else the resource's kind.
    """

    resource: Resource
    amount: Decimal
    currency: str
    priced: str
    service_name: str
