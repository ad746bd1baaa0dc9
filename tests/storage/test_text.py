"""CSV and JSON as the engine writes them: valid, exact, and the same through either transport."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import text
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.readers import Statement
from tests.support.clickhouse_http import ClickHouseHttp


@pytest.fixture(scope="module", params=["chdb", "http", "readonly"])
def clickhouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A place of each transport in turn, and a user who may not send settings; no tables: rows come from nowhere."""
    if request.param == "http":
        yield ClickHouse(request.getfixturevalue("clickhouse_http").url("default"))
    elif request.param == "readonly":
        with ClickHouseHttp(access="lenient") as server:
            with ClickHouse(server.url()).session(migrated=False) as client:
                client.command("CREATE USER reader SETTINGS readonly = 1")
            yield ClickHouse(server.url("default", "reader", ""))
    else:
        clickhouse = ClickHouse(f"chdb://{tmp_path_factory.mktemp('engine') / 'clickhouse'}")
        with clickhouse.session(migrated=False):
            yield clickhouse


WHEN = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
ODD = [
    "",
    "arn:a,b",
    'said "x"\nand y',
    "it's C:\\temp\\'n",
    "ü€😀",
    "\ttab\r\n\x01",
    '"}\n{"',
    "{}\\n",
    ", ",
    "NULL",
    "\\N",
    "=1+1",
]
TAGS = ["{}", "", '{"team":"ü","it\'s":"a\\\\b\\"}\\n{"}', '{"a.b":{"c":[1,null,true]},"big":12345678901234567890}']

COLUMNS = {
    "n": ("UInt64", "toUInt64(n)"),
    "name": ("String", "odd"),
    "tags": ("LowCardinality(String)", "toLowCardinality(tags)"),
    "at": ("DateTime('UTC')", f"toDateTime({int(WHEN.timestamp())}, 'UTC')"),
    "day": ("Nullable(Date)", "if(n % 2 = 0, toDate('2026-11-21'), NULL)"),
    "amount": ("Nullable(Decimal(38, 18))", "if(n % 3 = 0, NULL, toDecimal128('1.1', 18) * n)"),
    "share": ("Nullable(Float64)", "if(n % 4 = 0, NULL, 1 / (n % 4 - 1))"),  # infinity among them
    "value": ("Float64", "if(n % 5 = 0, nan, 0.1 + n)"),
    "known": ("Bool", "toBool(n % 2)"),
    "hash": ("UInt64", "bitNot(toUInt64(n))"),
    "values": ("Array(Float64)", "[1.5, n]"),
    "details": ("String", "tags"),
    "last": ("Nullable(String)", "nullIf(odd, '')"),
}


def statement(count: int, limit: int | None = None) -> Statement:
    """`count` rows of all that may be difficult; the texts and tags in turn."""
    listed = ", ".join(f"{sql} AS `{name}`" for name, (_, sql) in COLUMNS.items())
    rows = (
        f"SELECT {listed} FROM (SELECT number AS n, arrayElement({{odd:Array(String)}}, n % {len(ODD)} + 1) AS odd, "  # noqa: S608
        f"arrayElement({{tags:Array(String)}}, n % {len(TAGS)} + 1) AS tags FROM numbers({count}))"
    )
    types = {name: kind for name, (kind, _) in COLUMNS.items()}
    parameters: dict[str, Any] = {"odd": ODD, "tags": TAGS}
    return Statement(types, rows, "n DESC", limit, parameters)


def expected(n: int) -> dict[str, Any]:
    """The row as JSON has it."""
    tags = TAGS[n % len(TAGS)]
    share = None if n % 4 in {0, 1} else 1 / (n % 4 - 1)
    return {
        "n": n,
        "name": ODD[n % len(ODD)],
        "tags": json.loads(tags or "{}"),
        "at": "2026-11-21T10:15:00Z",
        "day": "2026-11-21" if n % 2 == 0 else None,
        "amount": f"{Decimal('1.1') * n:.18f}" if n % 3 else None,
        "share": share,
        "value": 0.1 + n if n % 5 else None,
        "known": bool(n % 2),
        "hash": 2**64 - 1 - n,
        "values": [1.5, n],
        "details": json.loads(tags or "{}"),
        "last": ODD[n % len(ODD)] or None,
    }


def in_a_spreadsheet(cell: str) -> str:
    """A text as CSV has it."""
    cell = cell.replace("\x01", " ")
    return f"'{cell}" if cell.lstrip()[:1] in {"=", "+", "-", "@"} and cell else cell


def written(clickhouse: ClickHouse, format_: str, of: Statement) -> str:
    """The text of an export."""
    out = io.BytesIO()
    with clickhouse.session(migrated=False) as client:
        write = text.write_json if format_ == "json" else text.write_csv
        found = write(client, of, out, embedded=clickhouse.embedded)
    assert found == (len(out.getvalue().splitlines()) > 1)
    return out.getvalue().decode()


