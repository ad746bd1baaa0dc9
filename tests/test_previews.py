"""The previews beside materializations: short, honest about what is not known, and nothing that a name can break."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.assets.readers import build
from optiinfra_dagster.model import windows
from optiinfra_dagster.reports import preview, words
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from optiinfra_dagster.storage.sql import readers
from tests.support.bills import charge, publish_bill
from tests.support.engines import kept_open
from tests.support.pictured import SCRIPT, WINDOW, filled
from tests.support.samples import select

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from optiinfra_dagster.storage.clickhouse import ClickHouse

FIRST = ("summary", "by_service", "trends", "waste")


@pytest.fixture(scope="module")
def clickhouse() -> ClickHouse:
    """The small world of the report."""
    return filled().clickhouse


def of(clickhouse: ClickHouse, name: str, family: str = "cost") -> str:
    made = preview.of(readers()[family, name])
    assert made is not None
    with clickhouse.session() as client:
        return made(client, WINDOW)


def cells(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, by heading."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    headings, _, *rows = [[cell.strip() for cell in line] for line in lines]
    assert all(len(row) == len(headings) for row in rows)
    return [dict(zip(headings, row, strict=True)) for row in rows]


def amount(text: str) -> Decimal | None:
    return None if text == words.UNKNOWN else Decimal(text.replace(",", ""))


@pytest.mark.parametrize("name", [name for family, name in preview.PREVIEWS if family == "cost"])
def test_every_reader_of_costs_has_a_preview_that_fits_its_columns(clickhouse: ClickHouse, name: str) -> None:
    text = of(clickhouse, name)
    assert words.time(WINDOW) in text
    rows = cells(text) if "no rows" not in text else []
    assert rows or name not in FIRST
    for currency in {row["currency"] for row in rows}:
        assert len([row for row in rows if row["currency"] == currency]) <= preview.ROWS


def test_amounts_are_those_of_the_readers_and_currencies_are_apart(clickhouse: ClickHouse) -> None:
    stored = select(
        clickhouse,
        "SELECT provider, currency, amount, arriving FROM cost_summary_current "
        "WHERE window_start = {at:DateTime('UTC')} AND period = 'month_to_date'",
        at=WINDOW,
    )
    rows = cells(of(clickhouse, "summary"))
    assert {(row["provider"], row["currency"], row["amount"], row["arriving"]) for row in rows} == {
        (row["provider"], row["currency"], words.money(row["amount"]), words.money(row["arriving"])) for row in stored
    }
    days = cells(of(clickhouse, "trends"))
    assert {row["currency"] for row in days} == {"USD", "EUR"}
    for currency in ("USD", "EUR"):
        its = [row for row in days if row["currency"] == currency]
        assert [row["day"] for row in its] == sorted((row["day"] for row in its), reverse=True)
        known = [found for row in its if (found := amount(row["amount"])) is not None]
        largest = max(known)
        for row in its:
            found = amount(row["amount"])
            expected = 0 if found is None or found <= 0 else max(1, round(preview.BAR * float(found / largest)))
            assert len(row[""]) == pytest.approx(expected, abs=1)


def test_a_day_of_which_nothing_is_known_of_a_customer_is_not_complete(tmp_path: Path) -> None:
    """It has no row of the day, where another has one."""
    clickhouse = kept_open(tmp_path / "clickhouse")
    yesterday = WINDOW.date() - timedelta(days=1)
    with clickhouse.session():
        for customer, first in (("acme", 0), ("globex", 1)):
            days = [yesterday - timedelta(days=n) for n in range(first, 4)]
            publish_bill(clickhouse, days, [charge(day, "5") for day in days], customer=customer)
        for name in ("daily", "days", "trends"):
            reader = readers()["cost", name]
            reader_writer.compute(clickhouse, reader, [windows.floor_to(reader.length, WINDOW)])
        rows = cells(of(clickhouse, "trends"))
    assert [(row["day"], row["amount"], row["unknown"], row["complete"]) for row in rows][:2] == [
        (yesterday.isoformat(), "5.00", "1", "no"), ((yesterday - timedelta(days=1)).isoformat(), "10.00", "0", "yes"),
    ]  # fmt: skip


def test_quality_is_shown_with_bars_of_one_and_the_worst_first(clickhouse: ClickHouse) -> None:
    stored = select(
        clickhouse,
        "SELECT customer_id, application_id, model_name, metric_type, mean, n FROM application_quality_current "
        "WHERE window_start = {at:DateTime('UTC')} AND period = 'day' ORDER BY mean NULLS LAST",
        at=WINDOW,
    )
    assert stored
    rows = cells(of(clickhouse, "quality", "application"))
    known = [row["mean"] for row in stored if row["mean"] is not None]
    assert [row["mean, 0 to 1"] for row in rows] == [words.number(row["mean"]) for row in stored][: preview.ROWS]
    assert [len(row[""]) for row in rows if row["mean, 0 to 1"] != words.UNKNOWN] == [
        max(1, round(preview.BAR * mean)) if mean > 0 else 0 for mean in known[: preview.ROWS]
    ]
    assert "currency" not in rows[0]


def test_a_name_is_no_markup(clickhouse: ClickHouse) -> None:
    text = of(clickhouse, "waste")  # which has rows on a month's first days too
    assert "\\<script\\>" in text
    assert re.search(r"(?<!\\)<", text) is None
    assert words.name(SCRIPT) in [re.sub(r"\\(.)", r"\1", row["resource"]) for row in cells(text)]


def test_what_has_no_rows_or_no_price_says_so(clickhouse: ClickHouse) -> None:
    made = preview.of(readers()["cost", "waste"])
    assert made is not None
    with clickhouse.session() as client:
        assert made(client, WINDOW - timedelta(days=2)).endswith("no rows")
    unknown = [row for row in cells(of(clickhouse, "waste")) if row["amount"] == words.UNKNOWN]
    assert {row["currency"] for row in unknown} == {"(no currency)"}
    assert {row[""] for row in unknown} == {""}


def test_a_reader_whose_columns_are_others_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = readers()["cost", "summary"]
    shown = preview.PREVIEWS["cost", "summary"]
    other = preview.Preview(shown.says, f"{shown.of} bogus", shown.names, shown.amount, shown.beside)
    changed: Mapping[Any, Any] = {("cost", "summary"): other}
    monkeypatch.setattr(preview, "PREVIEWS", changed)
    assert preview.of(reader) is None
    assert preview.of(readers()["resource", "summary"]) is None


def test_the_materialization_has_it(clickhouse: ClickHouse) -> None:
    assets = {asset.key.to_user_string(): asset for asset in build(window_partitions(WINDOW - timedelta(days=2)))}
    asset = assets["cost/waste"]
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [asset], partition_key=windows.key(WINDOW), instance=instance, selection=[asset.key],
            resources={"io_manager": ClickHouseIOManager(clickhouse)},
        )  # fmt: skip
        (shown,) = done.asset_materializations_for_node(asset.node_def.name)
    made = shown.metadata["preview"]
    assert isinstance(made, dg.MarkdownMetadataValue)
    assert made.value == of(clickhouse, "waste")


@pytest.mark.long
def test_a_preview_takes_little(clickhouse: ClickHouse) -> None:
    for family, name in (*(("cost", name) for name in FIRST), ("application", "quality")):
        of(clickhouse, name, family)
        begun = time.process_time()
        for _ in range(10):
            of(clickhouse, name, family)
        assert (time.process_time() - begun) / 10 < 0.05, name
