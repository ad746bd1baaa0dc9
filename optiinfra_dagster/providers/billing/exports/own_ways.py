"""What the clouds say in ways of their own: amortized costs, products and tags in maps, prices, parts of other rows."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.billing.exports import formats
from optiinfra_dagster.providers.billing.exports.decimals import (
    NARROW,
    UnreadableError,
    decimals,
    exactly,
    filled,
    quantities,
    trimmed,
)
from optiinfra_dagster.providers.billing.exports.sums import Words, coded
from optiinfra_dagster.providers.billing.exports.times import DAY, Times
from optiinfra_dagster.providers.billing.exports.words import ENTRY, PAIR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ColumnChunks = dict[str, list[pa.Array]]
"""The arrays of each of our fields in a batch of rows."""

NESTED = ("credits", "product", "tags")  # the fields whose columns may hold lists and records

# --- Costs ------------------------------------------------------------------------------------------------------------


class Amortization:
    """The amortized costs of a report, and whether an export has them in place of what was charged."""

    def __init__(self) -> None:
        self._line_types, self._pricing = Words(formats.canonical), Words(formats.canonical)
        self._times = Times()
        self.found = self._actual = False
        self.has_discounts = False  # as lines of a report

    def of_report(self, held: ColumnChunks, amounts: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """CUR: the effective cost, amortized as AWS' Well-Architected Labs do it, and other costs by line type.

        A negation takes back what was charged by demand for what a savings plan covers, and neither what that is worth
        nor what was used. A line of a discount is worth nothing by list prices, and by agreed ones what its net column
        has: nothing, for the net columns of what it is taken off have it in them.
        """
        amount = amounts["amount"]
        types = self._line_types.codes(list(map(coded, held["category"])), len(amount))
        of_type = {word: types == code for code, word in enumerate(self._line_types.values)}
        none = np.zeros(len(amount), bool)
        discounts = np.logical_or.reduce(
            [none, *(lines for word, lines in of_type.items() if word.endswith("discount"))]
        )
        costs = pc.fill_null(pc.not_equal(amount, pa.scalar(0)), fill_value=False).to_numpy(zero_copy_only=False)
        self.has_discounts = self.has_discounts or bool((discounts & costs).any())
        negation = pa.array(of_type.get("savingsplannegation", none))
        made = {
            name: pc.if_else(negation, pa.scalar(Decimal(0), amounts[name].type), amounts[name])
            for name in ("list", "contracted", "pricing_quantity", "consumed_quantity")
            if name in amounts
        }
        made |= _as_billed(made, amount, of_type.get("credit", none))
        if "list" in made:
            made["list"] = pc.if_else(pa.array(discounts), pa.scalar(Decimal(0), made["list"].type), made["list"])
        if "contracted" in made:  # what a reservation covers costs nothing in the net column: no price was agreed so
            reserved = pa.array(of_type.get("discountedusage", none))
            made["contracted"] = pc.if_else(reserved, None, made["contracted"])
        if not (held.get("ri_effective") or held.get("sp_effective")):
            return made
        return made | {"effective": self._amortized(held, amount, of_type)}

    def _amortized(self, held: ColumnChunks, amount: pa.Array, of_type: dict[str, Any]) -> pa.Array:
        """CUR: the effective cost of each row; `of_type` has for each line type which rows are of it."""
        nothing = pa.nulls(len(amount), NARROW)
        zero = pc.fill_null(nothing, 0)

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
        if "refund" in of_type and all(held.get(name) for name in ("sp_arn", "sp_start", "sp_end")):
            of_type["refund"] &= self._returned(held)
            makers["refund"] = lambda: zero
        effective = amount
        for word, make in makers.items():
            if word in of_type and of_type[word].any():
                effective = _either(pa.array(of_type[word]), make(), effective)
        return effective

    def _returned(self, held: ColumnChunks) -> Any:
        """CUR: True for rows of savings plans that were returned, as they may be for a week."""
        arn = filled(held["sp_arn"][0]).to_numpy(zero_copy_only=False)
        try:
            start = self._times.seconds_or(held["sp_start"][0], np.zeros(len(arn), np.int64), "sp_start")
            end = self._times.seconds_or(held["sp_end"][0], start + DAY * 30, "sp_end")
        except UnreadableError:  # of no amount
            return np.zeros(len(arn), bool)
        return arn & (end - start <= DAY * 7)

    def look(self, held: ColumnChunks, amount: pa.Array, codes: dict[str, Any]) -> None:
        """Azure: note whether the rows are of actual or of amortized costs; the two have the same header.

        The purchase of a commitment uses nothing of it, though its row has the same PricingModel as usage.
        """
        pricing = self._pricing.codes(list(map(coded, held["pricing"])), len(amount))
        types = self._line_types.codes(list(map(coded, held.get("category", ()))), len(amount))
        words, kinds = self._line_types.values, self._pricing.values
        committed = np.array([kind in {"reservation", "savingsplan"} for kind in kinds])[pricing]
        usage = np.array([word == "usage" for word in words])[types]
        purchase = np.array([word == "purchase" for word in words])[types]
        unused = np.array([word in {"unusedreservation", "unusedsavingsplan"} for word in words])[types]
        costs = pc.fill_null(pc.not_equal(amount, pa.scalar(0)), fill_value=False).to_numpy(zero_copy_only=False)
        self.found = self.found or bool((unused | (committed & usage & costs)).any())
        self._actual = self._actual or bool((committed & purchase & costs).any())
        codes["commitment_status"] = np.where(usage | unused, codes["commitment_status"], 0)

    def check(self) -> None:
        """CloudError where the files have both costs."""
        if self.found and self._actual:
            raise CloudError(
                Cause.CONFIG,
                "the files have both actual costs (purchases of reservations) and amortized costs (reservations spread "
                "over usage): the same costs would be counted twice. Keep the export of actual costs in this folder.",
            )


class UsagePeriods:
    """The periods of an export's usage: where they are months, nothing is known of its days."""

    _MONTH = 27 * 86_400  # seconds

    def __init__(self) -> None:
        self._of_months: set[int] = set()  # services
        self._shorter = False

    def look(self, services: Any, seconds: Any, usage: Any) -> None:
        """Note the periods of rows, those of `usage`, that are so long."""
        long = usage & (seconds >= self._MONTH)
        self._of_months.update(np.unique(services[long]).tolist())
        self._shorter = self._shorter or bool((usage & ~long).any())

    def check(self) -> None:
        """CloudError where several services are told by the month, and none by a shorter time."""
        if len(self._of_months) > 1 and not self._shorter:
            raise CloudError(
                Cause.CONFIG,
                "the export tells usage by the month, so that its days are not known. Choose an hourly or daily time "
                "granularity for it.",
            )


