"""Files of a log as a stream of records: plain or compressed JSON, and Parquet, told by their first bytes."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.quality.interactions import BadLine, Reason
from optiinfra_dagster.quality.logs.records import CHUNK, Readable, read_records

if TYPE_CHECKING:
    import io

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_OTHER_TEXTS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # byte order marks of UTF-16 and UTF-32
_DAMAGES = (EOFError, gzip.BadGzipFile, zlib.error)
_ROWS = 64  # of Parquet that are held at a time


def records_of(stream: io.BufferedReader) -> Iterator[Any]:
    """The records of a file; a damaged compressed file is read as far as it goes."""
    begin, behind = stream.peek(8)[:4], stream.peek(8)[4:8]
    if begin.startswith(_GZIP):
        file = _Gzip(stream)
        if file.holds_gzip():  # as Firehose compresses once more what CloudWatch has compressed
            file = _Gzip(file)
        yield from read_records(file, _DAMAGES)
    elif begin == _ZSTD:
        yield from _zstd(stream)
    elif behind == _ZSTD:
        yield from read_records(_Frames(stream), (EOFError, OSError))
    elif begin == _PARQUET:
        yield from _parquet(stream)
    elif begin.startswith(_OTHER_TEXTS) or b"\0" in begin:
        yield BadLine(Reason.NOT_UTF8)
    else:
        yield from read_records(stream)


class _Gzip:
    """What is in a gzip file, of one member or several, as far as it goes: a damage is told behind what is before it.

    `gzip.GzipFile` would do, but reads 8 KiB at a time, and costs a fifth more.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream, self._member = stream, zlib.decompressobj(_OF_GZIP)
        self._data = self._ahead = b""  # compressed, and decompressed

    def holds_gzip(self) -> bool:
        """True if what is in it is a gzip file again."""
        with suppress(*_DAMAGES):  # which are met again where it is read
            self._ahead = self.read(CHUNK)
        return self._ahead[:2] == _GZIP

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end.

        Raises:
            EOFError, gzip.BadGzipFile, zlib.error: the file was cut, or is damaged.
        """
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        while True:
            if self._member.eof:
                behind = self._member.unused_data or self._stream.read(_AT_ONCE)
                while behind and not behind.strip(b"\0"):  # as tapes and disks fill up
                    behind = self._stream.read(_AT_ONCE)
                self._data = behind.lstrip(b"\0")
                if not behind:
                    return b""
                if not _GZIP.startswith(self._data[:2]):
                    raise gzip.BadGzipFile
                self._member = zlib.decompressobj(_OF_GZIP)
            data = self._data or self._stream.read(_AT_ONCE)
            if not data:
                raise EOFError
            found = self._member.decompress(data, size)
            self._data = self._member.unconsumed_tail
            if found:
                return found


_OF_GZIP = 31  # the format of what `zlib` decompresses
_AT_ONCE = 2**15  # compressed bytes


def _zstd(stream: io.BufferedReader) -> Iterator[Any]:
    import pyarrow as pa

    yield from read_records(
        pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"), (OSError, pa.ArrowException)
    )


class _Frames:
    """What the collector's file exporter compresses: each message by itself, behind its length.

    https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/exporter/fileexporter#file-format
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def read(self, _size: int) -> bytes:
        """The next message, in a line of its own; none at the end.

        Raises:
            EOFError, OSError: the file was cut, or is damaged.
        """
        import pyarrow as pa

        length = int.from_bytes(head := self._stream.read(_LENGTH))
        if not head:
            return b""
        data = self._stream.read(length) if length <= _LONGEST_FRAME else b""
        if len(data) < max(length, 1):
            raise EOFError
        try:
            return bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()) + b"\n"
        except pa.ArrowException as error:
            raise OSError from error


_LENGTH, _LONGEST_FRAME = 4, 2**26  # bytes


def _parquet(stream: io.BufferedReader) -> Iterator[Any]:
    """The rows of a Parquet file, which is read from its end: it is copied to disk first."""
    import pyarrow as pa
    from pyarrow import parquet

    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        try:
            with parquet.ParquetFile(copy) as file:
                for batch in file.iter_batches(batch_size=_ROWS):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException):
            yield BadLine(Reason.CUT_FILE)
