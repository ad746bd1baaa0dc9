"""What each layout tells of a charge, in the words of FOCUS; what a file has no column for stays unknown."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optiinfra_dagster.model.cost import CORRECTION, Category, Charge
from optiinfra_dagster.providers.billing.exports.reader import read_export
from tests.providers.billing.test_exports import (
    Row,
    azure,
    bill_of,
    cur,
    file_of,
    focus,
    gcp,
    parquet_of,
    resource,
    text_of,
)


def charge_of(row: Row, **types: pa.DataType) -> Charge:
    """The one charge of a row; the columns named are written to Parquet in types of their own."""
    content: bytes | str = text_of([row])
    if types:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({name: pa.array([value], types.get(name)) for name, value in row.items()}), sink)
        content = sink.getvalue().to_pybytes()
    bill = read_export(
        [file_of(content)], source_id="x", first=date(2026, 10, 1), last=date(2026, 11, 20), resources=[]
    )
    assert bill.problems == []
    (charge,) = bill.charges
    return charge


def told(charge: Charge, *but: str) -> dict[str, Any]:
    """The fields of a charge that are not as they are without being told."""
    known = {"day", "billing_account_id", "amount", "currency", "cost_type", "is_final", "metadata", *but}
    return {
        field.name: value
        for field in dataclasses.fields(Charge)
        if field.name not in known
        and (value := getattr(charge, field.name)) != (None if field.default is dataclasses.MISSING else field.default)
    }


# --- FOCUS ------------------------------------------------------------------------------------------------------------

FOCUS = focus(
    BillingPeriodStart="2026-11-01T00:00:00Z", ContractedCost="1.7", PricingQuantity="3", PricingUnit="Hours",
    ConsumedQuantity="2.5", ConsumedUnit="GB", BillingAccountId="999", BillingAccountName="Acme",
    SubAccountName="prod", ChargeClass="Correction", ChargeFrequency="Usage-Based", PublisherName="MongoDB",
    InvoiceIssuerName="Amazon Web Services, Inc.", InvoiceId="INV-1", SkuId="S1", SkuPriceId="P1",
    PricingCategory="Committed", CommitmentDiscountId="arn:aws:savingsplans::1:savingsplan/a",
    CommitmentDiscountType="Savings Plan", CommitmentDiscountStatus="Used", AvailabilityZone="eu-west-1a",
    Tags='{"team": "x", "env": "prod"}', ServiceName="AmazonEC2",
)  # fmt: skip
FOCUS_TOLD = {
    "sub_account_id": "111", "service_name": "Amazon Elastic Compute Cloud", "effective_cost": Decimal(1),
    "list_cost": Decimal(2), "resource_id": "i-1", "region_id": "eu-west-1", "period": date(2026, 11, 1),
    "contracted_cost": Decimal("1.7"), "charge_class": CORRECTION, "charge_frequency": "Usage-Based",
    "invoice_id": "INV-1", "invoice_issuer": "Amazon Web Services, Inc.", "publisher": "MongoDB",
    "payer_account_id": "999", "payer_account_name": "Acme", "sub_account_name": "prod", "sku_id": "S1",
    "sku_price_id": "P1", "pricing_category": "Committed", "pricing_quantity": Decimal(3), "pricing_unit": "Hours",
    "consumed_quantity": Decimal("2.5"), "consumed_unit": "GB",
    "commitment_id": "arn:aws:savingsplans::1:savingsplan/a", "commitment_type": "Savings Plan",
    "commitment_status": "Used", "availability_zone": "eu-west-1a", "tags": '{"env":"prod","team":"x"}',
}  # fmt: skip


def test_focus_tells_every_field() -> None:
    assert told(charge_of(FOCUS)) == FOCUS_TOLD


@pytest.mark.parametrize(
    ("change", "costs"),
    [
        ({"ListCost": "0"}, ("1", None, "1.7")),
        ({"ListCost": "0", "ContractedCost": "0"}, ("1", None, None)),
        ({"EffectiveCost": "0.00"}, (None, "2", "1.7")),
        ({"BilledCost": "0", "ListCost": "0"}, ("1", None, "1.7")),  # of what a commitment covers
        ({"BilledCost": "-1.5", "ListCost": "0"}, ("1", None, "1.7")),
        ({"BilledCost": "0", "EffectiveCost": "0", "ListCost": "0", "ContractedCost": "0"}, ("0", "0", "0")),
        ({"BilledCost": "0", "ListCost": "0", "CommitmentDiscountStatus": "Unused"}, ("1", "0", "1.7")),
        ({"ChargeCategory": "Purchase", "EffectiveCost": "0"}, ("0", "2", "1.7")),
        # A savings plan costs something where it is used or unused, and not where it is bought.
        ({"ChargeCategory": "Purchase", "CommitmentDiscountStatus": ""}, ("0", "2", "1.7")),
        ({"ChargeCategory": "Purchase", "CommitmentDiscountStatus": "", "EffectiveCost": ""}, (None, "2", "1.7")),
        ({"ChargeCategory": "Purchase", "CommitmentDiscountStatus": "", "CommitmentDiscountId": ""}, ("1", "2", "1.7")),
        ({"BilledCost": "0", "EffectiveCost": "0", "CommitmentDiscountStatus": "Unused"}, (None, "2", "1.7")),
    ],
)
def test_usage_that_costs_something_has_no_price_of_nothing(change: Row, costs: tuple[str | None, ...]) -> None:
    for charge in (charge_of(FOCUS | change), bill_of(parquet_of([FOCUS | change])).charges[0]):
        found = charge.effective_cost, charge.list_cost, charge.contracted_cost
        assert found == tuple(cost and Decimal(cost) for cost in costs)


def test_what_azure_writes_for_nothing_is_nothing() -> None:
    charge = charge_of(FOCUS | {"SubAccountName": "Unassigned", "SkuPriceId": "-2", "BillingAccountName": "Unassigned"})
    assert (charge.sub_account_name, charge.sku_price_id, charge.payer_account_name) == ("", "", "")
    bought = {"ServiceName": "", "x_SkuMeterCategory": "", "x_SkuMeterSubcategory": "Virtual Machines Savings Plan"}
    assert charge_of(FOCUS | bought).service_name == "Virtual Machines Savings Plan"


def test_focus_of_parquet_has_tags_in_a_map_and_times_as_times() -> None:
    row = FOCUS | {"Tags": [("team", "x"), ("env", "prod")]}
    kinds = {"Tags": pa.map_(pa.string(), pa.string())}
    assert told(charge_of(row, **kinds)) == FOCUS_TOLD


@pytest.mark.parametrize(
    ("subcategory", "told_of_it"),
    [
        ("Used Commitment", ("Used", "")), ("Unused Commitment", ("Unused", "")), ("On-Demand", ("", "")),
        ("Refund", ("", CORRECTION)), ("Rounding Error", ("", "")),
    ],
)  # fmt: skip
def test_the_preview_of_focus_tells_of_commitments_and_refunds_in_a_subcategory(
    subcategory: str, told_of_it: tuple[str, str]
) -> None:
    row = {k: v for k, v in FOCUS.items() if k not in {"CommitmentDiscountStatus", "ChargeClass"}}
    charge = charge_of(row | {"ChargeSubcategory": subcategory, "PricingCategory": "Commitment-Based"})
    assert (charge.commitment_status, charge.charge_class) == told_of_it
    assert charge.pricing_category == "Committed"


@pytest.mark.parametrize("without", [("ProviderName",), ("ProviderName", "PublisherName")])
def test_names_of_providers_since_focus_1_3(without: tuple[str, ...]) -> None:
    row = FOCUS | {"ServiceProviderName": "MongoDB", "HostProviderName": "AWS"}
    for name in without:
        del row[name]
    assert charge_of(row).publisher == "MongoDB"


def test_what_a_file_has_no_column_for_is_unknown() -> None:
    names = ("BilledCost", "BillingCurrency", "ChargePeriodStart", "ChargeCategory", "ServiceName", "SubAccountId")
    charge = charge_of({name: focus()[name] for name in names})
    assert told(charge) == {"sub_account_id": "111", "service_name": "Compute", "period": date(2026, 10, 1)}


# --- AWS --------------------------------------------------------------------------------------------------------------

CUR = cur(
    bill_invoice_id="77", bill_payer_account_id="999", bill_payer_account_name="Acme", bill_bill_type="Anniversary",
    bill_billing_entity="AWS", bill_invoicing_entity="Amazon Web Services, Inc.",
    bill_billing_period_start_date="2026-11-01T00:00:00.000Z", line_item_usage_account_name="prod",
    line_item_legal_entity="Amazon Web Services, Inc.", line_item_usage_amount="2.5", pricing_unit="Hrs",
    pricing_term="OnDemand", pricing_rate_code="R.1", product_sku="SKU1", line_item_net_unblended_cost="1.25",
    pricing_public_on_demand_cost="2", line_item_availability_zone="us-east-1b", line_item_resource_id="i-1",
    savings_plan_savings_plan_a_r_n="", reservation_reservation_a_r_n="",
    resource_tags='{"user_team":"x","aws_created_by":"me"}', product='{"product_name":"Amazon Elastic Compute Cloud"}',
)  # fmt: skip
CUR_TOLD = {
    "sub_account_id": "111", "service_name": "Amazon Elastic Compute Cloud", "list_cost": Decimal(2),
    "contracted_cost": Decimal("1.25"), "resource_id": "i-1", "region_id": "us-east-1", "period": date(2026, 11, 1),
    "charge_frequency": "Usage-Based", "invoice_id": "77", "invoice_issuer": "Amazon Web Services, Inc.",
    "publisher": "Amazon Web Services, Inc.", "payer_account_id": "999", "payer_account_name": "Acme",
    "sub_account_name": "prod", "sku_id": "SKU1", "sku_price_id": "R.1", "pricing_category": "Standard",
    "pricing_quantity": Decimal("2.5"), "pricing_unit": "Hrs", "consumed_quantity": Decimal("2.5"),
    "consumed_unit": "Hrs", "availability_zone": "us-east-1b", "tags": '{"aws_created_by":"me","team":"x"}',
}  # fmt: skip
LEGACY = {
    "bill/InvoiceId": "bill_invoice_id", "bill/PayerAccountId": "bill_payer_account_id", "bill/BillType": "",
    "bill/BillingPeriodStartDate": "bill_billing_period_start_date", "lineItem/LegalEntity": "line_item_legal_entity",
    "lineItem/UsageAccountId": "line_item_usage_account_id", "lineItem/LineItemType": "line_item_line_item_type",
    "lineItem/UsageStartDate": "line_item_usage_start_date", "lineItem/ProductCode": "line_item_product_code",
    "lineItem/ResourceId": "line_item_resource_id", "lineItem/CurrencyCode": "line_item_currency_code",
    "lineItem/UnblendedCost": "line_item_unblended_cost", "lineItem/UsageAmount": "line_item_usage_amount",
    "pricing/unit": "pricing_unit", "pricing/term": "pricing_term", "product/sku": "product_sku",
    "lineItem/AvailabilityZone": "line_item_availability_zone", "product/regionCode": "product_region_code",
}  # fmt: skip


def test_cur_2_tells_every_field() -> None:
    assert told(charge_of(CUR)) == CUR_TOLD


def test_cur_2_of_parquet_has_maps() -> None:
    row = CUR | {
        "resource_tags": [("user_team", "x"), ("aws_created_by", "me")],
        "product": [("servicename", "EC2"), ("product_name", "Amazon Elastic Compute Cloud")],
    }
    words = pa.map_(pa.string(), pa.string())
    assert told(charge_of(row, resource_tags=words, product=words)) == CUR_TOLD


def test_a_tag_of_a_report_has_the_key_that_the_inventory_has() -> None:
    """AWS' reports spell keys as columns; what nobody has in the inventory, or two keys may be, stays as it is."""
    keys = ["CostCenter", "karpenter.sh/nodepool", "team", "Team", "app-name", "AppName", "plain_key"]
    known = replace(resource("arn:aws:ec2:us-east-1:1:instance/i-9"), tags=dict.fromkeys(keys, "x"))
    told = {
        "cost_center": "a",
        "karpenter_sh_nodepool": "b",
        "team": "c",
        "app_name": "d",
        "plain_key": "e",
        "gone": "f",
    }
    row = CUR | {"resource_tags": json.dumps({f"user_{key}": value for key, value in told.items()})}
    columns = {k: v for k, v in CUR.items() if k != "resource_tags"}
    columns |= {f"resource_tags_user_{key}": value for key, value in told.items()}
    for content in (text_of([row]), text_of([columns]), parquet_of([columns])):
        (charge,) = bill_of(content, resources=[known]).charges
        assert json.loads(charge.tags) == {
            "CostCenter": "a", "karpenter.sh/nodepool": "b", "team": "c", "app_name": "d", "plain_key": "e", "gone": "f"
        }  # fmt: skip


