"""The command `optiinfra report`: all that a customer's readers say, as one page with plots."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.cli.output import check_file
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.model.errors import ConfigError, StorageError
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.reports import page
from optiinfra_dagster.reports.section import Answer
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from optiinfra_dagster.storage.sql import read_sql, readers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.reports.section import Row
    from optiinfra_dagster.storage.clickhouse import ClickHouse


def write_report(clickhouse: ClickHouse, settings: Settings, customer: str, out: Path) -> None:
    """Write the page of a customer to a file, in place of what is there.

    Raises:
        UsageError: there is no such customer or folder.
        ConfigError: the file cannot be written.
        StorageError: nothing was collected of the customer yet.
    """
    (chosen,) = select(load_customers(settings.customers_path), [customer])
    check_file(out, "report.html")
    now = datetime.now(UTC)
    with clickhouse.session() as client:
        answers = {
            part.reader: _answer(clickhouse, settings, part, customer, now)
            for part in page.PARTS
            if part.reader in readers()
        }
        states, slices = (
            Answer(fetch(client, read_sql(f"queries/report_{name}"), {"customer": customer}).to_pylist(), nothing)
            for name, nothing in (("coverage", "No metric was asked for yet."), ("slices", ""))
        )
    if not states.rows and not any(answer.rows or answer.at for answer in answers.values()):
        raise StorageError(f"Nothing was collected yet for {customer}: {_why_nothing(customer, slices.rows)}.")
    html = page.render(customer, chosen.name, now, page.sections(answers, states, slices))
    _write(out, html)


def _answer(clickhouse: ClickHouse, settings: Settings, part: page.Part, customer: str, now: datetime) -> Answer:
    """What a reader says of the customer, or why it says nothing."""
    begin = None if part.back is None else f"{now - part.back:%Y-%m-%dT%H:%MZ}"
    result = read_rows(clickhouse, settings, Query(*part.reader, customer, from_=begin), as_records)
    if result.rows is None:
        return Answer(note=result.note)
    return Answer(result.rows, result.note, max((row["window_start"] for row in result.rows), default=now))


def _why_nothing(customer: str, attempts: Sequence[Row]) -> str:
    """How the newest attempt ended; how to collect where there was none."""
    if not attempts:
        return f"run `optiinfra collect --customer {customer}`"
    newest = max(attempts, key=lambda row: row["attempted_at"])
    said = f"the last attempt ({newest['provider']} {newest['dataset']}) is recorded as {newest['status']}"
    return f"{said}: {newest['error'].rstrip('.')}" if newest["error"] else said


def _write(out: Path, html: str) -> None:
    """Write the whole file or nothing: what is there is replaced in one step."""
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.write_text(html, encoding="utf-8")
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}. Name another place.") from error
