"""How commands end where something around them is wrong: one plain message, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler
from typing import NoReturn

import pytest

from optiinfra_dagster.cli import main
from optiinfra_dagster.cli.subprocesses import MARKER, dagster_dev
from optiinfra_dagster.config.proxies import SPARED, settle_proxies
from optiinfra_dagster.config.settings import DEMO_CUSTOMERS, load_settings
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import CloudError, ConfigError, OptiInfraError, StorageError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.monitoring import open_monitoring
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.quality.client import Client
from optiinfra_dagster.quality.pace import Pace
from optiinfra_dagster.quality.server import Server
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.certificates import new_key, pem, self_signed
from tests.support.engines import copy_migrated
from tests.support.forward_proxy import PROXIES, ForwardProxy, forward_proxy
from tests.support.spine import Spine

Run = Callable[..., tuple[int, str, str]]

COMMANDS = {
    "run": ["run"],
    "collect": ["collect"],
    "read": ["read", "performance", "latest", "--customer", "acme"],
    "report": ["report", "--customer", "acme", "--out", "OUT/report.html"],
    "export": ["export", "focus", "--customer", "acme", "--from", "2026-10-01", "--to", "2026-11-01", "--out",
               "OUT/costs.csv"],
    "golden": ["golden", "add", "--customer", "acme", "--out", "OUT/labels.jsonl"],
    "migrate": ["migrate"],
    "migrate status": ["migrate", "--status"],
    "dev": ["dev"],
}  # fmt: skip
"""The commands that cannot do without ClickHouse."""


@pytest.fixture
def spine(tmp_path: Path) -> Spine:
    """A customer in a cloud that is not there, and nothing collected."""
    spine = Spine.at(tmp_path / "home", tables=False)
    spine.write_customers("http://127.0.0.1:9", ["acme"])
    return spine


@pytest.fixture
def run(spine: Spine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command in this process: its exit code, and what it printed; `env` is set on top of the spine's."""

    def run(*arguments: str, **env: str) -> tuple[int, str, str]:
        names = ("DAGSTER_HOME", "OPTIINFRA_CLICKHOUSE_URL", "OPTIINFRA_CUSTOMERS")
        for name, value in {**{name: spine.env[name] for name in names}, **env}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["optiinfra", *(one.replace("OUT", str(tmp_path)) for one in arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def one_line(ended: tuple[int, str, str], code: int, *parts: str) -> None:
    """Assert that a command ended with `code` and one plain line that holds `parts`, and printed nothing else."""
    found, out, err = ended
    assert (found, out, err.count("\n")) == (code, "", 1), err
    assert err.startswith("error: ")
    for part in parts:
        assert part in err, err


# --- A folder in which nothing was collected --------------------------------------------------------------------------

READING = {
    **{name: COMMANDS[name] for name in ("read", "report", "export", "golden", "migrate status")},
    "read csv": ["read", "cost", "waste", "--customer", "acme", "--format", "csv"],
    "explain": ["explain", "cost", "summary", "--customer", "acme"],
    "mcp": ["mcp", "--customer", "acme"],
}


@pytest.mark.parametrize("command", READING)
def test_in_a_wrong_folder_nothing_is_read_and_nothing_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    there = tmp_path / "elsewhere ü"
    there.mkdir()
    monkeypatch.chdir(there)
    ended = run(*READING[command], DAGSTER_HOME="", OPTIINFRA_CLICKHOUSE_URL="")
    one_line(ended, 1, "Nothing was ever collected here", f"chdb://{there}/.optiinfra/clickhouse", "DAGSTER_HOME")
    assert list(there.rglob("*")) == []


@pytest.mark.parametrize(
    "command",
    [
        ["status"], ["metrics"], ["alerts", "list"], ["alerts", "test"], ["grants"], ["customers", "show"],
        ["customers", "remove", "acme"], ["customers", "policy", "aws"], ["customers", "check"],
    ],
)  # fmt: skip
def test_what_needs_no_tables_makes_no_home(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    there = tmp_path / "elsewhere"
    there.mkdir()
    monkeypatch.chdir(there)
    _, out, err = run(*command, DAGSTER_HOME="", OPTIINFRA_CLICKHOUSE_URL="")
    assert "Traceback" not in out + err
    assert list(there.rglob("*")) == []


# --- The UI's port ----------------------------------------------------------------------------------------------------


def test_dev_says_that_its_port_is_taken_before_anything_is_collected(run: Run, spine: Spine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run("dev", PORT=str(port))
    one_line(ended, 1, f"127.0.0.1:{port} cannot be listened on: Address already in use. End", "PORT=")
    assert not (spine.home / "clickhouse").exists()


def test_dev_says_that_its_port_is_no_number(run: Run) -> None:
    one_line(run("dev", PORT="http"), 1, "PORT is 'http'", "from 1 to 65535")


def test_dev_ends_badly_where_dagsters_own_servers_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spine: Spine
) -> None:
    """It ended with 0, as if somebody had wanted it."""
    ending = tmp_path / "dagster" / "__main__.py"
    ending.parent.mkdir()
    ending.write_text("raise SystemExit(3)\n")
    ending.with_name("__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(OptiInfraError, match="ended by themselves with 3"):
        dagster_dev(spine.settings, 3000)


# --- ClickHouse -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_that_clickhouse_is_not_there(run: Run, spine: Spine, command: str) -> None:
    ended = run(*COMMANDS[command], OPTIINFRA_CLICKHOUSE_URL="http://me:s3cr3t@127.0.0.1:9")
    one_line(ended, 1, "ClickHouse at http://127.0.0.1:9: ", "Remedy: check that the server runs and that")
    assert "s3cr3t" not in ended[2]
    assert {path.name for path in spine.home.iterdir()} == {"customers.yaml"}


class _NotFound(BaseHTTPRequestHandler):
    """A server of something else, whose POST is a page that says 404."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Say nothing."""


class _Page(_NotFound):
    """One that takes whatever it is sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")


class _Gateway(_NotFound):
    """One whose ClickHouse is down."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(502)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up at the sight of a certificate is what is tried here."""


@contextmanager
def serving(handler: type[StreamRequestHandler], certificate: Path | None = None) -> Iterator[str]:
    """The URL, with a password, of a server for the duration."""
    with _Server(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"{'https' if certificate else 'http'}://me:s3cr3t@127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("command", ["collect", "read", "migrate"])
@pytest.mark.parametrize("handler", [_NotFound, _Page, BaseHTTPRequestHandler])
def test_another_server_on_the_port_is_told_apart(
    run: Run, command: str, handler: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaseHTTPRequestHandler, "log_message", lambda *_: None)
    with serving(handler) as url:
        ended = run(*COMMANDS[command], OPTIINFRA_CLICKHOUSE_URL=url)
    one_line(ended, 1, "what answers there is not ClickHouse", "(8123, with TLS 8443)")


class _TlsPort(StreamRequestHandler):
    """A port with TLS, to which plain HTTP is no hello: it alerts and hangs up."""

    answer = b"\x15\x03\x01\x00\x02\x02\x46"

    def handle(self) -> None:
        self.request.recv(1 << 16)
        self.wfile.write(self.answer)


class _Ssh(_TlsPort):
    """A port of another protocol."""

    answer = b"SSH-2.0-OpenSSH_9.6\r\n"


@pytest.mark.parametrize("command", ["collect", "read", "migrate"])
@pytest.mark.parametrize("handler", [_TlsPort, _Ssh])
def test_a_port_that_speaks_no_http_is_told(run: Run, command: str, handler: type[StreamRequestHandler]) -> None:
    with serving(handler) as url:
        ended = run(*COMMANDS[command], OPTIINFRA_CLICKHOUSE_URL=url)
    one_line(ended, 1, "what answers there does not speak HTTP. Remedy: ", "write https:// where it has TLS (8443)")
    assert "s3cr3t" not in ended[2]


def test_a_gateway_without_its_server_is_not_another_server(run: Run) -> None:
    with serving(_Gateway) as url:
        one_line(
            run("read", *COMMANDS["read"][1:], OPTIINFRA_CLICKHOUSE_URL=url), 1, "502", "check that the server runs"
        )


@pytest.mark.parametrize("command", ["collect", "read", "migrate"])
def test_a_certificate_that_nobody_trusts_is_told(run: Run, tmp_path: Path, command: str) -> None:
    with serving(BaseHTTPRequestHandler, self_signed(tmp_path)) as url:
        ended = run(*COMMANDS[command], OPTIINFRA_CLICKHOUSE_URL=url)
    one_line(ended, 1, "its certificate is not trusted (self-signed certificate)", "SSL_CERT_FILE")
    assert "s3cr3t" not in ended[2]


@pytest.mark.parametrize("command", ["collect", "read", "migrate"])
def test_a_clickhouse_that_would_work_by_half_is_refused(run: Run, clickhouse_url: str, command: str) -> None:
    ended = run(
        *COMMANDS[command], OPTIINFRA_CLICKHOUSE_URL=clickhouse_url, OPTIINFRA_CLICKHOUSE_REPLICATION="database"
    )
    one_line(ended, 1, "OPTIINFRA_CLICKHOUSE_REPLICATION is database, but", "CREATE DATABASE")
    with ClickHouse(clickhouse_url).session(migrated=False) as client:
        client.command("CREATE TABLE cost_metrics (x UInt8) ENGINE = Memory")
    ended = run(*COMMANDS[command], OPTIINFRA_CLICKHOUSE_URL=clickhouse_url)
    one_line(ended, 1, "cost_metrics is of the engine Memory", "Move it to another database")


# --- DAGSTER_HOME -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "collect", "dev", "read", "migrate"])
def test_a_home_that_is_a_file_is_named(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    place = {"DAGSTER_HOME": str(tmp_path / "file"), "OPTIINFRA_CLICKHOUSE_URL": f"chdb://{tmp_path}/file/clickhouse"}
    one_line(run(*COMMANDS[command], **place), 1, f"{tmp_path}/file", "Not a directory", "DAGSTER_HOME")


def test_a_home_that_is_a_file_is_named_though_clickhouse_is_elsewhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    copy_migrated(tmp_path / "place")
    ended = run("collect", DAGSTER_HOME=str(tmp_path / "file"), OPTIINFRA_CLICKHOUSE_URL=f"chdb://{tmp_path}/place")
    one_line(ended, 1, f"File exists: {tmp_path}/file", "Set DAGSTER_HOME to a folder")


@pytest.mark.parametrize(
    "damaged", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db", "dagster.yaml"]
)
def test_a_damaged_state_is_told_and_nothing_is_lost(run: Run, spine: Spine, damaged: str) -> None:
    copy_migrated(spine.home / "clickhouse")
    file = spine.home / damaged
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"storage: [\0" * 1000)
    code, out, err = run("collect")
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    (said,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert f"Dagster's state in {spine.home} cannot be used: " in said
    assert "Restore what is damaged of dagster.yaml, history and schedules, or move that away" in said
    assert file.read_bytes() == b"storage: [\0" * 1000
    assert run("read", "resource", "inventory", "--customer", "acme")[0] == 1  # nothing was collected; it can be read


def test_a_home_that_may_not_be_written_to_is_told(run: Run, tmp_path: Path) -> None:
    """Nothing is damaged in a home of another user, or on a disk that is mounted to be read."""
    home = tmp_path / "other"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    mount = ["mount", "--bind", "-o", "ro", str(home), str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs a place that may not be written to, and may not mount one here")
    try:
        if os.access(home, os.W_OK):
            pytest.skip("this mount can be written to all the same")
        ended = run("alerts", "list", DAGSTER_HOME=str(home))
    finally:
        subprocess.run(["umount", str(home)], check=True)
    one_line(ended, 1, f"{home} may not be written to. Run as the user that the daemon runs as, or set DAGSTER_HOME.")


def test_a_full_disk_is_told_where_sqlite_speaks_of_an_io_error(run: Run, spine: Spine, tmp_path: Path) -> None:
    copy_migrated(tmp_path / "place")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs a small disk, and may not mount one here")
    try:
        (small / "filling").write_bytes(bytes(2**20 + 2**19))
        ended = run("collect", DAGSTER_HOME=str(small), OPTIINFRA_CLICKHOUSE_URL=f"chdb://{tmp_path}/place")
        code, _, err = ended
        assert code == 1
        assert f"the disk of {small} is full: free some space" in err
        assert "Traceback" not in err
    finally:
        subprocess.run(["umount", str(small)], check=False)


# --- What was typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["collect", "--customer", "acmee"],
        ["customers", "check", "--customer", "acmee"],
        ["read", "performance", "latest", "--customer", "acmee"],
        ["report", "--customer", "acmee", "--out", "OUT/report.html"],
        ["export", "focus", "--customer", "acmee", "--from", "2026-10-01", "--to", "2026-11-01", "--out", "OUT/x.csv"],
        ["golden", "add", "--customer", "acmee", "--out", "OUT/labels.jsonl"],
        ["alerts", "silence", "--customer", "acmee", "--until", f"{datetime.now(UTC) + timedelta(days=1):%FT%H:%MZ}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_customer_is_a_usage_error_of_every_command(run: Run, spine: Spine, arguments: list[str]) -> None:
    one_line(run(*arguments), 2, "no customer 'acmee' (did you mean 'acme'?)")
    assert {path.name for path in spine.home.iterdir()} == {"customers.yaml"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--window", "yesterday"],
        ["run", "--window", "2026-10-01T00:07Z"],
        ["run", "--window", "2019-01-01T00:00Z"],
        ["collect", "--customer", "acmee"],
        ["collect", "--provider", "awz"],
        ["collect", "--from", "2026-11-20"],
        ["collect", "--family", "resource", "--from", "2026-10-01T00:00Z", "--to", "2026-10-02T00:00Z"],
        ["customers", "check", "--customer", "nobody"],
        ["read", "performance", "latest", "--customer", "acme", "--from", "10:15"],
        ["read", "performance", "newest", "--customer", "acme"],
        ["golden", "add", "--customer", "acme", "--from", "10:15", "--out", "OUT/labels.jsonl"],
        ["export", "focus", "--customer", "acme", "--from", "x", "--to", "2026-11-01", "--out", "OUT/x.csv"],
        ["alerts", "silence", "--until", "soon"],
        ["customers", "policy", "awz"],
        ["grants", "reeder"],
        ["metrics", "--address", "10.0.0.5"],
        ["mcp", "--customer", "acme", "--address", "10.0.0.5"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused_before_the_demo_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    def start(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.delenv(MARKER, raising=False)
    one_line(run(*arguments, OPTIINFRA_CUSTOMERS=str(DEMO_CUSTOMERS)), 2)


@pytest.mark.parametrize("command", [["run"], ["collect"], ["collect", "--customer", "acme"]], ids=" ".join)
def test_that_all_customers_are_paused_is_told(run: Run, spine: Spine, command: list[str]) -> None:
    """A run ended well, with tables of zeros and no word of it."""
    copy_migrated(spine.home / "clickhouse")
    spine.extra = {"acme": {"paused": True}}
    spine.write_customers("http://127.0.0.1:9", ["acme"])
    code, _, err = run(*command)
    whom = "the chosen customers are" if len(command) > 1 else "all customers are"
    said = (
        f"error: Nothing to do: {whom} paused in {spine.settings.customers_path}. Remove `paused: true` of one there."
    )
    assert code == 1
    assert said in err.splitlines()


@pytest.mark.parametrize("command", ["run", "dev", "collect"])
@pytest.mark.parametrize("start", [timedelta(days=400), timedelta(minutes=15)])
def test_a_first_window_that_is_still_to_come_is_told(run: Run, spine: Spine, command: str, start: timedelta) -> None:
    """Who sets it to now has nothing to collect yet: it was an unknown partition, or a collection of the future."""
    first = windows.floor(datetime.now(UTC)) + start
    ended = run(command, OPTIINFRA_PARTITIONS_START=first.isoformat())
    one_line(ended, 1, f"The first window is {windows.key(first)}", "wait, or set OPTIINFRA_PARTITIONS_START")
    assert not (spine.home / "clickhouse").exists()


# --- Proxies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    """The only way out by what the environment says, which names no exceptions."""
    with forward_proxy() as proxy:
        for name in PROXIES:
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("https_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")  # so that what a command writes there is undone after the test
        yield proxy


def test_no_sdk_takes_a_proxy_to_this_machine(
    clickhouse_url: str, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("OPTIINFRA_CUSTOMERS", str(DEMO_CUSTOMERS))
    monkeypatch.setenv("OPTIINFRA_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setattr("sys.argv", ["optiinfra", "customers", "check"])
    with CloudLab() as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main.main()
        judge = Client(Server("judge", lab.env["GROQ_API_KEY"], f"{lab.url}/openai/v1"), Pace(), 10.0, 0.0)
        assert judge.models()
        judge.close()
    with ClickHouse(clickhouse_url).session(migrated=False) as client:
        assert client.command("SELECT 1") == 1
    assert (ended.value.code or 0) == 0
    assert proxy.asked == []


CLOUDS = """
customers:
  - id: acme
    name: Acme
    aws: [{account_id: "111111111111", access_key_id: {env: A_KEY}, secret_access_key: {env: A_SECRET}, regions: [us-east-1]}]
    gcp: [{project_id: acme-prod, credentials_file: key.json}]
    azure: [{subscription_id: a0000000-0000-4000-8000-000000000001, tenant_id: acme.onmicrosoft.com,
             client_id: a0000000-0000-4000-8000-00000000000c, client_secret: {env: A_SECRET}}]
    vultr: [{api_key: {env: A_KEY}}]
"""  # noqa: E501


def test_every_sdk_takes_the_proxy_to_the_clouds(
    proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_KEY", "AKIA0123456789ABCDEF")
    monkeypatch.setenv("A_SECRET", "s3cr3t-of-the-test")
    key = {
        "type": "service_account", "client_email": "x@acme-prod.iam.gserviceaccount.com", "project_id": "acme-prod",
        "private_key": pem(new_key()).decode(), "private_key_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
    }  # fmt: skip
    (tmp_path / "key.json").write_text(json.dumps(key))
    (tmp_path / "customers.yaml").write_text(CLOUDS)
    monkeypatch.setattr("optiinfra_dagster.providers.gcp.client._PATIENCE", {})  # it would ask for 45 s
    load_settings()
    (customer,) = load_customers(tmp_path / "customers.yaml")

    def check(name: str) -> str:
        (account,) = customer.accounts(name)
        try:
            return "; ".join(str(problem) for problem in PROVIDERS[name].check("acme", account, ["resource"]))
        except OptiInfraError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        said = [*pool.map(check, customer.providers)]
    (project,) = customer.accounts("gcp")
    assert isinstance(project, GcpAccount)
    with open_monitoring(project, Meter(), time.monotonic() + 20) as monitoring, pytest.raises(CloudError) as refused:
        list(monitoring.descriptors(["compute.googleapis.com/instance/cpu/utilization"]))
    said.append(str(refused.value))
    judge = Client(Server("judge", "gsk_s3cr3t", "https://api.groq.com/openai/v1"), Pace(), 10.0, 0.0)
    with pytest.raises(CloudError) as refused:
        judge.models()
    said.append(str(refused.value))
    server = ClickHouse("https://me:s3cr3t@clickhouse.example.com:8443")
    with pytest.raises(StorageError, match=r"the proxy .* does not let it through: .*403.* NO_PROXY") as lost:
        server.session().__enter__()
    said.append(str(lost.value))
    assert set(proxy.asked) == {
        "api.groq.com", "api.vultr.com", "clickhouse.example.com", "cloudasset.googleapis.com",
        "login.microsoftonline.com", "monitoring.googleapis.com", "sts.us-east-1.amazonaws.com",
    }  # fmt: skip
    assert all(said)
    assert "s3cr3t" not in " ".join(said)


@pytest.mark.parametrize(
    ("environ", "https", "spared"),
    [
        ({}, None, None),
        ({"NO_PROXY": "x"}, None, "x"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1", ",".join(SPARED)),
        ({"http_proxy": "http://p:1", "no_proxy": "a, b"}, None, ",".join(["a", "b", *SPARED])),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "localhost"}, "http://p:1", ",".join(SPARED)),
        ({"ALL_PROXY": "socks5://p:1"}, None, ",".join(SPARED)),
        ({"HTTPS_PROXY": "p:1"}, "http://p:1", ",".join(SPARED)),
        ({"ALL_PROXY": "me:pw@p:1"}, "http://me:pw@p:1", ",".join(SPARED)),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:1", "NO_PROXY": "*"}, "http://q:1", "*"),
    ],
)
def test_the_environment_is_made_to_say_what_every_sdk_reads(
    environ: dict[str, str], https: str | None, spared: str | None
) -> None:
    for _ in range(2):  # whatever it is read by again changes nothing
        settle_proxies(environ)
        assert environ.get("https_proxy") == https
        assert environ.get("no_proxy", environ.get("NO_PROXY")) == spared


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks5://me:s3cr3t@p:1"), ("https_proxy", "socks5h://p:1"), ("HTTPS_PROXY", "ftp://p")],
)
def test_a_proxy_that_not_every_sdk_can_use_is_refused_for_real_clouds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    for one in PROXIES:
        monkeypatch.setenv(one, "")
    monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert load_settings().uses_demo  # the lab is on this machine
    monkeypatch.setenv("OPTIINFRA_CUSTOMERS", "customers.yaml")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value) == (
        f"{name} names a proxy that is not of the scheme http or https, which not every cloud's client can use. Name "
        "an HTTP proxy in HTTPS_PROXY, or unset it."
    )


def test_a_proxy_of_https_goes_before_one_of_another_scheme_for_all() -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "socks5://p:2", "all_proxy": "socks5://p:2"}
    settle_proxies(environ)
    assert environ["https_proxy"] == "http://p:1"
    assert not {"ALL_PROXY", "all_proxy"} & set(environ)  # httpx would refuse to begin
