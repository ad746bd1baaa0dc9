"""Values of the columns of an export: exact decimals, trimmed text, and lists of credits."""

from __future__ import annotations

import ast
import json
import re
from contextlib import suppress
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable

EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)  # of every sum of an export
LAST_DIGIT = Decimal("1e-18")  # of cost_metrics
NARROW, WIDE = pa.decimal128(38, 18), pa.decimal256(76, 50)
_LARGEST = 1e15  # of one row: sums of any number of them fit
_MOST_USED = 1e17  # of one row: byte-seconds of a disk of 1 TB are 1e17 a day
_MOST_IN_64_BITS = 9e8  # with 10 digits after the point
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class UnreadableError(Exception):
    """A value of a field is not what its column should hold."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


# --- Numbers ----------------------------------------------------------------------------------------------------------


def decimals(array: pa.Array, field: str, most: float = _LARGEST) -> pa.Array:
    """Amounts as exact decimals with 18 digits after the point, or with 50 where that many are needed.

    Text may be empty or NULL. A double is taken as the shortest decimal that stands for it. Each distinct value is
    looked at once: prices, so also hourly costs, repeat.

    Raises:
        UnreadableError: a value is no number, or too large for money.
    """
    if pa.types.is_decimal(array.type) and array.type.scale <= 18:
        with suppress(pa.ArrowInvalid):
            return _checked(array, field, most).cast(NARROW)
    if pa.types.is_float64(array.type) and (prices := _short(array)) is not None:
        return prices
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    texts = array.dictionary
    if not pa.types.is_string(texts.type):
        texts = texts.cast(pa.string())
    texts = trimmed(texts)
    texts = pc.if_else(filled(texts), texts, None)
    return _parsed(texts, field, most).take(array.indices)


def quantities(array: pa.Array) -> pa.Array:
    """Amounts of usage as decimals; unknown where one is no number, or has more digits than are stored.

    Doubles are rounded to 10 digits after the point: usage is measured, and its noise would take most of the time.
    """
    try:
        if pa.types.is_floating(array.type):
            values = pc.fill_null(array.cast(pa.float64()), np.nan).to_numpy()
            with np.errstate(all="ignore"):
                known = np.abs(values) < _MOST_IN_64_BITS
                if known.all() or not (np.abs(values) < _MOST_USED)[~known].any():
                    return _of_ten_digits(np.rint(np.where(known, values, 0) * 1e10).astype(np.int64), ~known)
        found = decimals(array, "", _MOST_USED)
    except UnreadableError:
        return pa.nulls(len(array), NARROW)
    return found if found.type == NARROW else pc.round(found, 18).cast(NARROW, safe=False)


def _short(array: pa.Array) -> pa.Array | None:
    """Doubles that stand for 10 digits after the point and 15 in all, as clouds price; None if one has more.

    This takes a fiftieth of the time that their text does, and gives the same: no two decimals of 15 digits are the
    same double, so the one that divides to a double is the shortest that stands for it.
    """
    values = pc.fill_null(array, 0.0).to_numpy()
    with np.errstate(all="ignore"):
        whole = np.rint(values * 1e10)
        if not ((np.abs(whole) < 1e15) & (whole / 1e10 == values)).all():
            return None
    return _of_ten_digits(whole.astype(np.int64), array.is_null().to_numpy(zero_copy_only=False))


def _of_ten_digits(whole: Any, unknown: Any) -> pa.Array:
    """Decimals out of their value times 10^10, by hand: Arrow's cast takes six times as long.

    A decimal of 128 bits is two numbers of 64, here the value times 10^18, so `whole` times 10^8 in two halves.
    """
    size = np.abs(whole).astype(np.uint64)
    upper, lower = (size >> np.uint64(32)) * np.uint64(10**8), (size & np.uint64(2**32 - 1)) * np.uint64(10**8)
    words = np.empty((len(whole), 2), np.uint64)
    words[:, 0] = (upper << np.uint64(32)) + lower
    words[:, 1] = (upper >> np.uint64(32)) + (words[:, 0] < lower)
    negative = whole < 0
    if negative.any():
        words[negative, 0] = ~words[negative, 0] + np.uint64(1)
        words[negative, 1] = ~words[negative, 1] + (words[negative, 0] == 0)
    known = pa.array(~unknown).buffers()[1] if unknown.any() else None
    return pa.Array.from_buffers(NARROW, len(whole), [known, pa.py_buffer(words)])


def _parsed(texts: pa.Array, field: str, most: float) -> pa.Array:
    _checked(texts, field, most)
    for wanted in (NARROW, WIDE):
        with suppress(pa.ArrowInvalid):
            return texts.cast(wanted)
    # More digits than anybody was charged by: noise of a double, such as 1e-60.
    written = texts.to_pylist()
    try:
        rounded = [None if text is None else EXACT.quantize(Decimal(text), Decimal("1e-50")) for text in written]
    except InvalidOperation:
        raise UnreadableError(field, "has a number of more digits than can be read") from None
    return pa.array(rounded, WIDE)


def _checked(array: pa.Array, field: str, most: float) -> pa.Array:
    """The array, if all its values are numbers that fit; Arrow's own conversion would take 1e30 for something else."""
    try:
        numbers = array.cast(pa.float64())
    except pa.ArrowInvalid:
        texts = [text for text in array.to_pylist() if text is not None]
        wrong = next((text for text in texts if not _NUMBER.fullmatch(text)), texts[0])
        raise UnreadableError(field, f"{wrong[:40]!r} is not a number") from None
    if not pc.all(pc.less(pc.abs(numbers), most)).as_py() and numbers.null_count < len(numbers):
        wrong = next(value for value in numbers.to_pylist() if value is not None and not abs(value) < most)
        raise UnreadableError(field, f"{wrong} is not an amount of money")
    return array


