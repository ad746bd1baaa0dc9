"""Adds up the rows of a billing export: charges, the total of each statement, and what was left out."""

from __future__ import annotations

from copy import copy
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from optiinfra_dagster.model.cost import Category, Charge, LeftOut, LeftOutBecause, Total
from optiinfra_dagster.providers.billing import finality, service_types
from optiinfra_dagster.providers.billing.exports import words
from optiinfra_dagster.providers.billing.exports.decimals import LAST_DIGIT, NARROW, plain
from optiinfra_dagster.providers.billing.exports.sums import Lines, Numbers, Sums, Words, rows_of
from optiinfra_dagster.providers.billing.exports.times import day_of, time_of
from optiinfra_dagster.providers.billing.finality import is_final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from optiinfra_dagster.providers.billing.exports.resources import KnownResources

AMOUNTS = ("amount", "effective", "list", "contracted", "pricing_quantity", "consumed_quantity")
BECAUSE = tuple(LeftOutBecause)  # in a row: 0 where it is a charge, else one more than the reason's place here
# Reasons that lie in a row's day: the month that it names may be one whose statement was not read.
OF_ODD_DAYS = (LeftOutBecause.NOT_OVER, LeftOutBecause.OUTSIDE, LeftOutBecause.TOO_OLD)
# Text fields: the name of the column in formats.py, and of the charge's field.
_TEXTS = {
    "sub_account_name": "sub_account_name", "payer": "payer_account_id", "payer_name": "payer_account_name",
    "zone": "availability_zone", "class": "charge_class", "frequency": "charge_frequency", "publisher": "publisher",
    "issuer": "invoice_issuer", "invoice": "invoice_id", "sku": "sku_id", "sku_price": "sku_price_id",
    "pricing_category": "pricing_category", "pricing_unit": "pricing_unit", "consumed_unit": "consumed_unit",
    "commitment": "commitment_id", "commitment_type": "commitment_type", "commitment_status": "commitment_status",
    "tags": "tags", "usage": "description",
}  # fmt: skip
NUMBERS = ("period", "start", "end")


def _filtered(column: Any, mask: Any) -> Any:
    """The rows of a column where `mask` is true."""
    if mask.all():
        return column
    return column[mask] if isinstance(column, np.ndarray) else column.filter(pa.array(mask))