def test_a_legacy_report_has_a_column_for_each_tag() -> None:
    row = {legacy: CUR.get(name, "") for legacy, name in LEGACY.items()}
    row |= {"resourceTags/user:Team": "x", "resourceTags/user:Cost Center": "7", "resourceTags/user:Empty": ""}
    row |= {"product/ProductName": "Amazon Elastic Compute Cloud"}
    charge = charge_of(row)
    assert charge.tags == '{"Cost Center":"7","Team":"x"}'
    left = ("tags", "list_cost", "contracted_cost", "sku_price_id", "invoice_issuer", "payer_account_name",
            "sub_account_name")  # fmt: skip
    assert told(charge, "tags") == {name: value for name, value in CUR_TOLD.items() if name not in left}
    athena = {name: CUR[name] for name in CUR if name not in {"resource_tags", "product"}}
    assert charge_of(athena | {"resource_tags_user_team": "x"}).tags == '{"team":"x"}'


def test_tags_that_differ_in_case_or_punctuation_alone_are_several() -> None:
    keys = {"Team": "a", "team": "b", "cost-center": "c", "costcenter": "d"}
    row = {k: v for k, v in CUR.items() if k != "resource_tags"}
    for name in ("resourceTags/user:{}", "resource_tags_user_{}"):
        for content in (tagged := row | {name.format(k): v for k, v in keys.items()}), parquet_of([tagged]):
            (charge,) = bill_of(content if isinstance(content, bytes) else text_of([content])).charges
            assert json.loads(charge.tags) == keys


