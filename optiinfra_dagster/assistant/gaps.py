"""What an answer lacks, by the ledger: slices that are partial, failed, or were never tried."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.text import plain, shortened
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage import as_of_views
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.reading import Query

NEVER = "not_collected"
EXPIRED = "expired"
LONGEST_REASON = 300  # characters: an error may be as long as a cloud likes


@dataclass(frozen=True, slots=True)
class MissingWindows:
    """Windows of a provider that are not whole, all for one kind of reason.

    `state` is partial, failed, budget or not_configured as the ledger has it, `not_collected` where no attempt is
    recorded, and `expired` where rows are not kept so long. `windows` counts them; of bills they are days.
    """

    provider: str
    state: str
    windows: int | None
    first: datetime
    last: datetime
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """As an answer has it."""
        return {
            "provider": self.provider or None,
            "state": self.state,
            "windows": self.windows,
            "first": windows.key(self.first),
            "last": windows.key(self.last),
            "reason": self.reason,
        }


def missing(
    client: Client,
    customer: Customer,
    query: Query,
    slices: Mapping[str, datetime],
    settings: Settings,
    kept: timedelta | None,
) -> list[MissingWindows]:
    """What an answer lacks: of `slices`, the newest ones by provider, or of the times that the query names.

    From the first of these windows to the newest that must be there. A window that is not due, since the customer is
    asked less often, is whole. `kept` is how long rows are kept, None where they stay.
    """
    known_at = windows.parse_time(query.as_of, "as_of") if query.as_of else None
    now = known_at or datetime.now(UTC)
    due = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    due -= timedelta(minutes=customer.poll_minutes)
    begin = windows.parse_time(query.from_, "from") if query.from_ else None
    end = windows.parse_time(query.to, "to") if query.to else None
    is_newest = begin is None and end is None
    found: list[MissingWindows] = []
    if begin is not None and kept is not None and begin < now - kept:
        said = f"rows are kept for {kept.days} days, and older ones are gone"
        found.append(MissingWindows("", EXPIRED, None, begin, now - kept, said))
    providers = [
        name
        for name in PROVIDERS
        if query.provider in {None, name} and (name in _where(customer, query.family) or name in slices)
    ]
    for provider in providers:
        first = slices.get(provider, due) if is_newest else windows.floor(begin) if begin else None
        last = now if end is None else end - timedelta(seconds=1)
        why = _why_never(customer, provider, query.family)
        found += _of_provider(client, query, provider, first, last, min(due, windows.floor(last)), known_at, why)
    return found


def _where(customer: Customer, family: str) -> tuple[str, ...]:
    """The providers on which the customer has what the family is of, be it collected now or not."""
    return customer.application_providers if family == "application" else customer.providers


def _why_never(customer: Customer, provider: str, family: str) -> str:
    if customer.paused:
        return "the customer is paused, and no attempt is recorded"
    if not customer.collects(provider, family):
        return "the customers file asks for none of it now, and no attempt is recorded"
    return "no attempt is recorded"


def _of_provider(
    client: Client,
    query: Query,
    provider: str,
    first: datetime | None,
    last: datetime,
    due: datetime,
    known_at: datetime | None,
    why_never: str,
) -> Iterator[MissingWindows]:
    """Of a provider's windows from `first`, or the first that was tried, to `last`; those up to `due` must be there."""
    rows = client.query(
        read_sql("queries/slices_as_shown"),
        parameters={
            "customer": query.customer,
            "family": query.family,
            "provider": provider,
            "first": int(first.timestamp()) if first else 0,
            "last": int(last.timestamp()),
            "due": int(due.timestamp()),
            "known_at": as_of_views.text(known_at or as_of_views.EVER),
        },
    ).result_rows
    tried = [row for row in rows if row[1] == query.family]
    for _, dataset, state, count, _, begin, end, why in rows:
        if state != "whole":
            reason = shortened(plain(why), LONGEST_REASON) or "it does not say why"
            of = "of bills: " if dataset != query.family else ""
            yield MissingWindows(provider, state, count, _utc(begin), _utc(end), of + reason)
    if first is None:
        first = _utc(min(row[5] for row in tried)) if tried else due
    never = (due - first) // windows.WINDOW + 1 - sum(row[4] for row in tried) if first <= due else 0
    if never > 0:
        yield MissingWindows(provider, NEVER, never, first, due, why_never)


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
