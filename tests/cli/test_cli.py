"""The command line: what is asked for in a wrong way gets one plain message; what is asked for well is printed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dagster import DagsterInstance

from optiinfra_dagster.automation import dead_runs
from optiinfra_dagster.cli import main
from optiinfra_dagster.cli.command import readers_help
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import migrations
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.readers import sources
from optiinfra_dagster.storage.sql import readers
from tests.support.engines import SERVED, copy_dagster, copy_migrated
from tests.support.spine import ACCOUNTS, Spine, fleet, newest_window, world

if TYPE_CHECKING:
    from tests.support.clickhouse_http import ClickHouseHttp

MAIN = "from optiinfra_dagster.cli.main import main; main()"
PROGRAM = [sys.executable, "-c", MAIN]


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def spine(tmp_path: Path) -> Spine:
    """A spine whose three customers are in a cloud that is not there."""
    spine = Spine.at(tmp_path / "home", tables=False)
    spine.write_customers("http://127.0.0.1:9")
    return spine


@pytest.fixture
def run(spine: Spine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process, in the environment of the spine; `env` sets or unsets (None) more."""

    def run(*arguments: str, **env: str | None) -> Done:
        for name in ("DAGSTER_HOME", "OPTIINFRA_CLICKHOUSE_URL", "OPTIINFRA_CUSTOMERS"):
            monkeypatch.setenv(name, spine.env[name])
        for name, value in env.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["optiinfra", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


@dataclass(frozen=True)
class Collected:
    """Two customers' newest window, collected once for the module; the third has no resources."""

    spine: Spine
    env: dict[str, str]
    window: datetime


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    spine, window = Spine.at(tmp_path_factory.mktemp("collected") / "home"), newest_window()
    with CloudLab(world(initech=[])) as lab, pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        spine.write_customers(lab)
        for family in ("resource", "performance"):
            spine.collect(family, [window], customers=["acme", "initech"])
        for key in (("resource", "inventory"), ("performance", "latest"), ("performance", "summary")):  # read here
            compute(spine.clickhouse, readers()[key], [window])
        yield Collected(spine, {**spine.env, **lab.env}, window)


@pytest.fixture
def ask(collected: Collected, run: Run) -> Run:
    """Like `run`, of what was collected."""
    names = ("DAGSTER_HOME", "OPTIINFRA_CLICKHOUSE_URL", "OPTIINFRA_CUSTOMERS")
    env = {name: collected.env[name] for name in names}
    return lambda *arguments: run(*arguments, **env)


def refused(done: Done, *parts: str) -> None:
    """Assert that a command failed with a plain message that holds `parts`."""
    assert done.code != 0
    assert done.out == ""
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err, done.err


# --- What is asked for -----------------------------------------------------------------------------------------------

NOW = datetime.now(UTC)
TOMORROW = f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%MZ}"
YESTERDAY = f"{NOW - timedelta(days=1):%Y-%m-%dT%H:%MZ}"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["collect", "--customer", "acmee"], ["no customer 'acmee'", "did you mean 'acme'?"]),
        (["collect", "--provider", "awz"], ["no provider 'awz'", "did you mean 'aws'?"]),
        (["collect", "--family", "performence"], ["no family 'performence'", "did you mean 'performance'?"]),
        (["collect", "--from", TOMORROW], ["--from", "is in the future"]),
        (["collect", "--to", TOMORROW], ["--to", "is in the future"]),
        (["collect", "--from", "2026-11-20T10:00"], ["--from", "has no time zone", "add Z"]),
        (["collect", "--from", "2026-11-20"], ["has no time zone", "as in 2026-11-20T00:00Z"]),
        (["collect", "--from", "2026-02-31T00:00Z"], ["--from '2026-02-31T00:00Z' is not a time"]),
        (["collect", "--from", "yesterday"], ["--from 'yesterday' is not a time", "2026-11-21T10:15Z"]),
        (["collect", "--from", ""], ["--from", "is not a time"]),
        (["collect", "--from", YESTERDAY, "--to", "2026-10-01T00:00Z"], ["is not before --to", "swap them"]),
        (["collect", "--from", YESTERDAY, "--to", YESTERDAY], ["is not before --to"]),
        (["collect", "--from", "2019-01-01T00:00Z"], ["before the first window", "OPTIINFRA_PARTITIONS_START"]),
        (["collect", "--to", "2019-01-01T00:00Z"], ["--to", "before the first window"]),
        (["collect", "--to", "2026-01-01T00:00Z"], ["No window starts before --to", "the first is 2026-01-01T00:00Z"]),
        (["collect", "--from", YESTERDAY, "--from", YESTERDAY], ["--from is given 2 times"]),
        (["collect", "--family", "resource", "--from", "2026-10-01T00:00Z", "--to", "2026-10-02T00:00Z"],
         ["what exists now", "Leave out --from"]),
        (["run", "--window", TOMORROW[:-4] + "15Z"], ["--window", "is in the future"]),
        (["run", "--window", "2026-10-01T00:07Z"], ["starts on a quarter of an hour", "2026-10-01T00:00Z"]),
        (["run", "--window", "2019-01-01T00:00Z"], ["--window", "before the first window"]),
        (["run", "--window", windows.key(windows.floor(NOW))], ["cannot be collected yet", "the newest is"]),
        (["read", "performance", "latest", "--customer", "nobody"], ["no customer 'nobody'"]),
        (["read", "performance", "latest", "--customer", "acme", "--provider", "aw"], ["no provider 'aw'", "'aws'"]),
        (["read", "perf", "latest", "--customer", "acme"], ["no family 'perf'", "Choose from performance"]),
        (["read", "performance", "newest", "--customer", "acme"], ["no reader 'newest' of performance", "latest"]),
        (["read", "performance", "metrics", "--customer", "acme", "--from", "10:15"], ["--from '10:15'"]),
        (["read", "cost", "metrics", "--customer", "acme", "--from", TOMORROW], ["--from", "is in the future"]),
        (["read", "performance", "metrics", "--customer", "acme", "--from", YESTERDAY, "--to", "2026-01-01T00:00Z"],
         ["is not before --to"]),
        (["read", "performance", "latest", "--customer", "acme", "--customer", "initech"],
         ["--customer is given 2 times"]),
        (["customers", "check", "--customer", "acmee"], ["did you mean 'acme'?"]),
        (["lab", "serve", "--world", "/no/such/world.yaml"], ["/no/such/world.yaml"]),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_the_remedy(run: Run, arguments: list[str], parts: list[str]) -> None:
    refused(run(*arguments), *parts)


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "performance"],
        ["read", "performance", "latest"],
        ["read", "performance", "latest", "--customer", "acme", "--format", "xml"],
        ["read", "performance", "latest", "--customer", "acme", "--limit", "0"],
        ["collect", "--refesh"],
        ["lab", "serve", "--port", "99999"],
        ["colect"],
    ],
)
def test_a_command_line_that_does_not_parse_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "Usage: optiinfra" in done.err
    assert "Traceback" not in done.err


