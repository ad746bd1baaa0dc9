"""Places that cannot be opened, reached or used: each says in one plain message what is wrong and what to do."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from optiinfra_dagster.lab.server import Response, Server
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import ClickHouse, fetch
from optiinfra_dagster.storage.writer import Writer
from tests.support import killing
from tests.support.certificates import self_signed
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.samples import W, collected, seen_values, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def answering(certificate: Path | None = None) -> Iterator[int]:
    """The port of a web server that is no ClickHouse, with TLS where it has a certificate."""
    server = Server(lambda _: Response(200, b"<html>It works!</html>"))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.start()
    try:
        yield server.server_address[1]
    finally:
        server.stop()


def refusal(clickhouse: ClickHouse) -> str:
    """What a session says that cannot be had."""
    with pytest.raises(StorageError) as raised, clickhouse.session() as client:
        client.command("SELECT count() FROM performance_metrics")
    message = str(raised.value)
    assert "\n" not in message
    assert "secret" not in message
    return message


def test_a_place_held_by_another_process_says_so(chdb_url: str) -> None:
    opened, release = killing.PROCESSES.Event(), killing.PROCESSES.Event()
    holder = killing.PROCESSES.Process(target=killing.hold, args=(chdb_url, opened, release), daemon=True)
    holder.start()
    try:
        assert opened.wait(60)
        assert "is in use by another process and was not released within 0.2 s" in refusal(
            ClickHouse(chdb_url, lock_timeout=0.2)
        )
        release.set()
        with ClickHouse(chdb_url, lock_timeout=60).session() as client:
            assert client.command("SELECT 1") == 1
    finally:
        release.set()
        holder.join(30)


def test_a_holder_that_was_killed_holds_nothing(chdb_url: str) -> None:
    assert killing.run(killing.attempt, chdb_url, "start") == -9
    with ClickHouse(chdb_url, lock_timeout=5).session() as client:
        assert client.command("SELECT 1") == 1


def test_sessions_in_threads_take_turns_and_nest(chdb_url: str) -> None:
    clickhouse = ClickHouse(chdb_url)
    inside, most = 0, 0
    lock = threading.Lock()

    def work(name: str) -> None:
        nonlocal inside, most
        with clickhouse.session(), clickhouse.session():
            with lock:
                inside += 1
                most = max(most, inside)
            Writer(clickhouse, schema.PERFORMANCE).flush([collected(name)])
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work, args=(f"customer-{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1
    assert len(view(clickhouse)) == 6


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file cannot be used: File exists" in refusal(ClickHouse(f"chdb://{tmp_path}/file"))
    assert "cannot be used: Not a directory" in refusal(ClickHouse(f"chdb://{tmp_path}/file/below"))
    (tmp_path / "place.spool").write_text("")
    assert "place.spool). Set OPTIINFRA_CLICKHOUSE_URL to a writable place" in refusal(
        ClickHouse(f"chdb://{tmp_path}/place")
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be used: Permission denied" in refusal(ClickHouse(f"chdb://{tmp_path}/place"))


def test_a_place_that_can_never_be_written_is_named() -> None:
    assert "cannot be used: " in refusal(ClickHouse("chdb:///proc/optiinfra"))


def test_a_missing_parent_is_made(tmp_path: Path) -> None:
    clickhouse = ClickHouse(f"chdb://{tmp_path}/a/b%20c #'d/clickhouse")
    with clickhouse.session(migrated=False) as client:
        client.command("CREATE TABLE default.kept ENGINE = MergeTree ORDER BY a AS SELECT 7 AS a")
    with clickhouse.session(migrated=False) as client:
        assert client.command("SELECT a FROM default.kept") == 7
    assert (tmp_path / "a" / "b%20c #'d" / "clickhouse" / "metadata").is_dir()


def test_a_path_that_the_engine_would_cut_off_is_refused(tmp_path: Path) -> None:
    assert "question mark" in refusal(ClickHouse(f"chdb://{tmp_path}/what?/clickhouse"))
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_say_what_to_do(chdb_url: str) -> None:
    assert killing.run(garbled, chdb_url) == 0


def garbled(url: str) -> None:
    """Garble an engine's files and try to use it; in a process of its own, since a failed engine may not come back."""
    clickhouse = ClickHouse(url)
    assert clickhouse.path
    for path in clickhouse.path.glob("store/*/*/*.sql"):
        path.write_bytes(b"\0garbage")
    message = refusal(clickhouse)
    assert "cannot be opened" in message, message
    assert "If its files are damaged, move the folder away and collect again, or restore a backup." in message, message


def test_a_dead_server_is_named(clickhouse_http: ClickHouseHttp, http_url: str) -> None:
    clickhouse = ClickHouse(http_url)
    with clickhouse.session():
        pass
    with clickhouse_http.down():
        message = refusal(clickhouse)
        assert f"http://127.0.0.1:{clickhouse_http.port}" in message
        assert "check that the server runs" in message
        assert "check that the server runs" in refusal(ClickHouse(http_url))
    with clickhouse.session() as client:
        assert client.command("SELECT 1") == 1


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://default:secret@127.0.0.1:{taken.getsockname()[1]}"
        assert "check that the server runs" in refusal(ClickHouse(url))