@pytest.mark.parametrize("count", [0, 1, 2, 5000])
def test_json_is_one_array_with_exact_values(clickhouse: ClickHouse, count: int) -> None:
    """Of 5,000 rows the parts in which they come are cut within rows."""
    rows = json.loads(written(clickhouse, "json", statement(count)), parse_constant=pytest.fail)
    assert rows == [expected(n) for n in reversed(range(count))]
    assert all(list(row) == list(COLUMNS) for row in rows)


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_csv_tells_null_from_an_empty_text(clickhouse: ClickHouse, count: int) -> None:
    content = written(clickhouse, "csv", statement(count))
    names, *rows = csv.reader(io.StringIO(content, newline=""))
    assert names == list(COLUMNS)
    for n, row in zip(reversed(range(count)), rows, strict=True):
        found, wanted = dict(zip(names, row, strict=True)), expected(n)
        for name in ("name", "at", "day", "amount", "last"):
            assert found[name] == in_a_spreadsheet(wanted[name] or "")
        for name in ("share", "value"):
            assert (float(found[name]) if found[name] else None) == wanted[name]
        assert (found["n"], found["hash"], found["known"]) == (str(n), str(wanted["hash"]), str(wanted["known"]))
        assert found["tags"] == TAGS[n % len(TAGS)]
    if count:
        assert content.splitlines()[-1].endswith(',"{}",')  # null, of row 0, whose name is an empty text
        assert ',"{}","2026-11-21' in content.splitlines()[-1]
        assert content.splitlines()[-1].startswith('0,"",')


def test_a_limit_takes_the_first_in_order(clickhouse: ClickHouse) -> None:
    assert [row["n"] for row in json.loads(written(clickhouse, "json", statement(100, limit=3)))] == [99, 98, 97]


@pytest.mark.parametrize(
    "kind", ["String", "LowCardinality(String)", "Nullable(String)", "LowCardinality(Nullable(String))"]
)
@pytest.mark.parametrize(
    ("stored", "cell"),
    [
        ('=HYPERLINK("http://a.example","x")', '\'=HYPERLINK("http://a.example","x")'),
        ("\t=1+1", "'\t=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\x1b[2Jgone", " [2Jgone"),
        ("a-b=c", "a-b=c"),
        ("it's", "it's"),
    ],
)
def test_a_spreadsheet_takes_no_text_for_a_formula(clickhouse: ClickHouse, kind: str, stored: str, cell: str) -> None:
    rows = f"SELECT CAST({{stored:String}} AS {kind}) AS name"
    of = Statement({"name": kind}, rows, "1", None, {"stored": stored})
    assert list(csv.reader(io.StringIO(written(clickhouse, "csv", of), newline="")))[1] == [cell]
    assert json.loads(written(clickhouse, "json", of)) == [{"name": stored}]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"a": NaN}', '{"a": NaN}'),  # no JSON: a text
        ('{"a":"NaN"}', {"a": "NaN"}),
        ('{\n "a": "Infinity",\n\t"b": 1\n}', {"a": "Infinity", "b": 1}),
        ("{", "{"),
        ("it's", "it's"),
    ],
)
def test_what_is_no_json_is_shown_as_text(clickhouse: ClickHouse, stored: str, shown: object) -> None:
    of = Statement({"metadata": "String"}, "SELECT {stored:String} AS metadata", "1", None, {"stored": stored})
    content = written(clickhouse, "json", of)
    assert json.loads(content) == [{"metadata": shown}]


@pytest.mark.parametrize("write", [text.write_csv, text.write_json])
def test_an_engine_that_fails_on_the_way_is_no_end(clickhouse: ClickHouse, write: Any) -> None:
    """Rows were written when it fails; that there are more of them is an error."""
    of = Statement(
        {"n": "UInt64"},
        "SELECT if(number < 100000, number, throwIf(number = 100000, 'broken')) AS n FROM numbers(200000)",
        "tuple()",
        None,
        {},
    )
    out = io.BytesIO()
    with pytest.raises(StorageError, match="broken"), clickhouse.session(migrated=False) as client:
        write(client, of, out, embedded=clickhouse.embedded)
    assert not out.getvalue().endswith(b"]\n")
    with clickhouse.session(migrated=False) as client:  # and goes on
        assert client.query("SELECT 1").result_rows == [(1,)]


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_a_server_that_goes_away_on_the_way_is_told(clickhouse_http: ClickHouseHttp, format_: str) -> None:
    clickhouse_http.fault("cut", match="numbers")
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:.*broke off"):
        written(ClickHouse(clickhouse_http.url("default")), format_, statement(5000))