@pytest.mark.parametrize(
    ("line_type", "category", "of_class", "frequency", "pricing", "status"),
    [
        ("Usage", Category.USAGE, "", "Usage-Based", "Standard", ""),
        ("DiscountedUsage", Category.USAGE, "", "Usage-Based", "Committed", "Used"),
        ("SavingsPlanCoveredUsage", Category.USAGE, "", "Usage-Based", "Committed", "Used"),
        ("RIFee", Category.PURCHASE, "", "Recurring", "Committed", "Unused"),
        ("SavingsPlanRecurringFee", Category.PURCHASE, "", "Recurring", "Committed", "Unused"),
        ("SavingsPlanUpfrontFee", Category.PURCHASE, "", "One-Time", "Committed", ""),
        ("FlatRateSubscription", Category.PURCHASE, "", "Recurring", "Standard", ""),
        ("Refund", Category.ADJUSTMENT, CORRECTION, "", "Standard", ""),
        ("Tax", Category.TAX, "", "", "Standard", ""),
    ],
)
def test_the_type_of_a_line_tells_the_kind_of_charge(
    line_type: str, category: Category, of_class: str, frequency: str, pricing: str, status: str
) -> None:
    charge = charge_of(CUR | {"line_item_line_item_type": line_type})
    assert (charge.category, charge.charge_class, charge.charge_frequency) == (category, of_class, frequency)
    assert (charge.pricing_category, charge.commitment_status) == (pricing, status)