class ExportSums:
    """The sums of an export's rows: of those that are charges, and of those that are left out."""

    def __init__(self, known: KnownResources, accounts: Collection[str]) -> None:
        self._known = known
        spelled: dict[str, Callable[[str], str]] = {
            "sub_account": partial(words.sub_account, own=accounts),
            "service": words.service_of,
            "region": words.region_id,
            "resource": known.id_of,
            "category": words.category_of,
            "currency": str.upper,
            "class": words.class_of,
            "frequency": words.frequency_of,
            "pricing_category": words.pricing_category_of,
            "commitment": words.resource_path,
            "commitment_type": words.commitment_type_of,
            "commitment_status": words.commitment_status_of,
            "tags": partial(words.tags_of, spelled=known.tag_key),
            "usage": words.usage_of,
            **dict.fromkeys(("sub_account_name", "payer_name", "sku_price"), words.told),
        }
        names = ("sub_account", "service", "region", "resource", "category", "currency", "kind", "provider", *_TEXTS)
        self.words = {name: Words(spelled.get(name, str)) for name in names}
        self.numbers = {name: Numbers() for name in NUMBERS}
        self._lines = Lines((*names, *NUMBERS))
        self._odd = [BECAUSE.index(because) + 1 for because in OF_ODD_DAYS]
        self._begin()

    def _begin(self) -> None:
        self._sums, self._totals = Sums(("line", "day"), AMOUNTS), Sums(("period", "currency"), ("amount",))
        self._left = Sums(("because", "sub_account", "provider", "period", "currency"), ("amount",))
        self._periods: set[int] = set()
        self.rows: dict[str, int] = {}  # of the charges, by provider
        self._without_cost = 0  # rows that would be charges
        self._told: dict[tuple[date, str], Decimal] = {}  # of each statement, exactly, as far as it is told

    def beside(self) -> ExportSums:
        """Sums of rows with the same words, which these may `take`."""
        others = copy(self)
        others._begin()
        return others

    def take(self, others: ExportSums) -> None:
        """Add what was added to sums that were made `beside` these."""
        for mine, theirs in ((self._sums, others._sums), (self._totals, others._totals), (self._left, others._left)):
            mine.take(theirs)

    def add(
        self, codes: dict[str, Any], days: Any, amounts: Mapping[str, pa.Array], because: Any, rows: int = 1
    ) -> None:
        """Add rows, each of which stands for `rows` of the file. A row whose `because` is -1 is ignored."""
        count = len(days)
        columns = {**codes, "day": days, "because": because, **amounts, "rows": np.full(count, rows, np.int64)}
        mine, stated = because == 0, because >= 0
        self._totals.add({name: _filtered(columns[name], stated) for name in ("period", "currency", "amount", "rows")})
        of_months = codes["period"] if mine.all() else codes["period"][~np.isin(because, self._odd)]
        self._periods.update(np.flatnonzero(np.bincount(of_months)).tolist())
        if not mine.all():
            left = because > 0
            self._left.add(
                {
                    name: _filtered(columns[name], left)
                    for name in ("because", "sub_account", "provider", "period", "currency", "amount", "rows")
                }
            )
            columns = {name: _filtered(column, mine) for name, column in columns.items()}
            count = int(np.count_nonzero(mine))
        if not count:
            return
        self._without_cost += columns["amount"].null_count
        columns |= {name: pa.nulls(count, NARROW) for name in AMOUNTS if name not in amounts}
        self._sums.add({**columns, "line": self._lines.numbers(columns, count)})

    def lacking(self) -> str:
        """What a person should know of rows without a cost; nothing where there are none."""
        if not self._without_cost:
            return ""
        told = "1 row has" if self._without_cost == 1 else f"{self._without_cost:,} rows have"
        return f"{told} no cost: what that is of is left out. Run the export again, or ask its cloud why"

    def totals(self, source_id: str) -> list[Total]:
        """The sum of each statement's cost column, made apart from the charges and from what was left out."""
        currencies, found = self.words["currency"].values, dict[tuple[date, str], Decimal]()
        for period, currency, amount, _ in rows_of(self._totals.table()):
            if amount is not None and currencies[currency]:
                key = self._month_of(period), currencies[currency]
                found[key] = found.get(key, Decimal(0)) + amount
        return [Total(month, source_id, currency, plain(amount)) for (month, currency), amount in sorted(found.items())]

    def _month_of(self, period: int) -> date:
        """The statement that a row is counted in: its own or, where its day is odd, the nearest one that was read."""
        known, own = sorted(self.periods()), day_of(self.numbers["period"].values[period])
        return min(max(own, known[0]), known[-1])

    def _to_last_digit(self, statement: tuple[date, str], amount: Decimal) -> Decimal:
        """A part of a statement to the last digit that is stored; what that leaves goes to the part that comes next."""
        before = self._told.get(statement, Decimal(0))
        after = self._told[statement] = before + amount
        return after.quantize(LAST_DIGIT) - before.quantize(LAST_DIGIT)

    def left_out(self, source_id: str) -> list[LeftOut]:
        """The sums that no charge has, by the statement's month, reason, account or provider, and currency.

        To be called after `charges`: the last of them has what rounding leaves of the statement.
        """
        found: dict[tuple[date, LeftOutBecause, str, str], tuple[Decimal, int]] = {}
        accounts, providers, currencies = (self.words[name].values for name in ("sub_account", "provider", "currency"))
        for because, account, provider, period, currency, amount, rows in rows_of(self._left.table()):
            if amount is None or not currencies[currency]:
                continue
            reason = BECAUSE[because - 1]
            whose = providers[provider] if reason is LeftOutBecause.ANOTHER_PROVIDER else accounts[account]
            key = self._month_of(period), reason, whose, currencies[currency]
            before = found.get(key, (Decimal(0), 0))
            found[key] = before[0] + amount, before[1] + rows
        return [
            LeftOut(
                period,
                source_id,
                whose,
                reason,
                plain(self._to_last_digit((period, currency), amount)),
                currency,
                rows,
                period,
            )
            for (period, reason, whose, currency), (amount, rows) in sorted(found.items())
        ]

    def periods(self) -> set[date]:
        """The months of the statements that were read, as the rows name them; those of odd days do not count."""
        values = self.numbers["period"].values
        return {day_of(values[code]) for code in self._periods or range(len(values))}

    def charges(self, source_id: str, last: date, *, amortized: bool) -> Iterator[Charge]:
        """The sums as charges, in an order that does not depend on that of the rows.

        Digits beyond those that are stored go from one charge of a statement to the next, and then to what is left out
        of it, so that all of them still add up to its sum in each currency.
        """
        table = self._sums.table()
        columns, values, order = self._ordered()
        table = table.append_column("rank", pa.array(order, pa.int32()).take(table["line"]))
        table = table.sort_by([("rank", "ascending"), ("day", "ascending")]).drop_columns(["rank"])
        several = len(np.unique(columns["provider"][table["line"].to_numpy()])) > 1
        head, head_of = dict[str, Any](), -1
        final: dict[date, bool] = {}
        rounded = any(not pa.types.is_decimal128(table.schema.field(name).type) for name in AMOUNTS)
        for line, number, amount, effective, listed, contracted, priced, consumed, rows in rows_of(table):
            if line != head_of:
                of_line = {name: values[name][codes[line]] for name, codes in columns.items()}
                head, head_of = self._head(of_line, several=several, amortized=amortized), line
            provider = values["provider"][columns["provider"][line]]
            self.rows[provider] = self.rows.get(provider, 0) + rows
            currency = head["currency"]
            if amount is None or not currency:  # nothing in no currency is no charge
                continue
            charged, others = amount, (effective, listed, contracted, priced, consumed)
            if rounded:
                charged = self._to_last_digit((head["period"], currency), amount)
                others = tuple(other and other.quantize(LAST_DIGIT) for other in others)
            period = head["period"]
            if period not in final:
                final[period] = is_final(period, last + timedelta(days=1), finality.EXPORT)
            yield Charge(
                day=day_of(number),
                billing_account_id=source_id,
                amount=charged,
                effective_cost=charged if amortized else others[0],
                list_cost=others[1],
                contracted_cost=others[2],
                pricing_quantity=others[3],
                consumed_quantity=others[4],
                is_final=bool(head["invoice_id"]) or final[period],
                **head,
            )

    def _ordered(self) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """The lines' columns, the values that these number, and each line's place in the order of its values."""
        columns = self._lines.columns()
        values: dict[str, Any] = {name: words.values for name, words in self.words.items()}
        values |= {name: numbers.values for name, numbers in self.numbers.items()}
        ranked = []
        for name, codes in columns.items():
            places = np.empty(len(values[name]), np.int64)
            places[sorted(range(len(values[name])), key=values[name].__getitem__)] = np.arange(len(values[name]))
            ranked.append(places[codes])
        order = np.empty(len(ranked[0]), np.int64)
        order[np.lexsort(ranked[::-1])] = np.arange(len(order))
        return columns, values, order

    def _head(self, line: Mapping[str, Any], *, several: bool, amortized: bool) -> dict[str, Any]:
        """The fields of a charge that are the same for all charges of a line."""
        known = self._known.resource(line["resource"])
        of_type = known.resource_type.value if known else service_types.of_export(line["service"], line["kind"])
        marks = {
            "matched_by": self._known.matched_by(line["resource"]),
            "provider_name": line["provider"] if several else "",
            "cost": "amortized" if amortized else "",
        }
        return {
            "sub_account_id": line["sub_account"],
            "service_name": line["service"],
            "currency": line["currency"],
            "category": Category(line["category"]),
            "cost_type": of_type,
            "resource_id": line["resource"],
            "region_id": line["region"] or (known.region if known else ""),
            "metadata": {word: mark for word, mark in marks.items() if mark},
            "period": day_of(line["period"]),
            "charge_start": time_of(line["start"]),
            "charge_end": time_of(line["end"]),
            **{ours: line[name] for name, ours in _TEXTS.items()},
        }
