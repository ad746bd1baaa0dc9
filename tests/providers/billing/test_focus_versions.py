"""FOCUS 1.2, 1.3 and 1.4 as three clouds write them: every sum and every word is that of the file, to the last digit.

The samples are rows that `focus-data-toolkit` 0.14.1 (MIT licence) generated, and converted from 1.3 to 1.4. They have
usage, purchases and taxes, both kinds of commitments, used and not, and instances split among workloads (Allocated*).
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.billing.exports.reader import read_export

SAMPLES = Path(__file__).parent / "focus_samples"
NAMES = {"aws": ("aws", "amazon"), "azure": ("microsoft", "azure"), "gcp": ("google",)}
MAY = date(2026, 5, 1)
COSTS = {
    "BilledCost": "amount", "EffectiveCost": "effective_cost", "ListCost": "list_cost",
    "ContractedCost": "contracted_cost",
}  # fmt: skip
WORDS = {
    "SubAccountId": "sub_account_id", "SubAccountName": "sub_account_name", "BillingAccountId": "payer_account_id",
    "BillingAccountName": "payer_account_name", "InvoiceId": "invoice_id", "InvoiceIssuerName": "invoice_issuer",
    "ChargeCategory": "category", "ChargeClass": "charge_class", "ChargeFrequency": "charge_frequency",
    "PricingCategory": "pricing_category", "PricingUnit": "pricing_unit", "ConsumedUnit": "consumed_unit",
    "SkuId": "sku_id", "SkuPriceId": "sku_price_id", "CommitmentDiscountId": "commitment_id",
    "CommitmentDiscountType": "commitment_type", "CommitmentDiscountStatus": "commitment_status",
    "RegionId": "region_id", "AvailabilityZone": "availability_zone", "ResourceId": "resource_id", "Tags": "tags",
}  # fmt: skip
Sums = dict[str, Decimal]


def spelled(column: str, text: str) -> str:
    """A word of a file as a charge has it: paths of Azure without case, tags with texts only."""
    if column in {"ResourceId", "CommitmentDiscountId"} and text.startswith("/"):
        return text.casefold()
    if column == "Tags" and text:
        tags = {key: value if isinstance(value, str) else json.dumps(value) for key, value in json.loads(text).items()}
        return json.dumps(tags, sort_keys=True, separators=(",", ":"))
    return text


@pytest.mark.parametrize("name", [f"{cloud}-{version}" for cloud in NAMES for version in ("1.2", "1.3", "1.4")])
def test_every_sum_and_word_of_a_file_is_that_of_its_charges(name: str) -> None:
    path = SAMPLES / f"{name}.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    bill = read_export([ExportFile.local(path)], source_id="x", first=MAY, last=date(2026, 6, 20), resources=[],
                       provider_names=NAMES[name.partition("-")[0]])  # fmt: skip

    assert (bill.problems, bill.left_out, bill.periods) == ([], [], {"x": {MAY}})
    for column, word in WORDS.items():
        for cost, amount in COSTS.items():
            wanted, found = Sums(), Sums()
            for row in rows:
                key = spelled(column, row[column])
                wanted[key] = wanted.get(key, Decimal(0)) + Decimal(row[cost])
            for charge in bill.charges:
                key = str(getattr(charge, word))
                found[key] = found.get(key, Decimal(0)) + getattr(charge, amount)
            assert found == wanted, (column, cost)


@pytest.mark.parametrize("name", [f"{cloud}-{version}" for cloud in NAMES for version in ("1.2", "1.3", "1.4")])
@pytest.mark.parametrize("kind", ["Pricing", "Consumed"])
def test_quantities_of_a_unit_are_those_of_the_file(name: str, kind: str) -> None:
    path = SAMPLES / f"{name}.csv"
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row[f"{kind}Quantity"]:
                wanted[row[f"{kind}Unit"]] += Decimal(row[f"{kind}Quantity"])
    bill = read_export([ExportFile.local(path)], source_id="x", first=MAY, last=date(2026, 6, 20), resources=[])
    found: dict[str, Decimal] = defaultdict(Decimal)
    for charge in bill.charges:
        quantity = getattr(charge, f"{kind.lower()}_quantity")
        if quantity is not None:
            found[getattr(charge, f"{kind.lower()}_unit")] += quantity
    assert found == wanted


@pytest.mark.parametrize("version", ["1.3", "1.4"])
def test_an_instance_that_is_split_among_workloads_is_charged_once(version: str) -> None:
    with (SAMPLES / f"aws-{version}.csv").open(newline="") as file:
        split = [row for row in csv.DictReader(file) if row["AllocatedMethodId"]]
    bill = read_export([ExportFile.local(SAMPLES / f"aws-{version}.csv")], source_id="x", first=MAY,
                       last=date(2026, 6, 20), resources=[])  # fmt: skip
    hosts = {row["ResourceId"] for row in split}
    assert len(split) > len(hosts) > 0
    # FOCUS: the parts stand in place of the charge that they are of, and have its ResourceId.
    assert sum(charge.amount for charge in bill.charges if charge.resource_id in hosts) == sum(
        Decimal(row["BilledCost"]) for row in split
    )
