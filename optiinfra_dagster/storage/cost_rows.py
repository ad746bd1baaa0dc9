"""The rows of cost_metrics: charges of bills with the days that were read, and estimates of windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from optiinfra_dagster.model.cost import LeftOut, LeftOutBecause, by_month
from optiinfra_dagster.model.months import first_of_month
from optiinfra_dagster.model.text import to_json
from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.storage.rows import table_of
from optiinfra_dagster.storage.schema import BILLED, COST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

    from optiinfra_dagster.model.cost import Bill, Charge, Estimate
    from optiinfra_dagster.model.inventory import Resource

# The type of the rows that say that a day of an account was read; the cloud's own total is in their metadata.
IMPORT_MARKER = "reading"

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class ImportedDay:
    """A day of an account that is in the bill; `total` is the cloud's own total of it, None where it has none."""

    day: date
    billing_account_id: str
    sub_account_id: str
    currency: str = ""
    total: Decimal | None = None
    settled: bool = True


LEFT_OUT = "left_out"
_SUMMED = ("amount", "effective_cost", "list_cost", "contracted_cost", "pricing_quantity", "consumed_quantity")
_FOCUS_TEXTS = (
    "charge_class", "charge_frequency", "sku_id", "sku_price_id", "pricing_category", "pricing_unit", "consumed_unit",
    "commitment_id", "commitment_type", "commitment_status", "availability_zone", "sub_account_name", "invoice_id",
    "invoice_issuer", "publisher", "payer_account_id", "payer_account_name",
)  # fmt: skip
_identity = attrgetter(
    "day", "billing_account_id", "sub_account_id", "service_name", "resource_id", "region_id", "cost_type", "category",
    "description", "currency", "billing_period", "charge_start", "charge_end", "tags", *_FOCUS_TEXTS,
)  # fmt: skip
_COPIED = (
    "resource_id", "cost_type", "currency", "service_name", "region_id", "sub_account_id", "billing_account_id",
    "billing_period", *_FOCUS_TEXTS,
)  # fmt: skip
# What a row that is no charge has in a column that it lacks; an empty text in all others.
_EMPTY = {**dict.fromkeys((*_SUMMED, "billed_cost")), "is_final": True, "is_settled": True, "matched": False}


def charge_rows(
    customer_id: str,
    provider: str,
    bill: Bill,
    imported: Sequence[ImportedDay],
    resources: Mapping[str, Resource],
    collected_at: datetime,
) -> pa.Table:
    """A bill as rows of `BILLED`, each in the slice of its day: charges, what was left out, and days that were read.

    `resources` are those of the inventory by id: their
    names are the charges', and so are their tags where a line has none of its own.
    """
    columns = _one_below_another(
        _charge_columns(bill, resources), _left_out_columns(bill.left_out), _marker_columns(imported, bill)
    )
    days = columns["timestamp"]
    return table_of(
        BILLED,
        len(days),
        **columns,
        window_start=days,
        customer_id=customer_id,
        provider=provider,
        cost_kind="billed",
        estimated_by="",
        collected_at=collected_at,
        first_seen=collected_at,
        last_changed=collected_at,
    )


def _charge_columns(bill: Bill, resources: Mapping[str, Resource]) -> dict[str, list[Any]]:
    """The columns of the charges; those that differ in nothing but their amounts are one row."""
    alike: dict[object, list[Charge]] = {}
    for charge in bill.charges:
        alike.setdefault(_identity(charge), []).append(charge)
    lines = list(alike.values())
    heads = [line[0] for line in lines]
    matched = [resources.get(head.resource_id) for head in heads]
    tags, tags_from = _tags(heads, matched)
    sums = {name: [_sum(getattr(charge, name) for charge in line) for line in lines] for name in _SUMMED}
    return {
        **sums,
        **{name: [getattr(head, name) for head in heads] for name in _COPIED},
        "billed_cost": sums["amount"],
        "timestamp": [head.start for head in heads],
        "instance_id": [head.resource_id for head in heads],
        "is_final": [all(charge.is_final for charge in line) for line in lines],
        "is_settled": [head.day not in bill.arriving.get(head.billing_account_id, ()) for head in heads],
        "charge_period_start": [head.charge_start or head.start for head in heads],
        "charge_period_end": [head.charge_end or head.start + _DAY for head in heads],
        "charge_category": [head.category for head in heads],
        "charge_description": [head.description for head in heads],
        "resource_name": [resource.resource_name if resource else "" for resource in matched],
        "matched": [resource is not None for resource in matched],
        "tags": tags,
        "tags_from": tags_from,
        "metadata": [to_json(head.metadata) for head in heads],
    }


def _left_out_columns(left_out: Sequence[LeftOut]) -> dict[str, list[Any]]:
    """The columns of what is not among the charges: its account, amount, and why."""
    days = [midnight(part.day) for part in left_out]
    return {
        "timestamp": days,
        "cost_type": [LEFT_OUT] * len(left_out),
        "amount": [_exact(part.amount) for part in left_out],
        "currency": [part.currency for part in left_out],
        "charge_period_start": days,
        "charge_period_end": [day + _DAY for day in days],
        "charge_description": [part.because.value for part in left_out],
        "sub_account_id": [part.account_id for part in left_out],
        "billing_account_id": [part.billing_account_id for part in left_out],
        "billing_period": [part.billing_period for part in left_out],
        "metadata": [to_json({"rows": part.rows}) for part in left_out],
    }


