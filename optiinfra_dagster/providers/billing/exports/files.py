"""The files of a billing export as columns: CSV (plain, gzip or ZIP; UTF-8 or UTF-16) and Parquet, in batches of rows.

Only the columns that are asked for are decoded, and no more than a few batches are in memory at a time.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import shutil
import tempfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from optiinfra_dagster.model.errors import Cause, CloudError, OptiInfraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BATCH_ROWS = 65_536
_BLOCK_BYTES = 4 << 20  # of CSV text in one batch
_LONGEST_HEADER = 1 << 20  # bytes; a CUR with many tags has some 30,000
_MOST_TIMES, _HARMLESS = 200, 1 << 30  # reports shrink to a tenth to a thirtieth; deflate packs up to 1,032 times
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file of an export. `open` gives its bytes: a path, or a new binary stream, which is closed after use.

    A stream needs nothing but `read(size)`; Parquet or ZIP that cannot seek is copied to a temporary file first.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes] | Path]

    @classmethod
    def local(cls, path: Path) -> ExportFile:
        """A file on this machine."""
        return cls(str(path), path.stat().st_size, lambda: path)


@dataclass(frozen=True)
class Columns:
    """An open file: the names of its columns, and its rows by some of them.

    A column of a struct is named `struct.field`. `read` gives, for each batch, the arrays of the columns of the given
    positions, in that order. Text of a CSV file comes as text, whatever it looks like; that of Parquet as dictionaries.
    """

    names: Sequence[str]
    read: Callable[[Sequence[int]], Iterator[list[pa.Array]]]


@contextmanager
def opened(file: ExportFile) -> Iterator[Columns]:
    """Open a file by what it begins with, whatever its name ends with.

    Raises:
        CloudError: it could not be read (`UNAVAILABLE`), is of no kind that is read (`CONFIG`), or broken
            (`INCOMPLETE`). The name of the file is for the caller to add.
    """
    with ExitStack() as stack:
        with _translated(), _without_sdk_errors():
            source = file.open()
            stream = stack.enter_context(_buffered(source.open("rb") if isinstance(source, Path) else source))
            columns = _columns(stream, file.size, stack)
        yield columns


def _columns(stream: io.BufferedReader, size: int, stack: ExitStack) -> Columns:
    """The columns of a stream of `size` bytes, and on the stack what is to be closed after use."""
    magic = stream.peek(4)[:4]
    if magic == b"PAR1":
        return _parquet(stack.enter_context(_seekable(stream)))
    if magic[:2] == b"\x1f\x8b":
        return _csv(_unpacked(stack.enter_context(gzip.GzipFile(fileobj=stream)), size))
    if magic == b"PK\x03\x04":
        return _csv(_unpacked(_zipped(stack.enter_context(_seekable(stream)), stack), size))
    return _csv(stream)


# --- Streams ----------------------------------------------------------------------------------------------------------


class _Source(io.RawIOBase):
    """Any object with `read(size)` as a raw stream; what it raises becomes a CloudError."""

    def __init__(self, source: Any, rest: bytes = b"") -> None:
        self._source = source
        self._rest = rest  # that was read of it already

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        seekable = getattr(self._source, "seekable", None)
        return bool(seekable and seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._source.seek(offset, whence))

    def tell(self) -> int:
        return int(self._source.tell())

    def readinto(self, buffer: Any) -> int:
        with _without_sdk_errors():
            part = self._rest or self._source.read(len(buffer))
        taken = part[: len(buffer)]
        self._rest = part[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        if not self.closed and callable(close := getattr(self._source, "close", None)):
            close()
        super().close()


def _buffered(source: Any) -> io.BufferedReader:
    return io.BufferedReader(_Source(source), 1 << 20)


@contextmanager
def _seekable(stream: io.BufferedReader) -> Iterator[IO[bytes]]:
    """The stream itself, or a copy on disk: Parquet files and ZIP archives are read from their end."""
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.seek(0)
        yield copy


class _Unpacked(io.RawIOBase):
    """What a packed stream unpacks to; CloudError where that is many times its `size`."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, size: int) -> None:
        self._stream, self._size, self._unpacked = stream, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._stream.read(len(buffer))
        buffer[: len(part)] = part
        self._unpacked += len(part)
        if self._unpacked > max(_HARMLESS, _MOST_TIMES * self._size):
            text = f"unpacks to more than {_MOST_TIMES} times its size, as no report does: it is not read."
            raise CloudError(Cause.CONFIG, text)
        return len(part)


def _unpacked(stream: IO[bytes] | gzip.GzipFile, size: int) -> io.BufferedReader:
    return io.BufferedReader(_Unpacked(stream, size), 1 << 20)