def discounts(held: ColumnChunks, amount: pa.Array) -> pa.Array:
    """CUR: the discounts of each row, to be added to its cost where the report has no lines of discounts.

    A Data Export has them in columns, unless it was made with "manual discount compatibility".
    """
    told = decimals(held["discount"][0], "discount")
    net = decimals(held["contracted"][0], "contracted") if held.get("contracted") else pa.nulls(len(amount), told.type)
    some = pc.fill_null(pc.not_equal(told, pa.scalar(0)), fill_value=False)
    return exactly(pc.coalesce, pc.if_else(some, exactly(pc.subtract, net, amount), None), pc.fill_null(told, 0))


def of_usage(codes: Mapping[str, Any], words: Mapping[str, Words]) -> Any:
    """True for each row of usage, unused commitments apart."""
    unused = codes["commitment_status"] == words["commitment_status"].code("Unused")
    return (codes["category"] == words["category"].code(Category.USAGE)) & ~unused


def known_costs(
    layout: formats.Format, amounts: Mapping[str, pa.Array], codes: Mapping[str, Any], words: Mapping[str, Words]
) -> dict[str, pa.Array]:
    """The effective, list and contracted costs of rows, unknown where the export writes 0 because it knows none.

    Cost Management writes 0 for costs that it does not know: list and contracted costs of usage, and the effective cost
    of what was not used of a commitment. And its purchases of savings plans have an effective cost, which is counted
    where they are used. https://learn.microsoft.com/cloud-computing/finops/focus/conformance-summary tells it.
    """
    # In its own layouts it has no price of what was bought, either.
    of_layout = np.ones(len(amounts["amount"]), bool) if layout is formats.AZURE else of_usage(codes, words)
    told = _without_zeros(amounts, layout.zeros, of_layout)
    if layout is formats.FOCUS:
        told |= _as_billed(told, amounts["amount"], codes["category"] == words["category"].code(Category.CREDIT))
    if layout is formats.FOCUS and (effective := told.get("effective")) is not None:
        status = codes["commitment_status"]
        bought = (codes["category"] == words["category"].code(Category.PURCHASE)) & (codes["commitment"] > 0)
        zero = pa.scalar(Decimal(0), effective.type)
        effective = pc.if_else(pc.and_(pa.array(bought & (status == 0)), effective.is_valid()), zero, effective)
        unused = pa.array(status == words["commitment_status"].code("Unused"))
        told["effective"] = pc.if_else(pc.and_(unused, pc.equal(effective, zero)), None, effective)
    return told