def test_a_host_that_does_not_exist_is_named() -> None:
    assert "check that the server runs" in refusal(ClickHouse("http://default:secret@no-such-host.invalid:8123"))


def test_another_server_on_the_port_is_told() -> None:
    with answering() as port:
        message = refusal(ClickHouse(f"http://default:secret@127.0.0.1:{port}"))
    told = (
        f"ClickHouse at http://127.0.0.1:{port}: what answers there is not ClickHouse. Remedy: name the host and the "
    )
    assert message == told + "HTTP port of ClickHouse (8123, with TLS 8443) in OPTIINFRA_CLICKHOUSE_URL."


def test_a_certificate_that_nobody_trusts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    with answering(certificate) as port:
        message = refusal(ClickHouse(f"https://default:secret@127.0.0.1:{port}"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        after = refusal(ClickHouse(f"https://default:secret@127.0.0.1:{port}"))
    assert "its certificate is not trusted (self-signed certificate). Remedy: give the server a certificate" in message
    assert "what answers there is not ClickHouse" in after  # the remedy works


def test_plain_http_where_tls_is_spoken_is_told(tmp_path: Path) -> None:
    with answering() as port:
        message = refusal(ClickHouse(f"https://default:secret@127.0.0.1:{port}"))
    assert "TLS failed. Remedy: " in message
    assert "write http:// if it has no TLS on this port" in message


def test_a_wrong_password_is_not_repeated(clickhouse_http: ClickHouseHttp) -> None:
    message = refusal(ClickHouse(f"http://default:hunter2@127.0.0.1:{clickhouse_http.port}"))
    assert "hunter2" not in message
    assert "check the user and password in OPTIINFRA_CLICKHOUSE_URL" in message


def test_a_user_and_password_may_hold_any_character() -> None:
    with ClickHouseHttp(password="s3:c/r@e t%ü") as server:
        url = f"http://default:s3%3Ac%2Fr%40e%20t%25%C3%BC@127.0.0.1:{server.port}/default"
        with ClickHouse(url).session(migrated=False) as client:
            assert client.command("SELECT 1") == 1


@pytest.mark.parametrize(("code", "remedy"), [(241, "out of memory"), (243, "disk is full"), (497, "grant the user")])
def test_an_error_of_the_server_comes_with_its_remedy(
    clickhouse_http: ClickHouseHttp, http_url: str, code: int, remedy: str
) -> None:
    clickhouse = ClickHouse(http_url)
    with clickhouse.session():
        pass
    clickhouse_http.fault("exception", match="performance_metrics", code=code)
    message = refusal(clickhouse)
    assert remedy in message
    assert str(code) in message


def test_a_server_that_is_unavailable_is_named(clickhouse_http: ClickHouseHttp, http_url: str) -> None:
    clickhouse = ClickHouse(http_url)
    with clickhouse.session():
        pass
    clickhouse_http.fault("unavailable", match="performance_metrics", times=9)
    assert f"ClickHouse at http://127.0.0.1:{clickhouse_http.port}: " in refusal(clickhouse)
    clickhouse_http.reset()
    assert seen_values(clickhouse) == []


def test_a_database_that_went_away_is_said_and_noticed(clickhouse_http: ClickHouseHttp, http_url: str) -> None:
    clickhouse = ClickHouse(http_url)
    with clickhouse.session() as client:
        client.command("RENAME TABLE performance_metrics TO went_away")
    try:
        assert "optiinfra migrate" in refusal(clickhouse)
    finally:
        with clickhouse.session(migrated=False) as client:
            client.command("RENAME TABLE went_away TO performance_metrics")


def test_neither_name_nor_message_holds_the_password() -> None:
    assert repr(ClickHouse("https://user:secret@example.com:8443/x")) == "ClickHouse(https://example.com:8443)"


def test_fetched_times_are_zoned_and_money_is_exact(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        rows = fetch(
            client,
            "SELECT {at:DateTime('UTC')} AS at, toNullable(at) AS maybe, "
            "CAST(NULL, 'Nullable(DateTime(\\'UTC\\'))') AS never, "
            "toUInt32(7) AS number, CAST('1.000000001', 'Decimal(18, 9)') AS money, toLowCardinality('x') AS name, "
            "true AS yes",
            {"at": W.astimezone(timezone(timedelta(hours=5, minutes=30)))},
        )
    assert rows.schema.field("at").type == schema.TIME
    assert rows.to_pylist() == [
        {
            "at": W, "maybe": W, "never": None, "number": 7, "money": Decimal("1.000000001"), "name": "x", "yes": True,
        }
    ]  # fmt: skip
    assert rows.schema.field("name").type == pa.string()


def test_a_naive_time_is_refused_as_a_parameter(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client, pytest.raises(ValueError, match="time zone"):
        fetch(client, "SELECT {at:DateTime('UTC')} AS at", {"at": datetime.now(UTC).replace(tzinfo=None)})