def test_help_names_every_reader_and_gives_examples(run: Run) -> None:
    for family, of_family in sources().items():
        (listed,) = re.findall(rf"{family}: ([\w, ]+)\.", readers_help())
        assert sorted(listed.split(", ")) == sorted(of_family)
    for command in (["run"], ["collect"], ["read"], ["explain"], ["customers", "check"]):
        assert f"optiinfra {' '.join(command)}" in run(*command, "--help").out


def test_without_arguments_it_says_what_it_can_do(run: Run) -> None:
    done = run()
    for command in ("run", "collect", "read", "customers", "migrate", "lab"):
        assert command in done.out + done.err


# --- The customers file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("customers: [", ["customers.yaml"]),
        ("customers:\n  - {id: Acme, name: A, aws: []}\n", ["customers[0].id"]),
        ("customers:\n  - {id: acme, name: A, aws: [{account_id: '12'}]}\n", ["customers[0].aws[0].account_id"]),
        (
            "customers:\n  - {id: acme, name: A, vultr: [{api_key: s3cr3t-literal}]}\n",
            ["customers[0].vultr[0].api_key"],
        ),
        (
            "customers:\n  - {id: acme, name: A, aws: [{account_id: '123456789012', endpoint_url: 'http://a.example.com'}]}\n",
            ["customers[0].aws[0].endpoint_url", "https"],
        ),
    ],
)
@pytest.mark.parametrize("command", [["collect"], ["run"], ["read", "performance", "latest", "--customer", "acme"]])
def test_a_customers_file_that_is_wrong_stops_every_command(
    run: Run, spine: Spine, command: list[str], text: str, parts: list[str]
) -> None:
    spine.settings.customers_path.write_text(text)
    done = run(*command)
    refused(done, *parts)
    assert "s3cr3t-literal" not in done.err
    assert not (spine.home / "clickhouse").exists()  # nothing was started


