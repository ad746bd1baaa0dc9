"""Which files of a location may hold records of some time, by the fewest listings.

- Where the location names the hour (`{yyyy}`, `{mm}`, `{dd}`, `{hh}`, as far as it goes), the files between the first
  and the last hour are listed in one go, since names with dates sort by them. Where most of what lies between is
  somebody else's, as in `{yyyy}/{mm}/{dd}/acme/`, each hour is listed by itself.
- Otherwise a location of up to 1,000 files (Azure: 5,000) is listed whole, in one call. In a larger one names must
  begin with the date, as in `2026-11-21`, `2026/11/21` or `year=2026/month=11/day=21`, and the days are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.quality.bedrock_bodies import is_body

if TYPE_CHECKING:
    from optiinfra_dagster.providers.object_storage.store import File, Store

SPREAD = timedelta(minutes=15)
"""Shippers name files by when they were opened or delivered, so much before or after what is in them."""

_PLACEHOLDER = re.compile(r"\{(yyyy|mm|dd|hh)\}")
_FORMS = {"yyyy": "%Y", "mm": "%m", "dd": "%d", "hh": "%H"}
# The names of files that begin with a date: what stands before it, and between its parts.
_DATED = re.compile(r"(\D*)(\d{4})(\D*)(0[1-9]|1[0-2])(\D*)(0[1-9]|[12]\d|3[01])")


class FileListing(NamedTuple):
    """The files that were listed: all whose keys are from `after` on and before `before`, where these are not empty."""

    files: list[File]
    after: str = ""
    before: str = ""

    def covers(self, key: str) -> bool:
        """True if a file of this name would have been listed."""
        return self.after <= key and (not self.before or key < self.before)


class Location:
    """A prefix of keys of a store, in which parts of the hour may be left open."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        last = prefix.rpartition("/")[2]
        # A location is a folder, so that `acme` is not also `acme-test`; a date at its end may go on.
        self._prefix = f"{prefix}/" if last and not _PLACEHOLDER.search(last) else prefix
        names = _PLACEHOLDER.findall(self._prefix)
        self._sorts = names == list(_FORMS)[: len(names)]
        pattern = "".join(
            rf"\d{{{len(part)}}}" if part in _FORMS else re.escape(part) for part in _PLACEHOLDER.split(self._prefix)
        )
        self._form = re.compile(pattern)

    @property
    def is_dated(self) -> bool:
        """True if the location names parts of the hour."""
        return _PLACEHOLDER.search(self._prefix) is not None

    def named_for(self, key: str, start: datetime, end: datetime) -> bool:
        """True if a file is of [start, end), or about it, by its name; always where names tell no hour."""
        return not self.is_dated or key.startswith(tuple(self._hours(start, end)))

    def files(self, start: datetime, end: datetime) -> FileListing:
        """The files that may hold records of [start, end).

        Raises:
            CloudError, ConfigError: the place is not there, or may not be listed.
        """
        if not self.is_dated:
            return self._undated(start, end)
        hours = self._hours(start, end)
        if self._sorts and len(hours) > 1:
            after, before = hours[0], self._first_behind(end + SPREAD, hours[-1])
            found: list[File] = []
            for page in self._store.pages(_PLACEHOLDER.split(self._prefix)[0], after, before):
                own = [file for file in page.files if self._form.match(file.key)]
                if page.more and 2 * len(own) < len(page.files):
                    break
                found += own
            else:
                return FileListing(found, after, before)
        return FileListing(
            [file for hour in hours for page in self._store.pages(hour) for file in page.files], "\U0010ffff"
        )

    def is_empty(self) -> bool:
        """True if there is no file at all.

        Raises:
            CloudError, ConfigError: as `files`.
        """
        return not next(self._store.pages(_PLACEHOLDER.split(self._prefix)[0])).files

    def _hours(self, start: datetime, end: datetime) -> list[str]:
        """The location in each hour of [start, end) and about it, each once."""
        hour = (start - SPREAD).replace(minute=0, second=0, microsecond=0)
        hours: dict[str, None] = {}
        while hour < end + SPREAD:
            hours[_dated(self._prefix, hour)] = None
            hour += timedelta(hours=1)
        return list(hours)

    def _first_behind(self, moment: datetime, last: str) -> str:
        """The location in the first hour, day, month or year whose name is not `last`."""
        while (name := _dated(self._prefix, moment)) <= last:
            moment += timedelta(hours=1)
        return name

    def _undated(self, start: datetime, end: datetime) -> FileListing:
        prefix = self._prefix
        first = next(self._store.pages(prefix))
        if not first.more:
            return FileListing(first.files)
        form = _DATED.match(first.files[0].key, len(prefix))
        if form is None or self._sorts_behind(f"{prefix}{form[1]}3"):
            raise ConfigError(
                f"{self._store.place}/{prefix} holds over {len(first.files):,} files whose names do not all begin with "
                "a date. Write {yyyy}, {mm}, {dd} and {hh} into `interactions` where the names have them, or move old "
                "files away."
            )
        day = f"{prefix}{form[1]}{{yyyy}}{form[3]}{{mm}}{form[5]}{{dd}}"
        after, before = _dated(day, start - SPREAD), _dated(day, end + SPREAD + timedelta(days=1))
        return FileListing([f for page in self._store.pages(prefix, after, before) for f in page.files], after, before)

    def _sorts_behind(self, key: str) -> bool:
        """True if there are names that no date reaches."""
        return bool(next(self._store.pages(key[:-1], after=key)).files)


def _dated(template: str, moment: datetime) -> str:
    """A location with the parts of an hour of UTC filled in."""
    moment = moment.astimezone(UTC)
    return _PLACEHOLDER.sub(lambda match: moment.strftime(_FORMS[match[1]]), template)


def newest(listed: FileListing) -> Iterator[File]:
    """The files with content that are no part of a shipper's own bookkeeping, the newest first."""
    files = [file for file in listed.files if file.size and not is_hidden(file)]
    return iter(sorted(files, key=lambda file: (file.modified, file.key), reverse=True))


def is_hidden(file: File) -> bool:
    """True for names that begin with a dot or an underscore, which shippers write for themselves; and large bodies."""
    return file.key.rpartition("/")[2].startswith((".", "_")) or is_body(file.key)
