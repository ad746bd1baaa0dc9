"""Files of a log as a stream of records: JSON or binary OTLP, perhaps compressed, and Parquet, by their first bytes."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.quality.interactions import BadLine, Reason
from optiinfra_dagster.quality.logs import otlp_binary
from optiinfra_dagster.quality.logs.records import CHUNK, Readable, read_records

if TYPE_CHECKING:
    import io

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_OTHER_TEXTS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # byte order marks of UTF-16 and UTF-32
_DAMAGES = (EOFError, gzip.BadGzipFile, zlib.error)
_DAMAGES_OF_FRAMES = (EOFError, OSError)
_ROWS = 64  # of Parquet that are held at a time


def records_of(stream: io.BufferedReader) -> Iterator[Any]:
    """The records of a file; a damaged compressed file is read as far as it goes."""
    head = stream.peek(otlp_binary.LOOKED_AT)
    begin, behind = head[:4], head[4:8]
    if begin.startswith(_GZIP):
        file = _Ahead(_Gzip(stream), _DAMAGES)
        if file.begin.startswith(_GZIP):  # as Firehose compresses once more what CloudWatch has compressed
            file = _Ahead(_Gzip(file), _DAMAGES)
        yield from _read(file, file.begin, _DAMAGES)
    elif begin == _ZSTD:
        yield from _zstd(stream)
    elif behind == _ZSTD:
        frames = _Ahead(_Frames(stream), _DAMAGES_OF_FRAMES)
        yield from _read(frames, frames.begin, _DAMAGES_OF_FRAMES)
    elif begin == _PARQUET:
        yield from _parquet(stream)
    elif begin.startswith(_OTHER_TEXTS) or (b"\0" in begin and not otlp_binary.form_of(head)):
        yield BadLine(Reason.NOT_UTF8)
    else:
        yield from _read(stream, head)


def _read(stream: Readable, begin: bytes, damages: tuple[type[Exception], ...] = ()) -> Iterator[Any]:
    """The records of what is not compressed, or no longer."""
    form = otlp_binary.form_of(begin[: otlp_binary.LOOKED_AT])
    return otlp_binary.read_messages(stream, form, damages) if form else read_records(stream, damages)


class _Ahead:
    """A stream whose first bytes, `begin`, were looked at; a damage within them is met where they are read."""

    def __init__(self, stream: Readable, damages: tuple[type[Exception], ...]) -> None:
        self._stream, self.begin = stream, b""
        self._damage: Exception | None = None
        try:
            self.begin = stream.read(CHUNK)
        except damages as error:
            self._damage = error

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        if self._damage is not None:
            raise self._damage
        if self.begin:
            data, self.begin = self.begin[:size], self.begin[size:]
            return data
        return self._stream.read(size)


class _Gzip:
    """What is in a gzip file, of one member or several, as far as it goes: a damage is told behind what is before it.

    `gzip.GzipFile` would do, but reads 8 KiB at a time, and costs a fifth more.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream, self._member = stream, zlib.decompressobj(_OF_GZIP)
        self._data = b""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end.

        Raises:
            EOFError, gzip.BadGzipFile, zlib.error: the file was cut, or is damaged.
        """
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

    damages = (OSError, pa.ArrowException)
    file = _Ahead(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"), damages)
    yield from _read(file, file.begin, damages)


class _Frames:
    """What the collector's file exporter compresses: each message by itself, behind its length.

    https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/exporter/fileexporter#file-format
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def read(self, _size: int) -> bytes:
        """The next message, of JSON in a line of its own; none at the end.

        Messages of OTLP one behind the other are one message.

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
            message = bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read())
        except pa.ArrowException as error:
            raise OSError from error
        return message if otlp_binary.form_of(message[: otlp_binary.LOOKED_AT]) else message + b"\n"


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
