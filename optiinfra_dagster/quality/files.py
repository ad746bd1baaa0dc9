"""Files of a log, in S3, Google Cloud Storage, Azure or a folder.

Files are listed as `listing` says. Those that were last written `UPLOAD` or more before a window are not read for it.
Of what is read, the time in each line decides. A bad line whose time cannot be read counts in the window of the line
before it, so that it counts in one window only, and in the same one whenever that is collected again. Bad lines have no
provider: they count for each.

What a file holds of each window is remembered, as digests (`digests`). So a file is read once for each of its windows,
and again only if it changed, or if bodies have come that its records name (`bedrock_bodies`); and records that come
after their window was collected are found, in whichever file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.object_storage.store import GoneError
from optiinfra_dagster.quality import digests
from optiinfra_dagster.quality.bedrock_bodies import LargeBodies
from optiinfra_dagster.quality.counts import LOOKED_AT, Filter, Sight, SourceCounts
from optiinfra_dagster.quality.digests import Contents, Reading
from optiinfra_dagster.quality.interactions import BadLine, Item, LogRecord, Observation, Reason
from optiinfra_dagster.quality.listing import FileListing, Location, is_hidden, newest
from optiinfra_dagster.quality.logs.reader import read_file
from optiinfra_dagster.storage.log_files import ReadFile, keep_files, load_files

if TYPE_CHECKING:
    from optiinfra_dagster.providers.object_storage.store import File, Store
    from optiinfra_dagster.storage.clickhouse import ClickHouse

_LACKS = " lacks "  # between a file's version and the bodies that were not there when it was read

PATIENCE_S = 600.0  # for the files of a window, and for those that came late
UPLOAD = timedelta(hours=1)  # S3 dates an upload in parts from its beginning


class Known(NamedTuple):
    """What is known of a file: what it holds, and the marks of bodies that its records name and that were not there."""

    contents: Contents
    lacking: frozenset[str] = frozenset()


class Memory:
    """What files hold, remembered in ClickHouse; where there is none, as long as the source is open."""

    def __init__(self, clickhouse: ClickHouse | None, customer_id: str, now: Callable[[], datetime]) -> None:
        self._clickhouse, self._customer_id, self._now = clickhouse, customer_id, now
        self._known: dict[tuple[str, str], Known] | None = None
        self._new: list[ReadFile] = []

    def load(self, location: str, since: datetime) -> Mapping[tuple[str, str], Known]:
        """What is known of the files of a location that were changed since a moment, by key and version."""
        if self._known is None:
            self._known = {}
            if self._clickhouse is not None:
                for (key, told), held in load_files(self._clickhouse, self._customer_id, location, since).items():
                    version, _, lacking = told.partition(_LACKS)
                    found = Known(held, frozenset(lacking.split()))
                    before = self._known.get((key, version))
                    if before is None or len(found.lacking) < len(before.lacking):  # the one that was read last
                        self._known[key, version] = found
        return self._known

    def recall(self, file: File, bodies: LargeBodies) -> Contents | None:
        """The contents of a file, None if it is to be read: for the first time, or since bodies came that it lacked."""
        known = (self._known or {}).get((file.key, digests.version_of(file)))
        return None if known is None or bodies.have_come(known.lacking) else known.contents

    def note(self, file: File, contents: Contents, lacking: Collection[str]) -> None:
        """Remember what a file holds and which bodies it lacks, in ClickHouse once it is kept."""
        version = digests.version_of(file)
        if self._known is not None:
            self._known[file.key, version] = Known(contents, frozenset(lacking))
        version_and_lacking = f"{version}{_LACKS}{' '.join(sorted(lacking))}" if lacking else version
        self._new.append(ReadFile(file.key, version_and_lacking, file.modified, digests.remembered(file, contents)))

    def keep(self, location: str) -> None:
        """Keep what is new."""
        if self._clickhouse is not None:
            keep_files(self._clickhouse, self._customer_id, location, self._new, self._now())
        self._new = []


class FileSource:
    """Files of a log."""

    def __init__(
        self,
        store: Store,
        location: str,
        default_provider: str,
        memory: Memory | None = None,
        *,
        since: datetime | None = None,
        late: timedelta = timedelta(0),
    ) -> None:
        self.counts = SourceCounts()
        self._store, self._location, self._default = store, location, default_provider
        self.place = f"{store.place}/{location}" if "://" in store.place else location
        self._memory = memory or Memory(None, "", lambda: datetime.now(UTC))
        self._since, self._late = since, late
        self._span: tuple[str, datetime, datetime] | None = None  # what was listed
        self._listed = FileListing([])
        self._bodies = LargeBodies(store, ())

    def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[LogRecord]:
        """See `InteractionSource`."""
        self.counts = counts = SourceCounts()
        located = provider if "{provider}" in self._location else self._default
        return self._fetch(provider, start, end, Filter(provider, start, end, located, counts))

    def changed(self, provider: str, collected: Mapping[datetime, str]) -> list[datetime]:
        """See `InteractionSource`. Files that were never read are read here, to learn what they hold."""
        if not collected:
            return []
        start, end = min(collected), max(collected) + windows.WINDOW
        until = time.monotonic() + PATIENCE_S
        with closing(self._store):
            listed = self._files(provider, start, end)
            known = self._memory.load(self._scope(provider), (self._since or start) - UPLOAD)
            contents_of_files: list[Contents] = []
            try:
                for file in listed.files:
                    if file.size and not is_hidden(file) and file.modified >= start - UPLOAD:
                        of_file = self._memory.recall(file, self._bodies)
                        contents_of_files.append(self._learn(file, until) if of_file is None else of_file)
            finally:
                self._memory.keep(self._scope(provider))
        names = {file.key for file in listed.files}
        gone = {
            window
            for (key, _), of_file in known.items()
            if key not in names and listed.covers(key)
            for window in of_file.contents
        }
        total: Counter[int] = Counter()
        for of_file in contents_of_files:
            total.update(of_file)
        return [
            window
            for window, content in sorted(collected.items(), reverse=True)
            if (seconds := int(window.timestamp())) not in gone
            and digests.digest_of([{seconds: total[seconds]}], window, window + windows.WINDOW) != content
        ]

    def is_empty(self, provider: str) -> bool:
        """See `InteractionSource`."""
        if self._listed.files:
            return False
        with closing(self._store):
            return self._located(provider).is_empty()

    def look(self, providers: Sequence[str], start: datetime, end: datetime) -> tuple[int, list[Sight]]:
        """See `InteractionSource`; files are opened, since who may list need not be allowed to read."""
        files: list[File] = []
        sights = []
        with closing(self._store):
            for provider in providers if "{provider}" in self._location else providers[:1]:
                listed = self._located(provider).files(start, end)
                files += listed.files
                self._bodies = LargeBodies(self._store, listed.files)
                found = list(newest(listed))
                default = provider if "{provider}" in self._location else self._default
                sights += [
                    self._see(file, default) for file in {file.key: file for file in found[:1] + found[-1:]}.values()
                ]
        return len(files), [sight for sight in sights if sight is not None]

    # --- What is read -----------------------------------------------------------------------------------------------

    def _located(self, provider: str) -> Location:
        return Location(self._store, self._location.replace("{provider}", provider))

    def _scope(self, provider: str) -> str:
        return f"{self._store.place} {self._location.replace('{provider}', provider)}"

    def _files(self, provider: str, start: datetime, end: datetime) -> FileListing:
        """The files that may hold records of [start, end), listed once for all windows since `since`."""
        if self._span is None or self._span[0] != provider or start < self._span[1] or end > self._span[2]:
            first = min(start, self._since or start)
            last = end + self._late if self._since else end
            self._listed = self._located(provider).files(first, last)
            self._bodies = LargeBodies(self._store, self._listed.files)
            self._span = provider, first, last
        return self._listed

    def _fetch(self, provider: str, start: datetime, end: datetime, window: Filter) -> Iterator[LogRecord]:
        counts, location = self.counts, self._located(provider)
        until = time.monotonic() + PATIENCE_S
        held: list[Contents] = []
        with closing(self._store):
            listed = self._files(provider, start, end)
            self._memory.load(self._scope(provider), (self._since or start) - UPLOAD)
            for file in listed.files:
                self._refuse_after(until)
                if not file.size or is_hidden(file):
                    continue
                of_file = self._memory.recall(file, self._bodies)
                if of_file is not None and digests.is_remembered(file, start):
                    if not any(start.timestamp() <= seconds < end.timestamp() for seconds in of_file):
                        continue
                elif file.modified < start - UPLOAD or not location.named_for(file.key, start, end):
                    continue
                reading = Reading()
                self._bodies.lacking.clear()
                try:
                    with self._store.open(file) as stream:
                        yield from self._read(read_file(stream, self._bodies), file, window, reading)
                except GoneError:
                    continue
                held.append(reading.contents())
                self._memory.note(file, held[-1], self._bodies.lacking)
        self._memory.keep(self._scope(provider))
        counts.content = digests.digest_of(held, start, end)

    def _refuse_after(self, until: float) -> None:
        if time.monotonic() > until:
            message = f"reading {self._store.place} took over {PATIENCE_S:.0f} s: name the hour in `interactions`"
            raise CloudError(Cause.UNAVAILABLE, f"{message}, or write fewer files")

    def _read(self, items: Iterable[Item], file: File, window: Filter, reading: Reading) -> Iterator[LogRecord]:
        """The wanted records of one file."""
        counts = self.counts
        touched = False
        for item, moment in _dated(items, file.modified):
            reading.add(item, moment)
            if not window.holds(moment):
                continue
            touched = True
            if isinstance(item, Observation):
                counts.add_observation(item)
                continue
            if not isinstance(item, BadLine):
                if window.wants(item):
                    yield item
                continue
            counts.add_bad(item, f"{file.key} line {item.line}" if item.line else file.key)
        counts.files += touched
        counts.bytes += file.size

    def _learn(self, file: File, until: float) -> Contents:
        """What a file holds, which is read to its end for that."""
        self._refuse_after(until)
        reading = Reading()
        self._bodies.lacking.clear()
        try:
            with self._store.open(file) as stream:
                for item, moment in _dated(read_file(stream, self._bodies), file.modified):
                    reading.add(item, moment)
        except GoneError:
            return {}
        contents = reading.contents()
        self._memory.note(file, contents, self._bodies.lacking)
        return contents

    def _see(self, file: File, default_provider: str) -> Sight | None:
        sight = Sight(f"{self._store.place}/{file.key}" if "://" in self._store.place else file.key)
        try:
            with self._store.open(file) as stream:
                for item, _ in _dated(read_file(stream, self._bodies), file.modified):
                    sight.add(item, default_provider)
                    if sight.records >= LOOKED_AT:
                        break
        except GoneError:
            return None
        return sight


def _dated(items: Iterable[Item], modified: datetime) -> Iterator[tuple[Item, datetime]]:
    """Records with the time whose window they count in: their own, or that of the one before.

    Bad lines at the beginning have that of the first record behind them, or of the file's last change. So have records
    of windows for which the file is not read, since it was written before.
    """
    moment: datetime | None = None
    early: list[BadLine] = []
    more: Counter[Reason] = Counter()
    latest = modified + UPLOAD
    for item in items:
        if item.timestamp is not None and item.timestamp > latest and windows.floor(item.timestamp) > latest:
            yield BadLine(Reason.IN_FUTURE), modified
            continue
        if item.timestamp is not None:
            if moment is None:
                yield from _told_later(early, more, item.timestamp)
            moment = item.timestamp
        elif moment is None:
            if isinstance(item, BadLine):
                if len(early) < LOOKED_AT:
                    early.append(item)
                else:
                    more[item.reason] += 1
            continue
        yield item, moment
    if moment is None:
        yield from _told_later(early, more, modified)


def _told_later(
    early: Iterable[BadLine], more: Mapping[Reason, int], moment: datetime
) -> Iterator[tuple[BadLine, datetime]]:
    for item in early:
        yield item, moment
    for reason, count in more.items():
        for _ in range(count):
            yield BadLine(reason), moment
