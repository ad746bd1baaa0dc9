"""Billing exports in files (FOCUS, AWS CUR, Azure, Google Cloud) as a `Bill`, whatever their size.

Rows are added up as they pass, by day, sub account, service, region, resource, category and currency. Amounts are
exact: text is read as the decimal that it shows, a double as the shortest decimal that stands for it. Sums are rounded
only to the 18 digits after the point that are stored, so that the lines of a day and currency still add up to its sum.

A charge belongs to the day that its charge period begins on, also where the period is longer (a month's fee or tax):
this is how the clouds' own daily views have it, and a fee that grows during its month restates one day instead of all.
"""

from __future__ import annotations

import ast
import json
import re
from contextlib import suppress
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation, localcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.model.cost import Bill, Category, Charge, Total
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing import finality, service_types
from optiinfra_dagster.providers.billing.exports import formats
from optiinfra_dagster.providers.billing.exports.files import ExportFile, opened
from optiinfra_dagster.providers.billing.exports.resources import KnownResources
from optiinfra_dagster.providers.billing.finality import is_final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from optiinfra_dagster.model.inventory import Resource

__all__ = ["ExportFile", "Reader", "read_export"]

EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)  # of every sum in here
_LAST_DIGIT = Decimal("1e-18")  # of cost_metrics
_NOT_DATA = ("/", ".json", ".yml", ".yaml", ".sql", ".md5", "_success", ".html")  # what clouds write beside an export


def read_export(
    files: Iterable[ExportFile],
    *,
    source_id: str,
    first: date,
    last: date,
    resources: Sequence[Resource],
    provider: str = "",
) -> Bill:
    """The charges of the days from `first` to `last` in the files of one export.

    Give the files of one statement: of months that were written several times, the newest. `provider` leaves out the
    rows of other providers of a FOCUS file. `Bill.read` has the days from the first to the last that the files have
    charges of, for an export need not begin with its month; nothing, and a problem, if a file could not be read.
    `Bill.totals` are the sums of the cost column by day, made apart from the charges.
    """
    reader = Reader(source_id, first, last, resources, provider)
    for file in files:
        if not file.name.casefold().endswith(_NOT_DATA):
            reader.read(file)
    return reader.bill()


