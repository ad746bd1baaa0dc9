"""The command `optiinfra export focus`: what was billed to a customer, in a file as FOCUS has it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from optiinfra_dagster.cli.output import check_file
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.model.text import counted
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage import as_of, focus
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.focus import ChargeFilter

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


@dataclass(frozen=True, slots=True)
class Request:
    """An export as it was typed."""

    customer: str
    from_: str
    to: str
    version: str
    format: str
    out: Path
    provider: str | None = None
    as_of: str | None = None


@dataclass(slots=True)
class Export:
    """What was written, in a sentence, and what a reader of the file must know."""

    said: str = ""
    notes: list[str] = field(default_factory=list)


def export_focus(clickhouse: ClickHouse, settings: Settings, request: Request) -> Export:
    """Write the customer's settled charges to a file.

    Raises:
        UsageError: what was typed cannot be meant.
        ConfigError: no bill has settled on any of the days.
        LostError: what was known at the time that was asked for is not there any more.
    """
    (customer,) = select(load_customers(settings.customers_path), [request.customer])
    wanted = _wanted(request)
    _check_file(request)
    today = (wanted.as_of or datetime.now(UTC)).date()
    with clickhouse.session(reads=f"{LEDGER_TABLE} cost_metrics") as client:
        accounts = focus.accounts(client, wanted)
        if not any(account.days for account in accounts):
            focus.refuse_lost(client, wanted)
            raise ConfigError(_why_nothing(request, wanted))
        charges = focus.charges(client, wanted)
        focus.write(client, wanted, request.version, request.out, embedded=clickhouse.embedded)
    count = sum(of_source.count for of_source in charges)
    export = Export(
        f"{request.customer}: {counted(count, 'charge')} from {wanted.first} to before {wanted.end} as FOCUS "
        f"{request.version}{f', as of {request.as_of},' if request.as_of else ''} in {request.out}"
    )
    over = focus.days_of(wanted, today)
    export.notes += [
        f"{account.account_id} on {account.provider}: {counted(over - account.days, 'day')} of {over} not in the file: "
        "no settled bill has them"
        for account in accounts
        if account.days < over
    ]
    export.notes += _never_read(customer, wanted, {account.provider for account in accounts})
    export.notes += [
        f"{of_source.source_id} on {of_source.provider}: EffectiveCost of {counted(of_source.as_billed, 'charge')} is "
        "what was billed: the bill does not tell it, and has commitments or fees paid ahead (x_AssumedCosts marks them)"
        for of_source in charges
        if of_source.as_billed and of_source.commits
    ]
    return export


def _why_nothing(request: Request, wanted: ChargeFilter) -> str:
    days = f"on any day from {wanted.first} to before {wanted.end}, and an estimate is no bill: widen the range, or"
    if request.as_of:
        return f"No bill of {_whom(request)} had settled by {request.as_of} {days} ask for a later time."
    return (
        f"No bill of {_whom(request)} has settled {days} run "
        f"`optiinfra collect --customer {request.customer} --family cost` and look at what it says."
    )


def _never_read(customer: Customer, wanted: ChargeFilter, read: set[str]) -> list[str]:
    return [
        f"{provider}: nothing is in the file: no bill of it was read for these days"
        for provider in customer.providers
        if provider not in read and wanted.provider in {"", provider}
    ]


def _whom(request: Request) -> str:
    return f"{request.customer} on {request.provider}" if request.provider else request.customer


def _wanted(request: Request) -> ChargeFilter:
    if request.provider and request.provider not in PROVIDERS:
        raise UsageError(
            f"There is no provider '{request.provider}'{closest(request.provider, PROVIDERS)}. "
            f"Choose from {', '.join(PROVIDERS)}."
        )
    first, end = _day(request.from_, "--from"), _day(request.to, "--to")
    if first > (today := datetime.now(UTC).date()):
        raise UsageError(f"--from {request.from_} is in the future; it is {today} now.")
    if first >= end:
        raise UsageError(f"--from {request.from_} is not before --to {request.to}: swap them, or widen the range.")
    known_at = as_of.checked_time(request.as_of, datetime.now(UTC)) if request.as_of is not None else None
    return ChargeFilter(request.customer, first, end, request.provider or "", known_at)


def _day(text: str, option: str) -> date:
    """A day typed by a person: charges are of days, so a time must be the start of one in UTC."""
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a day: write one such as {datetime.now(UTC):%F}.") from None
    is_day = re.fullmatch(r"\d{4}-\d\d-\d\d", text)
    moment = day.replace(tzinfo=UTC) if is_day else windows.parse_time(text, option)
    if moment.time() != time():
        raise UsageError(f"{option} {text} is no start of a day in UTC, and charges are of days: write {moment:%F}.")
    if not date(1970, 1, 1) <= moment.date() <= date(2149, 6, 5):  # what the engine takes for a day
        raise UsageError(f"{option} {text} is too far from now: write a day such as {datetime.now(UTC):%F}.")
    return moment.date()


def _check_file(request: Request) -> None:
    """Refuse, before anything is read, a file that could not be written or would not be what its name says."""
    out = request.out
    if out.suffix != f".{request.format}":
        raise UsageError(f"--out {out} does not end in .{request.format}: name it so, or choose another --format.")
    check_file(out, f"costs.{request.format}")
