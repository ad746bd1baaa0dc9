"""The columns of Google's FOCUS exports, and what a query of them must name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.gcp.export_rows import FIELDS, Fields
from optiinfra_dagster.lab.service import ApiError

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.world import GcpExport

_TAG = (("key", "STRING"), ("value", "STRING"))
_OF_BOTH: Fields = {
    "AvailabilityZone": "STRING", "BilledCost": "NUMERIC", "BillingAccountId": "STRING", "BillingCurrency": "STRING",
    "BillingPeriodEnd": "TIMESTAMP", "BillingPeriodStart": "TIMESTAMP", "ChargeCategory": "STRING",
    "ChargeClass": "STRING", "ChargeDescription": "STRING", "ChargePeriodEnd": "TIMESTAMP",
    "ChargePeriodStart": "TIMESTAMP", "CommitmentDiscountId": "STRING", "ConsumedQuantity": "NUMERIC",
    "ConsumedUnit": "STRING", "ContractedCost": "NUMERIC", "EffectiveCost": "NUMERIC", "ListCost": "NUMERIC",
    "PricingQuantity": "NUMERIC", "PricingUnit": "STRING", "ProviderName": "STRING", "PublisherName": "STRING",
    "RegionId": "STRING", "ResourceId": "STRING", "ResourceName": "STRING", "ServiceName": "STRING", "SkuId": "STRING",
    "SubAccountId": "STRING", "x_CostType": "STRING", "x_ExportTime": "TIMESTAMP", "x_Location": "STRING",
    "x_Credits": (("Name", "STRING"), ("Amount", "NUMERIC"), ("Type", "STRING")),
}  # fmt: skip
_FIELDS: dict[str, Fields] = {
    "view": {
        **_OF_BOTH,
        "Tags": (*_TAG, ("x_type", "STRING"), ("x_inherited", "BOOLEAN")),
        "x_Project": (("id", "STRING"), ("number", "STRING"), ("name", "STRING")),
    },
    "table": {
        **_OF_BOTH,
        "x_Project": (("Id", "STRING"), ("Number", "STRING"), ("Name", "STRING")),
        **dict.fromkeys(("x_Labels", "x_ProjectLabels", "x_Tags"), (("Key", "STRING"), ("Value", "STRING"))),
    },
}


def fields(export: GcpExport) -> Fields:
    """The columns of a FOCUS export."""
    return {name: of for name, of in _FIELDS[export.focus or "view"].items() if name not in export.omit}


def refuse(sql: str, export: GcpExport) -> None:
    """Refuse a query that names a column which the export does not have, or one that its subquery does not make."""
    table = re.escape(f"`{export.table}`")
    inner = re.search(rf"\(SELECT (.*) FROM {table}( WHERE _PARTITIONTIME >= @partition)?\)", sql)  # noqa: S608
    if inner is None or (inner[2] is None) != (export.focus == "view"):
        raise ApiError(400, "invalidQuery", "The cloud lab knows a FOCUS export as a subquery, with its partition")
    here = {name.casefold() for name in fields(export)}
    every = {name for columns in _FIELDS.values() for name in columns}
    unknown = {name for name in every if name.casefold() not in here and re.search(rf"\b{name}\b", inner[1])}
    outer = sql.replace(inner[0], "")
    for name, parts in FIELDS.items():
        for part in [""] if isinstance(parts, str) else [part for part, _ in parts]:
            column = f"{name}.{part}".rstrip(".")
            is_named = re.search(rf"(?<![\w.@]){re.escape(column)}(?![\w.])", outer)
            if is_named and not all(f" AS {one}" in inner[1] for one in column.split(".")):
                unknown.add(column)
    if unknown:
        raise ApiError(400, "invalidQuery", f"Unrecognized name: {min(unknown)} at [1:1]")