@pytest.mark.parametrize(
    ("column", "arn", "of_type"),
    [
        ("savings_plan_savings_plan_a_r_n", "arn:aws:savingsplans::1:savingsplan/a", "Savings Plan"),
        ("reservation_reservation_a_r_n", "arn:aws:ec2:us-east-1:1:reserved-instances/b", "Reserved Instance"),
    ],
)
def test_the_commitment_of_a_line_is_its_arn(column: str, arn: str, of_type: str) -> None:
    charge = charge_of(CUR | {column: arn})
    assert (charge.commitment_id, charge.commitment_type) == (arn, of_type)


def test_what_commitments_cost_when_they_are_used_is_told_beside_what_was_charged() -> None:
    def line(kind: str, usd: str, **more: str) -> Row:
        told = dict.fromkeys(
            (
                "reservation_effective_cost", "reservation_unused_amortized_upfront_fee_for_billing_period",
                "reservation_unused_recurring_fee", "reservation_reservation_a_r_n",
                "savings_plan_savings_plan_effective_cost", "savings_plan_total_commitment_to_date",
                "savings_plan_used_commitment",
            ),
            "",
        )  # fmt: skip
        return cur(line_item_line_item_type=kind, line_item_unblended_cost=usd, **(told | more))

    arn = {"reservation_reservation_a_r_n": "arn:aws:ec2:us-east-1:1:reserved-instances/b"}
    unused = {
        "reservation_unused_amortized_upfront_fee_for_billing_period": "0.5",
        "reservation_unused_recurring_fee": "0.25",
    }
    rows = [
        line("SavingsPlanCoveredUsage", "10", savings_plan_savings_plan_effective_cost="7"),
        line("SavingsPlanNegation", "-10"),
        line(
            "SavingsPlanRecurringFee", "8", savings_plan_total_commitment_to_date="8", savings_plan_used_commitment="7"
        ),
        line("SavingsPlanUpfrontFee", "1000"),
        line("DiscountedUsage", "0", reservation_effective_cost="3", **arn),
        line("RIFee", "4", **unused, **arn),
        line("Fee", "500", **arn),
        line("Fee", "20"),
        *(line(kind, usd) for kind, usd in (("Usage", "5"), ("EdpDiscount", "-0.5"), ("Tax", "2"), ("Refund", "-3"))),
        *(
            line(kind, usd)
            for kind, usd in (("PrivateRateDiscount", "-0.2"), ("Credit", "-1"), ("BundledDiscount", "-0.1"))
        ),
    ]
    charges = bill_of(text_of(rows)).charges
    assert sum(charge.amount for charge in charges) == Decimal("1534.2")
    assert sum(charge.effective_cost or 0 for charge in charges) == Decimal("33.95")
    lost = [charge.effective_cost for charge in charges if charge.commitment_status == "Unused"]
    assert sorted(cost for cost in lost if cost is not None) == [Decimal("0.75"), Decimal(1)]


