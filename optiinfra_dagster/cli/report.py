"""The command `optiinfra report`: all that a customer's readers say, as one page with plots."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.cli.output import check_file
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.model.errors import ConfigError, LostError, StorageError
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.reports import page
from optiinfra_dagster.reports.section import Answer
from optiinfra_dagster.storage import as_of, as_of_views
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from optiinfra_dagster.storage.sql import read_sql, readers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.reports.section import Row
    from optiinfra_dagster.storage.clickhouse import ClickHouse


_NOT_KEPT = "What was known of metrics at that time is not kept: a report without --as-of shows what is known now."


def write_report(
    clickhouse: ClickHouse, settings: Settings, customer: str, out: Path, known_at: str | None = None
) -> None:
    """Write the page of a customer to a file, in place of what is there; of a time, with what was known then.

    Raises:
        UsageError: there is no such customer or folder, or the time is none of the past.
        ConfigError: the file cannot be written.
        StorageError: nothing was collected of the customer yet.
        LostError: nothing of what was known at the time is there any more.
    """
    (chosen,) = select(load_customers(settings.customers_path), [customer])
    check_file(out, "report.html")
    now = datetime.now(UTC)
    at = as_of.checked_time(known_at, now) if known_at is not None else now
    with clickhouse.session() as client:
        answers = {
            part.reader: _answer(clickhouse, settings, part, customer, at, known_at)
            for part in page.PARTS
            if part.reader in readers()
        }
        parameters = {"customer": customer, "as_of": as_of_views.text(at)}
        slices = Answer(fetch(client, read_sql("queries/report_slices"), parameters).to_pylist())
        states = Answer(note=_NOT_KEPT)
        if not known_at:
            rows = fetch(client, read_sql("queries/report_coverage"), {"customer": customer}).to_pylist()
            states = Answer(rows, "No metric was asked for yet.")
    if not states.rows and not any(answer.rows or answer.at for answer in answers.values()):
        if lost := next((answer.note for answer in answers.values() if answer.is_lost), ""):
            raise LostError(lost)
        by_then = f" by {known_at}" if known_at else ""
        why = _why_nothing(customer, slices.rows, known_at)
        raise StorageError(f"Nothing was collected yet for {customer}{by_then}: {why}.")
    html = page.render(customer, chosen.name, now, page.sections(answers, states, slices), known_at or "")
    _write(out, html)


def _answer(
    clickhouse: ClickHouse, settings: Settings, part: page.Part, customer: str, at: datetime, known_at: str | None
) -> Answer:
    """What a reader says of the customer, or why it says nothing."""
    begin = None if part.back is None else f"{at - part.back:%Y-%m-%dT%H:%MZ}"
    query = Query(*part.reader, customer, from_=begin, as_of=known_at)
    try:
        result = read_rows(clickhouse, settings, query, as_records)
    except LostError as lost:
        return Answer(note=str(lost), is_lost=True)
    if result.rows is None:
        return Answer(note=result.note)
    return Answer(result.rows, result.note, max((row["window_start"] for row in result.rows), default=at))


def _why_nothing(customer: str, attempts: Sequence[Row], known_at: str | None) -> str:
    """The outcome of the newest attempt, in words; where there was none, how to collect."""
    if not attempts and known_at:
        return "nothing was tried by then. Leave out --as-of, or name a later time"
    if not attempts:
        return f"run `optiinfra collect --customer {customer}`"
    newest = max(attempts, key=lambda row: row["attempted_at"])
    attempt = f"the last attempt ({newest['provider']} {newest['dataset']}) is recorded as {newest['status']}"
    return f"{attempt}: {newest['error'].rstrip('.')}" if newest["error"] else attempt


def _write(out: Path, html: str) -> None:
    """Write the whole file or nothing: what is there is replaced in one step."""
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.write_text(html, encoding="utf-8")
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}. Name another place.") from error
