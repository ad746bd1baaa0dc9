"""The billing exports that are read: how each is recognised by its header, and what its columns and words mean.

Names are compared without case and punctuation, so `lineItem/UnblendedCost`, `line_item_unblended_cost` and
`LineItemUnblendedCost` are one. Azure's localised headers have the English name in brackets, which counts.

Sources: FOCUS 1.0-1.2 (https://focus.finops.org/focus-specification), CUR 2.0 and legacy CUR
(https://docs.aws.amazon.com/cur/latest/userguide/data-dictionary.html), Azure
(https://learn.microsoft.com/azure/cost-management-billing/dataset-schema/schema-index), Google Cloud
(https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.model.errors import Cause, CloudError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Format:
    """A format of billing exports.

    A header with one of `marks` is of this format. `columns` tells, for each of our fields, the columns that hold it:
    for amounts and days the first that the file has, for words the first that is not empty in the row.
    """

    name: str
    marks: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...] = ("day", "amount", "currency", "service", "sub_account")


FOCUS = Format(
    "FOCUS",
    ("BilledCost", "ChargePeriodStart"),
    {
        "day": ("ChargePeriodStart",),
        "amount": ("BilledCost",),
        "effective": ("EffectiveCost",),
        "list": ("ListCost",),
        "currency": ("BillingCurrency",),
        "sub_account": ("SubAccountId", "BillingAccountId"),
        "service": ("ServiceName",),
        "region": ("RegionId", "Region"),
        "resource": ("ResourceId",),
        "category": ("ChargeCategory",),
        "kind": ("ResourceType", "ServiceSubcategory", "ServiceCategory"),
        "provider": ("ProviderName", "ServiceProviderName", "InvoiceIssuerName"),
        "invoice": ("InvoiceId",),
    },
    ("day", "amount", "currency", "service", "sub_account", "category"),
)

# reservation_* and savings_plan_* are what `effective` is made of: see reader.py.
CUR = Format(
    "AWS Cost and Usage Report",
    ("line_item_unblended_cost", "line_item_usage_start_date", "line_item_usage_account_id"),
    {
        "day": ("line_item_usage_start_date",),
        "amount": ("line_item_unblended_cost",),
        "list": ("pricing_public_on_demand_cost",),
        "currency": ("line_item_currency_code",),
        "sub_account": ("line_item_usage_account_id", "bill_payer_account_id"),
        "service": ("product_product_name", "line_item_product_code", "product_servicecode"),
        "region": ("product_region_code", "product_region"),
        "resource": ("line_item_resource_id",),
        "category": ("line_item_line_item_type",),
        "kind": ("product_product_family",),
        "invoice": ("bill_invoice_id",),
        "ri_effective": ("reservation_effective_cost",),
        "ri_unused_upfront": ("reservation_unused_amortized_upfront_fee_for_billing_period",),
        "ri_unused_fee": ("reservation_unused_recurring_fee",),
        "ri_arn": ("reservation_reservation_a_r_n",),
        "sp_effective": ("savings_plan_savings_plan_effective_cost",),
        "sp_committed": ("savings_plan_total_commitment_to_date",),
        "sp_used": ("savings_plan_used_commitment",),
    },
    ("day", "amount", "currency", "service", "sub_account", "category"),
)

AZURE = Format(
    "Azure cost export",
    ("MeterCategory", "MeterId", "SubscriptionGuid"),
    {
        "day": ("Date", "UsageDateTime", "UsageDate"),
        "amount": ("CostInBillingCurrency", "Cost", "PreTaxCost", "ExtendedCost"),
        "currency": ("BillingCurrency", "BillingCurrencyCode", "Currency"),
        "sub_account": ("SubscriptionId", "SubscriptionGuid", "BillingAccountId"),
        "service": ("MeterCategory", "ServiceName", "ConsumedService"),
        "region": ("ResourceLocation",),
        "resource": ("ResourceId", "InstanceId", "InstanceName"),
        "category": ("ChargeType",),
        "kind": ("ConsumedService",),
        "pricing": ("PricingModel",),
        "invoice": ("InvoiceId",),
    },
)

GCP = Format(
    "Google Cloud billing export",
    ("usage_start_time", "invoice.month"),
    {
        "day": ("usage_start_time",),
        "amount": ("cost",),
        "list": ("cost_at_list",),
        "credits": ("credits",),
        "currency": ("currency",),
        "sub_account": ("project.id", "billing_account_id"),
        "service": ("service.description", "service.id"),
        "region": ("location.region", "location.location"),
        "resource": ("resource.global_name", "resource.name"),
        "category": ("cost_type",),
    },
    # Without credits, what was paid is not known.
    ("day", "amount", "credits", "currency", "service", "sub_account"),
)

FORMATS = (FOCUS, CUR, GCP, AZURE)


def canonical(name: str) -> str:
    """A column's name as it is compared: the English in brackets where it has some, no case, no punctuation."""
    bracketed = re.fullmatch(r".+[(（](\w+)[)）]\s*", name)  # noqa: RUF001 - the brackets of Chinese and Japanese
    return re.sub(r"[^a-z0-9]", "", (bracketed[1] if bracketed else name).casefold())