def _marker_columns(imported: Sequence[ImportedDay], bill: Bill) -> dict[str, list[Any]]:
    """The columns of the days that were read, with the cloud's totals of them."""
    days = [midnight(marker.day) for marker in imported]
    return {
        "timestamp": days,
        "cost_type": [IMPORT_MARKER] * len(imported),
        "is_settled": [marker.settled for marker in imported],
        "amount": [Decimal(0)] * len(imported),
        "currency": [marker.currency for marker in imported],
        "charge_period_start": days,
        "charge_period_end": [day + _DAY for day in days],
        "sub_account_id": [marker.sub_account_id for marker in imported],
        "billing_account_id": [marker.billing_account_id for marker in imported],
        "billing_period": [first_of_month(marker.day) for marker in imported],
        "metadata": [to_json(_total_of(marker, bill)) for marker in imported],
    }


def _one_below_another(charges: Mapping[str, list[Any]], *others: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns of the charges, continued by those of other rows; what these lack is empty there."""
    return {
        name: [*column, *chain.from_iterable(_column(rows, name) for rows in others)]
        for name, column in charges.items()
    }


def _column(rows: Mapping[str, list[Any]], name: str) -> list[Any]:
    return rows[name] if name in rows else [_EMPTY.get(name, "")] * len(rows["timestamp"])


def left_out_in(rows: pa.Table) -> list[LeftOut]:
    """What was left out, by rows of `BILLED`; the sums of its months."""
    names = ("billing_period", "billing_account_id", "sub_account_id", "charge_description", "amount", "currency")
    columns = rows.filter(pc.equal(rows["cost_type"], LEFT_OUT)).select([*names]).to_pydict().values()
    return by_month(
        LeftOut(month, bill, account, LeftOutBecause(because), amount, currency)
        for month, bill, account, because, amount, currency in zip(*columns, strict=True)
    )


def _total_of(marker: ImportedDay, bill: Bill) -> dict[str, str | bool]:
    """The cloud's total of a day or statement, and whether it is told apart from the lines; empty where it has none."""
    if marker.total is None:
        return {}
    place = marker.day, marker.billing_account_id, marker.currency
    apart = any(t.is_apart for t in bill.totals if (t.day, t.billing_account_id, t.currency) == place)
    of = "statement" if marker.billing_account_id in bill.periods else "day"
    return {"total": f"{marker.total:f}", "of": of, "apart": apart}


def _tags(heads: Sequence[Charge], matched: Sequence[Resource | None]) -> tuple[list[str], list[str]]:
    """The tags of each charge as JSON, and where they are from."""
    tags, tags_from = [], []
    for head, resource in zip(heads, matched, strict=True):
        own = head.tags if head.tags not in {"", "{}"} else ""
        of_resource = to_json(resource.tags) if not own and resource is not None and resource.tags else ""
        tags.append(own or of_resource)
        tags_from.append(FROM_LINE if own else FROM_INVENTORY if of_resource else "")
    return tags, tags_from


FROM_LINE, FROM_INVENTORY = "line", "inventory"


def estimate_rows(
    customer_id: str,
    provider: str,
    window: datetime,
    estimates: Sequence[Estimate],
    estimated_by: str,
    collected_at: datetime,
) -> pa.Table:
    """The estimates of a window as rows of `COST`."""
    resources = [estimate.resource for estimate in estimates]
    amounts = [estimate.amount for estimate in estimates]
    tags = [to_json(resource.tags) if resource.tags else "" for resource in resources]
    return table_of(
        COST,
        len(estimates),
        timestamp=window,
        window_start=window,
        customer_id=customer_id,
        provider=provider,
        instance_id=[r.resource_id for r in resources],
        cost_type=[r.resource_type for r in resources],
        cost_kind="estimated",
        estimated_by=estimated_by,
        is_final=False,
        is_settled=True,
        amount=amounts,
        currency=[estimate.currency for estimate in estimates],
        billed_cost=None,
        effective_cost=None,
        list_cost=amounts,
        contracted_cost=None,
        pricing_quantity=None,
        consumed_quantity=None,
        charge_period_start=window,
        charge_period_end=window + WINDOW,
        charge_category="Usage",
        charge_description="",
        service_name=[estimate.service_name for estimate in estimates],
        resource_id=[r.resource_id for r in resources],
        resource_name=[r.resource_name for r in resources],
        matched=True,
        region_id=[r.region for r in resources],
        sub_account_id=[r.account_id for r in resources],
        billing_account_id=[r.account_id for r in resources],
        billing_period=first_of_month(window.date()),
        tags=tags,
        tags_from=[FROM_INVENTORY if tag else "" for tag in tags],
        **dict.fromkeys(_FOCUS_TEXTS, ""),
        metadata=[to_json({"priced": estimate.priced}) for estimate in estimates],
        collected_at=collected_at,
        first_seen=collected_at,
        last_changed=collected_at,
    )


def midnight(day: date) -> datetime:
    """The start of a day, zoned UTC: the slice of what was charged on it."""
    return datetime.combine(day, time(), UTC)


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """A sum, unknown where a part is."""
    known = list(amounts)
    if None in known:
        return None
    total = Decimal(0)
    for amount in known:
        total = _DIGITS.add(total, amount)  # type: ignore[arg-type]
    return _exact(total)


_LAST_DIGIT = Decimal("1e-18")  # of `AMOUNT`
_DIGITS = Context(prec=60)  # 38 are stored; a binary fraction has more


def _exact(amount: Decimal) -> Decimal:
    """An amount as it is; rounded where it has more digits than the table, as a binary fraction of an export may."""
    exponent = amount.as_tuple().exponent
    return amount.quantize(_LAST_DIGIT, context=_DIGITS) if isinstance(exponent, int) and exponent < -18 else amount
