"""The test server does what tests of the server path rely on."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import clickhouse_connect
import numpy as np
import pyarrow as pa
import pytest
from clickhouse_connect.driver.compression import get_compressor
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from clickhouse_connect.driver.summary import QuerySummary
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clickhouse_http import ClickHouseHttp, ServerError, decode_body

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SCHEMA = """
CREATE TABLE samples (
    at DateTime('UTC'),
    at_ms DateTime64(3, 'UTC'),
    name LowCardinality(String),
    note Nullable(String),
    load Nullable(Float64),
    amount Decimal(18, 9),
    calls UInt64,
    value Float64
) ENGINE = MergeTree ORDER BY (name, at)
"""
NOON = datetime(2026, 3, 29, 12, 0, 0, tzinfo=UTC)
ROWS: list[tuple[Any, ...]] = [
    (NOON, NOON + timedelta(milliseconds=7), "cpu", None, 0.5, Decimal("0.000000001"), 2**64 - 1, 1.25),
    (NOON + timedelta(minutes=1), NOON, "mem", "it's ü\t", None, Decimal("-123456789.987654321"), 0, -2.0),
]
TABLE = pa.Table.from_pylist(
    [dict(zip(("at", "at_ms", "name", "note", "load", "amount", "calls", "value"), row, strict=True)) for row in ROWS],
    schema=pa.schema(
        [
            ("at", pa.timestamp("s", "UTC")),
            ("at_ms", pa.timestamp("ms", "UTC")),
            ("name", pa.string()),
            ("note", pa.string()),
            ("load", pa.float64()),
            ("amount", pa.decimal128(18, 9)),
            ("calls", pa.uint64()),
            ("value", pa.float64()),
        ]
    ),
)


@pytest.fixture
def client(clickhouse_url: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=clickhouse_url, tz_mode="aware") as client:
        client.command(SCHEMA)
        yield client


def rows_of(client: Client) -> Sequence[Sequence[Any]]:
    return client.query("SELECT * FROM samples ORDER BY at, name").result_rows


def post(
    server: ClickHouseHttp, body: bytes, headers: dict[str, str], **parameters: str
) -> tuple[int, bytes, HTTPMessage]:
    """A bare request, for what clickhouse-connect does not send by itself."""
    login = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": server.password}
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    with closing(connection):
        connection.request("POST", f"/?{urlencode(parameters)}", body, login | headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers


def test_the_client_connects_as_to_a_server(client: Client) -> None:
    assert client.ping()
    assert client.server_version
    assert client.server_tz == UTC
    assert client.command("SELECT currentDatabase()") == client.database


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_rows_come_back_as_inserted(client: Client, clickhouse_url: str, compress: bool | str) -> None:
    with clickhouse_connect.get_client(dsn=clickhouse_url, compress=compress) as writer:
        summary = writer.insert("samples", ROWS, column_names=TABLE.column_names)
    assert summary.written_rows == 2
    assert rows_of(client) == ROWS


def test_an_arrow_table_comes_back_as_inserted(client: Client) -> None:
    assert client.insert_arrow("samples", TABLE).written_rows == 2
    assert rows_of(client) == ROWS
    back = client.query_arrow("SELECT * FROM samples ORDER BY at", use_strings=True)
    # ClickHouse writes DateTime to Arrow as bare seconds.
    back = back.set_column(0, "at", back["at"].cast(pa.int64()).cast(pa.timestamp("s", "UTC")))
    assert back.to_pylist() == TABLE.to_pylist()


def test_a_data_frame_comes_back_as_inserted(client: Client) -> None:
    frame = TABLE.to_pandas()
    assert client.insert_df("samples", frame).written_rows == 2
    assert rows_of(client) == ROWS
    back = client.query_df("SELECT * FROM samples ORDER BY at")
    assert back["amount"].tolist() == frame["amount"].tolist()
    assert [at.to_pydatetime() for at in back["at_ms"]] == [row[1] for row in ROWS]


def test_a_million_rows_arrive(client: Client) -> None:
    """As one Arrow table, and as Native blocks, each of which is a compressed frame of its own."""
    n = 1_000_000
    client.command(
        "CREATE TABLE many (n UInt64, name LowCardinality(String), value Float64) ENGINE = MergeTree ORDER BY n"
    )
    table = pa.table({"n": np.arange(n, dtype=np.uint64), "name": pa.array(["a"]).take(pa.array(np.zeros(n, int)))})
    table = table.append_column("value", pa.array(np.arange(n) / 2))
    assert client.insert_arrow("many", table).written_rows == n
    columns: list[Any] = [np.arange(n, 2 * n, dtype=np.uint64), ["b"] * n, np.arange(n, 2 * n) / 2]
    blocks = client.insert("many", columns, column_names=["n", "name", "value"], column_oriented=True)
    assert blocks.written_rows == n
    assert client.query("SELECT count(), uniqExact(n), sum(value) FROM many").result_rows == [
        (2 * n, 2 * n, n * (2 * n - 1) / 2)
    ]
    assert client.query_arrow("SELECT n FROM many").num_rows == 2 * n


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip"])
def test_every_frame_of_a_compressed_body_counts(
    clickhouse_http: ClickHouseHttp, client: Client, encoding: str
) -> None:
    lines = [f"{n}\n".encode() * 10 for n in range(50)]
    if encoding == "gzip":
        body = b"".join(map(gzip.compress, lines))
    else:
        body = b"".join(bytes(get_compressor(encoding).compress_block(line)) for line in lines)
    client.command("CREATE TABLE numbers (n UInt64) ENGINE = MergeTree ORDER BY n")
    insert = {"query": "INSERT INTO numbers FORMAT TSV", "database": str(client.database)}
    status, _, headers = post(clickhouse_http, body, {"Content-Encoding": encoding}, **insert)
    assert status == 200
    assert '"written_rows": "500"' in headers["X-ClickHouse-Summary"]
    assert client.query("SELECT count(), uniqExact(n) FROM numbers").result_rows == [(500, 50)]


@given(
    blocks=st.lists(st.binary(max_size=2000), min_size=1, max_size=5),
    encoding=st.sampled_from(["lz4", "zstd", "deflate"]),
)
def test_decoding_undoes_any_number_of_frames(blocks: list[bytes], encoding: str) -> None:
    if encoding == "deflate":
        body = b"".join(map(zlib.compress, blocks))
    else:
        body = b"".join(bytes(get_compressor(encoding).compress_block(block)) for block in blocks)
    assert decode_body(body, encoding) == b"".join(blocks)
    with pytest.raises(ServerError, match="truncated frame"):
        decode_body(body[:-1], encoding)


def test_an_unknown_encoding_is_refused(clickhouse_http: ClickHouseHttp, client: Client) -> None:
    status, body, headers = post(clickhouse_http, b"SELECT 1", {"Content-Encoding": "snappy"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    assert b"Unknown http content encoding" in body


def test_a_wrong_password_is_refused(clickhouse_http: ClickHouseHttp) -> None:
    with pytest.raises(DatabaseError, match="Authentication failed: password is incorrect") as refused:
        clickhouse_connect.get_client(host="127.0.0.1", port=clickhouse_http.port, username="default", password="wrong")
    assert refused.value.code == 516
    status, body, headers = post(clickhouse_http, b"SELECT 1", {"X-ClickHouse-Key": "wrong"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert body.startswith(b"Code: 516. DB::Exception: default: Authentication failed")


@pytest.mark.parametrize(
    ("statement", "code", "status"),
    [
        ("SELEC 1", 62, 400),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT * FROM nowhere", 60, 404),
        ("SELECT * FROM nowhere.nothing", 81, 404),
        ("SELECT 1 SETTINGS no_such_setting = 1", 115, 404),
        ("SELECT throwIf(number = 1) FROM numbers(3)", 395, 500),
    ],
)
def test_an_error_carries_the_servers_code(
    clickhouse_http: ClickHouseHttp, client: Client, statement: str, code: int, status: int
) -> None:
    with pytest.raises(DatabaseError, match=f"Code: {code}") as failed:
        client.command(statement)
    assert failed.value.code == code
    found = post(clickhouse_http, statement.encode(), {}, database=str(client.database))
    assert (found[0], found[2]["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert found[1].startswith(f"Code: {code}. DB::Exception: ".encode())
    assert b"(version 2" in found[1]


def test_a_bad_value_inserts_nothing(client: Client) -> None:
    with pytest.raises(DatabaseError, match="CANNOT_PARSE_DATETIME"):
        client.raw_insert("samples", ["at", "name"], b"2026-01-01 00:00:00\ta\nnot a time\tb\n", fmt="TSV")
    assert rows_of(client) == []


def test_parameters_are_bound(client: Client) -> None:
    client.insert("samples", ROWS, column_names=TABLE.column_names)
    found = client.query(
        "SELECT name FROM samples WHERE note = {note:String} AND at IN {times:Array(DateTime('UTC'))}",
        parameters={"note": "it's ü\t", "times": ["2026-03-29 12:00:00", "2026-03-29 12:01:00"]},
    )
    assert found.result_rows == [("mem",)]


def test_large_parameters_travel_as_a_form(client: Client) -> None:
    names = [f"name {n}" for n in range(5_000)]
    client.insert("samples", ROWS, column_names=TABLE.column_names)
    query = "SELECT count() FROM samples WHERE name IN {names:Array(String)}"
    assert client.query(query, parameters={"names": [*names, "cpu"]}).result_rows == [(1,)]


def test_settings_hold_for_their_query_only(client: Client, clickhouse_url: str) -> None:
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == 3
    assert client.command("SELECT getSetting('max_threads')") != 3
    with clickhouse_connect.get_client(dsn=clickhouse_url, settings={"max_threads": 5}) as other:
        assert other.command("SELECT getSetting('max_threads')") == 5
    with pytest.raises(DatabaseError, match="UNKNOWN_SETTING"):
        client.command("SELECT 1", settings={"no_such_setting": 1})


def test_a_session_keeps_what_a_bare_request_forgets(clickhouse_url: str) -> None:
    with clickhouse_connect.get_client(dsn=clickhouse_url, session_id="mine") as session:
        session.command("SET max_block_size = 77")
        session.command("CREATE TEMPORARY TABLE scratch (n UInt8)")
        assert session.command("SELECT getSetting('max_block_size')") == 77
        assert session.command("SELECT count() FROM scratch") == 0
    with clickhouse_connect.get_client(dsn=clickhouse_url, autogenerate_session_id=False) as bare:
        bare.command("SET max_block_size = 77")
        assert bare.command("SELECT getSetting('max_block_size')") != 77


def test_the_summary_counts_rows_written_by_select(client: Client) -> None:
    summary = client.command("INSERT INTO samples (at, name, calls) SELECT now(), 'x', number FROM numbers(40)")
    assert isinstance(summary, QuerySummary)
    assert summary.written_rows == 40
    client.command("INSERT INTO samples (at, name) VALUES (0, 'a;b'), (1, 'c')")
    assert client.command("SELECT count() FROM samples") == 42


def test_a_connection_dropped_before_the_insert_leaves_nothing(clickhouse_http: ClickHouseHttp, client: Client) -> None:
    clickhouse_http.fault("drop_before", times=2)
    with pytest.raises(OperationalError):
        client.insert("samples", ROWS, column_names=TABLE.column_names)
    clickhouse_http.reset()
    assert rows_of(client) == []


def test_a_connection_dropped_after_the_insert_leaves_its_rows(clickhouse_http: ClickHouseHttp, client: Client) -> None:
    clickhouse_http.fault("drop_after")
    with pytest.raises(OperationalError):
        client.raw_insert("samples", ["name"], (line for line in (b"a\n", b"b\n")), fmt="TSV")
    assert client.command("SELECT count() FROM samples") == 2


def test_a_fault_strikes_where_it_is_told_to(clickhouse_http: ClickHouseHttp, client: Client) -> None:
    clickhouse_http.fault("exception", match="INTO samples", skip=1, code=252)
    client.command("INSERT INTO samples (name) VALUES ('first')")
    with pytest.raises(DatabaseError) as failed:
        client.command("INSERT INTO samples (name) VALUES ('second')")
    assert failed.value.code == 252
    client.command("INSERT INTO samples (name) VALUES ('third')")
    assert [row[2] for row in rows_of(client)] == ["first", "third"]


def test_an_unavailable_server_says_so(clickhouse_http: ClickHouseHttp, client: Client) -> None:
    clickhouse_http.fault("unavailable")
    with pytest.raises(OperationalError, match="503"):
        client.command("INSERT INTO samples (name) VALUES ('x')")
    clickhouse_http.fault("unavailable", match="SELECT 1")
    assert client.query("SELECT 1").result_rows == [(1,)]  # a read is asked again by the client itself


def test_a_server_that_is_down_refuses(clickhouse_http: ClickHouseHttp, client: Client) -> None:
    with clickhouse_http.down():
        assert not client.ping()
        with pytest.raises(OperationalError, match="refused"):
            client.command("INSERT INTO samples (name) VALUES ('x')")
    client.command("INSERT INTO samples (name) VALUES ('y')")
    assert [row[2] for row in rows_of(client)] == ["y"]


def test_committed_rows_survive_a_kill(tmp_path: Path) -> None:
    with ClickHouseHttp(tmp_path / "engine", password="other") as server:
        client = clickhouse_connect.get_client(dsn=server.url())
        client.command("CREATE DATABASE kept")
        client.command("CREATE TABLE kept.t (n UInt8) ENGINE = MergeTree ORDER BY n")
        client.insert("kept.t", [[1], [2]])
        port = server.port
        server.kill()
        server.start()
        assert server.port == port
        assert client.command("SELECT sum(n) FROM kept.t") == 3
        client.close()


def test_the_server_tells_what_it_was_asked(clickhouse_http: ClickHouseHttp, client: Client) -> None:
    clickhouse_http.reset()
    client.insert("samples", ROWS, column_names=TABLE.column_names, settings={"async_insert": 0})
    with pytest.raises(DatabaseError):
        client.command("SELECT nothing")
    describe, insert, failed = clickhouse_http.statements()
    assert describe.text.startswith("DESCRIBE TABLE")
    assert insert.text.startswith("INSERT INTO `samples`")
    assert insert.text.endswith("FORMAT Native")
    assert (insert.database, insert.written_rows, insert.status) == (client.database, 2, 200)
    assert insert.settings["async_insert"] == "0"
    assert (failed.text, failed.status) == ("SELECT nothing", 404)
