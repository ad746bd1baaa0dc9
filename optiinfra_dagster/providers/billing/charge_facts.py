"""What each source of bills tells of a charge, beside its day, account, service, amount and currency.

What a source does not tell stays empty, or NULL. Names are those of `model.cost.Charge`.
"""

from __future__ import annotations

from collections.abc import Mapping

TOLD: Mapping[str, tuple[str, ...]] = {
    "aws Cost Explorer": ("effective_cost", "payer_account_id", "sub_account_name"),
    "azure Cost Management": ("region_id", "resource_id"),
    "gcp BigQuery export": (
        "availability_zone", "charge_class", "charge_frequency", "commitment_id", "consumed_quantity", "consumed_unit",
        "contracted_cost", "description", "effective_cost", "list_cost", "payer_account_id", "period",
        "pricing_category", "pricing_quantity", "pricing_unit", "publisher", "region_id", "resource_id", "sku_id",
        "sub_account_name", "tags",
    ),
    "vultr API": (
        "charge_end", "charge_start", "consumed_quantity", "consumed_unit", "description", "effective_cost",
        "invoice_id", "invoice_issuer", "payer_account_id", "period", "pricing_quantity", "pricing_unit", "publisher",
        "region_id", "resource_id",
    ),
}  # fmt: skip

CATEGORIES: Mapping[str, str] = {
    "aws Cost Explorer": "Tax and Purchase by the service; Credit where a service is negative on a day; else Usage",
    "azure Cost Management": "Credit where the amount is negative; else Usage",
    "gcp BigQuery export": "Tax and Adjustment by the type of cost; each credit is a Credit; Purchase for commitments",
    "vultr API": "Tax by the words of the line; Credit for discounts and negative lines; else Usage",
}