def recognised(names: Sequence[str]) -> tuple[Format, dict[str, list[int]]]:
    """The format of a header, and the positions of the columns that hold each of our fields.

    Raises:
        CloudError: the header is of no format that is read, or lacks a column: which ones is said.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places.setdefault(canonical(name), place)
    layout = next(
        (candidate for candidate in FORMATS if any(canonical(mark) in places for mark in candidate.marks)), None
    )
    if layout is None:
        shown = ", ".join(name.strip()[:60] for name in names[:8]) + (", ..." if len(names) > 8 else "")
        raise CloudError(
            Cause.CONFIG,
            f"has the columns {shown or '(none)'}: this is no {', '.join(candidate.name for candidate in FORMATS)}. "
            "Point the source at the folder of the export, and choose one of these formats for it.",
        )
    held = {
        field: [places[canonical(name)] for name in columns if canonical(name) in places]
        for field, columns in layout.columns.items()
    }
    if missing := [" or ".join(layout.columns[field]) for field in layout.required if not held[field]]:
        raise CloudError(
            Cause.CONFIG,
            f"looks like {layout.name}, but has no column {'; no column '.join(missing)}. Add it to the export.",
        )
    return layout, held


# --- Words ------------------------------------------------------------------------------------------------------------

_CATEGORIES = {
    Category.USAGE: "usage regular discountedusage savingsplancoveredusage savingsplannegation unusedreservation "
    "unusedsavingsplan",
    Category.PURCHASE: "purchase fee rifee savingsplanupfrontfee savingsplanrecurringfee",
    Category.TAX: "tax",
    Category.CREDIT: "credit discount bundleddiscount edpdiscount privateratediscount rivolumediscount sppdiscount",
    Category.ADJUSTMENT: "adjustment refund roundingadjustment roundingerror",
}
_CATEGORY_OF = {word: category for category, words in _CATEGORIES.items() for word in words.split()}


def category_of(word: str) -> Category:
    """A cloud's word for the kind of a charge as FOCUS has it; one that is not known is an adjustment."""
    return _CATEGORY_OF.get(canonical(word), Category.ADJUSTMENT) if word else Category.USAGE


def sub_account(text: str) -> str:
    """An account as the customers file spells it: Azure's FOCUS has `/subscriptions/<id>`, and ids in any case."""
    text = text.removeprefix("/subscriptions/")
    return text.casefold() if re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) else text


def region_id(text: str) -> str:
    """A region's id: Azure spells `westeurope` also `WestEurope` and `West Europe`."""
    return text.casefold().replace(" ", "")


# --- Days -------------------------------------------------------------------------------------------------------------

_EPOCH = date(1970, 1, 1)
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?: .*)?")  # Azure's CSV: month first, whatever the language


def day_number(text: str) -> int:
    """The UTC day of a time, as days since 1970-01-01; a time without a zone is UTC.

    Raises:
        ValueError: the text is no time.
    """
    text = text.strip()
    if american := _AMERICAN.fullmatch(text):
        return (date(int(american[3]), int(american[1]), int(american[2])) - _EPOCH).days
    at = datetime.fromisoformat(text.removesuffix(" UTC"))
    if not 1 < at.year < 9999:
        raise ValueError("a day beside it may be no date")
    return ((at.astimezone(UTC) if at.tzinfo else at).date() - _EPOCH).days


@cache
def day_of(number: int) -> date:
    """The day that `day_number` numbered."""
    return date.fromordinal(_EPOCH.toordinal() + number)
