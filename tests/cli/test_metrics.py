"""`optiinfra metrics`: what it prints is as Prometheus wants it, and a real Prometheus scrapes what it serves."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from optiinfra_dagster.cli import main
from optiinfra_dagster.cli.dagster_runs import prepare_home
from tests.support.moved_clock import until
from tests.support.spine import Spine, newest_window

MAIN = (sys.executable, "-c", "from optiinfra_dagster.cli.main import main; main()", "metrics")
of_prometheus = pytest.mark.skipif(
    not all(map(shutil.which, ("prometheus", "promtool"))), reason="needs Debian's prometheus"
)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Spine:
    """A home with a dagster.yaml, and one window in its ledger; nobody changes it."""
    spine = Spine.at(tmp_path_factory.mktemp("metrics") / "home")
    spine.write_customers("http://127.0.0.1:9", families=["performance"])
    home = os.environ.get("DAGSTER_HOME")
    prepare_home(spine.settings)
    os.environ.pop("DAGSTER_HOME") if home is None else os.environ.update(DAGSTER_HOME=home)
    spine.collect("performance", [newest_window()])  # nothing listens there: each customer fails
    return spine


@pytest.fixture
def run(spine: Spine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process: its exit code, and what it printed; `env` is set on top of the spine's."""

    def run(*arguments: str, **env: str) -> tuple[int, str, str]:
        for name in ("DAGSTER_HOME", "OPTIINFRA_CLICKHOUSE_URL", "OPTIINFRA_CUSTOMERS"):
            monkeypatch.setenv(name, env.get(name, spine.env[name]))
        monkeypatch.setattr(sys, "argv", ["optiinfra", "metrics", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@contextmanager
def serving(command: list[str], env: dict[str, str], listening: str) -> Iterator[str]:
    """What a program says that it listens at; the program runs meanwhile."""
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        said = next((found for line in process.stderr if (found := re.search(listening, line))), None)
        try:
            assert said, f"{command[0]} did not start"
            yield said[0]
        finally:
            process.kill()


@of_prometheus
@pytest.mark.parametrize("more", [[], ["--by-customer"]])
def test_promtool_finds_nothing_wrong(run: Run, more: list[str]) -> None:
    code, out, err = run(*more)
    assert (code, err) == (0, "")
    assert 'optiinfra_newest_slices{family="performance",provider="aws",state="failed"} 3.0\n' in out
    assert ('customer="acme"' in out) == bool(more)
    checked = subprocess.run(["promtool", "check", "metrics"], input=out, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_documentation_has_each_of_them_and_no_other(run: Run) -> None:
    told = set(re.findall(r"^# TYPE (\w+)", run()[1], re.MULTILINE))
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert set(re.findall(r"`(optiinfra_\w+)`", page)) == told


def test_what_cannot_be_read_is_a_warning_and_a_zero(run: Run) -> None:
    code, out, err = run(OPTIINFRA_CLICKHOUSE_URL="http://me:s3cret@127.0.0.1:9")
    assert code == 0
    assert 'optiinfra_readable{part="ledger"} 0.0' in out
    assert 'optiinfra_readable{part="dagster"} 1.0' in out
    assert "optiinfra_slice_attempts" not in out
    (line,) = err.splitlines()
    assert line.startswith("warning: ledger has no metrics: ClickHouse at http://127.0.0.1:9: ")
    assert "s3cret" not in out + err


def test_a_port_that_is_taken_is_named(run: Run) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        code, _, err = run("--serve", port)
    assert code == 1
    assert err.startswith(f"error: 127.0.0.1:{port} cannot be listened on: Address already in use.")


@pytest.mark.parametrize("address", ["a..b", "x" * 80, "nosuch.invalid"])
def test_an_address_that_is_none_is_named(run: Run, address: str) -> None:
    code, _, err = run("--serve", "0", "--address", address)
    assert code == 1
    assert err.startswith(f"error: {address}:0 cannot be listened on: ")
    assert len(err.splitlines()) == 1


def test_an_address_of_ipv6_is_told_as_a_url_has_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.Thread.join", lambda _self: sys.exit(0))  # it would wait for Ctrl-C
    _, _, err = run("--serve", "0", "--address", "::1")
    assert re.fullmatch(r"Metrics are at http://\[::1\]:\d+/metrics\n", err)


@of_prometheus
def test_a_real_prometheus_scrapes_it_and_answers(spine: Spine, tmp_path: Path) -> None:
    with serving([*MAIN, "--serve", "0"], spine.env, r"http://127\.0\.0\.1:\d+/metrics") as metrics:
        config = {
            "scrape_configs": [
                {
                    "job_name": "optiinfra",
                    "scrape_interval": "4s",  # each opens the engine
                    "static_configs": [{"targets": [metrics.removeprefix("http://").removesuffix("/metrics")]}],
                }
            ]
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{one.getsockname()[1]}"
        command = [
            "prometheus",
            f"--web.listen-address={address}",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
        ]
        with serving(command, dict(os.environ), "ready to receive web requests"):
            query = 'sum by (provider, family) (optiinfra_newest_slices{state="failed"})'

            client = httpx.Client(trust_env=False)  # one, since each reads all certificates

            def answered() -> list[dict[str, Any]]:
                asked = client.get(f"http://{address}/api/v1/query", params={"query": query})
                found: list[dict[str, Any]] = asked.json()["data"]["result"]
                return found

            until(answered, 60, "Prometheus to scrape")
            answer = answered()
            client.close()
    assert [(one["metric"], one["value"][1]) for one in answer] == [({"family": "performance", "provider": "aws"}, "3")]
