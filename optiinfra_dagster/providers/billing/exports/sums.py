"""The words of an export's columns as numbers, and sums of amounts by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.providers.billing.exports.decimals import NARROW, WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


CodedTexts: TypeAlias = tuple[list[str | None], Any]
"""A column of text: its distinct texts, and the place of each row's among them, -1 for null."""


def coded(array: pa.Array) -> CodedTexts:
    """A column as its distinct texts."""
    with_texts = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    places = with_texts.indices
    if places.null_count:
        places = places.fill_null(-1)
    return with_texts.dictionary.cast(pa.string()).to_pylist(), places.to_numpy(zero_copy_only=False)


class Words:
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

    def codes(self, columns: Sequence[CodedTexts], count: int) -> Any:
        """The number of each row's word: that of the first column which has one."""
        codes: Any = None
        for texts, places in columns:
            # The last is for null, whose place is -1.
            own = np.array([*map(self._known, texts), 0], np.int32)[places]
            codes = own if codes is None else np.where(codes == 0, own, codes)
            if codes.all():
                break
        return np.zeros(count, np.int32) if codes is None else codes

    def _known(self, word: str | None) -> int:
        code = self._code.get(word)
        if code is None:
            text = (word or "").strip()
            code = 0 if text.upper() in {"", "NULL"} else self.code(self._canonical(text))
            self._code[word] = code
        return code


class Numbers:
    """The distinct numbers of a field, numbered in the order they come: few, such as the months of a statement."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def codes(self, numbers: Any) -> Any:
        """The number of each row's number."""
        count = len(numbers)
        if count and (numbers == numbers[0]).all():
            return np.full(count, self._code(int(numbers[0])), np.int32)
        distinct, places = np.unique(numbers, return_inverse=True)
        return np.array([self._code(number) for number in distinct.tolist()], np.int32)[places]

    def _code(self, number: int) -> int:
        if number not in self.values:
            self.values.append(number)
        return self.values.index(number)


class Lines:
    """The distinct combinations of words, numbered in the order they come.

    Most words of a row follow from its others, so a number for them all makes sums ten times as fast as by each.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._number: dict[tuple[int, ...], int] = {}

    def numbers(self, codes: Mapping[str, Any], count: int) -> Any:
        """The number of each row's combination."""
        mixed, room = np.zeros(count, np.int64), 1
        columns = [codes[name] for name in self.names]
        for column in columns:
            most = int(column.max(initial=0)) + 1
            if most == 1:
                continue
            if room * most >= 1 << 62:
                mixed, room = _renumbered(mixed)
            mixed, room = mixed * most + column, room * most
        mixed, distinct = _renumbered(mixed)
        place = np.empty(distinct, np.int64)
        place[mixed[::-1]] = np.arange(count - 1, -1, -1)
        rows = zip(*(column[place].tolist() for column in columns), strict=True)
        known = self._number
        return np.array([known.setdefault(row, len(known)) for row in rows], np.int32)[mixed]

    def columns(self) -> dict[str, Any]:
        """The words of each number, by the name of the column."""
        codes = np.array(list(self._number), np.int64).reshape(-1, len(self.names))
        return {name: codes[:, place] for place, name in enumerate(self.names)}


def _renumbered(numbers: Any) -> tuple[Any, int]:
    """Numbers from 0 on that are the same where the given ones are, and how many there are."""
    coded = pa.array(numbers).dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), len(coded.dictionary)


class Sums:
    """Sums by some columns of numbers. Rows are kept, and added up when there are many."""

    _MANY = 400_000

    def __init__(self, keys: Sequence[str], summed: Sequence[str]) -> None:
        self._keys, self._summed = list(keys), [*summed, "rows"]
        self._parts: list[pa.Table] = []
        self._limit = self._MANY

    def add(self, rows: Mapping[str, Any]) -> None:
        """Add rows: the key columns, and those that are added up."""
        self._parts.append(pa.table({name: rows[name] for name in (*self._keys, *self._summed)}))
        if sum(part.num_rows for part in self._parts) > self._limit:
            self._limit = max(self._MANY, 2 * self.table().num_rows)

    def take(self, others: Sums) -> None:
        """Add what was added to others of the same columns."""
        self._parts += others._parts

    def table(self) -> pa.Table:
        """The keys and the sums."""
        if any(pa.types.is_decimal256(field.type) for part in self._parts for field in part.schema):
            self._parts = [_widened(part) for part in self._parts]
        types = [pa.int32()] * len(self._keys) + [NARROW] * (len(self._summed) - 1) + [pa.int64()]
        none = pa.schema(zip([*self._keys, *self._summed], types, strict=True)).empty_table()
        self._parts = [self._grouped(pa.concat_tables(self._parts))] if self._parts else [none]
        pa.default_memory_pool().release_unused()  # the pool would keep it
        return self._parts[0]

    def _grouped(self, rows: pa.Table) -> pa.Table:
        # What no row has is none in the sums: adding up nothing would take as long as adding up something.
        unknown = [name for name in self._summed if rows[name].null_count == rows.num_rows]
        summed = rows.group_by(self._keys, use_threads=False).aggregate(
            [(name, "sum", _SUM_OF.get(name, _WHOLE)) for name in self._summed if name not in unknown]
        )
        columns = {name: summed[name] for name in self._keys}
        for name in self._summed:
            none = name in unknown
            columns[name] = pa.nulls(summed.num_rows, rows[name].type) if none else summed[f"{name}_sum"]
        return pa.table(columns)


_WHOLE = pc.ScalarAggregateOptions(skip_nulls=False, min_count=1)  # unknown where a part is
_SUM_OF = {"amount": pc.ScalarAggregateOptions(skip_nulls=True, min_count=1)}


def _widened(table: pa.Table) -> pa.Table:
    """A table with room for more digits."""
    types = [WIDE if pa.types.is_decimal(field.type) else field.type for field in table.schema]
    return table.cast(pa.schema(zip(table.column_names, types, strict=True)))


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table; a million Python objects at once would be much memory."""
    for part in table.to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
