"""The two queries of a billing export in BigQuery: which days have newer rows, and what days consist of.

The second tells the lines of the customer's own projects, and of all others the sums by project, which costs nothing
more: BigQuery is paid by the columns that are read. Those of newer or detailed exports are read where there are some.
"""

from __future__ import annotations

from collections.abc import Collection

# What an export must have.
COLUMNS = (
    "billing_account_id", "service.description", "usage_start_time", "export_time", "project.id",
    "cost", "currency", "credits.amount",
)  # fmt: skip

# What else is read of each line, as the first of these columns that the table has a value in.
_TEXTS = {
    "account": ("billing_account_id",),
    "project_name": ("project.name",),
    "service": ("service.description",),
    "sku": ("sku.id",),
    "sku_name": ("sku.description",),
    "region": ("location.region", "location.location"),
    "zone": ("location.zone",),
    "resource_name": ("resource.name",),
    "resource_id": ("resource.global_name",),
    "cost_type": ("cost_type",),
    "invoice_month": ("invoice.month",),
    "usage_unit": ("usage.unit",),
    "pricing_unit": ("usage.pricing_unit",),
    "adjustment": ("adjustment_info.type", "adjustment_info.mode", "adjustment_info.id"),
    "seller": ("seller_name",),
    "transaction": ("transaction_type",),
    "commitment": ("subscription.instance_id",),
    "consumption_model": ("consumption_model.description",),
}
_LABELS = ("project.labels", "tags", "labels")  # where a key is in several, the last counts
_LABELS_OF = "ARRAY(SELECT AS STRUCT one.key, one.value FROM UNNEST({}) AS one)"
_NUMBERS = {"list_cost": "cost_at_list", "used": "usage.amount", "priced": "usage.amount_in_pricing_units"}

# Credits that lower what using something costs; the others, such as promotions, only lower what is paid for it.
# https://docs.cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage
DISCOUNTS = (
    "COMMITTED_USAGE_DISCOUNT", "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE", "FEE_UTILIZATION_OFFSET", "DISCOUNT",
    "SUSTAINED_USAGE_DISCOUNT", "SPENDING_BASED_DISCOUNT", "SUBSCRIPTION_BENEFIT", "RESELLER_MARGIN", "FREE_TIER",
)  # fmt: skip

_CHANGED = """
SELECT DISTINCT DATE(usage_start_time) AS day
FROM {rows}
WHERE {partition}usage_start_time >= @start AND usage_start_time < @end AND {newer}
    AND (project.id IS NULL OR project.id IN UNNEST(@projects))
"""
_EXPORTED_SINCE = "export_time >= @since"
_INVOICED_FROM = "invoice.month >= @month"

# `cost` and credits are floating point: each row's is made decimal, with 15 digits, before anything is added up, so
# that sums do not depend on the order. Each credit is a part of its line beside the cost. The second set is the sum of
# a day without groups, for the reconciliation.
_CHARGES = """
WITH lines AS (
    SELECT
        DATE(usage_start_time) AS day,
        currency,
        IFNULL(project.id, billing_account_id) AS project,
        project.id IS NULL AS of_account,
        IFNULL(project.id IN UNNEST(@projects), @account_charges) AS own,
        {texts},
        {labels} AS labels_json,
        {numbers},
        ROUND(CAST(cost AS BIGNUMERIC), 15) AS cost,
        ARRAY(
            SELECT AS STRUCT
                IFNULL({credit_type}, '') AS of_type,
                IFNULL({credit_name}, '') AS name,
                ROUND(CAST(one.amount AS BIGNUMERIC), 15) AS amount
            FROM UNNEST(credits) AS one
        ) AS credit_parts
    FROM {rows}
    WHERE {partition}usage_start_time >= @start AND usage_start_time < @end
        AND DATE(usage_start_time) IN UNNEST(@days)
),
parts AS (
    SELECT
        day, currency, project, of_account, own, part.is_credit, part.line,
        {dimensions},
        part.credit_type, part.credit_name, part.amount, part.effective, part.list_cost, part.used, part.priced
    FROM lines, UNNEST(ARRAY_CONCAT(
        [STRUCT(
            FALSE AS is_credit, 1 AS line, '' AS credit_type, '' AS credit_name, cost AS amount,
            cost + IFNULL(
                (SELECT SUM(c.amount) FROM UNNEST(credit_parts) AS c WHERE c.of_type IN UNNEST(@discounts)), 0
            ) AS effective,
            list_cost AS list_cost, used AS used, priced AS priced
        )],
        ARRAY(
            SELECT AS STRUCT
                own AS is_credit, 0 AS line, IF(own, c.of_type, '') AS credit_type, IF(own, c.name, '') AS credit_name,
                c.amount AS amount, IF(c.of_type IN UNNEST(@discounts), 0, c.amount) AS effective,
                IF(list_cost IS NULL, NULL, CAST(0 AS BIGNUMERIC)) AS list_cost,
                CAST(NULL AS BIGNUMERIC) AS used, CAST(NULL AS BIGNUMERIC) AS priced
            FROM UNNEST(credit_parts) AS c
        )
    )) AS part
)
SELECT
    day, currency, GROUPING(project) AS is_total, project, of_account, own, is_credit, credit_type, credit_name,
    {names},
    SUM(amount) AS amount, COUNTIF(amount IS NULL) AS unknown, SUM(effective) AS effective, SUM(line) AS line_count,
    IF(COUNTIF(list_cost IS NULL) = 0, SUM(list_cost), NULL) AS list_cost,
    IF(COUNTIF(used IS NULL) = 0, SUM(used), NULL) AS used,
    IF(COUNTIF(priced IS NULL) = 0, SUM(priced), NULL) AS priced
FROM parts
GROUP BY GROUPING SETS (
    (day, currency, project, of_account, own, is_credit, credit_type, credit_name, {names}),
    (day, currency)
)
"""


# `rows` is a table between backticks, or a subquery that has its columns.


def exported_since(rows: str, partition: str) -> str:
    """The query of the days that have rows which were exported since a time."""
    return _CHANGED.format(rows=rows, partition=partition, newer=_EXPORTED_SINCE)


def invoiced_from(rows: str, partition: str) -> str:
    """The query of the days that have rows which are invoiced in a month, or later."""
    return _CHANGED.format(rows=rows, partition=partition, newer=_INVOICED_FROM)


def charges(rows: str, partition: str, columns: Collection[str]) -> str:
    """The query of what days consist of, by what the table has of `columns`."""
    texts = {name: [one for one in candidates if one in columns] for name, candidates in _TEXTS.items()}
    numbers = {name: column if column in columns else "NULL" for name, column in _NUMBERS.items()}
    labels = [_LABELS_OF.format(of) for of in _LABELS if of in columns]
    names = [*_TEXTS, "labels_json"]
    return _CHARGES.format(
        rows=rows,
        partition=partition,
        texts=",\n        ".join(
            f"COALESCE({', '.join(of)}, '') AS {name}" if of else f"'' AS {name}" for name, of in texts.items()
        ),
        labels=f"TO_JSON_STRING(ARRAY_CONCAT({', '.join(labels)}))" if labels else "''",
        numbers=",\n        ".join(f"ROUND(CAST({of} AS BIGNUMERIC), 15) AS {name}" for name, of in numbers.items()),
        credit_type="one.type" if "credits.type" in columns else "''",
        credit_name="one.name" if "credits.name" in columns else "''",
        dimensions=",\n        ".join(f"IF(own, {name}, '') AS {name}" for name in names),
        names=", ".join(names),
    )