def _as_billed(costs: Mapping[str, pa.Array], amount: pa.Array, given: Any) -> dict[str, pa.Array]:
    """The list and contracted costs, of credits that were `given` what was billed where they are 0 or not told."""
    made = {}
    for name in costs.keys() & {"list", "contracted"}:
        unpriced = pc.fill_null(pc.equal(costs[name], pa.scalar(0)), fill_value=True)
        made[name] = _either(pc.and_(pa.array(given), unpriced), amount, costs[name])
    return made


def _either(where: pa.Array, first: pa.Array, second: pa.Array) -> pa.Array:
    """The first costs `where` that is true, else the second ones."""
    choose = pc.if_else if first.type == second.type else partial(exactly, pc.if_else)
    return choose(where, first, second)


def _without_zeros(amounts: Mapping[str, pa.Array], names: Sequence[str], where: Any) -> dict[str, pa.Array]:
    """The named costs, unknown in those of the rows `where` they are 0 and others are not."""

    def is_zero(name: str) -> pa.Array:
        return pc.fill_null(pc.equal(amounts[name], pa.scalar(0)), fill_value=True)

    told = dict[str, pa.Array]()
    for name in (name for name in names if name in amounts):
        others = ["amount", *(["effective"] if name != "effective" and "effective" in amounts else [])]
        costs = pc.invert(reduce(pc.and_, map(is_zero, others)))
        told[name] = pc.if_else(pc.and_(pc.and_(is_zero(name), costs), pa.array(where)), None, amounts[name])
    return told


# The number of 100 Hours, 10,000s, 10K and 1M Tokens; 1 KB has no thousand.
_BLOCK = re.compile(r"\s*(\d[\d,]*)\s*([KM](?![A-Za-z]))?")
_MULTIPLES = {"K": 1_000, "M": 1_000_000}
_ROOM = pa.decimal256(35, 18)


def priced(held: ColumnChunks, price_of: str, amount: pa.Array, quantity: pa.Array) -> pa.Array:
    """Azure: the quantity times a price, where that is in the bill's currency or the row tells the rate to it.

    Unknown where the price is 0 and there is a cost, as the retail price is of what was bought.
    """
    price = quantities(held[price_of][0])
    try:
        cost = _times(price, quantity)
        if held.get("pricing_currency"):
            same = pc.equal(trimmed(held["pricing_currency"][0]), trimmed(held["currency"][0]))
            cost = cost if pc.all(same, skip_nulls=False).as_py() else pc.if_else(same, cost, _exchanged(held, cost))
        if held.get("pricing_unit"):
            cost = _of_blocks(held["pricing_unit"][0], cost, amount)
    except pa.ArrowInvalid:  # a number that no price has
        return pa.nulls(len(amount), NARROW)
    known = pc.or_(pc.not_equal(price, pa.scalar(0)), pc.equal(amount, pa.scalar(0)))
    return pc.if_else(known, cost, None)


def _exchanged(held: ColumnChunks, cost: pa.Array) -> pa.Array:
    """The costs in the bill's currency; unknown where the row tells no rate."""
    if not held.get("exchange_rate"):
        return pa.nulls(len(cost), NARROW)
    rate = quantities(held["exchange_rate"][0])
    return _times(cost, pc.if_else(pc.equal(rate, pa.scalar(0)), None, rate))