def exactly(function: Callable[..., pa.Array], *arrays: pa.Array) -> pa.Array:
    """A function of amounts, without a digit lost; Arrow wants a digit of room for the result of one."""
    narrow = all(array.type == NARROW for array in arrays if pa.types.is_decimal(array.type))
    room, kind = (pa.decimal128(37, 18), NARROW) if narrow else (pa.decimal256(75, 50), WIDE)
    roomy = [array.cast(room) if pa.types.is_decimal(array.type) else array for array in arrays]
    return function(*roomy).cast(kind)


def plain(amount: Decimal) -> Decimal:
    """An amount to the last digit that is stored, without zeros at the end."""
    amount = amount.quantize(LAST_DIGIT).normalize()
    return amount if amount.as_tuple().exponent <= 0 else amount.quantize(Decimal(1))  # type: ignore[operator]


# --- Text -------------------------------------------------------------------------------------------------------------


def trimmed(array: pa.Array) -> pa.Array:
    """An array as trimmed strings."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return pc.utf8_trim_whitespace(array.cast(pa.string()))


def filled(array: pa.Array) -> pa.Array:
    """True for each row that has a word."""
    if pa.types.is_dictionary(array.type):
        return pc.fill_null(filled(array.dictionary).take(array.indices), fill_value=False)
    empty = pc.is_in(pc.utf8_upper(trimmed(array)), pa.array(["", "NULL", None]))
    return pc.invert(empty)


# --- Credits ----------------------------------------------------------------------------------------------------------


def credit_amounts(text: str | None) -> list[str]:
    """The amounts in a list of credits as CSV has it: JSON, or what Python prints."""
    if text is None or text.upper() in {"", "[]", "NULL", "NONE"}:
        return []
    try:
        entries = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        try:
            entries = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise UnreadableError("credits", f"{text[:40]!r} is not a list of credits") from None
    try:
        amounts = [credit["amount"] for credit in entries]
    except (TypeError, KeyError):
        amounts = [None]
    if any(isinstance(amount, bool) or not isinstance(amount, str | int | float) for amount in amounts):
        raise UnreadableError("credits", f"{text[:40]!r} has no amounts")
    return [str(amount) for amount in amounts]
