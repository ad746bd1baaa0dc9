"""The billing exports that are read: how each is recognised by its header, and what its columns and words mean.

Names are compared without case and punctuation, so `lineItem/UnblendedCost`, `line_item_unblended_cost` and
`LineItemUnblendedCost` are one. Azure's localised headers have the English name in brackets, which counts.

Sources: FOCUS 1.0-1.4 (https://focus.finops.org/focus-specification), CUR 2.0 and legacy CUR
(https://docs.aws.amazon.com/cur/latest/userguide/data-dictionary.html), Azure
(https://learn.microsoft.com/azure/cost-management-billing/dataset-schema/schema-index), Google Cloud
(https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Format:
    """A format of billing exports.

    A header with one of `marks` is of this format. `columns` tells, for each of our fields, the columns that hold it:
    for amounts and days the first that the file has, for words the first that is not empty in the row. A cost of
    `zeros` is not known where it is 0 and the row's other costs are not.
    """

    name: str
    marks: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...] = ("day", "amount", "currency", "service", "sub_account")
    zeros: tuple[str, ...] = ()


_SELLERS = ("PublisherName", "ServiceProviderName")  # the second since FOCUS 1.3

FOCUS = Format(
    "FOCUS",
    ("BilledCost", "ChargePeriodStart"),
    {
        "day": ("ChargePeriodStart",),
        "end": ("ChargePeriodEnd",),
        "period": ("BillingPeriodStart",),
        "amount": ("BilledCost",),
        "effective": ("EffectiveCost",),
        "list": ("ListCost",),
        "contracted": ("ContractedCost",),
        "pricing_quantity": ("PricingQuantity",),
        "pricing_unit": ("PricingUnit",),
        "consumed_quantity": ("ConsumedQuantity",),
        "consumed_unit": ("ConsumedUnit",),
        "currency": ("BillingCurrency",),
        "sub_account": ("SubAccountId", "BillingAccountId"),
        "own_account": ("SubAccountId",),
        "sub_account_name": ("SubAccountName",),
        "payer": ("BillingAccountId",),
        "payer_name": ("BillingAccountName",),
        # Azure's have the meter category too, which its other bills call the service; of a vendor's product it is none.
        "service": ("x_SkuMeterCategory", "ServiceName", "x_ServiceCode", "x_SkuMeterSubcategory", *_SELLERS),
        "market": ("x_PublisherCategory",),
        "market_service": ("ServiceName", "x_SkuDescription", *_SELLERS),
        "region": ("RegionId", "Region"),
        "zone": ("AvailabilityZone",),
        "resource": ("ResourceId",),
        "category": ("ChargeCategory",),
        "class": ("ChargeClass", "ChargeSubcategory"),  # the second of 1.0-preview, which Azure still writes
        "frequency": ("ChargeFrequency",),
        "usage": ("x_UsageType", "x_SkuMeterName", "ChargeDescription"),
        "kind": ("ResourceType", "ServiceSubcategory", "ServiceCategory"),
        "provider": ("ProviderName", "ServiceProviderName", "InvoiceIssuerName"),
        "host": ("HostProviderName",),
        "publisher": _SELLERS,
        "issuer": ("InvoiceIssuerName",),
        "invoice": ("InvoiceId",),
        "sku": ("SkuId",),
        "sku_price": ("SkuPriceId",),
        "pricing_category": ("PricingCategory",),
        "commitment": ("CommitmentDiscountId",),
        "commitment_type": ("CommitmentDiscountType",),
        "commitment_status": ("CommitmentDiscountStatus", "ChargeSubcategory"),
        "tags": ("Tags",),
    },
    ("day", "amount", "currency", "service", "sub_account", "category"),
    zeros=("effective", "list", "contracted"),
)

# reservation_* and savings_plan_* are what `effective` is made of, split_line_item_* what a container has of the charge
# of its instance, and discount_total_discount the discounts where these are no lines of their own: see own_ways.py.
CUR = Format(
    "AWS Cost and Usage Report",
    ("line_item_unblended_cost", "line_item_usage_start_date", "line_item_usage_account_id"),
    {
        "day": ("line_item_usage_start_date",),
        "end": ("line_item_usage_end_date",),
        "period": ("bill_billing_period_start_date",),
        "amount": ("line_item_unblended_cost",),
        "list": ("pricing_public_on_demand_cost",),
        "contracted": ("line_item_net_unblended_cost",),
        "pricing_quantity": ("line_item_usage_amount",),
        "pricing_unit": ("pricing_unit",),
        "consumed_quantity": ("line_item_usage_amount",),
        "consumed_unit": ("pricing_unit",),
        "currency": ("line_item_currency_code",),
        "sub_account": ("line_item_usage_account_id", "bill_payer_account_id"),
        "own_account": ("line_item_usage_account_id",),
        "sub_account_name": ("line_item_usage_account_name",),
        "payer": ("bill_payer_account_id",),
        "payer_name": ("bill_payer_account_name",),
        "service": (
            "product_product_name", "line_item_product_code", "product_servicecode", "line_item_legal_entity",
            "bill_billing_entity",
        ),
        "product": ("product",),
        "region": ("product_region_code", "product_region"),
        "zone": ("line_item_availability_zone",),
        "resource": ("line_item_resource_id",),
        "category": ("line_item_line_item_type",),
        "class": ("line_item_line_item_type", "bill_bill_type"),
        "frequency": ("line_item_line_item_type",),
        "usage": ("line_item_usage_type", "product_product_family"),
        "kind": ("product_product_family",),
        "publisher": ("line_item_legal_entity",),
        "issuer": ("bill_invoicing_entity",),
        "invoice": ("bill_invoice_id",),
        "sku": ("product_sku",),
        "sku_price": ("pricing_rate_code",),
        "pricing_category": ("line_item_line_item_type", "pricing_term"),
        "commitment": ("savings_plan_savings_plan_a_r_n", "reservation_reservation_a_r_n"),
        "commitment_type": ("savings_plan_savings_plan_a_r_n", "reservation_reservation_a_r_n"),
        "commitment_status": ("line_item_line_item_type",),
        "tags": ("resource_tags", "resource_tags_user_*"),
        "split_of": ("split_line_item_parent_resource_id",),
        "discount": ("discount_total_discount",),
        "ri_effective": ("reservation_effective_cost",),
        "ri_unused_upfront": ("reservation_unused_amortized_upfront_fee_for_billing_period",),
        "ri_unused_fee": ("reservation_unused_recurring_fee",),
        "ri_arn": ("reservation_reservation_a_r_n",),
        "sp_effective": ("savings_plan_savings_plan_effective_cost",),
        "sp_committed": ("savings_plan_total_commitment_to_date",),
        "sp_used": ("savings_plan_used_commitment",),
        "sp_arn": ("savings_plan_savings_plan_a_r_n",),
        "sp_start": ("savings_plan_start_time",),
        "sp_end": ("savings_plan_end_time",),
    },
    ("day", "amount", "currency", "service", "sub_account", "category"),
    zeros=("list",),
)  # fmt: skip

AZURE = Format(
    "Azure cost export",
    ("MeterCategory", "MeterId", "SubscriptionGuid"),
    {
        "day": ("Date", "UsageDateTime", "UsageDate"),
        "period": ("BillingPeriodStartDate",),
        "amount": ("CostInBillingCurrency", "Cost", "PreTaxCost", "ExtendedCost"),
        "list": ("PaygCostInBillingCurrency",),
        "list_price": ("PayGPrice",),
        "contracted_price": ("UnitPrice",),
        "pricing_currency": ("PricingCurrency",),
        "exchange_rate": ("ExchangeRatePricingToBilling",),
        "pricing_quantity": ("Quantity", "UsageQuantity"),
        "pricing_unit": ("UnitOfMeasure",),
        "consumed_quantity": ("Quantity", "UsageQuantity"),
        "consumed_unit": ("UnitOfMeasure",),
        "currency": ("BillingCurrency", "BillingCurrencyCode", "Currency"),
        "sub_account": ("SubscriptionId", "SubscriptionGuid", "BillingAccountId"),
        "own_account": ("SubscriptionId", "SubscriptionGuid"),
        "sub_account_name": ("SubscriptionName",),
        "payer": ("BillingAccountId",),
        "payer_name": ("BillingAccountName",),
        "service": ("MeterCategory", "ServiceName", "ConsumedService", "ProductName", "Product"),
        "market": ("PublisherType",),
        "market_service": ("ProductName", "Product", "PlanName", "PublisherName", "MeterCategory"),
        "region": ("ResourceLocation",),
        "zone": ("AvailabilityZone",),
        "resource": ("ResourceId", "InstanceId", "InstanceName"),
        "category": ("ChargeType",),
        "class": ("ChargeType",),
        "frequency": ("Frequency",),
        "usage": ("MeterSubCategory", "MeterName"),
        "kind": ("ConsumedService",),
        "pricing": ("PricingModel",),
        "publisher": ("PublisherName",),
        "invoice": ("InvoiceId",),
        "sku": ("MeterId",),
        "sku_price": ("PartNumber",),
        "pricing_category": ("PricingModel",),
        "commitment": ("ReservationId", "BenefitId"),
        "commitment_type": ("PricingModel",),
        "commitment_status": ("ChargeType", "PricingModel"),
        "tags": ("Tags",),
    },
    zeros=("list",),
)

GCP = Format(
    "Google Cloud billing export",
    ("usage_start_time", "invoice.month"),
    {
        "day": ("usage_start_time",),
        "end": ("usage_end_time",),
        "period": ("invoice.month",),
        "amount": ("cost",),
        "list": ("cost_at_list",),
        "credits": ("credits",),
        "pricing_quantity": ("usage.amount_in_pricing_units",),
        "pricing_unit": ("usage.pricing_unit",),
        "consumed_quantity": ("usage.amount",),
        "consumed_unit": ("usage.unit",),
        "currency": ("currency",),
        "sub_account": ("project.id", "billing_account_id"),
        "own_account": ("project.id",),
        "sub_account_name": ("project.name",),
        "payer": ("billing_account_id",),
        "service": ("service.description", "service.id"),
        "region": ("location.region", "location.location"),
        "zone": ("location.zone",),
        "resource": ("resource.global_name", "resource.name"),
        "category": ("cost_type",),
        "class": ("adjustment_info.type", "cost_type"),
        "publisher": ("seller_name",),
        "usage": ("sku.description",),
        "sku": ("sku.id",),
        "tags": ("labels", "tags"),
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
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(canonical(name), []).append(place)
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
    held = {field: _places(columns, places) for field, columns in layout.columns.items()}
    if missing := [" or ".join(layout.columns[field]) for field in layout.required if not held[field]]:
        raise CloudError(
            Cause.CONFIG,
            f"looks like {layout.name}, but has no column {'; no column '.join(missing)}. Add it to the export.",
        )
    cost = names[held["amount"][0]]
    if len(places[canonical(cost)]) > 1:
        text = f"has several columns {cost.strip()}, and nobody knows which one is charged. Keep one of them"
        raise CloudError(Cause.CONFIG, f"{text} in the export.")
    return layout, held


def _places(columns: Sequence[str], places: Mapping[str, Sequence[int]]) -> list[int]:
    """Where the columns are; one that ends with a star stands for all that begin so.

    Of several columns of a name it is the first. Those for a star may differ in what is not compared: `Team` and `team`
    are two tags.
    """
    found = []
    for name in map(str, columns):
        key = canonical(name)
        if name.endswith("*"):
            found += [
                place for column, several in places.items() if column.startswith(key) and column != key
                for place in several
            ]  # fmt: skip
        elif key in places:
            found.append(places[key][0])
    return found