def _of_blocks(units: pa.Array, cost: pa.Array, amount: pa.Array) -> pa.Array:
    """The costs where a price is of as many as the unit of measure says, and the quantity is of single ones.

    An agreement's prices are, and other exports count the same unit in hundreds, or have the price of one. Discounts
    only take off: it is a price of many where what that makes still covers what was charged (but for rounding). What
    cost nothing does not tell.
    """
    words, places = coded(units)
    sizes = [*(_block(word or "") for word in words), Decimal(1)]  # the last of rows that have no unit, which are at -1
    single = np.array([size == 1 for size in sizes])[places]
    if single.all():
        return cost
    shares = pa.array([round(1 / size, 18) for size in sizes], NARROW)
    each = _times(cost, shares.take(pa.array(places % len(sizes))))
    covers = pc.greater_equal(pc.abs(each.cast(pa.float64())), pc.multiply(pc.abs(amount.cast(pa.float64())), 0.9))
    told = pc.or_(pc.not_equal(amount, pa.scalar(0)), pc.equal(cost, pa.scalar(0)))
    return pc.if_else(pa.array(single), cost, pc.if_else(told, pc.if_else(covers, each, cost), None))


def _block(unit: str) -> Decimal:
    """How many a unit of measure is of."""
    found = _BLOCK.match(unit)
    return (Decimal(found[1].replace(",", "")) * _MULTIPLES.get(found[2], 1) if found else None) or Decimal(1)


def _times(first: pa.Array, second: pa.Array) -> pa.Array:
    """Their products, to 18 digits after the point."""
    return pc.round(pc.multiply(first.cast(_ROOM), second.cast(_ROOM)), 18).cast(NARROW, safe=False)


def parts_of_others(held: ColumnChunks, amount: pa.Array) -> tuple[Any, Any]:
    """CUR: the rows that split an instance's charge among its containers, and those of them that cost something.

    AWS has what a container takes of the instance in columns of its own (split_line_item_*), and 0 in the cost column.
    """
    split = filled(held["split_of"][0]).to_numpy(zero_copy_only=False)
    costs = pc.fill_null(pc.not_equal(amount, pa.scalar(0)), fill_value=False).to_numpy(zero_copy_only=False)
    return split & ~costs, split & costs


# --- Maps -------------------------------------------------------------------------------------------------------------


def product_names(array: pa.Array) -> pa.Array:
    """The names of products: out of a map of their attributes, or the attributes' text as it is."""
    if not pa.types.is_map(array.type):
        return array
    array = pa.concat_arrays([array])  # a slice has the values of its whole
    # Arrow's own map_lookup takes five times as long.
    hits = np.flatnonzero(pc.fill_null(pc.equal(array.keys, "product_name"), fill_value=False))
    places = np.full(len(array), -1, np.int64)
    places[np.searchsorted(array.offsets.to_numpy(), hits, side="right") - 1] = hits
    return array.items.take(pa.array(places, mask=places < 0))


_OF_USER = re.compile(r"resource_?tags[/_]user[:_]", re.IGNORECASE)


def tag_texts(arrays: Sequence[pa.Array], names: Sequence[str]) -> list[pa.Array]:
    """The tags of each row as text: those in a column for all, in a map or a list, and those in a column for each."""
    keys = [_OF_USER.sub("", name) for name in names]
    alone = [array for array, key, name in zip(arrays, keys, names, strict=True) if key == name]
    texts = [_joined(array) if pa.types.is_nested(array.type) else array for array in alone]
    single = [
        pc.if_else(filled(array), pc.binary_join_element_wise(pa.scalar(key), trimmed(array), PAIR), None)
        for array, key, name in zip(arrays, keys, names, strict=True)
        if key != name
    ]
    return [*texts, pc.binary_join_element_wise(*single, ENTRY, null_handling="skip")] if single else texts


def _joined(array: pa.Array) -> pa.Array:
    """The entries of each map, or list of keys and values, as one text."""
    array = pa.concat_arrays([array])
    if pa.types.is_map(array.type):
        keys, values = array.keys, array.items
    elif (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)) and _has_keys(array.type.value_type):
        keys, values = (pc.struct_field(array.values, name) for name in ("key", "value"))
    else:
        raise UnreadableError("tags", "has lists or records that are no keys and values")
    kept = pc.binary_join_element_wise(
        keys.cast(pa.string()), values.cast(pa.string()), PAIR, null_handling="replace", null_replacement=""
    )
    return pc.binary_join(pa.ListArray.from_arrays(array.offsets.cast(pa.int32()), kept), ENTRY)


def _has_keys(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {"key", "value"} <= {field.name for field in kind}


def in_market(market: Words, arrays: Sequence[pa.Array], count: int) -> Any:
    """True for each row of what a vendor sells on the cloud's marketplace."""
    codes = market.codes(list(map(coded, arrays)), count)
    return np.array([word in {"marketplace", "vendor"} for word in market.values])[codes]
