"""Google's FOCUS export in BigQuery as the rows of its other exports, so that one query reads all of them.

There are two, with the same extensions `x_*`: a view over the detailed export, of FOCUS 1.0, for which Google publishes
the SQL, and a table that Google fills itself, of FOCUS 1.2. Both have the credits (`x_Credits`) that are in BilledCost,
the project (`x_Project`; the view's SubAccountId is the billing account) and the time of each row's export. The view's
PricingQuantity is that of a price, not of what was used, so it is not read.

https://cloud.google.com/resources/google-cloud-focus and
https://docs.cloud.google.com/billing/docs/how-to/export-data-bigquery-tables
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

# What a FOCUS export must have; by one of them it is known.
COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodStart", "ChargePeriodStart", "ServiceName",
    "x_CostType", "x_Credits.Amount", "x_ExportTime", "x_Project.Id",
)  # fmt: skip
MARK = "ChargePeriodStart"

# Each column of Google's other exports: what it is of a FOCUS row, and the columns that this takes.
_OF_FOCUS: dict[str, tuple[str, tuple[str, ...]]] = {
    "billing_account_id": ("BillingAccountId", ("BillingAccountId",)),
    "service.description": ("ServiceName", ("ServiceName",)),
    "sku.id": ("SkuId", ("SkuId",)),
    "sku.description": ("ChargeDescription", ("ChargeDescription",)),
    "usage_start_time": ("ChargePeriodStart", ("ChargePeriodStart",)),
    "export_time": ("x_ExportTime", ("x_ExportTime",)),
    "project.id": ("x_Project.Id", ("x_Project.Id",)),
    "project.name": ("x_Project.Name", ("x_Project.Name",)),
    "location.location": ("x_Location", ("x_Location",)),
    "location.region": ("RegionId", ("RegionId",)),
    "location.zone": ("AvailabilityZone", ("AvailabilityZone",)),
    "resource.name": ("ResourceName", ("ResourceName",)),
    "resource.global_name": ("ResourceId", ("ResourceId",)),
    # So that what is paid adds up to BilledCost, whatever it was rounded to.
    "cost": (
        "BilledCost - IFNULL((SELECT SUM(one.Amount) FROM UNNEST(x_Credits) AS one), 0)",
        ("BilledCost", "x_Credits.Amount"),
    ),
    "cost_at_list": ("ListCost", ("ListCost",)),
    "currency": ("BillingCurrency", ("BillingCurrency",)),
    "credits.name": ("one.Name", ("x_Credits.Name",)),
    "credits.amount": ("one.Amount", ("x_Credits.Amount",)),
    "credits.type": ("one.Type", ("x_Credits.Type",)),
    "usage.amount": ("ConsumedQuantity", ("ConsumedQuantity",)),
    "usage.unit": ("ConsumedUnit", ("ConsumedUnit",)),
    "cost_type": ("x_CostType", ("x_CostType",)),
    # A month begins at midnight of Pacific time, or of UTC: by noon it is the same one in both.
    "invoice.month": (
        "FORMAT_TIMESTAMP('%Y%m', TIMESTAMP_ADD(BillingPeriodStart, INTERVAL 12 HOUR))",
        ("BillingPeriodStart",),
    ),
    "adjustment_info.type": ("IF(ChargeClass IS NULL, NULL, 'CORRECTION')", ("ChargeClass",)),
    "transaction_type": ("IF(STARTS_WITH(PublisherName, 'Google'), 'GOOGLE', NULL)", ("PublisherName",)),
    "seller_name": ("IF(STARTS_WITH(PublisherName, 'Google'), NULL, PublisherName)", ("PublisherName",)),
    "subscription.instance_id": ("CommitmentDiscountId", ("CommitmentDiscountId",)),
    # The table has what was given to a thing, to its project, and by an organization; the view has all in one, with
    # labels of Google's own.
    "labels": (
        "ARRAY(SELECT AS STRUCT one.Key AS key, one.Value AS value FROM UNNEST(x_Labels) AS one)", ("x_Labels.Key",)
    ),
    "project.labels": (
        "ARRAY(SELECT AS STRUCT one.Key AS key, one.Value AS value FROM UNNEST(x_ProjectLabels) AS one)",
        ("x_ProjectLabels.Key",),
    ),
    "tags": (
        "ARRAY(SELECT AS STRUCT one.Key AS key, one.Value AS value FROM UNNEST(x_Tags) AS one)", ("x_Tags.Key",)
    ),
}  # fmt: skip
_LABELS_OF_VIEW = (
    "ARRAY(SELECT AS STRUCT one.key AS key, one.value AS value FROM UNNEST(Tags) AS one WITH OFFSET AS place "
    "WHERE one.x_type != 'system_label' ORDER BY IF(one.x_type = 'label', 1, 0), place)"
)


def lacking(columns: Collection[str]) -> list[str]:
    """The columns that a FOCUS export must have and does not; BigQuery's names have no case."""
    known = _caseless(columns)
    return [name for name in COLUMNS if name.casefold() not in known]


def rows(table: str, partition: str, columns: Collection[str]) -> tuple[str, set[str]]:
    """A subquery that has the rows of a FOCUS export as Google's other exports have them, and which columns it has.

    `partition` is a condition that leaves out old partitions; empty where there are none.
    """
    known = _caseless(columns)
    expressions = {name: what for name, (what, of) in _OF_FOCUS.items() if known.issuperset(map(str.casefold, of))}
    if "labels" not in expressions and "tags.x_type" in known:
        expressions["labels"] = _LABELS_OF_VIEW
    records, selected = defaultdict[str, list[str]](list), []
    for name, what in expressions.items():
        record, _, part = name.partition(".")
        if part:
            records[record].append(f"{what} AS {part}")
        else:
            selected.append(f"{what} AS {record}")
    for record, parts in records.items():
        of = ", ".join(parts)
        selected.append(
            f"ARRAY(SELECT AS STRUCT {of} FROM UNNEST(x_Credits) AS one) AS credits"  # noqa: S608 - names of here
            if record == "credits"
            else f"STRUCT({of}) AS {record}"
        )
    where = f" WHERE {partition}" if partition else ""
    return f"(SELECT {', '.join(selected)} FROM `{table}`{where})", set(expressions)  # noqa: S608 - a checked name


def _caseless(names: Collection[str]) -> set[str]:
    return {name.casefold() for name in names}