class Reader:
    """Adds up the rows of the files of one export.

    `rows` counts those that were added, by FOCUS' ProviderName ("" where there is none), once the bill was made.
    """

    def __init__(
        self, source_id: str, first: date, last: date, resources: Sequence[Resource], provider: str = ""
    ) -> None:
        self._source_id, self._first, self._last, self._provider = source_id, first, last, provider
        self._known = KnownResources(resources)
        self._words = {
            "sub_account": _Words(formats.sub_account),
            "service": _Words(),
            "region": _Words(formats.region_id),
            "resource": _Words(self._known.id_of),
            "category": _Words(formats.category_of),
            "currency": _Words(str.upper),
            "kind": _Words(),
            "provider": _Words(),
        }
        self._line_types, self._pricing = _Words(formats.canonical), _Words(formats.canonical)
        self._days: dict[str, int] = {}
        self._sums, self._totals = _Sums((*self._words, "day")), _Sums(("day", "currency"))
        self._found: tuple[formats.Format, str] | None = None
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
                found, held = formats.recognised(names)
                if self._found is None:
                    self._found = found, file.name
                if found is not self._found[0]:
                    raise CloudError(
                        Cause.CONFIG,
                        f"is {found.name}, and {self._found[1]} is {self._found[0].name}: the same costs would be "
                        "counted twice. Keep one export in a folder.",
                    )
                wanted = sorted({place for places in held.values() for place in places})
                for arrays in columns.read(wanted):
                    by_place = dict(zip(wanted, arrays, strict=True))
                    self._add({field: [by_place[place] for place in places] for field, places in held.items()})
        except _UnreadableError as error:
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
                raise _UnreadableError(field, "has lists or records, not single values")
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
        mine &= (days >= _number(self._first)) & (days <= _number(self._last))
        amounts = {name: decimals(held[name][0], name) for name in ("amount", "effective", "list") if held.get(name)}
        if held.get("ri_effective") or held.get("sp_effective"):
            amounts["effective"] = self._amortization(held, amounts["amount"])
        if held.get("pricing"):
            self._look_for_amortized(held, amounts["amount"])
        final = _filled(held["invoice"][0]) if held.get("invoice") else None
        self._group(keys, amounts, final, mine)
        if held.get("credits"):
            self._add_credits(held["credits"][0], keys, mine)

    def _group(
        self, keys: dict[str, Any], amounts: dict[str, pa.Array], final: pa.Array | None, mine: Any, rows: int = 1
    ) -> None:
        """Add up charges, of which each stands for `rows` of the file."""
        count, unknown = len(mine), keys["currency"] == 0
        if unknown.any() and pc.any(pc.and_(pa.array(unknown), pc.not_equal(amounts["amount"], Decimal(0)))).as_py():
            raise _UnreadableError("currency", "is empty in a row that has a cost")
        nothing = pa.nulls(count, _NARROW)
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
        """Which rows are of the provider that is asked for, by any of their names; without a name, all are.

        What is bought on a cloud's marketplace has the seller as FOCUS' ServiceProviderName, and the cloud as its
        InvoiceIssuerName; what is bought from a reseller has them the other way round.
        """
        words, mine, named = self._words["provider"], np.zeros(count, bool), np.zeros(count, bool)
        for array in arrays if self._provider else ():
            codes = words.codes([array], count)
            mine |= np.array([formats.is_of(self._provider, name) for name in words.values])[codes]
            named |= codes > 0
            if mine.all():
                break
        return mine | ~named

    def _day_numbers(self, array: pa.Array) -> Any:
        """Each row's UTC day, as days since 1970-01-01."""
        if array.null_count:
            raise _UnreadableError("day", "is empty in a row")
        if pa.types.is_date(array.type):
            return array.cast(pa.date32()).cast(pa.int32()).to_numpy()
        if pa.types.is_timestamp(array.type):
            # A timestamp with a zone is stored in UTC, one without is UTC in all exports.
            micros = array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64())
            return (micros.to_numpy() // 86_400_000_000).astype(np.int32)
        coded = _text(array).dictionary_encode()
        for text in coded.dictionary.to_pylist():
            if text not in self._days:
                try:
                    self._days[text] = formats.day_number(text)
                except ValueError:
                    raise _UnreadableError("day", f"{text[:40]!r} is not a time that is known") from None
        numbers = np.array([self._days[text] for text in coded.dictionary.to_pylist()], np.int32)
        return numbers[coded.indices.to_numpy()]

    # --- What the clouds say in their own ways ------------------------------------------------------------------------

    def _amortization(self, held: dict[str, list[pa.Array]], amount: pa.Array) -> pa.Array:
        """CUR: the amortized cost, by the formula of the CUR queries of AWS' Well-Architected Labs."""
        types = self._line_types.codes(held["category"], len(amount))
        of_type = {word: types == code for code, word in enumerate(self._line_types.values)}
        nothing = pa.nulls(len(amount), _NARROW)
        zero = pc.fill_null(nothing, Decimal(0))

        def of(name: str) -> pa.Array:
            return decimals(held[name][0], name) if held.get(name) else nothing

        makers: dict[str, Callable[[], pa.Array]] = {
            "savingsplancoveredusage": lambda: of("sp_effective"),
            "savingsplanrecurringfee": lambda: _exactly(pc.subtract, of("sp_committed"), of("sp_used")),
            "savingsplannegation": lambda: zero,
            "savingsplanupfrontfee": lambda: zero,
            "discountedusage": lambda: of("ri_effective"),
            "rifee": lambda: _exactly(pc.add, of("ri_unused_upfront"), of("ri_unused_fee")),
        }
        if held.get("ri_arn") and "fee" in of_type:
            of_type["fee"] &= _filled(held["ri_arn"][0]).to_numpy(zero_copy_only=False)
            makers["fee"] = lambda: zero
        effective = amount
        for word, make in makers.items():
            if word in of_type and of_type[word].any():
                effective = _exactly(pc.if_else, pa.array(of_type[word]), make(), effective)
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
            array = pa.array([_credit_amounts(text) for text in _text(array).to_pylist()], pa.list_(pa.string()))
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
        """What was read; nothing but the problems where a file could not be."""
        if self._amortized and self._actual:
            text = (
                "the files have both actual costs (purchases of reservations) and amortized costs (reservations spread "
                "over usage): the same costs would be counted twice. Keep the export of actual costs in this folder."
            )
            self.problems.append(Problem(self._source_id, "", "", Cause.CONFIG, text))
        if self._found is None and not self.problems:
            text = "no file of an export was found. Wait for the first delivery, or correct the source's folder."
            self.problems.append(Problem(self._source_id, "", "", Cause.CONFIG, text))
        if self._newest < 0 and self._others:
            names = ", ".join(sorted(self._others)[:5])
            text = f"the export has rows of {names} only, and none of {self._provider}. Correct the source's folder."
            self.problems.append(Problem(self._source_id, "", "", Cause.CONFIG, text))
        bill = Bill(problems=self.problems)
        if self.problems:
            return bill
        with localcontext(EXACT):
            bill.charges = self._charges()
            totals = [
                Total(formats.day_of(day), self._source_id, self._words["currency"].values[currency], _plain(amount))
                for day, currency, amount, *_ in _rows(self._totals.table())
                if amount is not None and currency
            ]
        bill.totals = sorted(totals, key=lambda total: (total.day, total.currency))
        days = range(max(self._oldest, _number(self._first)), min(self._newest, _number(self._last)) + 1)
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
        ) in _rows(table):  # fmt: skip
            name = providers[provider]
            self.rows[name] = self.rows.get(name, 0) + rows
            if amount is None or not currencies[currency]:  # nothing in no currency is no charge
                continue
            charged = amount
            if rounded:  # what it takes from one charge of a day, the next gets
                before = exact.get((number, currencies[currency]), Decimal(0))
                after = exact[number, currencies[currency]] = before + amount
                charged = after.quantize(_LAST_DIGIT) - before.quantize(_LAST_DIGIT)
                effective, listed = (one and one.quantize(_LAST_DIGIT) for one in (effective, listed))  # noqa: PLW2901
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


