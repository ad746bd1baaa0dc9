"""The sources of a customer's interactions: files in S3, Google Cloud Storage, Azure or a folder; or ClickHouse.

What is listed for a window follows from the location:

- Where it names the hour (`{yyyy}`, `{mm}`, `{dd}`, `{hh}`, as far as it goes), only the hours or days of the window
  are listed, and those within `SPREAD` of it, since shippers name files by when they were opened or delivered.
- Otherwise a location of up to 1,000 files (Azure: 5,000) is listed whole, in one call. In a larger one names must
  begin with the date, as in `2026-11-21`, `2026/11/21` or `year=2026/month=11/day=21`, and the days of the window are
  listed.

Files that were last written `UPLOAD` or more before the window are not read. Of what is read, the time in each line
decides. A bad line whose time cannot be read counts in the window of the line before it, so that it counts in one
window only, and in the same one whenever that is collected again. Bad lines have no provider: they count for each.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.object_storage.store import GoneError
from optiinfra_dagster.quality.interactions import BadLine, Interaction, Reason, Skipped
from optiinfra_dagster.quality.logs.reader import MAX_LINE_BYTES, read_file, read_rows
from optiinfra_dagster.quality.stores import open_store
from optiinfra_dagster.storage.interactions import LoggedTable, logged_interactions

if TYPE_CHECKING:
    import io

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.providers.object_storage.store import File, Store
    from optiinfra_dagster.storage.clickhouse import ClickHouse

SPREAD = timedelta(minutes=15)
PATIENCE_S = 600.0  # for the files of a window
UPLOAD = timedelta(hours=1)  # S3 dates an upload in parts from its beginning

_PLACEHOLDER = re.compile(r"\{(yyyy|mm|dd|hh)\}")
# The names of files that begin with a date: what stands before it, and between its parts.
_DATED = re.compile(r"(\D*)(\d{4})(\D*)(0[1-9]|1[0-2])(\D*)(0[1-9]|[12]\d|3[01])")


@dataclass(slots=True)
class SourceCounts:
    """Counts of one fetch. `files` hold lines of the window; `bytes` were read, as stored."""

    interactions: int = 0
    other_provider: int = 0
    files: int = 0
    bytes: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)

    @property
    def bad_lines(self) -> int:
        """The number of lines that could not be used, for any reason."""
        return self.reasons.total()


class InteractionSource(Protocol):
    """The interactions of one customer. `counts` are those of the last fetch, complete when it was read to its end."""

    counts: SourceCounts

    def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[Interaction]:
        """The interactions of [start, end) that ran on a provider, as they come; bad lines are counted and skipped.

        Raises:
            CloudError, ConfigError, StorageError: the place is not there, may not be read, or does not answer.
        """

    def probe(self, providers: Sequence[str], start: datetime, end: datetime) -> int:
        """Count the files or rows around [start, end), by the fewest calls that prove them readable.

        Raises:
            CloudError, ConfigError, StorageError: as `fetch`.
        """


def open_source(
    customer: Customer, *, clickhouse: ClickHouse | None = None, meter: Meter | None = None
) -> InteractionSource:
    """The source that the customers file names; calls to a cloud are counted by `meter`.

    Raises:
        ConfigError: the customer has no application, or a reference of it leads nowhere.
        CloudError: the cloud cannot be entered.
    """
    application = customer.application
    if application is None:
        raise ConfigError(f"{customer.id} has no `application` in the customers file: add one with `interactions`.")
    default = application.provider or (customer.providers[0] if len(customer.providers) == 1 else "")
    meter = meter or Meter()
    if application.interactions == "clickhouse":
        if clickhouse is None:
            raise ConfigError(f"The interactions of {customer.id} are in ClickHouse, and none was given.")
        return TableSource(clickhouse, customer.id, default)
    store, location = open_store(customer, application, meter)
    return FileSource(store, location, default)


class _Filter:
    """Decides which lines are of a window and provider, and counts them."""

    def __init__(self, provider: str, start: datetime, end: datetime, default: str, counts: SourceCounts) -> None:
        self._provider, self._start, self._end = provider, start, end
        self._default, self._counts = default, counts

    def holds(self, moment: datetime) -> bool:
        return self._start <= moment < self._end

    def wants(self, interaction: Interaction) -> bool:
        """Count an interaction of the window; True if it is of the provider."""
        provider = interaction.provider or self._default
        if provider == self._provider:
            self._counts.interactions += 1
        elif provider:
            self._counts.other_provider += 1
        else:
            self._counts.reasons[Reason.NO_PROVIDER] += 1
        return provider == self._provider


# --- Files ----------------------------------------------------------------------------------------------------------


class FileSource:
    """Files of a log."""

    def __init__(self, store: Store, location: str, default_provider: str) -> None:
        self.counts = SourceCounts()
        self._store, self._default = store, default_provider
        last = location.rpartition("/")[2]
        # A location is a folder, so that `acme` is not also `acme-test`; a date at its end may go on.
        self._location = f"{location}/" if last and not _PLACEHOLDER.search(last) else location

    def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[Interaction]:
        """See `InteractionSource`."""
        self.counts = counts = SourceCounts()
        located = provider if "{provider}" in self._location else self._default
        return self._fetch(provider, start, end, _Filter(provider, start, end, located, counts))

    def probe(self, providers: Sequence[str], start: datetime, end: datetime) -> int:
        """See `InteractionSource`; the first file is opened, since who may list need not be allowed to read."""
        count, opened = 0, False
        with closing(self._store):
            for provider in providers if "{provider}" in self._location else providers[:1]:
                for file in self._list(provider, start, end):
                    count += 1
                    if file.size and not opened:
                        with suppress(GoneError), self._store.open(file) as stream:
                            stream.peek(1)
                            opened = True
        return count

    def _fetch(self, provider: str, start: datetime, end: datetime, window: _Filter) -> Iterator[Interaction]:
        counts = self.counts
        until = time.monotonic() + PATIENCE_S
        with closing(self._store):
            for file in self._list(provider, start, end):
                if time.monotonic() > until:
                    message = (
                        f"reading {self._store.place} took over {PATIENCE_S:.0f} s: name the hour in `interactions`"
                    )
                    raise CloudError(Cause.UNAVAILABLE, f"{message}, or write fewer files")
                name = file.key.rpartition("/")[2]
                if not file.size or name.startswith((".", "_")) or file.modified < start - UPLOAD:
                    continue
                try:
                    with self._store.open(file) as stream:
                        yield from self._read(stream, file, window, counts)
                except GoneError:
                    continue

    def _list(self, provider: str, start: datetime, end: datetime) -> Iterator[File]:
        location = self._location.replace("{provider}", provider)
        if not _PLACEHOLDER.search(location):
            yield from self._list_undated(location, start, end)
            return
        hour = (start - SPREAD).replace(minute=0, second=0, microsecond=0)
        prefixes: dict[str, None] = {}
        while hour < end + SPREAD:
            prefixes[_dated(location, hour)] = None
            hour += timedelta(hours=1)
        for prefix in prefixes:
            for page in self._store.pages(prefix):
                yield from page.files

    def _list_undated(self, prefix: str, start: datetime, end: datetime) -> Iterator[File]:
        first = next(self._store.pages(prefix))
        if not first.more:
            yield from first.files
            return
        form = _DATED.match(first.files[0].key, len(prefix))
        if form is None or self._sorts_behind(f"{prefix}{form[1]}3"):
            raise ConfigError(
                f"{self._store.place}/{prefix} holds over {len(first.files):,} files whose names do not all begin with "
                "a date. Write {yyyy}, {mm}, {dd} and {hh} into `interactions` where the names have them, or move old "
                "files away."
            )
        day = f"{prefix}{form[1]}{{yyyy}}{form[3]}{{mm}}{form[5]}{{dd}}"
        after, before = _dated(day, start - SPREAD), _dated(day, end + SPREAD + timedelta(days=1))
        for page in self._store.pages(prefix, after, before):
            yield from page.files

    def _sorts_behind(self, key: str) -> bool:
        """True if there are names that no date reaches."""
        return bool(next(self._store.pages(key[:-1], after=key)).files)

    def _read(
        self, stream: io.BufferedReader, file: File, window: _Filter, counts: SourceCounts
    ) -> Iterator[Interaction]:
        """The wanted interactions of one file."""
        moment: datetime | None = None  # of the newest line whose time could be read
        early: Counter[Reason] = Counter()  # bad lines before any such line
        touched = False
        for item in read_file(stream):
            if isinstance(item, Skipped):
                continue
            if item.timestamp is not None:
                if moment is None and early and window.holds(item.timestamp):
                    counts.reasons += early
                    touched = True
                moment = item.timestamp
            elif moment is None and isinstance(item, BadLine):
                early[item.reason] += 1
                continue
            if not window.holds(moment):
                continue
            touched = True
            if isinstance(item, BadLine):
                counts.reasons[item.reason] += 1
            elif window.wants(item):
                yield item
        if moment is None and early and window.holds(file.modified):
            counts.reasons += early
            touched = True
        counts.files += touched
        counts.bytes += file.size


def _dated(template: str, moment: datetime) -> str:
    """A location with the parts of an hour of UTC filled in."""
    moment = moment.astimezone(UTC)
    parts = {"yyyy": f"{moment:%Y}", "mm": f"{moment:%m}", "dd": f"{moment:%d}", "hh": f"{moment:%H}"}
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], template)


# --- ClickHouse -----------------------------------------------------------------------------------------------------


class TableSource:
    """The table llm_interactions, and OpenTelemetry's otel_traces where it stands in the same database."""

    def __init__(self, clickhouse: ClickHouse, customer_id: str, default_provider: str) -> None:
        self.counts = SourceCounts()
        self._clickhouse, self._customer_id, self._default = clickhouse, customer_id, default_provider

    def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[Interaction]:
        """See `InteractionSource`. ClickHouse is held meanwhile: nothing else may be waited for between two items."""
        self.counts = counts = SourceCounts()
        return self._fetch(provider, start, end, _Filter(provider, start, end, self._default, counts), counts)

    def probe(self, providers: Sequence[str], start: datetime, end: datetime) -> int:  # noqa: ARG002
        """See `InteractionSource`."""
        return sum(table.count + table.elsewhere for table in self._tables("", start, end))

    def _tables(self, provider: str, start: datetime, end: datetime) -> Iterator[LoggedTable]:
        return logged_interactions(self._clickhouse, self._customer_id, provider, start, end, MAX_LINE_BYTES)

    def _fetch(
        self, provider: str, start: datetime, end: datetime, window: _Filter, counts: SourceCounts
    ) -> Iterator[Interaction]:
        for table in self._tables(provider, start, end):
            counts.other_provider += table.elsewhere
            for item in read_rows(table.rows, has_spans=table.has_spans):
                if item.timestamp is not None and not window.holds(item.timestamp):
                    continue  # of the minutes around
                if isinstance(item, BadLine):
                    counts.reasons[item.reason] += 1
                elif isinstance(item, Interaction) and window.wants(item):
                    yield item
