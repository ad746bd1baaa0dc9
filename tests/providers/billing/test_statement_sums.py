"""Random statements in each layout: charges and what was left out are the statement, by account, to the last digit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.cost import LeftOutBecause
from optiinfra_dagster.providers.billing.exports.decimals import EXACT
from optiinfra_dagster.providers.billing.exports.reader import read_export
from tests.providers.billing.test_exports import Row, azure, cur, file_of, focus, gcp, text_of

NOVEMBER, LAST = date(2026, 11, 1), date(2026, 11, 20)
PAYER, MINE, ANOTHER = "payer", "aaaaaaaa-0000-0000-0000-000000000001", "another"
MAP = pa.map_(pa.string(), pa.string())


@dataclass(frozen=True)
class Line:
    """A line of a statement, whatever the layout; `credits` are of those that tell in a column what is taken off."""

    account: str
    day: date
    cost: Decimal
    kind: str
    provider: str
    currency: str
    credits: tuple[Decimal, ...]


def exactly(least: int, most: int, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(least, most, places=places)


lines = st.lists(
    st.builds(
        Line,
        st.sampled_from([MINE, MINE, ANOTHER, ""]),
        st.sampled_from([LAST - timedelta(days=n) for n in (0, 3, 19, 20, 51, 200, 788, 790, 791, 900, -1, -9)]),
        st.one_of(exactly(-500, 500, 10), exactly(-1, 1, 18), exactly(-(10**9), 10**9, 2), st.just(Decimal(0))),
        st.sampled_from(["Usage", "Purchase", "Tax", "Refund", "Credit"]),
        st.sampled_from(["AWS", "AWS", "Oracle", ""]),
        st.sampled_from(["USD", "USD", "EUR"]),
        st.lists(exactly(-5, 0, 6), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=25,
)


def focus_row(line: Line) -> Row:
    kind, of_class = ("Adjustment", "Correction") if line.kind == "Refund" else (line.kind, "")
    return focus(
        SubAccountId=line.account, BillingAccountId=PAYER, ChargePeriodStart=f"{line.day}T05:00:00Z",
        ChargePeriodEnd=f"{line.day}T06:00:00Z", BilledCost=str(line.cost), ChargeCategory=kind, ChargeClass=of_class,
        ProviderName=line.provider, BillingCurrency=line.currency, Tags='{"a":"b"}',
    )  # fmt: skip


_CUR_TYPES = {"Purchase": "Fee"}


def cur_row(line: Line) -> Row:
    return cur(
        line_item_usage_account_id=line.account, bill_payer_account_id=PAYER, line_item_currency_code=line.currency,
        line_item_usage_start_date=f"{line.day}T05:00:00Z", line_item_unblended_cost=str(line.cost),
        line_item_line_item_type=_CUR_TYPES.get(line.kind, line.kind), product='{"product_name":"Amazon EC2"}',
        resource_tags='{"user_team":"x"}', split_line_item_parent_resource_id="", line_item_usage_amount="1",
    )  # fmt: skip


def discounted_row(line: Line) -> Row:
    """As a Data Export has it without "manual discount compatibility"."""
    return cur_row(line) | {
        "line_item_net_unblended_cost": str(line.cost + sum(line.credits)) if line.credits else "",
        "discount_total_discount": str(sum(line.credits)),
    }


_LEGACY = {
    "line_item_usage_account_id": "lineItem/UsageAccountId", "bill_payer_account_id": "bill/PayerAccountId",
    "line_item_currency_code": "lineItem/CurrencyCode", "line_item_usage_start_date": "lineItem/UsageStartDate",
    "line_item_unblended_cost": "lineItem/UnblendedCost", "line_item_line_item_type": "lineItem/LineItemType",
    "line_item_product_code": "lineItem/ProductCode", "resource_tags": "resourceTags/user:team",
}  # fmt: skip


def legacy_row(line: Line) -> Row:
    row = cur_row(line)
    return {legacy: row[name] for name, legacy in _LEGACY.items()}


def azure_row(line: Line) -> Row:
    return azure(
        SubscriptionId=line.account, BillingAccountId=PAYER, Date=f"{line.day:%m/%d/%Y}", ChargeType=line.kind,
        CostInBillingCurrency=str(line.cost), BillingCurrencyCode=line.currency, Tags='"a": "b"', Quantity="1",
    )  # fmt: skip


def gcp_row(line: Line) -> Row:
    told = ", ".join(f'{{"name": "x", "amount": {amount}}}' for amount in line.credits)
    return gcp(
        **{"project.id": line.account}, billing_account_id=PAYER, usage_start_time=f"{line.day} 05:00:00 UTC",
        cost=str(line.cost), currency=line.currency, cost_type=line.kind.lower(), credits=f"[{told}]",
    )  # fmt: skip


def parquet(rows: Sequence[Row]) -> bytes:
    """Rows as AWS writes Parquet: costs as doubles or decimals, times as times, attributes and tags as maps."""
    columns = {}
    for name in rows[0]:
        values = [row[name] or None for row in rows]
        if name in {"BilledCost", "line_item_unblended_cost"}:
            columns[name] = pa.array([Decimal(value) for value in values if value], pa.decimal128(38, 18))
        elif name in {"ChargePeriodStart", "line_item_usage_start_date"}:
            times = [datetime.fromisoformat(value) for value in values if value]
            columns[name] = pa.array(times, pa.timestamp("ms", "UTC"))
        elif name in {"Tags", "resource_tags", "product"}:
            columns[name] = pa.array([[("product_name", "a"), ("team", "x")] for _ in values], MAP)
        else:
            columns[name] = pa.array(values, pa.string())
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def text(rows: Sequence[Row]) -> bytes:
    return text_of(rows).encode()


Layout: TypeAlias = tuple[Callable[[Line], Row], Callable[[Sequence[Row]], bytes]]
LAYOUTS: dict[str, Layout] = {
    "FOCUS in CSV": (focus_row, text),
    "FOCUS in Parquet": (focus_row, parquet),
    "CUR 2.0 in CSV": (cur_row, text),
    "CUR 2.0 in Parquet": (cur_row, parquet),
    "CUR 2.0 with discounts in columns": (discounted_row, text),
    "legacy CUR in CSV": (legacy_row, text),
    "Azure in CSV": (azure_row, text),
    "Google Cloud in CSV": (gcp_row, text),
}
Sums: TypeAlias = dict[tuple[str, str], Decimal]  # by account (or provider) and currency


def left_out_because(line: Line, over: date, account_charges: bool, names: Sequence[str]) -> LeftOutBecause | None:
    """Why a line is no charge of the customer; None where it is one."""
    if names and line.provider == "Oracle":
        return LeftOutBecause.ANOTHER_PROVIDER
    if not line.account and not account_charges:
        return LeftOutBecause.BILLING_ACCOUNT
    if line.account not in {MINE, ""}:
        return LeftOutBecause.ANOTHER_ACCOUNT
    if line.day > over:
        return LeftOutBecause.NOT_OVER
    return LeftOutBecause.TOO_OLD if line.day < LAST - timedelta(days=790) else None


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(drawn=lines, parts=st.integers(1, 3), account_charges=st.booleans(), month=st.booleans(), early=st.booleans())
def test_charges_and_what_was_left_out_are_the_statement(
    layout: str, drawn: list[Line], parts: int, account_charges: bool, month: bool, early: bool
) -> None:
    row_of, written = LAYOUTS[layout]
    names = ("aws",) if layout.startswith("FOCUS") else ()
    pieces = [piece for n in range(parts) if (piece := drawn[n::parts])]
    files = [file_of(written([row_of(line) for line in piece]), f"part-{n}") for n, piece in enumerate(pieces)]
    over = LAST - timedelta(days=2) if early else LAST
    bill = read_export(
        files, source_id="x", first=NOVEMBER, last=LAST, resources=[], provider_names=names,
        period=NOVEMBER if month else None, covers=(NOVEMBER, date(2026, 11, 30)), accounts={MINE},
        account_charges=account_charges,
        written=datetime(over.year, over.month, over.day + 1, 4, tzinfo=UTC) if early else None,
    )  # fmt: skip

    if names and all(line.provider == "Oracle" for line in drawn):
        assert (bill.charges, ["Oracle" in problem.message for problem in bill.problems]) == ([], [True])
        return
    assert bill.problems == []
    wanted, left, charged, found_left = (defaultdict[tuple[str, ...], Decimal](Decimal) for _ in range(4))
    with localcontext(EXACT):
        for line in drawn:
            amount = line.cost + (sum(line.credits) if layout.startswith("Google") or "discounts" in layout else 0)
            account, because = line.account or PAYER, left_out_because(line, over, account_charges, names)
            if because is None:
                wanted[account, line.day.isoformat(), line.currency] += amount
            else:
                whose = "Oracle" if because is LeftOutBecause.ANOTHER_PROVIDER else account
                left[because, whose, line.currency] += amount
        for charge in bill.charges:
            charged[charge.sub_account_id, charge.day.isoformat(), charge.currency] += charge.amount
        for part in bill.left_out:
            found_left[part.because, part.account_id, part.currency] += part.amount
        told, stated = defaultdict[str, Decimal](Decimal), defaultdict[str, Decimal](Decimal)
        for (*_, currency), amount in (*wanted.items(), *left.items()):
            stated[currency] += amount
        for total in bill.totals:
            told[total.currency] += total.amount
    assert charged == wanted
    assert found_left == left
    assert told == stated
    assert {total.day for total in bill.totals} <= bill.periods["x"]
    assert bill.read == {"x": [NOVEMBER + timedelta(days=n) for n in range((over - NOVEMBER).days + 1)]}
    assert {charge.period for charge in bill.charges} <= bill.periods["x"]
    assert not month or bill.periods == {"x": {NOVEMBER}}