class _UnreadableError(Exception):
    """A value of a field is not what its column should hold."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


# --- Numbers ----------------------------------------------------------------------------------------------------------

_NARROW, _WIDE = pa.decimal128(38, 18), pa.decimal256(76, 50)
_LARGEST = 1e15  # of one row: sums of any number of them fit
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def decimals(array: pa.Array, field: str) -> pa.Array:
    """Amounts as exact decimals with 18 digits after the point, or with 50 where that many are needed.

    Text may be empty or NULL. A double is taken as the shortest decimal that stands for it. Each distinct value is
    looked at once: prices, so also hourly costs, repeat.

    Raises:
        _UnreadableError: a value is no number, or too large for money.
    """
    if pa.types.is_decimal(array.type) and array.type.scale <= 18:
        with suppress(pa.ArrowInvalid):
            return _checked(array, field).cast(_NARROW)
    if pa.types.is_float64(array.type) and (prices := _short(array)) is not None:
        return prices
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    texts = array.dictionary
    if not pa.types.is_string(texts.type):
        texts = texts.cast(pa.string())
    texts = _text(texts)
    texts = pc.if_else(_filled(texts), texts, None)
    return _parsed(texts, field).take(array.indices)


def _short(array: pa.Array) -> pa.Array | None:
    """Doubles that stand for 10 digits after the point and 15 in all, as clouds price; None if one has more.

    This takes a twentieth of the time that their text does, and gives the same: no two decimals of 15 digits are the
    same double, so the one that divides to a double is the shortest that stands for it.
    """
    values = pc.fill_null(array, 0.0).to_numpy()
    with np.errstate(all="ignore"):
        whole = np.rint(values * 1e10)
        if not ((np.abs(whole) < 1e15) & (whole / 1e10 == values)).all():
            return None
    numbers = pa.array(whole.astype(np.int64), mask=array.is_null().to_numpy(zero_copy_only=False))
    tenths = numbers.cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(pa.decimal128(29, 10), len(tenths), tenths.buffers()).cast(_NARROW)


def _parsed(texts: pa.Array, field: str) -> pa.Array:
    _checked(texts, field)
    for wanted in (_NARROW, _WIDE):
        with suppress(pa.ArrowInvalid):
            return texts.cast(wanted)
    # More digits than anybody was charged by: noise of a double, such as 1e-60.
    given = texts.to_pylist()
    try:
        rounded = [None if text is None else EXACT.quantize(Decimal(text), Decimal("1e-50")) for text in given]
    except InvalidOperation:
        raise _UnreadableError(field, "has a number of more digits than can be read") from None
    return pa.array(rounded, _WIDE)


def _checked(array: pa.Array, field: str) -> pa.Array:
    """The array, if all its values are numbers that fit; Arrow's own conversion would take 1e30 for something else."""
    try:
        numbers = array.cast(pa.float64())
    except pa.ArrowInvalid:
        texts = [text for text in array.to_pylist() if text is not None]
        wrong = next((text for text in texts if not _NUMBER.fullmatch(text)), texts[0])
        raise _UnreadableError(field, f"{wrong[:40]!r} is not a number") from None
    if not pc.all(pc.less(pc.abs(numbers), _LARGEST)).as_py() and numbers.null_count < len(numbers):
        wrong = next(value for value in numbers.to_pylist() if value is not None and not abs(value) < _LARGEST)
        raise _UnreadableError(field, f"{wrong} is not an amount of money")
    return array


