"""The sources of a customer's interactions: files (`files`), or tables in ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.quality.counts import LOOKED_AT, Filter, Sight, SourceCounts
from optiinfra_dagster.quality.files import FileSource, Memory
from optiinfra_dagster.quality.interactions import BadLine, Item, LogRecord, Observation
from optiinfra_dagster.quality.logs.reader import MAX_LINE_BYTES, read_rows
from optiinfra_dagster.quality.stores import open_store
from optiinfra_dagster.storage.interactions import LoggedTable, logged_interactions
from optiinfra_dagster.storage.log_files import has_logged, logged_contents

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.storage.clickhouse import ClickHouse


class InteractionSource(Protocol):
    """The interactions of one customer. `counts` are those of the last fetch, complete when it was read to its end."""

    place: str
    counts: SourceCounts

    def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[LogRecord]:
        """What was logged of [start, end) on a provider, as it comes; bad lines are counted and left out.

        Raises:
            CloudError, ConfigError, StorageError: the place is not there, may not be read, or does not answer.
        """

    def changed(self, provider: str, collected: Mapping[datetime, str]) -> list[datetime]:
        """The windows whose records are others than those that they were collected from, the newest first.

        A window whose records are no longer all there is not among them.

        Args:
            provider: whose windows they are.
            collected: the digest (`SourceCounts.content`) of what each window was collected from.

        Raises:
            CloudError, ConfigError, StorageError: as `fetch`.
        """

    def is_empty(self, provider: str) -> bool:
        """True if nothing was ever logged, as far as can be seen.

        Raises:
            CloudError, ConfigError, StorageError: as `fetch`.
        """

    def look(self, providers: Sequence[str], start: datetime, end: datetime) -> tuple[int, list[Sight]]:
        """Count the files or rows around [start, end), and read the first and the newest of those that are there.

        Raises:
            CloudError, ConfigError, StorageError: as `fetch`.
        """


def open_source(
    customer: Customer,
    *,
    clickhouse: ClickHouse | None = None,
    meter: Meter | None = None,
    since: datetime | None = None,
    late: timedelta = timedelta(0),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> InteractionSource:
    """The source that the customers file names; calls to a cloud are counted by `meter`.

    With `since`, all files from then on are listed at once, for whichever window is asked for; `late` is how much later
    than its window a file may be delivered.

    Raises:
        ConfigError: the customer has no application, or a reference of it leads nowhere.
        CloudError: the cloud cannot be entered.
    """
    application = customer.application
    if application is None:
        raise ConfigError(f"{customer.id} has no `application` in the customers file: add one with `interactions`.")
    providers = customer.application_providers
    default = application.provider or (providers[0] if len(providers) == 1 else "")
    meter = meter or Meter()
    if application.interactions == "clickhouse":
        if clickhouse is None:
            raise ConfigError(f"The interactions of {customer.id} are in ClickHouse, and none was given.")
        return TableSource(clickhouse, customer.id, default)
    store, location = open_store(customer, application, meter)
    memory = Memory(clickhouse, customer.id, now)
    return FileSource(store, location, default, memory, since=since, late=late)


# --- ClickHouse -----------------------------------------------------------------------------------------------------


class TableSource:
    """The table llm_interactions, and OpenTelemetry's otel_traces where it stands in the same database."""

    place = "the table llm_interactions (or otel_traces)"

    def __init__(self, clickhouse: ClickHouse, customer_id: str, default_provider: str) -> None:
        self.counts = SourceCounts()
        self._clickhouse, self._customer_id, self._default = clickhouse, customer_id, default_provider

    def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[LogRecord]:
        """See `InteractionSource`. ClickHouse is held meanwhile: nothing else may be waited for between two items."""
        self.counts = counts = SourceCounts()
        return self._fetch(provider, start, end, Filter(provider, start, end, self._default, counts))

    def changed(self, provider: str, collected: Mapping[datetime, str]) -> list[datetime]:  # noqa: ARG002
        """See `InteractionSource`."""
        if not collected:
            return []
        there = logged_contents(self._clickhouse, self._customer_id, min(collected), max(collected) + windows.WINDOW)
        # Rows are not removed one by one: of fewer, the rest was dropped with its day.
        return [w for w, content in sorted(collected.items(), reverse=True) if _rows(there.get(w)) > _rows(content)]

    def is_empty(self, provider: str) -> bool:  # noqa: ARG002
        """See `InteractionSource`."""
        return not has_logged(self._clickhouse, self._customer_id)

    def look(self, providers: Sequence[str], start: datetime, end: datetime) -> tuple[int, list[Sight]]:
        """See `InteractionSource`."""
        sight = Sight(self.place)
        count = 0
        for provider in dict.fromkeys((*providers, "")):
            for table in self._tables(provider, start, end):
                count = max(count, table.count + table.elsewhere)
        for provider in providers[:1]:
            for item in self._items(provider, start, end):
                sight.add(item, self._default)
                if sight.records >= LOOKED_AT:
                    break
        return count, [sight] if sight.records else []

    def _tables(self, provider: str, start: datetime, end: datetime) -> Iterator[LoggedTable]:
        return logged_interactions(self._clickhouse, self._customer_id, provider, start, end, MAX_LINE_BYTES)

    def _items(self, provider: str, start: datetime, end: datetime) -> Iterator[Item]:
        for table in self._tables(provider, start, end):
            self.counts.other_provider += table.elsewhere
            for item in read_rows(table.rows, has_spans=table.has_spans, has_feedback=table.has_feedback):
                if item.timestamp is None or start <= item.timestamp < end:  # not of the minutes around
                    yield item

    def _fetch(self, provider: str, start: datetime, end: datetime, window: Filter) -> Iterator[LogRecord]:
        counts = self.counts
        # Before the rows: what comes between is found to be new the next time.
        there = logged_contents(self._clickhouse, self._customer_id, start, end)
        counts.content = next(iter(there.values()), "0-")
        for item in self._items(provider, start, end):
            if isinstance(item, BadLine):
                counts.add_bad(item, self.place)
            elif isinstance(item, Observation):
                counts.add_observation(item)
            elif window.wants(item):
                yield item


def _rows(content: str | None) -> int:
    """The number of rows that a digest is of."""
    return int((content or "0-").partition("-")[0])
