"""How rows are printed."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from optiinfra_dagster import reading

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
    reading.show(reading.Result(rows), format_, out)
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
    assert text.count("arn:a,b") == reading.TABLE_ROWS // 2


def test_quality_shows_which_metric_and_its_counts_as_an_object() -> None:
    rows = pa.table(
        {"application_id": ["chat"], "metric_type": ["accuracy"], "categories": ['{"hate":2}'], "low": [0.1]}
    )
    assert json.loads(shown("json", rows))[0]["categories"] == {"hate": 2}
    assert "accuracy" in shown("table", rows)
    assert "accuracy" not in shown("table", rows.append_column("metric_name", [["cpu_utilization"]]))