def _zipped(stream: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """The only file of a ZIP archive, as AWS writes a Cost and Usage Report for which ZIP was chosen."""
    archive = stack.enter_context(zipfile.ZipFile(stream))
    files = [one for one in archive.infolist() if not one.is_dir()]
    if len(files) != 1:
        raise CloudError(Cause.CONFIG, f"is a ZIP archive of {len(files)} files, and reports have one: it is not read.")
    try:
        return stack.enter_context(archive.open(files[0]))
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression, or a password
        raise CloudError(Cause.CONFIG, f"is a ZIP archive that cannot be unpacked: {error}") from None


_BROKEN = (pa.ArrowInvalid, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, UnicodeError, csv.Error)


@contextmanager
def _without_sdk_errors() -> Iterator[None]:
    """Inside the block, what a source raises becomes a CloudError: every SDK has its own words for a cut connection."""
    try:
        yield
    except (OptiInfraError, *_BROKEN):
        raise
    except Exception as error:
        text = f"could not be read to its end: {type(error).__name__}: {error}"
        raise CloudError(Cause.UNAVAILABLE, text) from error


@contextmanager
def _translated() -> Iterator[None]:
    """Broken content as a CloudError."""
    try:
        yield
    except (*_BROKEN, OSError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CloudError(Cause.INCOMPLETE, f"is broken or was not written to its end: {text}") from error


# --- Formats ----------------------------------------------------------------------------------------------------------


def _csv(stream: io.BufferedReader) -> Columns:
    encoding = next((name for bom, name in _BOMS if stream.peek(4).startswith(bom)), "utf-8")
    text = ""
    for line in iter(lambda: stream.readline(_LONGEST_HEADER), b""):
        if encoding == "utf-16-le" and line.endswith(b"\n"):
            line += stream.read(1)  # noqa: PLW2901 - the other half of the line's end
        text += line.decode(encoding)
        if text.endswith("\n") or len(text) >= _LONGEST_HEADER:
            break
    text = text.lstrip("\ufeff").rstrip("\r\n")
    delimiter = max(",;\t|", key=text.count)
    names = next(csv.reader([text], delimiter=delimiter), [])
    first = stream.readline(_LONGEST_HEADER)
    stream = io.BufferedReader(_Source(stream, first), 1 << 20)
    with suppress(csv.Error):  # as of a longer value than Python's reader takes
        row = next(csv.reader([first.decode(encoding, "ignore")], delimiter=delimiter), names)
        # Of header and rows, one may end with delimiters that the other has not.
        if not any(row[len(names) :]):
            names += row[len(names) :]
        if not any(names[len(row) :]):
            names = names[: len(row)]

    def read(wanted: Sequence[int]) -> Iterator[list[pa.Array]]:
        if not stream.peek(1).strip(b"\0"):
            return
        numbers = [str(n) for n in range(len(names))]
        with _translated():
            reader = pa.csv.open_csv(
                stream,
                pa.csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=numbers, encoding=encoding),
                pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                pa.csv.ConvertOptions(
                    include_columns=[str(n) for n in wanted],
                    column_types=dict.fromkeys(numbers, pa.string()),
                    null_values=[],
                ),
            )
            for batch in reader:
                yield list(batch.columns)

    return Columns(names, read)


def _parquet(stream: IO[bytes]) -> Columns:
    metadata = pq.read_metadata(stream)
    schema = metadata.schema.to_arrow_schema()
    names = list(_leaves(schema))
    texts = {field.name for field in schema if pa.types.is_string(field.type)}
    maps = {field.name for field in schema if pa.types.is_map(field.type)}

    def read(wanted: Sequence[int]) -> Iterator[list[pa.Array]]:
        paths = [names[n] for n in wanted]
        # With a buffer size, column chunks are read piece by piece, not whole. Text is mostly stored as dictionaries:
        # left as it is, a file is read in half the time.
        coded = [path for path in paths if path in texts]
        with _translated():
            file = pq.ParquetFile(
                stream, metadata=metadata, buffer_size=1 << 20, pre_buffer=False, read_dictionary=coded
            )
            # A row of a Cost and Usage Report has some twenty attributes of its product in a map.
            rows = max(1, BATCH_ROWS // 4) if maps.intersection(paths) else BATCH_ROWS
            for batch in file.iter_batches(rows, columns=paths):
                yield [_at(batch, path) for path in paths]

    return Columns(names, read)


def _leaves(fields: Any, prefix: str = "") -> Iterator[str]:
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def _at(batch: pa.RecordBatch, path: str) -> pa.Array:
    if path in batch.schema.names:
        return batch.column(path)
    first, *rest = path.split(".")
    return pc.struct_field(batch.column(first), rest)
