"""Billing exports in files (FOCUS, AWS CUR, Azure, Google Cloud) as a `Bill`, whatever their size.

Rows are added up as they pass, by day, sub account, service, region, resource, category and currency. Amounts are
exact: text is read as the decimal that it shows, a double as the shortest decimal that stands for it. Sums are rounded
only to the 18 digits after the point that are stored, so that the lines of a day and currency still add up to its sum.

A charge belongs to the day that its charge period begins on, also where the period is longer (a month's fee or tax):
this is how the clouds' own daily views have it, and a fee that grows during its month restates one day instead of all.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.model.cost import Bill, Category, Charge, Total
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing import finality, service_types
from optiinfra_dagster.providers.billing.exports import formats
from optiinfra_dagster.providers.billing.exports.decimals import (
    EXACT,
    LAST_DIGIT,
    NARROW,
    UnreadableError,
    credit_amounts,
    decimals,
    exactly,
    filled,
    plain,
    trimmed,
)  # fmt: skip
from optiinfra_dagster.providers.billing.exports.files import ExportFile, opened
from optiinfra_dagster.providers.billing.exports.resources import KnownResources
from optiinfra_dagster.providers.billing.exports.sums import Sums, Words, rows_of
from optiinfra_dagster.providers.billing.finality import is_final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from optiinfra_dagster.model.inventory import Resource

_NOT_DATA = ("/", ".json", ".yml", ".yaml", ".sql", ".md5", "_success", ".html")  # what clouds write beside an export


def read_export(
    files: Iterable[ExportFile],
    *,
    source_id: str,
    first: date,
    last: date,
    resources: Sequence[Resource],
    provider_names: Sequence[str] = (),
) -> Bill:
    """The charges of the days from `first` to `last` in the files of one export.

    Give the files of one statement: of months that were written several times, the newest. With
    `provider_names`, a FOCUS file's rows of other providers are left out: those whose ProviderName begins with none of
    them, in small letters. `Bill.read` has the days from the first to the last that the files have
    charges of, for an export need not begin with its month; nothing, and a problem, if a file could not be read.
    `Bill.totals` are the sums of the cost column by day, made apart from the charges.
    """
    reader = Reader(source_id, first, last, resources, provider_names)
    for file in files:
        if not file.name.casefold().endswith(_NOT_DATA):
            reader.read(file)
    return reader.bill()


class Reader:
    """Adds up the rows of the files of one export.

    `rows` counts those that were added, by FOCUS' ProviderName ("" where there is none), once the bill was made.
    """

    def __init__(
        self, source_id: str, first: date, last: date, resources: Sequence[Resource], provider_names: Sequence[str] = ()
    ) -> None:
        self._source_id, self._first, self._last = source_id, first, last
        self._provider_names = tuple(provider_names)
        self._known = KnownResources(resources)
        self._words = {
            "sub_account": Words(formats.sub_account),
            "service": Words(),
            "region": Words(formats.region_id),
            "resource": Words(self._known.id_of),
            "category": Words(formats.category_of),
            "currency": Words(str.upper),
            "kind": Words(),
            "provider": Words(),
        }
        self._line_types, self._pricing = Words(formats.canonical), Words(formats.canonical)
        self._days: dict[str, int] = {}
        self._sums, self._totals = Sums((*self._words, "day")), Sums(("day", "currency"))
        self._layout: tuple[formats.Format, str] | None = None
        self._oldest, self._newest = 1 << 30, -1
        self._amortized = self._actual = False
        self._others: set[str] = set()
        self.rows: dict[str, int] = {}
        self.problems: list[Problem] = []

    def read(self, file: ExportFile) -> None:
        """Add a file's rows; what is wrong with it becomes a problem."""
        names: Sequence[str] = ()
        held: dict[str, list[int]] = {}
        try:
            with opened(file) as columns:
                names = columns.names
                layout, held = formats.recognised(names)
                if self._layout is None:
                    self._layout = layout, file.name
                if layout is not self._layout[0]:
                    raise CloudError(
                        Cause.CONFIG,
                        f"is {layout.name}, and {self._layout[1]} is {self._layout[0].name}: the same costs would be "
                        "counted twice. Keep one export in a folder.",
                    )
                wanted = sorted({place for places in held.values() for place in places})
                for arrays in columns.read(wanted):
                    by_place = dict(zip(wanted, arrays, strict=True))
                    self._add({field: [by_place[place] for place in places] for field, places in held.items()})
        except UnreadableError as error:
            place = names[held[error.field][0]]
            self._refuse(file, Cause.BUG, f"column {place}: {error}")
        except pa.ArrowException as error:
            self._refuse(file, Cause.BUG, f"a column is of a kind that is not read: {str(error).splitlines()[0]}")
        except CloudError as error:
            self._refuse(file, error.cause, str(error))

    def _refuse(self, file: ExportFile, cause: Cause, text: str) -> None:
        self.problems.append(Problem(self._source_id, "", "", cause, f"{file.name}: {text}"))

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def _add(self, held: dict[str, list[pa.Array]]) -> None:
        """Add the rows of a batch; `held` has the arrays of each of our fields."""
        for field, arrays in held.items():
            if field != "credits" and any(pa.types.is_nested(array.type) for array in arrays):
                raise UnreadableError(field, "has lists or records, not single values")
        days = self._day_numbers(held["day"][0])
        if not len(days):
            return
        keys = {name: words.codes(held.get(name, ()), len(days)) for name, words in self._words.items()}
        keys["day"] = days
        mine = self._of_provider(held.get("provider", ()), len(days))
        if not mine.all():
            self._others |= {self._words["provider"].values[code] for code in np.unique(keys["provider"][~mine])}
        if not mine.any():
            return
        self._oldest, self._newest = min(self._oldest, int(days[mine].min())), max(self._newest, int(days[mine].max()))
        mine &= (days >= _day_number(self._first)) & (days <= _day_number(self._last))
        amounts = {name: decimals(held[name][0], name) for name in ("amount", "effective", "list") if held.get(name)}
        if held.get("ri_effective") or held.get("sp_effective"):
            amounts["effective"] = self._amortization(held, amounts["amount"])
        if held.get("pricing"):
            self._look_for_amortized(held, amounts["amount"])
        final = filled(held["invoice"][0]) if held.get("invoice") else None
        self._group(keys, amounts, final, mine)
        if held.get("credits"):
            self._add_credits(held["credits"][0], keys, mine)

    def _group(
        self, keys: dict[str, Any], amounts: dict[str, pa.Array], final: pa.Array | None, mine: Any, rows: int = 1
    ) -> None:
        """Add up charges, of which each stands for `rows` of the file."""
        count, unknown = len(mine), keys["currency"] == 0
        if unknown.any() and pc.any(pc.and_(pa.array(unknown), pc.not_equal(amounts["amount"], Decimal(0)))).as_py():
            raise UnreadableError("currency", "is empty in a row that has a cost")
        nothing = pa.nulls(count, NARROW)
        table = pa.table(
            {
                **keys,
                "amount": amounts["amount"],
                "effective": amounts.get("effective", nothing),
                "list": amounts.get("list", nothing),
                "final": pa.array(np.zeros(count, bool)) if final is None else final,
                "rows": np.full(count, rows, np.int64),
            }
        )
        if not mine.all():
            table = table.filter(pa.array(mine))
        self._sums.add(table)
        self._totals.add(table)

    def _of_provider(self, arrays: Sequence[pa.Array], count: int) -> Any:
        """True for each row of the provider that is asked for, by any of its names; without a name, for all.

        What is bought on a cloud's marketplace has the seller as FOCUS' ServiceProviderName, and the cloud as its
        InvoiceIssuerName; what is bought from a reseller has them the other way round.
        """
        words, mine, named = self._words["provider"], np.zeros(count, bool), np.zeros(count, bool)
        for array in arrays if self._provider_names else ():
            codes = words.codes([array], count)
            mine |= np.array([name.casefold().startswith(self._provider_names) for name in words.values])[codes]
            named |= codes > 0
            if mine.all():
                break
        return mine | ~named

    def _day_numbers(self, array: pa.Array) -> Any:
        """Each row's UTC day, as days since 1970-01-01."""
        if array.null_count:
            raise UnreadableError("day", "is empty in a row")
        if pa.types.is_date(array.type):
            return array.cast(pa.date32()).cast(pa.int32()).to_numpy()
        if pa.types.is_timestamp(array.type):
            # A timestamp with a zone is stored in UTC, one without is UTC in all exports.
            micros = array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64())
            return (micros.to_numpy() // 86_400_000_000).astype(np.int32)
        coded = trimmed(array).dictionary_encode()
        for text in coded.dictionary.to_pylist():
            if text not in self._days:
                try:
                    self._days[text] = formats.day_number(text)
                except ValueError:
                    raise UnreadableError("day", f"{text[:40]!r} is not a time that is known") from None
        numbers = np.array([self._days[text] for text in coded.dictionary.to_pylist()], np.int32)
        return numbers[coded.indices.to_numpy()]

    # --- What the clouds say in their own ways ------------------------------------------------------------------------

    def _amortization(self, held: dict[str, list[pa.Array]], amount: pa.Array) -> pa.Array:
        """CUR: the amortized cost, by the formula of the CUR queries of AWS' Well-Architected Labs."""
        types = self._line_types.codes(held["category"], len(amount))
        of_type = {word: types == code for code, word in enumerate(self._line_types.values)}
        nothing = pa.nulls(len(amount), NARROW)
        zero = pc.fill_null(nothing, Decimal(0))

        def of(name: str) -> pa.Array:
            return decimals(held[name][0], name) if held.get(name) else nothing

        makers: dict[str, Callable[[], pa.Array]] = {
            "savingsplancoveredusage": lambda: of("sp_effective"),
            "savingsplanrecurringfee": lambda: exactly(pc.subtract, of("sp_committed"), of("sp_used")),
            "savingsplannegation": lambda: zero,
            "savingsplanupfrontfee": lambda: zero,
            "discountedusage": lambda: of("ri_effective"),
            "rifee": lambda: exactly(pc.add, of("ri_unused_upfront"), of("ri_unused_fee")),
        }
        if held.get("ri_arn") and "fee" in of_type:
            of_type["fee"] &= filled(held["ri_arn"][0]).to_numpy(zero_copy_only=False)
            makers["fee"] = lambda: zero
        effective = amount
        for word, make in makers.items():
            if word in of_type and of_type[word].any():
                effective = exactly(pc.if_else, pa.array(of_type[word]), make(), effective)
        return effective

    def _look_for_amortized(self, held: dict[str, list[pa.Array]], amount: pa.Array) -> None:
        """Azure: note whether the rows are of actual or of amortized costs; the two have the same header."""
        pricing = self._pricing.codes(held["pricing"], len(amount))
        types = self._line_types.codes(held.get("category", ()), len(amount))
        words, kinds = self._line_types.values, self._pricing.values
        committed = np.array([kind in {"reservation", "savingsplan"} for kind in kinds])[pricing]
        usage = np.array([word == "usage" for word in words])[types]
        purchase = np.array([word == "purchase" for word in words])[types]
        unused = np.array([word in {"unusedreservation", "unusedsavingsplan"} for word in words])[types]
        costs = pc.fill_null(pc.not_equal(amount, Decimal(0)), fill_value=False).to_numpy(zero_copy_only=False)
        self._amortized = self._amortized or bool((unused | (committed & usage & costs)).any())
        self._actual = self._actual or bool((committed & purchase & costs).any())

    def _add_credits(self, array: pa.Array, keys: dict[str, Any], mine: Any) -> None:
        """Google Cloud: credits are a list in each row; each becomes a charge of its own."""
        if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
            array = pa.array([credit_amounts(text) for text in trimmed(array).to_pylist()], pa.list_(pa.string()))
        amounts = pc.list_flatten(array)
        if pa.types.is_struct(amounts.type):
            amounts = pc.struct_field(amounts, "amount")
        owners = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
        of_credits = {name: codes[owners] for name, codes in keys.items()}
        of_credits["category"] = np.full(len(owners), self._words["category"].code(Category.CREDIT), np.int32)
        if len(owners):
            self._group(of_credits, {"amount": decimals(amounts, "credits")}, None, mine[owners], rows=0)

    # --- The bill -----------------------------------------------------------------------------------------------------

    def bill(self) -> Bill:
        """The bill that was read; nothing but the problems where a file could not be."""
        if self._amortized and self._actual:
            text = (
                "the files have both actual costs (purchases of reservations) and amortized costs (reservations spread "
                "over usage): the same costs would be counted twice. Keep the export of actual costs in this folder."
            )
            self.problems.append(Problem(self._source_id, "", "", Cause.CONFIG, text))
        if self._layout is None and not self.problems:
            text = "no file of an export was found. Wait for the first delivery, or correct the source's folder."
            self.problems.append(Problem(self._source_id, "", "", Cause.CONFIG, text))
        if self._newest < 0 and self._others:
            names = ", ".join(sorted(self._others)[:5])
            wanted = self._provider_names[0]
            text = f"the export has rows of {names} only, and none of {wanted}. Correct the source's folder."
            self.problems.append(Problem(self._source_id, "", "", Cause.CONFIG, text))
        bill = Bill(problems=self.problems)
        if self.problems:
            return bill
        with localcontext(EXACT):
            bill.charges = self._charges()
            totals = [
                Total(formats.day_of(day), self._source_id, self._words["currency"].values[currency], plain(amount))
                for day, currency, amount, *_ in rows_of(self._totals.table())
                if amount is not None and currency
            ]
        bill.totals = sorted(totals, key=lambda total: (total.day, total.currency))
        days = range(max(self._oldest, _day_number(self._first)), min(self._newest, _day_number(self._last)) + 1)
        bill.read = {self._source_id: [formats.day_of(day) for day in days]}
        return bill

    def _charges(self) -> list[Charge]:
        """The sums as charges, in an order that does not depend on that of the rows."""
        table, values = self._sums.table(), dict[str, list[str]]()
        for place, (name, words) in enumerate(self._words.items()):
            values[name], ranks = words.ranked()
            table = table.set_column(place, name, pa.array(ranks, pa.int32()).take(table[name]))
        table = table.sort_by([(name, "ascending") for name in ("day", *self._words)])
        several = len(table["provider"].unique()) > 1
        categories = [Category(word) for word in values["category"]]
        known = [self._known.resource(word) for word in values["resource"]]
        found_by = [self._known.matched_by(word) for word in values["resource"]]
        notes: dict[tuple[str, str], dict[str, str | int | float | bool | None]] = {}
        days: dict[int, tuple[date, bool]] = {}
        exact: dict[tuple[int, str], Decimal] = {}
        rounded = not pa.types.is_decimal128(table.schema.field("amount").type)
        charges = []
        accounts, services, regions, resources, _, currencies, kinds, providers = values.values()
        for (
            account, service, region, resource, category, currency, kind, provider,
            number, amount, effective, listed, final, rows,
        ) in rows_of(table):  # fmt: skip
            name = providers[provider]
            self.rows[name] = self.rows.get(name, 0) + rows
            if amount is None or not currencies[currency]:  # nothing in no currency is no charge
                continue
            charged = amount
            if rounded:  # what it takes from one charge of a day, the next gets
                before = exact.get((number, currencies[currency]), Decimal(0))
                after = exact[number, currencies[currency]] = before + amount
                charged = after.quantize(LAST_DIGIT) - before.quantize(LAST_DIGIT)
                effective, listed = (cost and cost.quantize(LAST_DIGIT) for cost in (effective, listed))  # noqa: PLW2901
            noted = found_by[resource], name if several else ""
            if noted not in notes:
                marks = {"matched_by": noted[0], "provider_name": noted[1], "cost": "amortized" * self._amortized}
                notes[noted] = {word: mark for word, mark in marks.items() if mark}
            if number not in days:
                day = formats.day_of(number)
                days[number] = day, is_final(day, self._last + timedelta(days=1), finality.EXPORT)
            matched = known[resource]
            of_type = (
                matched.resource_type.value if matched else service_types.of_export(services[service], kinds[kind])
            )
            charges.append(
                Charge(
                    day=days[number][0],
                    billing_account_id=self._source_id,
                    sub_account_id=accounts[account],
                    service_name=services[service],
                    amount=charged,
                    currency=currencies[currency],
                    category=categories[category],
                    cost_type=of_type,
                    effective_cost=charged if self._amortized else effective,
                    list_cost=listed,
                    resource_id=resources[resource],
                    region_id=regions[region] or (matched.region if matched else ""),
                    is_final=final or days[number][1],
                    metadata=notes[noted],
                )
            )
        return charges


def _day_number(day: date) -> int:
    return formats.day_number(day.isoformat())