def _exactly(function: Callable[..., pa.Array], *arrays: pa.Array) -> pa.Array:
    """A function of amounts, without a digit lost; Arrow wants a digit of room for the result of one."""
    narrow = all(array.type == _NARROW for array in arrays if pa.types.is_decimal(array.type))
    room, kind = (pa.decimal128(37, 18), _NARROW) if narrow else (pa.decimal256(75, 50), _WIDE)
    roomy = [array.cast(room) if pa.types.is_decimal(array.type) else array for array in arrays]
    return function(*roomy).cast(kind)


def _plain(amount: Decimal) -> Decimal:
    """An amount to the last digit that is stored, without zeros at the end."""
    amount = amount.quantize(_LAST_DIGIT).normalize()
    return amount if amount.as_tuple().exponent <= 0 else amount.quantize(Decimal(1))  # type: ignore[operator]


def _number(day: date) -> int:
    return formats.day_number(day.isoformat())


def _credit_amounts(text: str | None) -> list[str]:
    """The amounts in a list of credits as CSV has it: JSON, or what Python prints."""
    if text is None or text.upper() in {"", "[]", "NULL", "NONE"}:
        return []
    try:
        found = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise _UnreadableError("credits", f"{text[:40]!r} is not a list of credits") from None
    try:
        amounts = [credit["amount"] for credit in found]
    except (TypeError, KeyError):
        amounts = [None]
    if any(isinstance(amount, bool) or not isinstance(amount, str | int | float) for amount in amounts):
        raise _UnreadableError("credits", f"{text[:40]!r} has no amounts")
    return [str(amount) for amount in amounts]


# --- Words ------------------------------------------------------------------------------------------------------------


