"""`optiinfra report`: one file that a browser shows without a network, whatever names the clouds have.

`python -m tests.test_report report.html docs/report.png` takes the picture that the README names.
"""

from __future__ import annotations

import base64
import html
import os
import re
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.cli import main, report
from optiinfra_dagster.model.errors import ConfigError, OptiInfraError, StorageError
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.reports import bills, costs, others, page, plots, words
from optiinfra_dagster.reports.section import Answer
from optiinfra_dagster.storage import as_of_views, schema
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from optiinfra_dagster.storage.sql import read_sql, readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.engines import kept_open
from tests.support.pictured import FORMULA, LETTERS, NAMES, SCRIPT, TODAY, WINDOW, filled
from tests.test_ui import browser

if TYPE_CHECKING:
    from optiinfra_dagster.reports.section import Section
    from tests.support.spine import Spine


@pytest.fixture(scope="module")
def spine() -> Spine:
    """The small world, with every reader computed."""
    return filled()


@pytest.fixture(scope="module")
def written(spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of acme."""
    out = tmp_path_factory.mktemp("out") / "report.html"
    report.write_report(spine.clickhouse, spine.settings, "acme", out)
    return out


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def text_of(section: Section) -> str:
    """All that a section says in words."""
    parts = [section.says, section.facts, section.note]
    for figure in section.figures:
        parts += [figure.label, figure.value, *figure.facts]
    for plot in section.plots:
        parts += [plot.title, html.unescape(" ".join(re.findall(r">([^<>]+)</text>", plot.svg)))]
    for table in section.tables:
        parts += [*table.columns, *(cell for row in table.rows for cell in row)]
    return " | ".join(parts)


# --- The page --------------------------------------------------------------------------------------------------------


def test_a_browser_shows_every_section_and_plot_and_loads_nothing(written: Path) -> None:
    with browser("") as ui:
        ui.driver.get(written.as_uri())
        sections = ui.driver.find_elements("css selector", "main > section")
        shown = {section.get_attribute("id") for section in sections}
        assert len(sections) == len(shown) == len(page.PARTS) + 1 - len({"invoices", "commitments"} - shown)
        for section in sections:
            name = section.get_attribute("id")
            assert section.is_displayed()
            drawings = section.find_elements("css selector", "svg")
            # Of no machine in this world is the next smaller type known, and of none are three days of metrics.
            assert bool(drawings) == (name not in {"summary", "rightsizing", "anomalies"}), name
            for drawing in drawings:
                assert drawing.is_displayed()
                assert drawing.size["width"] > 500
                assert drawing.size["height"] > 60
        texts = {element.text for element in ui.driver.find_elements("css selector", "svg text")}
        assert {words.name(SCRIPT) in text for text in texts} == {True, False}
        assert any(FORMULA in text for text in texts)
        assert any(LETTERS in text for text in texts)
        assert ui.driver.execute_script("return window.hit") is None
        assert ui.driver.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert ui.driver.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_the_page_has_no_address_and_no_script(written: Path) -> None:
    elements = Elements(written.read_text())
    assert {tag for tag, _ in elements.found}.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "base"})
    for tag, attributes in elements.found:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"href", "src", "xlink:href", "action", "data"}:
                assert str(value).startswith(("#", "data:,")), (tag, name, value)
    assert "url(http" not in written.read_text()
    assert "Acme & Söhne" in "".join(elements.text)


def test_ids_are_unique_where_something_names_them(written: Path) -> None:
    """Plots stand in one page: what one names must not be found in another of other content."""
    text = written.read_text()
    named = set(re.findall(r'(?:xlink:href="|url\()#([\w-]+)', text))
    for one in named:
        shapes = {re.sub(r"\s+", " ", shape) for shape in re.findall(rf'<\w+ id="{one}"[^>]*>', text)}
        assert len(shapes) == 1, one


def test_figures_are_those_of_the_readers(spine: Spine) -> None:
    """Each currency's alone: dollars of two accounts and euros of one are no sum."""
    answers = {key: _answer(spine, *key) for key in (("cost", "summary"), ("cost", "trends"), ("cost", "by_service"))}
    figures = costs.summary(answers["cost", "summary"]).figures
    assert len({figure.value.rsplit(" ", 1)[-1] for figure in figures}) == 2
    billed = Decimal("3.25") * 8  # 10 days of the 30 to yesterday have a bill, and two are arriving
    euros = next(figure for figure in figures if figure.label != "month to date" and figure.value.endswith("EUR"))
    assert euros.value == "70.00 EUR"  # 10 days, of which yesterday's is not there
    dollars = next(figure for figure in figures if figure.label != "month to date" and figure.value.endswith("USD"))
    rows = [
        row for row in answers["cost", "summary"].rows if row["currency"] == "USD" and row["period"] == "last_30_days"
    ]
    assert dollars.value == words.money(sum(row["amount"] for row in rows), "USD")
    assert sum(row["billed"] for row in rows) == billed
    assert "arriving 6.50" in dollars.facts[0]
    assert "not complete" in dollars.facts[2]

    by_day = costs.by_day(answers["cost", "trends"])
    assert [plot.title for plot in by_day.plots] == ["Cost by day in EUR", "Cost by day in USD"]
    euro, dollar = by_day.plots
    assert {"billed", "estimated", "arriving"} <= set(re.findall(r">(\w+)</text>", dollar.svg))
    assert "estimated" not in re.findall(r">(\w+)</text>", euro.svg)
    assert "?" in re.findall(r">([^<]+)</text>", dollar.svg)  # the days of which a bill is arriving

    services = text_of(costs.by_service(answers["cost", "by_service"]))
    assert words.name(SCRIPT) in services
    assert "70.00 EUR" in services


def _answer(spine: Spine, family: str, name: str, customer: str = "acme") -> Answer:
    result = read_rows(spine.clickhouse, spine.settings, Query(family, name, customer), as_records)
    assert result.rows is not None, result.note
    return Answer(result.rows, result.note, WINDOW)


def test_gaps_and_failures_are_told_with_their_reasons(written: Path) -> None:
    said = "".join(Elements(written.read_text()).text)
    for part in ("agent missing", "no agent", "50.0 %", "azure resource: failed", "403 of"):
        assert part in said


def test_a_collection_stands_as_its_newest_window_does(tmp_path: Path) -> None:
    """Whatever came since of a backfill, or of the repair of an older window."""
    clickhouse, older = kept_open(tmp_path / "clickhouse"), WINDOW - timedelta(days=2)
    with clickhouse.session() as client:
        for customer, status in (("acme", SliceStatus.FAILED), ("globex", SliceStatus.OK)):
            backfilled = SliceStatus.OK if status is SliceStatus.FAILED else SliceStatus.FAILED
            for window, of in ((WINDOW, status), (older, backfilled)):
                error = "" if of is SliceStatus.OK else f"{window:%d} was refused"
                Writer(clickhouse, schema.RESOURCE).flush([SliceResult(customer, "aws", [window], of, error=error)])
        told = {
            customer: fetch(
                client,
                read_sql("queries/report_slices"),
                {"customer": customer, "as_of": as_of_views.text(datetime.now(UTC))},
            ).to_pylist()
            for customer in ("acme", "globex")
        }
    assert [(row["status"], row["error"], row["published_window"]) for (row,) in told.values()] == [
        ("failed", f"{WINDOW:%d} was refused", older), ("ok", "", WINDOW),
    ]  # fmt: skip


def test_a_reader_that_is_not_there_has_no_section(spine: Spine) -> None:
    answers = {("cost", "summary"): _answer(spine, "cost", "summary")}
    assert [section.id for section in page.sections(answers, Answer(), Answer())] == ["summary", "coverage"]
    assert {part.reader for part in page.PARTS} <= readers().keys()


# --- Readers whose rows are rare -------------------------------------------------------------------------------------

_AT = datetime(2026, 3, 4, 10, 15, tzinfo=UTC)


def _outlook(account: str, **changes: Any) -> dict[str, Any]:
    return {
        "provider": "aws", "sub_account_id": account, "scope": "account", "service_name": "", "currency": "USD",
        "month_to_date": Decimal(40), "forecast": Decimal(310), "low": Decimal(290), "high": Decimal(335),
        "usual_day": Decimal(10), "unusual_by": Decimal("-0.25"), "is_unusual": False, "causes": "", "reason": "",
        "day": _AT.date(), "as_of": _AT,
    } | changes  # fmt: skip


def test_an_account_of_which_a_period_tells_nothing_is_unknown_in_it() -> None:
    """It has rows of other periods alone."""
    row: dict[str, Any] = {
        "provider": "aws", "currency": "USD", "period": "last_30_days", "amount": Decimal(5), "billed": Decimal(5),
        "estimated": Decimal(0), "arriving": Decimal(0), "effective": None, "days": 29.5, "complete": True,
        "as_of": _AT,
    }  # fmt: skip
    rows = [row | {"sub_account_id": name} for name in ("one", "two")]
    rows.append(row | {"sub_account_id": "one", "period": "month_to_date", "days": 2.0})
    rows.append(row | {"sub_account_id": "one", "currency": "EUR"})
    section = costs.summary(Answer(rows))
    figures = {(f.label, f.value): f.facts for f in section.figures}
    assert list(figures) == [
        ("the 30 days to yesterday", "5.00 EUR"),
        ("month to date", "5.00 USD, and 1 of 2 unknown"), ("the 30 days to yesterday", "10.00 USD"),
    ]  # fmt: skip
    told = figures["month to date", "5.00 USD, and 1 of 2 unknown"]
    assert told[1:] == ["0.0 days known of every account", "as of 2026-03-04 10:15Z, not complete: 1 of 2 rows"]
    assert figures["the 30 days to yesterday", "10.00 USD"][1] == "29.5 days known of every account"
    assert "not complete" in section.facts
    unknown = [told[:5] for told in section.tables[0].rows if told[4] == words.UNKNOWN]
    assert ["aws", "two", "month to date", "USD", words.UNKNOWN] in unknown


@pytest.mark.parametrize(("back", "doubtful"), [(0, ["4"]), (1, ["4", "5"]), (3, ["2", "3", "4", "5"])])
def test_the_last_day_is_today_also_where_nothing_of_it_is_known(
    back: int, doubtful: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest day with rows is not known wholly, which is no matter of course but for today."""
    today = date(2026, 3, 5)
    row: dict[str, Any] = {
        "period": "day", "provider": "aws", "currency": "EUR", "amount": Decimal(5), "billed": Decimal(0),
        "estimated": Decimal(5), "arriving": Decimal(0), "complete": True,
    }  # fmt: skip
    rows = [row | {"period_start": today - timedelta(days=n)} for n in range(back, 5)]
    rows = [
        one | {"complete": one["period_start"] not in {today - timedelta(days=n) for n in (1, back)}} for one in rows
    ]
    drawn: list[Any] = []

    def draw(columns: Any, _unit: str) -> str:
        drawn.append(columns)
        return "<svg></svg>"

    monkeypatch.setattr(plots, "days", draw)
    costs.by_day(Answer(rows, at=datetime(2026, 3, 5, 10, 15, tzinfo=UTC)))
    (columns,) = drawn
    assert columns[-1][0] == today
    assert [f"{day.day}" for day, _, is_unknown in columns if is_unknown] == doubtful


def test_an_outlook_that_is_not_known_is_said_to_be_so() -> None:
    unknown = dict.fromkeys(("month_to_date", "forecast", "low", "high", "usual_day", "unusual_by", "is_unusual"))
    rows = [
        _outlook("one"), _outlook(SCRIPT, **unknown, reason="no whole day"), _outlook("three", currency="EUR"),
        _outlook("one", scope="service", service_name="EC2", is_unusual=True, causes="i-1 created"),
    ]  # fmt: skip
    section = costs.outlook(Answer(rows))
    assert [plot.title for plot in section.plots] == ["Outlook of the month in EUR", "Outlook of the month in USD"]
    assert words.UNKNOWN in re.findall(r">([^<]+)</text>", section.plots[1].svg)
    assert [figure.value for figure in section.figures] == [
        "310.00 EUR", "310.00 USD, and 1 of 2 unknown", "1 of 4"
    ]  # fmt: skip
    (table,) = section.tables
    assert "i-1 created" in table.rows[0]
    assert table.rows[2][table.columns.index("forecast")] == words.UNKNOWN
    assert "<script" not in section.plots[1].svg


def test_a_saving_that_has_no_price_is_unknown_and_not_nothing() -> None:
    judged: dict[str, Any] = {
        "provider": "aws", "resource_name": SCRIPT, "type": "m5.large", "suggested_type": "m5.medium", "saving": None,
        "currency": "", "verdict": "smaller", "risk": "medium", "basis": "CPU only", "reason": "CPU", "as_of": _AT,
        "complete": True,
    }  # fmt: skip
    rows = [judged | {"saving": Decimal("12.5"), "currency": "USD"}, judged, judged | {"suggested_type": ""}]
    section = costs.rightsizing(Answer(rows))
    assert [figure.value for figure in section.figures] == ["3", "12.50 USD", words.UNKNOWN]
    assert len(section.tables[0].rows) == 2
    assert "unknown" in section.tables[0].rows[1]
    nothing = costs.rightsizing(Answer([judged | {"suggested_type": "", "verdict": "keep"}]))
    assert [plot.title for plot in nothing.plots] == ["Machines by verdict"]
    assert "keep" in nothing.plots[0].svg


def test_waste_without_a_price_is_unknown() -> None:
    row: dict[str, Any] = {
        "provider": "aws", "resource_name": FORMULA, "resource_type": "volume", "reason": "unattached", "currency": "",
        "monthly_amount": None, "amount_from": "unknown", "evidence": "attached to nothing", "as_of": _AT,
        "complete": False,
    }  # fmt: skip
    priced = row | {"monthly_amount": Decimal("0.0042"), "currency": "USD", "amount_from": "billed"}
    section = costs.waste(Answer([row, *[priced] * 20]))
    assert [figure.value for figure in section.figures] == ["0.08 USD", words.UNKNOWN]
    assert "8 others" in text_of(section)
    assert "0.0042 USD" in text_of(section)
    assert section.tables[0].rows[0][4:6] == [words.UNKNOWN, ""]


def test_allocation_has_a_plot_for_each_dimension_and_currency() -> None:
    row: dict[str, Any] = {
        "dimension": "tag:team", "value": SCRIPT, "currency": "USD", "period": "last_30_days", "amount": Decimal(5),
        "billed": Decimal(5), "estimated": Decimal(0), "arriving": Decimal(0), "effective": None, "share": 1.0,
        "shared": None, "resources": 3, "as_of": _AT,
    }  # fmt: skip
    unknown = row | {"value": "b", "amount": None, "billed": Decimal(0), "arriving": Decimal(2), "share": None}
    rows = [row, unknown, row | {"dimension": "service"}, row | {"currency": "EUR"}, row | {"period": "today"}]
    section = costs.allocation(Answer(rows))
    assert [plot.title for plot in section.plots] == ["By tag:team in EUR", "By tag:team in USD"]
    texts = re.findall(r">([^<]+)</text>", section.plots[1].svg)
    assert words.UNKNOWN in texts
    assert "arriving" in texts
    assert len(section.tables[0].rows) == 3


def _invoice(month: int, **changes: Any) -> dict[str, Any]:
    return {
        "billing_period": date(2026, month, 1), "provider": "aws", "billing_account_id": SCRIPT, "invoice_id": "",
        "currency": "USD", "total": Decimal(12), "charges": Decimal(10), "left_out": Decimal(2), "is_final": True,
        "usage": Decimal(9), "purchases": Decimal(0), "taxes": Decimal(1), "credits": Decimal(0),
        "differs": Decimal(2), "because": "2 left out", "as_of": _AT,
    } | changes  # fmt: skip


def test_invoices_have_a_figure_of_the_newest_month_and_a_plot_for_each_currency() -> None:
    rows = [_invoice(3, is_final=False), _invoice(3), _invoice(2, total=Decimal(7)), _invoice(2, currency="EUR")]
    section = bills.invoices(Answer(rows))
    assert [(figure.label, figure.value, figure.facts) for figure in section.figures] == [
        ("statements of 2026-02", "12.00 EUR", ["charges 10.00, left out 2.00", "final"]),
        ("statements of 2026-03", "24.00 USD", ["charges 20.00, left out 4.00", "not final: may be restated"]),
    ]
    assert [plot.title for plot in section.plots] == ["Statements by month in EUR", "Statements by month in USD"]
    assert {"2026-02", "2026-03", "left out"} <= set(re.findall(r">([^<]+)</text>", section.plots[1].svg))
    assert "<script" not in section.plots[1].svg
    assert [row[0] for row in section.tables[0].rows] == ["2026-03-01", "2026-03-01", "2026-02-01", "2026-02-01"]


def test_of_a_commitment_what_the_bill_does_not_tell_is_unknown() -> None:
    row: dict[str, Any] = {
        "month": date(2026, 3, 1), "provider": "aws", "sub_account_id": "one", "commitment_id": SCRIPT,
        "commitment_type": "SavingsPlan", "used": Decimal(30), "unused": Decimal("4.5"), "currency": "USD",
        "utilisation": 0.87, "covered": Decimal(50), "coverage": 0.6, "saved": Decimal("15.5"), "is_final": False,
    }  # fmt: skip
    unknown = row | dict.fromkeys(("used", "unused", "utilisation", "covered", "coverage", "saved"))
    section = bills.commitments(Answer([row, unknown, unknown | {"month": date(2026, 2, 1), "is_final": True}]))
    assert [(figure.label, figure.value) for figure in section.figures] == [
        ("unused in 2026-03", "4.50 USD, and 1 of 2 unknown"), ("saved in 2026-03", "15.50 USD, and 1 of 2 unknown"),
    ]  # fmt: skip
    (plot,) = section.plots
    assert any(words.UNKNOWN in text for text in re.findall(r">([^<]+)</text>", plot.svg))
    assert "<script" not in plot.svg
    assert section.tables[0].rows[1][5:7] == [words.UNKNOWN, words.UNKNOWN]


def test_a_customer_without_invoices_has_no_section_of_them() -> None:
    nothing = Answer((), "no bill was read of these months")
    rare = {("cost", "invoices"), ("cost", "commitments")}
    assert [section.id for section in page.sections(dict.fromkeys(rare, nothing), Answer(), Answer())] == ["coverage"]
    rows = Answer([_invoice(3)])
    assert [one.id for one in page.sections({("cost", "invoices"): rows}, Answer(), Answer())] == [
        "invoices",
        "coverage",
    ]


def test_a_score_that_nobody_gave_is_unknown() -> None:
    row: dict[str, Any] = {
        "period": "day", "provider": "aws", "application_id": LETTERS, "model_name": "m", "population": 3, "judged": 0,
        "failures": 3, "over_budget": 0, "complete": True, "as_of": _AT, "judge_version": "v1",
    } | {f"{score}{end}": None for score in others.SCORES for end in ("", "_low", "_high")}  # fmt: skip
    section = others.quality(Answer([row]))
    assert all(words.UNKNOWN in plot.svg for plot in section.plots)
    assert words.UNKNOWN in section.tables[0].rows[0]
    # An application on two clouds, and a judge that is new since noon: each figure says of which it is.
    beside = [row, row | {"provider": "gcp"}, row | {"judge_version": "v2"}]
    labels = re.findall(r">([^<]+judged[^<]*)<", others.quality(Answer(beside)).plots[0].svg)
    assert {label.rpartition("(")[2] for label in labels} == {
        "aws, 0 judged by v1)", "gcp, 0 judged by v1)", "aws, 0 judged by v2)",
    }  # fmt: skip


def test_what_is_out_of_the_ordinary_is_shown_the_furthest_first_and_an_unknown_size_as_such() -> None:
    row = {
        "provider": "aws", "resource_name": "web", "resource_type": "compute", "metric_name": "cpu_utilization",
        "statistic": "average", "ranges": 7.9, "direction": "above", "value": 90.0, "minimum_before": 10.0,
        "maximum_before": 11.0, "unit": "percent", "since": WINDOW, "days_before": 14, "resource_id": "i-1",
    }  # fmt: skip
    [shown] = others.anomalies(Answer([row, row | {"ranges": None}], at=WINDOW)).tables
    assert len(shown.columns) == len(row)
    assert [told[shown.columns.index("ranges")] for told in shown.rows] == ["7.90", words.UNKNOWN]
    assert shown.rows[0][shown.columns.index("metric")] == "cpu utilization"


def test_changes_of_a_day_without_any_are_none_and_take_their_place() -> None:
    row = {"window_start": WINDOW, "change": "created", "provider": "aws", "resource_name": SCRIPT}
    rows = [row, row | {"window_start": WINDOW - timedelta(days=3), "change": "resized"}]
    (plot,) = others.changes(Answer(rows, at=WINDOW)).plots
    days = [f"{TODAY - timedelta(days=n):%d}" for n in range(4)]
    texts = re.findall(r">([^<]+)</text>", plot.svg)
    assert all(any(text.endswith(day) for text in texts) for day in days)
    assert {"created", "resized"} <= set(texts)


@pytest.mark.parametrize("text", [*NAMES, "a\x00b\x1b[31m", "x" * 500, "$", "$$", r"\alpha_{", "&amp;", "\u202etxt"])
def test_any_name_can_be_drawn(text: str, recwarn: pytest.WarningsRecorder) -> None:
    drawn = plots.bars([plots.Bar(words.name(text), {"billed": 1.0}, words.name(text))], "USD")
    shown = {html.unescape(part) for part in re.findall(r">([^<>]*)</text>", drawn)}
    assert words.name(text) in shown
    assert len(recwarn) == 0


def test_what_is_unknown_is_no_zero() -> None:
    assert words.money(None, "USD") == words.UNKNOWN
    assert words.money(Decimal(0), "USD") == "0.00 USD"
    assert words.money(Decimal("0.00012"), "USD") == "0.00012 USD"
    assert words.money(Decimal("-1234.5"), "") == "-1,234.50"
    assert words.added([None, None]) == words.UNKNOWN
    assert words.added([Decimal(1), None], "USD") == "1.00 USD, and 1 of 2 unknown"


# --- What is asked for in a wrong way --------------------------------------------------------------------------------


def refused(spine: Spine, customer: str, out: Path) -> str:
    with pytest.raises(OptiInfraError) as error:
        report.write_report(spine.clickhouse, spine.settings, customer, out)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_an_unknown_customer_and_a_place_that_is_none_are_refused(spine: Spine, tmp_path: Path) -> None:
    assert "no customer 'acmee' (did you mean 'acme'?)" in refused(spine, "acmee", tmp_path / "report.html")
    message = refused(spine, "acme", tmp_path / "missing" / "report.html")
    assert f"there is no folder {tmp_path / 'missing'}" in message
    assert "is a folder: name a file in it" in refused(spine, "acme", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["pipe", "/dev/report.html", "/proc/self/fd/1"])
def test_a_device_is_never_replaced(spine: Spine, tmp_path: Path, place: str) -> None:
    """The page of root became the file /dev/full, and the device was gone."""
    os.mkfifo(tmp_path / "pipe")
    assert "is no file that can be replaced" in refused(spine, "acme", tmp_path / place)
    assert (tmp_path / "pipe").is_fifo()


def test_what_was_never_collected_is_not_a_page_of_zeros(spine: Spine, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("of yesterday")
    with pytest.raises(StorageError, match="run `optiinfra collect --customer initech`"):
        report.write_report(spine.clickhouse, spine.settings, "initech", out)
    assert "recorded as failed: 403 of" in refused(spine, "globex", out)
    assert out.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [out]


def test_a_write_that_fails_leaves_what_was_there(
    spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    out.write_text("of yesterday")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        report.write_report(spine.clickhouse, spine.settings, "acme", out)
    assert out.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [out]


def test_the_command_says_what_it_wrote_and_what_is_wrong(
    spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DAGSTER_HOME", "OPTIINFRA_CLICKHOUSE_URL", "OPTIINFRA_CUSTOMERS"):
        monkeypatch.setenv(name, spine.env[name])
    out = tmp_path / "report.html"
    for customer, code, said in (("acme", 0, f"Wrote {out}\n"), ("nobody", 2, "error: There is no customer 'nobody'")):
        monkeypatch.setattr(sys, "argv", ["optiinfra", "report", "--customer", customer, "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert (ended.value.code or 0) == code
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(said)
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert out.stat().st_mode & 0o777 == 0o644


def take_picture(page_of: Path, picture: Path, height: int = 2060) -> None:
    """Save the top of a page."""
    with browser("") as ui:
        ui.driver.set_window_size(1120, 1000)
        ui.driver.get(page_of.absolute().as_uri())
        ui.driver.execute_script("document.documentElement.style.overflow = 'hidden'")
        clip = {"x": 0, "y": 0, "width": 1120, "height": height, "scale": 0.8}
        shot = ui.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True}
        )
        picture.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]), Path(sys.argv[2]))
