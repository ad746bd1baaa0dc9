"""How rows are printed."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest

from optiinfra_dagster.cli import output
from optiinfra_dagster.storage.readers import Page
from optiinfra_dagster.storage.sql import readers


def page(columns: dict[str, tuple[str, list[object]]], total: int | None = None) -> Page:
    """A page of columns that are given as type and values."""
    values = {name: of_rows for name, (_, of_rows) in columns.items()}
    rows = list(zip(*values.values(), strict=True))
    same = frozenset(name for name, of_rows in values.items() if len(set(of_rows)) == 1)
    return Page({name: kind for name, (kind, _) in columns.items()}, rows, total or len(rows), same)


def shown(rows: Page) -> str:
    """What is printed."""
    out = io.StringIO()
    output.show(rows, out)
    return out.getvalue()


def test_no_rows_are_no_table() -> None:
    assert shown(page({"resource_id": ("String", [])})) == ""


def test_a_table_is_cut_and_says_so() -> None:
    text = shown(page({"resource_id": ("String", ["a", "b"] * 25)}, total=80))
    assert "30 more rows" in text
    assert text.count("a\n") == output.TABLE_ROWS // 2


def test_text_is_printed_in_utf_8_whatever_the_terminal_has() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    output.copy(io.BytesIO("ü€".encode()), out)
    assert out.buffer.getvalue() == "ü€".encode()


# --- On a terminal ---------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A place that says it is a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


LONG_ID = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"
WIDE = page(
    {
        "resource_name": ("String", ["web-1", "a name\x1b[2J that is longer than there is room for in any terminal"]),
        "amount": ("Nullable(Decimal(38, 18))", [Decimal("1234567.891200000"), Decimal("0.000012000")]),
        "rate": ("Float64", [0.123456, 12_345_678.9]),
        "complete": ("Bool", [True, False]),
        "provider": ("LowCardinality(String)", ["aws", "aws"]),
        "resource_id": ("String", [LONG_ID, "short"]),
        "nothing": ("Nullable(String)", [None, None]),
    }
)


@pytest.mark.parametrize("columns", [40, 70, 120, 300])
def test_a_table_fits_the_terminal_and_no_number_is_cut(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    output.show(WIDE, out, "acme")
    title, header, *body = out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert title == "acme, provider aws"  # what is the same everywhere is said once
    assert "\x1b" not in "".join(body)
    assert columns == 40 or all(len(line) <= columns for line in [header, *body[:2]])
    for name, cells in {"amount": ["1,234,567.8912", "1.2e-05"], "rate": ["0.1235", "12,345,679"]}.items():
        assert [cell in line for cell, line in zip(cells, body, strict=False)] == [name in header.split()] * 2
    left_out = {"resource_name", "amount", "rate", "complete", "resource_id"} - set(header.split())
    assert all(name in body[-1] for name in left_out)
    assert ("No room for" in body[-1]) == bool(left_out)
    if "resource_id" not in left_out:
        assert body[0].endswith("/i-0123456789abcdef0")  # the end tells one id from another


@pytest.mark.parametrize("columns", [56, 60, 80])
def test_names_make_room_for_the_first_number(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A table of amounts without an amount says nothing: at 60 columns that of services had none."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")  # nothing is bold
    out = Terminal()
    output.show(
        page(
            {
                "period": ("String", ["last_30_days", "today"]),
                "service_name": ("String", ["Amazon Elastic Compute Cloud - Compute", "AWS Key Management Service"]),
                "amount": ("Decimal(38, 18)", [Decimal("1452.68"), Decimal("0.01")]),
            }
        ),
        out,
    )
    _, *body = out.getvalue().splitlines()
    assert all(len(line) <= columns for line in body)
    assert [line.rpartition("  ")[2] for line in body] == ["1,452.6800", "0.0100"]
    assert ("..." in body[0]) == (columns < 64)


@pytest.mark.parametrize(("family", "name"), list(readers()))
def test_of_a_figure_the_unit_is_beside_the_first_of_its_columns(family: str, name: str) -> None:
    """A narrow terminal leaves out columns from the right."""
    shows = list(readers()[family, name].shows)
    figures = {"mean", "total", "metric_value", "capacity", "minimum", "value"}
    first = next((place for place, column in enumerate(shows) if column in figures), None)
    if "unit" in shows and first is not None:
        assert shows[first + 1] == "unit"


def test_a_pipe_has_room_for_everything() -> None:
    text = shown(WIDE)
    assert LONG_ID in text
    assert "for in any terminal" in text
    assert "nothing" not in text  # an empty column is none