@pytest.mark.parametrize("public", ["", "0", "-10"])
def test_what_a_negation_takes_back_is_worth_what_it_was(public: str) -> None:
    """What a savings plan covers was used once, at its list price; the negation of its charge by demand has neither."""
    of_plan = {"savings_plan_savings_plan_a_r_n": "arn:aws:savingsplans::1:savingsplan/a", "bill_invoice_id": ""}
    covered = cur(
        line_item_line_item_type="SavingsPlanCoveredUsage", line_item_unblended_cost="10",
        line_item_net_unblended_cost="9", pricing_public_on_demand_cost="10", line_item_usage_amount="100",
        savings_plan_savings_plan_effective_cost="7", **of_plan,
    )  # fmt: skip
    negation = covered | {
        "line_item_line_item_type": "SavingsPlanNegation", "line_item_unblended_cost": "-10",
        "line_item_net_unblended_cost": "-9", "pricing_public_on_demand_cost": public,
        "savings_plan_savings_plan_effective_cost": "",
    }  # fmt: skip
    for rows in (
        [covered, negation],
        [{k: v for k, v in row.items() if "effective" not in k} for row in (covered, negation)],
    ):
        charges = bill_of(text_of(rows)).charges
        assert [sum(charge.amount for charge in charges)] == [0]
        costs = {(charge.list_cost, charge.contracted_cost) for charge in charges}
        quantities = {(charge.pricing_quantity, charge.consumed_quantity) for charge in charges}
        assert quantities == {(Decimal(0), Decimal(0)), (Decimal(100), Decimal(100))}
        assert costs == {(Decimal(0), Decimal(0)), (Decimal(10), Decimal(9))}


@pytest.mark.parametrize("told", ["0", ""])
@pytest.mark.parametrize("of", ["CUR", "FOCUS"])
def test_a_credit_that_was_given_costs_by_every_price_what_was_billed(told: str, of: str) -> None:
    """As FOCUS wants it. A discount beside it, which is worth nothing by list prices, is another thing."""
    if of == "FOCUS":
        text = text_of([focus(ChargeCategory="Credit", BilledCost="-5", ListCost=told, ContractedCost=told)])
    else:
        credit = cur(
            line_item_line_item_type="Credit", line_item_unblended_cost="-5", pricing_public_on_demand_cost=told,
            line_item_net_unblended_cost=told,
        )  # fmt: skip
        line = {"line_item_line_item_type": "EdpDiscount", "line_item_unblended_cost": "-10"}
        text = text_of([credit, credit | line | {"line_item_net_unblended_cost": "0"}])
    charges = bill_of(text).charges
    assert sum(one.list_cost or 0 for one in charges) == sum(one.contracted_cost or 0 for one in charges) == -5


def test_what_a_reservation_covers_has_no_agreed_price_of_nothing() -> None:
    """AWS has 0 in the net column of it, for the fee is a line of its own; the list price is told."""
    row = cur(
        line_item_line_item_type="DiscountedUsage", line_item_unblended_cost="0", line_item_net_unblended_cost="0",
        pricing_public_on_demand_cost="2", reservation_reservation_a_r_n="arn:aws:ec2:us-east-1:1:reserved-instances/b",
        reservation_effective_cost="1.2", line_item_usage_amount="24",
    )  # fmt: skip
    (charge,) = bill_of(text_of([row])).charges
    assert (charge.amount, charge.effective_cost, charge.list_cost) == (Decimal(0), Decimal("1.2"), Decimal(2))
    assert charge.contracted_cost is None


