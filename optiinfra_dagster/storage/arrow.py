"""Operations on Arrow tables of rows: conform to a schema, select slices, hash content."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable

from optiinfra_dagster.storage.schema import TIME, VOLATILE, Dataset


def content_hashes(rows: pa.Table) -> dict[tuple[str, str, int], tuple[int, int]]:
    """The number of rows of each slice in `rows`, and a 64-bit hash of their content.

    The key is (customer_id, provider, window_start in epoch seconds). The hash does not depend on the order of the rows
    nor on `VOLATILE` columns, and counts every duplicate: it is the sum of the rows' own hashes.
    """
    if rows.num_rows == 0:
        return {}
    hashes = row_hashes(rows)
    identity = {name: rows[name].combine_chunks() for name in ("customer_id", "provider")}
    codes = {name: pc.dictionary_encode(plain(column)) for name, column in identity.items()}
    seconds = rows["window_start"].cast(pa.int64()).to_numpy()
    customers, providers = (codes[n].indices.to_numpy(zero_copy_only=False) for n in ("customer_id", "provider"))
    order = np.lexsort((seconds, providers, customers))
    changes = np.flatnonzero(
        (np.diff(customers[order]) != 0) | (np.diff(providers[order]) != 0) | (np.diff(seconds[order]) != 0)
    )
    starts = np.concatenate(([0], changes + 1))
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(hashes[order], starts)
    counts = np.diff(np.append(starts, len(order)))
    names = {n: codes[n].dictionary.to_pylist() for n in codes}
    return {
        (names["customer_id"][customers[i]], names["provider"][providers[i]], int(seconds[i])): (int(n), int(h))
        for i, n, h in zip(order[starts], counts, sums, strict=True)
    }


def row_hashes(rows: pa.Table) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A 64-bit hash of each row but its `VOLATILE` columns: every column's hashes, mixed in the order of the columns.

    Names are hashed once per distinct value, so that a row costs a few operations on whole arrays per column.
    """
    rows = rows.drop_columns([c for c in VOLATILE if c in rows.column_names]).combine_chunks()
    mixed: np.ndarray[Any, np.dtype[np.uint64]] = np.full(rows.num_rows, 0x9E3779B97F4A7C15, np.uint64)
    for column in rows.columns:
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        with np.errstate(over="ignore"):
            mixed = (mixed ^ _words(array)) * np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(31)
    return mixed


def _words(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Each value as 64 bits: numbers as they are, everything else by a hash of its text; one word if all are equal."""
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    if pa.types.is_floating(array.type):
        bits = (np.asarray(array.fill_null(0.0) if array.null_count else array, dtype=np.float64) + 0.0).view(np.uint64)
    elif pa.types.is_integer(array.type):
        bits = np.asarray(array.fill_null(0) if array.null_count else array).astype(np.uint64)
    else:
        names = array if isinstance(array, pa.DictionaryArray) else array.cast(pa.string()).dictionary_encode()
        distinct = np.array([_word(name) for name in names.dictionary.to_pylist()], dtype=np.uint64)
        if len(distinct) == 1 and not names.null_count:
            return distinct
        # With a place of its own for null, which a dictionary does not have.
        indices = names.indices.fill_null(len(distinct)) if names.null_count else names.indices
        words: np.ndarray[Any, np.dtype[np.uint64]] = np.append(distinct, np.uint64(1))[np.asarray(indices)]
        return words
    # A null is not the number that stands in for it.
    return np.where(np.asarray(array.is_null()), np.uint64(0x94D049BB133111EB), bits) if array.null_count else bits


def _word(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def owners(rows: pa.Table) -> list[tuple[str, str]]:
    """The (customer_id, provider) pairs that own rows, in order."""
    pairs = pa.table({name: plain(rows[name]) for name in ("customer_id", "provider")}).group_by(
        ["customer_id", "provider"]
    )
    return sorted((row["customer_id"], row["provider"]) for row in pairs.aggregate([]).to_pylist())


def of_slice(rows: pa.Table, customer_id: str, provider: str) -> pa.Table:
    """The rows of one customer and provider."""
    return rows.filter(
        pc.and_(pc.equal(plain(rows["customer_id"]), customer_id), pc.equal(plain(rows["provider"]), provider))
    )


def plain(array: pa.Array) -> pa.Array:
    """A dictionary array decoded, any other as it is."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def conform(dataset: Dataset, rows: pa.Table) -> pa.Table:
    """Rows read from ClickHouse, or given as plain columns, in the order and types of `dataset`'s schema.

    Raises:
        StorageError: a column is missing, has values of another type, or times without a zone.
    """
    if missing := [name for name in dataset.schema.names if name not in rows.column_names]:
        raise StorageError(f"{dataset.table}: the column {', '.join(missing)} is missing.")
    arrays = []
    for field in dataset.schema:
        array = plain(rows[field.name])
        if field.type == TIME and pa.types.is_timestamp(array.type) and array.type.tz is None:
            raise StorageError(f"{dataset.table}.{field.name} holds times without time zone: give them one.")
        is_name = pa.types.is_dictionary(field.type)
        try:
            array = array.cast(field.type.value_type if is_name else field.type)
        except pa.ArrowInvalid as error:
            raise StorageError(f"{dataset.table}.{field.name}: {error}") from error
        arrays.append(array.dictionary_encode() if is_name else array)
    return pa.table(arrays, schema=dataset.schema)


def concat(dataset: Dataset, tables: Iterable[pa.Table]) -> pa.Table:
    """Tables of one dataset as one, with shared dictionaries."""
    return pa.concat_tables([dataset.schema.empty_table(), *tables]).unify_dictionaries().combine_chunks()


def of_windows(rows: pa.Table, windows: Iterable[datetime]) -> pa.Table:
    """The rows of some windows."""
    return rows.filter(pc.is_in(rows["window_start"], pa.array(list(windows), TIME)))


def between(rows: pa.Table, first: datetime, last: datetime) -> pa.Table:
    """The rows of the windows from `first` to `last`, both included."""
    return rows.filter(
        pc.and_(
            pc.greater_equal(rows["window_start"], pa.scalar(first, TIME)),
            pc.less_equal(rows["window_start"], pa.scalar(last, TIME)),
        )
    )