def _text(array: pa.Array) -> pa.Array:
    """An array as trimmed strings."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return pc.utf8_trim_whitespace(array.cast(pa.string()))


def _filled(array: pa.Array) -> pa.Array:
    """Which rows have a word."""
    if pa.types.is_dictionary(array.type):
        return pc.fill_null(_filled(array.dictionary).take(array.indices), fill_value=False)
    empty = pc.is_in(pc.utf8_upper(_text(array)), pa.array(["", "NULL", None]))
    return pc.invert(empty)


class _Words:
    """The distinct words of a field, numbered in the order they come; 0 is "", which stands for empty and NULL too.

    `canonical` gives the word that a bill's own stands for; it is asked once for each.
    """

    def __init__(self, canonical: Callable[[str], str] = str) -> None:
        self._canonical = canonical
        self._code: dict[str | None, int] = {None: 0, "": 0, "NULL": 0}
        self._of_value: dict[str, int] = {}
        self.values: list[str] = []
        self.code(canonical(""))

    def code(self, value: str) -> int:
        """The number of a canonical word."""
        if value not in self._of_value:
            self._of_value[value] = len(self.values)
            self.values.append(value)
        return self._of_value[value]

    def ranked(self) -> tuple[list[str], list[int]]:
        """The words in their order, and for each number the place of its word in it."""
        ordered = sorted(self.values)
        places = {word: place for place, word in enumerate(ordered)}
        return ordered, [places[word] for word in self.values]

    def codes(self, arrays: Sequence[pa.Array], count: int) -> Any:
        """For each row the number of its word: that of the first array which has one."""
        codes = np.zeros(count, np.int32)
        for array in arrays:
            empty = codes == 0
            if not empty.any():
                break
            codes = np.where(empty, self._codes_of(array), codes)
        return codes

    def _codes_of(self, array: pa.Array) -> Any:
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        words = coded.dictionary.cast(pa.string()).to_pylist()
        known = np.array([*map(self._known, words), 0], np.int32)  # the last is for null, whose index becomes -1
        return known[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]

    def _known(self, word: str | None) -> int:
        found = self._code.get(word)
        if found is None:
            text = (word or "").strip()
            found = 0 if text.upper() in {"", "NULL"} else self.code(self._canonical(text))
            self._code[word] = found
        return found


# --- Sums -------------------------------------------------------------------------------------------------------------


class _Sums:
    """Sums by some columns of numbers. Rows are kept, and added up when there are many."""

    _MANY = 400_000

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._parts: list[pa.Table] = []
        self._limit = self._MANY

    def add(self, rows: pa.Table) -> None:
        """Add rows: the key columns, and those that are added up."""
        self._parts.append(rows.select([*self._keys, *_SUMMED]))
        if sum(part.num_rows for part in self._parts) > self._limit:
            self._limit = max(self._MANY, 2 * self.table().num_rows)

    def table(self) -> pa.Table:
        """The keys, and the sums: amount, effective, list, final, rows."""
        if any(pa.types.is_decimal256(field.type) for part in self._parts for field in part.schema):
            self._parts = [_widened(part) for part in self._parts]
        types = [pa.int32()] * len(self._keys) + [_NARROW, _NARROW, _NARROW, pa.bool_(), pa.int64()]
        none = pa.schema(zip([*self._keys, *_SUMMED], types, strict=True)).empty_table()
        self._parts = [self._grouped(pa.concat_tables(self._parts))] if self._parts else [none]
        pa.default_memory_pool().release_unused()  # the pool would keep it
        return self._parts[0]

    def _grouped(self, rows: pa.Table) -> pa.Table:
        summed = rows.group_by(self._keys, use_threads=False).aggregate(
            [(name, function, options) for name, (function, options) in _SUMMED.items()]
        )
        names = [f"{name}_{function}" for name, (function, _) in _SUMMED.items()]
        return summed.select([*self._keys, *names]).rename_columns([*self._keys, *_SUMMED])


_WHOLE = pc.ScalarAggregateOptions(skip_nulls=False, min_count=1)  # unknown where a part is
_SUMMED = {
    "amount": ("sum", pc.ScalarAggregateOptions(skip_nulls=True, min_count=1)),
    "effective": ("sum", _WHOLE),
    "list": ("sum", _WHOLE),
    "final": ("all", None),
    "rows": ("sum", None),
}


def _widened(table: pa.Table) -> pa.Table:
    """A table with room for more digits."""
    types = [_WIDE if pa.types.is_decimal(field.type) else field.type for field in table.schema]
    return table.cast(pa.schema(zip(table.column_names, types, strict=True)))


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table; a million Python objects at once would be much memory."""
    for part in table.to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