@pytest.mark.parametrize("make", [text_of, parquet_of])
@pytest.mark.parametrize("discount", ["-1", "1"])  # the net cost tells its sign
def test_discounts_are_credits_whether_they_are_told_in_columns_or_in_lines(make: Any, discount: str) -> None:
    row = cur(line_item_resource_id="i-1", pricing_public_on_demand_cost="12", resource_tags='{"user_team":"x"}')
    usage = row | {"line_item_unblended_cost": "10", "line_item_net_unblended_cost": "9"}
    line = row | {"line_item_line_item_type": "EdpDiscount", "line_item_unblended_cost": "-1"}
    in_columns = [usage | {"discount_total_discount": discount}]
    in_both = [*in_columns, line | {"line_item_net_unblended_cost": "0", "discount_total_discount": "0"}]

    for rows in (in_columns, in_both):
        bill = bill_of(make(rows))
        assert {c.category: (c.amount, c.resource_id, c.tags) for c in bill.charges} == {
            Category.USAGE: (Decimal(10), "i-1", '{"team":"x"}'),
            Category.CREDIT: (Decimal(-1), "i-1", '{"team":"x"}'),
        }
        assert [total.amount for total in bill.totals] == [9]
    (credit,) = [c for c in bill_of(make(in_columns)).charges if c.category == Category.CREDIT]
    assert (credit.effective_cost, credit.list_cost, credit.pricing_quantity) == (Decimal(-1), Decimal(0), None)
    assert (credit.charge_frequency, credit.pricing_category, credit.commitment_status) == ("", "", "")


def test_a_savings_plan_that_was_returned_cost_nothing_to_run() -> None:
    """Its fee costs something where it is used, and its refund nothing, too; other refunds are as they are."""
    plan = {
        "savings_plan_savings_plan_a_r_n": "arn:aws:savingsplans::1:savingsplan/a", "reservation_effective_cost": "",
        "savings_plan_start_time": "2026-10-01T00:00:00.000Z", "savings_plan_end_time": "2026-10-03T12:00:00.000Z",
        "savings_plan_savings_plan_effective_cost": "", "bill_invoice_id": "",
    }  # fmt: skip
    rows = [
        cur(line_item_line_item_type="SavingsPlanUpfrontFee", line_item_unblended_cost="900", **plan),
        cur(line_item_line_item_type="Refund", line_item_unblended_cost="-900", **plan),
        cur(line_item_line_item_type="Refund", line_item_unblended_cost="-8",
            **plan | {"savings_plan_savings_plan_a_r_n": ""}),
        cur(line_item_line_item_type="Refund", line_item_unblended_cost="-5",
            **plan | {"savings_plan_end_time": "2027-10-01T00:00:00.000Z"}),
    ]  # fmt: skip
    times = {name: pa.timestamp("ms", "UTC") for name in ("savings_plan_start_time", "savings_plan_end_time")}
    for charges in (bill_of(text_of(rows)).charges, bill_of(parquet_of(rows, **times)).charges):
        assert sum(charge.amount for charge in charges) == -13
        assert sum(charge.effective_cost or 0 for charge in charges) == -13
        assert {charge.effective_cost for charge in charges} == {Decimal(0), Decimal(-8), Decimal(-5)}


def test_what_a_report_has_no_price_of_has_none() -> None:
    """As of products of the marketplace, whose usage costs something."""
    assert charge_of(cur(pricing_public_on_demand_cost="0")).list_cost is None
    assert charge_of(cur(pricing_public_on_demand_cost="0", line_item_unblended_cost="0")).list_cost == 0


# --- Azure ------------------------------------------------------------------------------------------------------------

AZURE = azure(
    InvoiceId="G1", BillingAccountId="999", BillingAccountName="Acme", SubscriptionName="prod",
    BillingPeriodStartDate="11/01/2026", Tags='"team": "x","env": "prod"', Quantity="4", UnitOfMeasure="10 Hours",
    MeterId="m-1", PartNumber="AAD-1", PricingModel="Reservation", ReservationId="R-1", BenefitId="",
    Frequency="UsageBased",
    PublisherName="Microsoft", PublisherType="Azure", PayGPrice="0.5", UnitPrice="0.4", AvailabilityZone="1",
)  # fmt: skip
AZURE_TOLD = {
    "sub_account_id": "aaaaaaaa-0000-0000-0000-000000000001", "service_name": "Storage",
    "effective_cost": Decimal("1.5"), "list_cost": Decimal(2), "contracted_cost": Decimal("1.6"),
    "region_id": "westeurope",
    "resource_id": "/subscriptions/aaa/resourcegroups/rg/disks/d", "period": date(2026, 11, 1),
    "charge_frequency": "Usage-Based", "invoice_id": "G1", "publisher": "Microsoft", "payer_account_id": "999",
    "payer_account_name": "Acme", "sub_account_name": "prod", "sku_id": "m-1", "sku_price_id": "AAD-1",
    "pricing_category": "Committed", "pricing_quantity": Decimal(4), "pricing_unit": "10 Hours",
    "consumed_quantity": Decimal(4), "consumed_unit": "10 Hours", "commitment_id": "R-1",
    "commitment_type": "Reservation", "commitment_status": "Used", "availability_zone": "1",
    "tags": '{"env":"prod","team":"x"}',
}  # fmt: skip


