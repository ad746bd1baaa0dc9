"""The rows and columns of a billing export of the lab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.world import GcpExport

BILLING_ACCOUNT = "01A2B3-C4D5E6-F7A8B9"


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A row of an export. `resource` is the inventory's id of what it is of, which the row may tell in another form."""

    day: date
    exported: datetime
    project: str  # "" for a charge of the whole billing account
    service: str
    region: str
    cost: Decimal
    credits: tuple[tuple[str, str, Decimal], ...] = ()  # type, name and amount
    cost_type: str = "regular"
    currency: str = "USD"
    resource: str = ""
    resource_name: str = ""
    global_name: str = ""
    month: str = ""  # of its invoice; "" for that of its day
    sku: str = ""
    sku_name: str = ""
    zone: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    hours: int = 0  # that were used, 0 where nothing was
    adjustment: str = ""

    @property
    def amount(self) -> Decimal:
        """What is paid for it."""
        return self.cost + sum((amount for _, _, amount in self.credits), Decimal(0))

    def text(self, name: str) -> str:
        """The text of a column, by its name."""
        of: dict[str, str] = {
            "billing_account_id": BILLING_ACCOUNT,
            "project.name": self.project.title(),
            "service.description": self.service,
            "sku.id": self.sku,
            "sku.description": self.sku_name,
            "location.region": self.region,
            "location.location": self.region,
            "location.zone": self.zone,
            "resource.name": self.resource_name,
            "resource.global_name": self.global_name,
            "cost_type": self.cost_type,
            "invoice.month": self.month or f"{self.day:%Y%m}",
            "usage.unit": "seconds" if self.hours else "",
            "usage.pricing_unit": "hour" if self.hours else "",
            "adjustment_info.type": self.adjustment,
            "transaction_type": "GOOGLE",
        }
        return of.get(name, "")


Fields: TypeAlias = Mapping[str, str | tuple[tuple[str, str], ...]]
"""Columns by name: a type, or the names and types of a record's parts."""

FIELDS: Fields = {
    "billing_account_id": "STRING",
    "service": (("id", "STRING"), ("description", "STRING")),
    "sku": (("id", "STRING"), ("description", "STRING")),
    "usage_start_time": "TIMESTAMP",
    "usage_end_time": "TIMESTAMP",
    "project": (("id", "STRING"), ("number", "STRING"), ("name", "STRING"), ("labels", "RECORD")),
    "labels": (("key", "STRING"), ("value", "STRING")),
    "tags": (("key", "STRING"), ("value", "STRING"), ("inherited", "BOOLEAN"), ("namespace", "STRING")),
    "location": (("location", "STRING"), ("country", "STRING"), ("region", "STRING"), ("zone", "STRING")),
    "resource": (("name", "STRING"), ("global_name", "STRING")),
    "export_time": "TIMESTAMP",
    "cost": "FLOAT",
    "currency": "STRING",
    "usage": (
        ("amount", "FLOAT"), ("unit", "STRING"), ("amount_in_pricing_units", "FLOAT"), ("pricing_unit", "STRING"),
    ),
    "credits": (("name", "STRING"), ("amount", "FLOAT"), ("type", "STRING")),
    "invoice": (("month", "STRING"),),
    "cost_type": "STRING",
    "cost_at_list": "FLOAT",
    "adjustment_info": (("id", "STRING"), ("mode", "STRING"), ("type", "STRING")),
    "transaction_type": "STRING",
    "seller_name": "STRING",
    "subscription": (("instance_id", "STRING"),),
    "consumption_model": (("id", "STRING"), ("description", "STRING")),
}  # fmt: skip
_REPEATED = (
    "credits",
    "labels",
    "tags",
    "project.labels",
    "Tags",
    "x_Credits",
    "x_Labels",
    "x_ProjectLabels",
    "x_Tags",
)


def columns_of(export: GcpExport) -> set[str]:
    """The columns of a detailed or standard export, those of records as `project.id`."""
    names = names_of(FIELDS)
    detailed = {name for name in names if name.startswith("resource.")}
    return names - set(export.omit) - (set() if export.detailed else detailed)


def names_of(fields: Fields) -> set[str]:
    """The names of columns, those of records as `project.id`."""
    return {
        f"{name}.{part}" if part else name
        for name, parts in fields.items()
        for part in ([name_of_part for name_of_part, _ in parts] if isinstance(parts, tuple) else [""])
    }


def schema_of(columns: set[str], of: Fields = FIELDS) -> list[dict[str, Any]]:
    """The schema of a table that has these columns."""
    fields: list[dict[str, Any]] = []
    for name, parts in of.items():
        if isinstance(parts, str):
            if name in columns:
                fields.append({"name": name, "type": parts, "mode": "NULLABLE"})
        elif within := [_field(f"{name}.{part}", of) for part, of in parts if f"{name}.{part}" in columns]:
            fields.append({"name": name, "type": "RECORD", "mode": _mode(name), "fields": within})
    return fields


def _field(name: str, of_type: str) -> dict[str, Any]:
    field: dict[str, Any] = {"name": name.rpartition(".")[2], "type": of_type, "mode": _mode(name)}
    if of_type == "RECORD":
        field["fields"] = [{"name": part, "type": "STRING", "mode": "NULLABLE"} for part in ("key", "value")]
    return field


def _mode(name: str) -> str:
    return "REPEATED" if name in _REPEATED else "NULLABLE"
