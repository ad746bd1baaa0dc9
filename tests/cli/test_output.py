"""How rows are printed."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from optiinfra_dagster.cli import output

ROWS = pa.table(
    {
        "timestamp": pa.array([datetime(2026, 11, 21, 10, 15, tzinfo=UTC)] * 2, pa.timestamp("s", "UTC")),
        "resource_id": ["arn:a,b", 'said "x"\nand y'],
        "amount": pa.array([Decimal("1.100000000"), None], pa.decimal128(18, 9)),
        "metric_value": [0.1, 1e6],
        "tags": ['{"team":"ü"}', "{}"],
    }
)


def shown(format_: str, rows: pa.Table | None = ROWS) -> str:
    """What is printed."""
    out = io.StringIO()
    output.show(rows, format_, out)
    return out.getvalue()


def test_json_has_zoned_times_money_as_text_and_objects_as_objects() -> None:
    assert json.loads(shown("json")) == [
        {"timestamp": "2026-11-21T10:15:00Z", "resource_id": "arn:a,b", "amount": "1.100000000", "metric_value": 0.1,
         "tags": {"team": "ü"}},
        {"timestamp": "2026-11-21T10:15:00Z", "resource_id": 'said "x"\nand y', "amount": None, "metric_value": 1e6,
         "tags": {}},
    ]  # fmt: skip


def test_csv_survives_commas_quotes_and_newlines() -> None:
    rows = list(csv.DictReader(io.StringIO(shown("csv"), newline="")))
    assert [row["resource_id"] for row in rows] == ROWS["resource_id"].to_pylist()
    assert [row["amount"] for row in rows] == ["1.100000000", ""]
    assert [float(row["metric_value"]) for row in rows] == [0.1, 1e6]


@pytest.mark.parametrize(("format_", "nothing"), [("json", "[]\n"), ("csv", ""), ("table", "")])
def test_what_was_never_collected_prints_no_rows(format_: str, nothing: str) -> None:
    assert shown(format_, None) == nothing


def test_an_empty_result_is_an_empty_array() -> None:
    assert json.loads(shown("json", ROWS.slice(0, 0))) == []


def test_a_table_is_cut_and_says_so() -> None:
    many = pa.concat_tables([ROWS] * 40)
    text = shown("table", many)
    assert "30 more rows" in text
    assert text.count("arn:a,b") == output.TABLE_ROWS // 2


def test_counts_by_category_are_an_object() -> None:
    rows = pa.table({"metric_type": ["toxicity"], "categories": ['{"hate":2}']})
    assert json.loads(shown("json", rows))[0]["categories"] == {"hate": 2}


# --- On a terminal ---------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A place that says it is a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


WIDE = pa.table(
    {
        "provider": ["aws", "aws"],
        "resource_name": ["web-1", "a name\x1b[2J that is longer than there is room for in any terminal"],
        "amount": [Decimal("1234567.891200000"), Decimal("0.000012000")],
        "rate": [0.123456, 12_345_678.9],
        "complete": [True, False],
        "resource_id": ["arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0", "short"],
        "nothing": pa.array([None, None], pa.string()),
    }
)


@pytest.mark.parametrize("columns", [40, 70, 120, 300])
def test_a_table_fits_the_terminal_and_no_number_is_cut(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    output.show(WIDE, "table", out, ["resource_name", "amount", "rate", "complete", "provider", "resource_id"], "acme")
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


def test_a_pipe_has_room_for_everything() -> None:
    text = shown("table", WIDE)
    assert "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0" in text
    assert "for in any terminal" in text
    assert "nothing" not in text  # an empty column is none