def test_azure_tells_every_field() -> None:
    assert told(charge_of(AZURE)) == AZURE_TOLD
    assert told(charge_of(AZURE | {"Tags": '{"team": "x", "env": "prod"}'})) == AZURE_TOLD


@pytest.mark.parametrize(
    ("charge_type", "model", "commitment"),
    [
        ("Usage", "OnDemand", ("", "", "Standard")),
        ("Usage", "SavingsPlan", ("Savings Plan", "Used", "Committed")),
        ("UnusedReservation", "Reservation", ("Reservation", "Unused", "Committed")),
        ("UnusedSavingsPlan", "SavingsPlan", ("Savings Plan", "Unused", "Committed")),
        ("Purchase", "Reservation", ("Reservation", "", "Committed")),
        ("Usage", "Spot", ("", "", "Dynamic")),
    ],
)
def test_azures_commitments_are_used_unused_or_bought(
    charge_type: str, model: str, commitment: tuple[str, str, str]
) -> None:
    charge = charge_of(AZURE | {"ChargeType": charge_type, "PricingModel": model})
    assert (charge.commitment_type, charge.commitment_status, charge.pricing_category) == commitment


@pytest.mark.parametrize(
    ("change", "listed"),
    [
        ({"PayGPrice": "0"}, None),  # of what was bought
        ({"PayGPrice": "0", "CostInBillingCurrency": "0"}, Decimal(0)),
        ({"PayGPrice": ""}, None),
        ({"PricingCurrency": "USD"}, None),  # the bill's is EUR
        ({"PricingCurrency": "EUR"}, Decimal(2)),
        ({"PricingCurrency": "EUR", "exchangeRatePricingToBilling": "1"}, Decimal(2)),
        ({"PricingCurrency": "USD", "exchangeRatePricingToBilling": "0.92"}, Decimal("1.84")),
        ({"PricingCurrency": "USD", "exchangeRatePricingToBilling": ""}, None),
        ({"PricingCurrency": "USD", "exchangeRatePricingToBilling": "0"}, None),
        (
            {
                "PricingCurrency": "USD", "exchangeRatePricingToBilling": "150", "UnitOfMeasure": "100 Hours",
                "Quantity": "24", "PayGPrice": "9.6", "CostInBillingCurrency": "345.6",
            },
            Decimal("345.6"),
        ),
    ],
)  # fmt: skip
def test_azures_retail_price_is_a_list_cost_in_the_currency_of_the_bill(
    change: dict[str, str], listed: Decimal | None
) -> None:
    assert charge_of(AZURE | change).list_cost == listed


@pytest.mark.parametrize(
    ("unit", "quantity", "price", "cost", "contracted"),
    [
        ("100 Hours", "24", "9.6", "2.304", "2.304"),  # 24 hours
        ("100 Hours", "24", "9.6", "0.7", "2.304"),  # of a reservation
        ("100 Hours", "24", "0.096", "2.304", "2.304"),  # the price of one
        ("100 Hours", "0.24", "9.6", "2.304", "2.304"),  # 0.24 hundreds of hours
        ("10 Hours", "24", "0.096", "0.65", "2.304"),  # the price of one, and a reservation
        ("10 Hours", "-24", "0.96", "-2.304", "-2.304"),
        ("10K", "250000", "0.05", "1.24", "1.25"),
        ("1M Tokens", "3000000", "2", "6", "6"),
        ("10,000s", "20000", "0.05", "0.1", "0.1"),
        ("3 Hours", "24", "3", "24", "24"),
        ("1 GB/Month", "3", "2", "0.01", "6"),
        ("100 Hours", "24", "9.6", "0", None),  # free or covered: nothing tells of what the price is
        ("100 Hours", "24", "0", "0", "0"),
        ("1 Hour", "24", "0.096", "0", "2.304"),
        ("1 KB", "24", "2", "0.04", "48"),
        ("0 Hours", "24", "2", "0.04", "48"),
        ("Hours", "24", "2", "0.04", "48"),
        ("", "24", "2", "0.04", "48"),
    ],
)
def test_azures_price_is_of_one_or_of_as_many_as_the_unit_of_measure_says(
    unit: str, quantity: str, price: str, cost: str, contracted: str | None
) -> None:
    charge = charge_of(
        AZURE
        | {
            "UnitOfMeasure": unit, "Quantity": quantity, "UnitPrice": price, "PayGPrice": price,
            "CostInBillingCurrency": cost,
        }
    )  # fmt: skip
    right = None if contracted is None else Decimal(contracted)
    for told_cost in (charge.contracted_cost, charge.list_cost):
        assert (told_cost is None) == (right is None)
        assert round(told_cost or 0, 12) == (right or 0)