def test_a_customers_file_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    refused(run("collect", OPTIINFRA_CUSTOMERS=str(tmp_path / "none.yaml")), str(tmp_path / "none.yaml"))


# --- ClickHouse ------------------------------------------------------------------------------------------------------

READ = ["read", "performance", "latest", "--customer", "acme"]


def test_a_place_in_use_by_another_process_is_told(run: Run, spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    place = spine.settings.clickhouse_url.get_secret_value()
    copy_migrated(spine.home / "clickhouse")
    monkeypatch.setattr(main, "clickhouse_of", lambda _settings: ClickHouse(place, lock_timeout=0.2))
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ClickHouse(place).session():
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(30)
        refused(run(*READ), "in use by another process")
    finally:
        done.set()
        holder.join()


def test_a_place_that_cannot_be_made_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    url = f"chdb://{tmp_path}/file/x"
    refused(run("migrate", OPTIINFRA_CLICKHOUSE_URL=url), "cannot be used", "OPTIINFRA_CLICKHOUSE_URL")
    refused(
        run(*READ, OPTIINFRA_CLICKHOUSE_URL=url), f"{url} cannot be used: Not a directory", "OPTIINFRA_CLICKHOUSE_URL"
    )


def test_a_damaged_place_is_told(spine: Spine) -> None:
    place = spine.home / "clickhouse"
    place.mkdir()
    for name in ("store", "metadata", "data"):
        (place / name).write_text("rubbish")
    done = subprocess.run([*PROGRAM, *READ], env=spine.env, capture_output=True, text=True, check=False)
    refused(Done(done.returncode, done.stdout, done.stderr), "cannot be opened", "move the folder away")


def test_a_server_that_is_not_there_is_told(run: Run) -> None:
    done = run(*READ, OPTIINFRA_CLICKHOUSE_URL="http://me:s3cr3t@127.0.0.1:9")
    refused(done, "127.0.0.1:9: Failed to establish a new connection", "check that the server runs")
    assert done.err.count("\n") == 1
    assert "s3cr3t" not in done.err


def test_a_wrong_password_is_told_and_not_shown(run: Run, clickhouse_http: ClickHouseHttp) -> None:
    port = clickhouse_http.url().rpartition(":")[2].partition("/")[0]
    done = run(*READ, OPTIINFRA_CLICKHOUSE_URL=f"http://default:s3cr3t-wrong@127.0.0.1:{port}")
    refused(done, "check the user and password")
    assert "s3cr3t-wrong" not in done.err


def test_a_server_without_the_tables_asks_for_migrate(run: Run, clickhouse_url: str) -> None:
    refused(run(*READ, OPTIINFRA_CLICKHOUSE_URL=clickhouse_url), "optiinfra migrate")
    done = run("migrate", "--status", OPTIINFRA_CLICKHOUSE_URL=clickhouse_url)
    assert (done.code, {line.split()[0] for line in done.out.splitlines()}) == (1, {"pending"})
    assert run("migrate", OPTIINFRA_CLICKHOUSE_URL=clickhouse_url).code == 0
    done = run("migrate", "--status", OPTIINFRA_CLICKHOUSE_URL=clickhouse_url)
    assert (done.code, {line.split()[0] for line in done.out.splitlines()}) == (0, {"applied"})


def test_a_server_that_lacks_the_newest_file_is_migrated(run: Run, clickhouse_http: ClickHouseHttp) -> None:
    url, newest = clickhouse_http.url(SERVED), migrations.load()[-1].name
    with ClickHouse(url).session() as client:
        client.command("DELETE FROM schema_migrations WHERE name = {name:String}", parameters={"name": newest})
    refused(run(*READ, OPTIINFRA_CLICKHOUSE_URL=url), f"{newest} is missing", "optiinfra migrate")
    done = run("migrate", "--status", OPTIINFRA_CLICKHOUSE_URL=url)
    pending = [line for line in done.out.splitlines() if line.startswith("pending")]
    assert (done.code, [newest in line for line in pending]) == (1, [True])
    assert run("migrate", OPTIINFRA_CLICKHOUSE_URL=url).code == 0
    done = run("migrate", "--status", OPTIINFRA_CLICKHOUSE_URL=url)
    assert (done.code, {line.split()[0] for line in done.out.splitlines()}) == (0, {"applied"})


@pytest.mark.parametrize("url", ["clickhouse", "ftp://x", "http://", "chdb://relative", "http://u:s3cr3t@h:99999"])
def test_a_url_that_is_none_is_told_and_not_shown(run: Run, url: str) -> None:
    done = run(*READ, OPTIINFRA_CLICKHOUSE_URL=url)
    refused(done, "OPTIINFRA_CLICKHOUSE_URL")
    assert "s3cr3t" not in done.err


# --- Clouds ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_denied_customer_is_named_and_the_others_are_collected(tmp_path: Path) -> None:
    spine = Spine.at(tmp_path / "home")
    with CloudLab(_tiny()) as lab:
        spine.write_customers(lab)
        lab.control.add_faults({"action": "deny", "account": ACCOUNTS["globex"]})
        done = subprocess.run(
            [*PROGRAM, "collect", "--family", "resource"], env={**spine.env, **lab.env}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "error: globex aws/resource: 1 window failed: 222222222222" in done.stderr
    assert "aws/resource: 3 customers: 1 failed, 2 published (globex: 222222222222" in done.stderr
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stdout.splitlines() if "aws/resource" in line]
    assert "2 customers" in line


def test_customers_check_proves_each_and_names_the_right_that_is_missing(
    run: Run, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CloudLab(_tiny()) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        spine.write_customers(lab)
        done = run("customers", "check")
        assert (done.code, done.out.count(": ok\n")) == (0, 3)
        assert f"acme aws {ACCOUNTS['acme']}: ok\n" in done.out
        lab.control.add_faults({"action": "deny", "account": ACCOUNTS["globex"], "operation": "DescribeDBInstances"})
        done = run("customers", "check")
        assert done.code == 1
        assert done.out.count(": ok\n") == 2
        assert "rds:DescribeDBInstances" in done.out
        assert "Traceback" not in done.err
        assert run("customers", "check", "--customer", "acme").code == 0


def test_customers_check_proves_where_interactions_are(run: Run, spine: Spine, tmp_path: Path) -> None:
    with CloudLab(_tiny()) as lab:
        spine.write_customers(lab, ["acme"], application={"interactions": str(tmp_path / "logs")})
        missing = run("customers", "check", **lab.env)
        (tmp_path / "logs").mkdir()
        none = run("customers", "check", **lab.env)
        (tmp_path / "logs" / "one.jsonl").write_text('{}\n{"secret words": \n')
        unread = run("customers", "check", **lab.env)
        told = {
            "ts": newest_window().isoformat(),
            "id": "1",
            "app": "shop",
            "model": "m",
            "prompt": "p",
            "response": "r",
        }
        (tmp_path / "logs" / "one.jsonl").write_text(f"{json.dumps(told)}\n{{\n")
        found = run("customers", "check", **lab.env)
        unjudged = run("customers", "check", **{**lab.env, "GROQ_API_KEY": None})
    assert missing.code == 1
    assert f"acme application: There is no folder {tmp_path / 'logs'}. Create it" in missing.out
    assert none.code == unread.code == 1
    assert f"acme application: nothing was ever logged in {tmp_path}/logs. Correct `interactions`" in none.out
    assert f"acme application: no record of {tmp_path}/logs/one.jsonl: 2 records, 0 interactions, unread" in unread.out
    assert "1 no_time, 1 not_json can be read. Remedy: give each record its time; write whole JSON" in unread.out
    assert "secret" not in unread.out
    assert found.code == 0
    assert f"acme application {tmp_path / 'logs'}: ok, 1 files about the day until " in found.out
    assert "one.jsonl: 2 records, 1 interactions, unreadable 1 not_json, application shop, model m, " in found.out
    assert "nothing is judged: GROQ_API_KEY is not set" in unjudged.out


@pytest.mark.parametrize(
    ("number", "group"),  # to the process alone, or to its group as well
    [
        (signal.SIGINT, True),
        (signal.SIGHUP, True),
        pytest.param(signal.SIGTERM, False, marks=pytest.mark.long),  # the next test sends it to one that ignored it
        pytest.param(signal.SIGINT, False, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, False, marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_the_whole_collection_and_says_so(tmp_path: Path, number: signal.Signals, group: bool) -> None:
    kill = os.killpg if group else os.kill
    with _slow_collection(tmp_path) as (spine, process):
        kill(process.pid, number)
        with suppress(ProcessLookupError):
            kill(process.pid, signal.SIGTERM)  # as `timeout` does
        _, err = process.communicate(timeout=120)
    _is_interrupted(spine, process, err)


def _is_interrupted(spine: Spine, process: subprocess.Popen[str], err: str) -> None:
    """Assert that a collection of which `err` is left has ended, and that its run has too."""
    assert process.returncode == 130
    assert err.rstrip().endswith("run the same command again for the rest.")
    assert "Traceback" not in err  # nor of the processes that Dagster starts beside each step
    with DagsterInstance.from_config(str(spine.home)) as instance:
        assert [run.status.value for run in instance.get_runs()] == ["CANCELED"]
        assert dead_runs.end_dead(instance, spine.home) == []
    assert spine.ledger("performance") == {}


def test_a_collection_whose_starter_ignored_sigterm_ends_by_it(tmp_path: Path) -> None:
    """Dagster's helpers inherit what is ignored, and it waits for each: a run took minutes that did nothing."""
    with _slow_collection(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)") as (spine, process):
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    _is_interrupted(spine, process, err)


def test_a_collection_that_was_killed_is_canceled_by_whoever_looks(tmp_path: Path) -> None:
    with (
        _slow_collection(tmp_path) as (spine, process),
        DagsterInstance.from_config(str(spine.home)) as instance,
    ):
        assert dead_runs.end_dead(instance, spine.home) == []  # it is alive
        process.kill()
        process.wait(60)
        (run,) = dead_runs.end_dead(instance, spine.home)
        assert run.job_name == "aws_collection"
        assert [r.status.value for r in instance.get_runs()] == ["CANCELED"]
        assert dead_runs.end_dead(instance, spine.home) == []
    assert list((spine.home / dead_runs.FOLDER).iterdir()) == []


@contextmanager
def _slow_collection(folder: Path, first: str = "pass") -> Iterator[tuple[Spine, subprocess.Popen[str]]]:
    """A collection that has its inventory and hangs in its metrics, in a session of its own."""
    copy_dagster(folder / "home")
    spine = Spine.at(folder / "home")
    with CloudLab(_tiny()) as lab:
        spine.write_customers(lab, ["acme"])
        lab.control.add_faults({"action": "delay", "operation": "GetMetricData", "seconds": 30})
        # A shell's background jobs ignore Ctrl-C, and so would what they start; this test may be part of one.
        code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {first}; {MAIN}"
        process = subprocess.Popen(
            [sys.executable, "-c", code, "collect", "--family", "resource", "--family", "performance"],
            env={**spine.env, **lab.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert any("aws/resource: 1 customer published" in line for line in process.stderr)  # its metrics come next
        yield spine, process


def _tiny() -> dict[str, Any]:
    return world([fleet("ec2:instance")])


# --- Reading ---------------------------------------------------------------------------------------------------------


# A second time costs 20 CPU-s more. That it changes nothing is also tried family by family, and reader by reader.
@pytest.mark.timeout(240)  # two processes of 15 s on a machine with other work
@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_run_ends_well_and_again_with_the_same_counts(tmp_path: Path, again: bool) -> None:
    spine = Spine.at(tmp_path / "home")
    window = windows.key(newest_window())

    def counts() -> list[str]:
        done = subprocess.run(
            [*PROGRAM, "run", "--window", window],
            env={**spine.env, **lab.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = (line.split() for line in done.stdout.splitlines() if " rows" in line and "bills" not in line)
        return [f"{name} {count}" for name, count, *_ in lines]

    with CloudLab(_tiny()) as lab:
        spine.write_customers(lab)
        first = counts()
        rows = {line.split()[0]: int(line.split()[1].replace(",", "")) for line in first}
        assert rows.pop("resource/changes") == 0  # there is no inventory before
        collected = {"aws/resource", "aws/performance", "aws/cost"}
        assert rows.keys() == collected | {"/".join(key) for key in readers()} - {"resource/changes"}
        empty = {name for name, count in rows.items() if not count}  # no application, and perhaps nothing idle
        # Nothing was there before, no day of an inventory is over.
        maybe = {"cost/waste", "cost/commitments", "performance/anomalies", "resource/uptime"}
        assert empty - maybe == {name for name in rows if name.startswith("application/")}
        assert not again or counts() == first


def test_every_reader_has_columns_to_show_and_they_exist(collected: Collected) -> None:
    with collected.spine.clickhouse.session() as client:
        for of_family in sources().values():
            for source in of_family.values():
                there = {row[0] for row in client.query(f"DESCRIBE TABLE {source.view}").result_rows}
                assert set(source.shows) <= there, source.view


def test_why_nothing_was_collected_yet_is_told(ask: Run, collected: Collected) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collected.spine, "extra", {"globex": {"application": {"interactions": "/nowhere"}}})
        collected.spine.write_customers("http://127.0.0.1:9")
        collected.spine.collect("application", [collected.window], customers=["globex"])
    done = ask("read", "application", "metrics", "--customer", "globex")
    assert done.code == 1
    assert "recorded as not_configured: LLM quality is not judged: set GROQ_API_KEY" in done.err


def test_json_is_one_array_with_zoned_times(ask: Run, collected: Collected) -> None:
    done = ask("read", "performance", "metrics", "--customer", "acme", "--format", "json")
    rows = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert rows
    assert {row["customer_id"] for row in rows} == {"acme"}
    assert {row["window_start"] for row in rows} == {f"{collected.window:%Y-%m-%dT%H:%M:%SZ}"}
    assert all(row["timestamp"].endswith("Z") and isinstance(row["metric_value"], (int, float)) for row in rows)
    assert isinstance(rows[0]["metadata"], dict)


def test_csv_holds_what_json_holds(ask: Run) -> None:
    arguments = ["read", "resource", "inventory", "--customer", "acme", "--format"]
    rows = list(csv.DictReader(io.StringIO(ask(*arguments, "csv").out)))
    from_json = json.loads(ask(*arguments, "json").out)
    assert rows[0].keys() == from_json[0].keys()
    assert [row["resource_id"] for row in rows] == [row["resource_id"] for row in from_json]
    assert [json.loads(row["tags"]) for row in rows] == [row["tags"] for row in from_json]


def test_a_table_shows_every_resource(ask: Run) -> None:
    done = ask("read", "resource", "inventory", "--customer", "acme")
    rows = json.loads(ask("read", "resource", "inventory", "--customer", "acme", "--format", "json").out)
    assert done.code == 0
    assert all(row["resource_id"] in done.out for row in rows)


def test_limit_resource_and_times_narrow_it(ask: Run, collected: Collected) -> None:
    read = ["read", "performance", "metrics", "--customer", "acme", "--format", "json"]
    everything = json.loads(ask(*read).out)
    assert json.loads(ask(*read, "--limit", "2").out) == everything[:2]
    one = everything[0]["resource_id"]
    mine = json.loads(ask(*read, "--resource-id", one).out)
    assert mine == [row for row in everything if row["resource_id"] == one]
    middle = f"{collected.window + timedelta(minutes=5):%Y-%m-%dT%H:%MZ}"
    later = json.loads(ask(*read, "--from", middle).out)
    earlier = json.loads(ask(*read, "--to", middle).out)
    assert {row["timestamp"][14:16] for row in earlier} == {f"{collected.window:%M}"}
    assert len(earlier) + len(later) == len(everything)
    refused(
        ask("read", "performance", "summary", "--customer", "acme", "--resource-id", one), "leave out --resource-id"
    )


def test_never_collected_is_not_collected_and_empty(ask: Run) -> None:
    never = ask("read", "performance", "latest", "--customer", "globex", "--format", "json")
    assert (never.code, json.loads(never.out)) == (1, [])
    assert "No performance was collected yet for globex" in never.err
    empty = ask("read", "performance", "latest", "--customer", "initech", "--format", "json")
    assert (empty.code, json.loads(empty.out)) == (0, [])
    assert "collected, and nothing is there" in empty.err
    before = ask("read", "performance", "metrics", "--customer", "acme", "--to", "2026-01-02T00:00Z")
    assert "no performance of acme was collected in that time" in before.err


# CSV and JSON are copied to the output by the same code.
FORMATS = [pytest.param("csv", marks=pytest.mark.long), "json", "table"]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_reader_of_the_output_that_goes_away_is_no_error(collected: Collected, format_: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [*PROGRAM, "read", "performance", "metrics", "--customer", "acme", "--format", format_]
    done = subprocess.run(
        command, env=collected.env, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_full_disk_is_told(collected: Collected, format_: str) -> None:
    command = [*PROGRAM, "read", "performance", "metrics", "--customer", "acme", "--format", format_]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(command, env=collected.env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device. Free some space")
    assert done.stderr.count("\n") == 1


# --- The lab ---------------------------------------------------------------------------------------------------------


def test_lab_serve_prints_the_environment_and_ends_on_request(spine: Spine) -> None:
    process = subprocess.Popen([*PROGRAM, "lab", "serve"], env=spine.env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("#"):
                break
    finally:
        process.terminate()
        process.communicate(timeout=90)
    assert process.returncode == 0
    names = {line.removeprefix("export ").partition("=")[0] for line in lines[:-1]}
    assert names >= {"OPTIINFRA_LAB_AWS", "AWS_ENDPOINT_URL", "ACME_EXTERNAL_ID"}
