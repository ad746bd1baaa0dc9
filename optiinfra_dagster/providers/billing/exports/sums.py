"""The words of an export's columns as numbers, and sums of amounts by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.providers.billing.exports.decimals import NARROW, WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


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

    def ranked(self) -> tuple[list[str], list[int]]:
        """The words in their order, and for each number the place of its word in it."""
        ordered = sorted(self.values)
        places = {word: place for place, word in enumerate(ordered)}
        return ordered, [places[word] for word in self.values]

    def codes(self, arrays: Sequence[pa.Array], count: int) -> Any:
        """The number of each row's word: that of the first array which has one."""
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
        code = self._code.get(word)
        if code is None:
            text = (word or "").strip()
            code = 0 if text.upper() in {"", "NULL"} else self.code(self._canonical(text))
            self._code[word] = code
        return code


class Sums:
    """Sums by some columns of numbers. Rows are kept, and added up when there are many."""

    _MANY = 400_000

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._parts: list[pa.Table] = []
        self._limit = self._MANY

    def add(self, rows: pa.Table) -> None:
        """Add rows: the key columns, and those that are added up."""
        self._parts.append(rows.select([*self._keys, *SUMMED]))
        if sum(part.num_rows for part in self._parts) > self._limit:
            self._limit = max(self._MANY, 2 * self.table().num_rows)

    def table(self) -> pa.Table:
        """The keys, and the sums: amount, effective, list, final, rows."""
        if any(pa.types.is_decimal256(field.type) for part in self._parts for field in part.schema):
            self._parts = [_widened(part) for part in self._parts]
        types = [pa.int32()] * len(self._keys) + [NARROW, NARROW, NARROW, pa.bool_(), pa.int64()]
        none = pa.schema(zip([*self._keys, *SUMMED], types, strict=True)).empty_table()
        self._parts = [self._grouped(pa.concat_tables(self._parts))] if self._parts else [none]
        pa.default_memory_pool().release_unused()  # the pool would keep it
        return self._parts[0]

    def _grouped(self, rows: pa.Table) -> pa.Table:
        summed = rows.group_by(self._keys, use_threads=False).aggregate(
            [(name, function, options) for name, (function, options) in SUMMED.items()]
        )
        names = [f"{name}_{function}" for name, (function, _) in SUMMED.items()]
        return summed.select([*self._keys, *names]).rename_columns([*self._keys, *SUMMED])


_WHOLE = pc.ScalarAggregateOptions(skip_nulls=False, min_count=1)  # unknown where a part is
SUMMED = {
    "amount": ("sum", pc.ScalarAggregateOptions(skip_nulls=True, min_count=1)),
    "effective": ("sum", _WHOLE),
    "list": ("sum", _WHOLE),
    "final": ("all", None),
    "rows": ("sum", None),
}


def _widened(table: pa.Table) -> pa.Table:
    """A table with room for more digits."""
    types = [WIDE if pa.types.is_decimal(field.type) else field.type for field in table.schema]
    return table.cast(pa.schema(zip(table.column_names, types, strict=True)))


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table; a million Python objects at once would be much memory."""
    for part in table.to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