@pytest.mark.parametrize(
    ("change", "listed"),
    [
        ({}, Decimal("1.9")),
        ({"paygCostInBillingCurrency": "0"}, None),  # of what was bought
        ({"paygCostInBillingCurrency": "0", "CostInBillingCurrency": "0"}, Decimal(0)),
        ({"paygCostInBillingCurrency": ""}, None),
        ({"PricingCurrency": "EUR", "PayGPrice": "99"}, Decimal("1.9")),
    ],
)
def test_a_customer_agreement_tells_the_list_cost_in_the_currency_of_the_bill(
    change: dict[str, str], listed: Decimal | None
) -> None:
    row = AZURE | {"PricingCurrency": "USD", "paygCostInBillingCurrency": "1.9", "paygCostInUsd": "2.1"}
    assert charge_of(row | change).list_cost == listed


def test_a_refund_corrects() -> None:
    charge = charge_of(AZURE | {"ChargeType": "Refund"})
    assert (charge.category, charge.charge_class) == (Category.ADJUSTMENT, CORRECTION)


# --- Google Cloud -----------------------------------------------------------------------------------------------------

GCP = gcp(
    **{
        "invoice.month": "202611", "project.name": "Acme", "sku.id": "6B8F",
        "labels": '[{"key": "team", "value": "x"}]',
        "usage.amount": "1073741824", "usage.unit": "byte-seconds", "usage.amount_in_pricing_units": "1",
        "usage.pricing_unit": "gibibyte month", "cost_at_list": "2", "location.zone": "europe-west1-b",
    }
)  # fmt: skip
GCP_TOLD = {
    "sub_account_id": "acme", "service_name": "Compute Engine", "effective_cost": Decimal("1.5"),
    "contracted_cost": Decimal("1.5"), "list_cost": Decimal(2), "region_id": "europe-west1",
    "period": date(2026, 11, 1), "payer_account_id": "B-1", "sub_account_name": "Acme", "sku_id": "6B8F",
    "pricing_quantity": Decimal(1), "pricing_unit": "gibibyte month", "consumed_quantity": Decimal(1073741824),
    "consumed_unit": "byte-seconds", "availability_zone": "europe-west1-b", "tags": '{"team":"x"}',
}  # fmt: skip


@pytest.mark.parametrize("labels", ['[{"key": "team", "value": "x"}]', "[{'key': 'team', 'value': 'x'}]"])
def test_google_cloud_tells_every_field(labels: str) -> None:
    assert told(charge_of(GCP | {"labels": labels})) == GCP_TOLD


def test_google_cloud_of_parquet_has_records() -> None:
    row: Row = {}
    for name, value in GCP.items():
        first, _, second = name.partition(".")
        if second:
            row.setdefault(first, {})[second] = value
        else:
            row[name] = value
    row |= {"labels": [{"key": "team", "value": "x"}], "credits": [{"name": "a", "amount": 0.0}]}
    row["usage"] = {name: float(value) if "amount" in name else value for name, value in row["usage"].items()}
    bill = bill_of(parquet_of([row]))
    assert bill.problems == []
    assert told(next(charge for charge in bill.charges if charge.category == Category.USAGE)) == GCP_TOLD
    assert {charge.tags for charge in bill.charges} == {'{"team":"x"}'}


# --- Values that are odd ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{", "x", "[1]", "null", "[" * 3000, '"a"', "{}", "[]"])
def test_tags_that_are_none_are_none(text: str) -> None:
    assert charge_of(FOCUS | {"Tags": text}).tags == ""


@pytest.mark.parametrize("value", ["many", "NaN", "1e30", ""])
def test_a_quantity_that_is_no_number_is_unknown_and_the_cost_is_not(value: str) -> None:
    charge = charge_of(FOCUS | {"ConsumedQuantity": value})
    assert (charge.consumed_quantity, charge.amount) == (None, Decimal("1.5"))


@pytest.mark.parametrize(
    ("value", "quantity"),
    [
        (0.1, "0.1"), (-5.5, "-5.5"), (3.00000000000004, "3"), (1e12, "1000000000000"), (1e16, "10000000000000000"),
        (1e18, None), (float("nan"), None),
    ],
)  # fmt: skip
def test_quantities_that_are_doubles_have_ten_digits(value: float, quantity: str | None) -> None:
    charge = charge_of(FOCUS | {"ConsumedQuantity": value}, ConsumedQuantity=pa.float64())
    assert charge.consumed_quantity == (quantity and Decimal(quantity))
