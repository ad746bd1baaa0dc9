"""`optiinfra status` and `optiinfra alerts` where all is well, empty or broken: lines, JSON, and how they end."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.automation.status.items import Item
from optiinfra_dagster.cli import main
from optiinfra_dagster.cli.dagster_runs import prepare_home
from tests.support.alert_servers import webhook
from tests.support.spine import Spine

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime.now(UTC)
TOMORROW = f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%MZ}"
ITEMS = [item for item in Item if item is not Item.ALERTS]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line for a spine without tables; returns how it ended, and what it printed."""
    spine = Spine.at(tmp_path / "home", tables=False)
    spine.write_customers("http://127.0.0.1:9")

    def run(*arguments: str, **env: str) -> tuple[int, str, str]:
        for name in ("DAGSTER_HOME", "OPTIINFRA_CLICKHOUSE_URL", "OPTIINFRA_CUSTOMERS"):
            monkeypatch.setenv(name, env.get(name, spine.env[name]))
        monkeypatch.setattr(sys, "argv", ["optiinfra", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_an_empty_place_is_red_line_by_line(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = run("status")
    assert (code, err) == (1, "")
    assert [line[6:29].strip() for line in out.splitlines()] == ITEMS
    assert out.splitlines()[0].startswith("red   daemons ")
    assert not (tmp_path / "home" / "clickhouse").exists()
    code, out, _ = run("status", "--details")
    assert len(out.splitlines()) > len(ITEMS)


@pytest.mark.parametrize(
    "env",
    [
        {"DAGSTER_HOME": "/proc/no/such/folder"},
        {"OPTIINFRA_CLICKHOUSE_URL": "http://me:s3cret@127.0.0.1:9"},
        {"OPTIINFRA_CUSTOMERS": "/proc/no/customers.yaml"},
    ],
)
def test_whatever_is_broken_is_said_in_json_too(run: Callable[..., tuple[int, str, str]], env: dict[str, str]) -> None:
    code, out, err = run("status", "--format", "json", **env)
    assert (code, err) == (1, "")
    told: dict[str, Any] = json.loads(out)
    assert told["state"] == "red"
    assert [one["item"] for one in told["items"]] == ITEMS
    assert "s3cret" not in out
    assert "Traceback" not in out


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DAGSTER_HOME with a dagster.yaml."""
    spine = Spine.at(tmp_path / "home", tables=False)
    monkeypatch.setenv("DAGSTER_HOME", str(spine.home))
    prepare_home(spine.settings)


def test_a_silence_is_listed_and_ended(run: Callable[..., tuple[int, str, str]], home: None) -> None:
    code, out, _ = run(
        "alerts", "silence", "--customer", "acme", "--kind", "gap", "--until", TOMORROW, "--why", "moved"
    )
    assert (code, out) == (0, f"Silenced gap acme until {TOMORROW}: moved.\n")
    assert run("alerts", "list")[1] == f"silenced: gap acme until {TOMORROW}: moved\n"
    assert "1 silenced" in run("status")[1]
    assert run("alerts", "unsilence")[1] == f"Ended: gap acme until {TOMORROW}: moved\n"
    assert run("alerts", "list") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--until", "2020-01-01T00:00Z"], "is not within the next 90 days"),
        (["--until", "2999-01-01T00:00Z"], "is not within the next 90 days"),
        (["--until", "tomorrow"], "is not a time"),
        (["--until", TOMORROW, "--customer", "acmee"], "did you mean 'acme'?"),
        (["--until", TOMORROW, "--provider", "awz"], "did you mean 'aws'?"),
        (["--until", TOMORROW, "--family", "costs"], "did you mean 'cost'?"),
    ],
)
def test_a_wrong_silence_is_refused(
    run: Callable[..., tuple[int, str, str]], home: None, arguments: list[str], said: str
) -> None:
    code, out, err = run("alerts", "silence", *arguments)
    assert (code != 0, out) == (True, "")
    assert said in err
    assert "Traceback" not in err


def test_without_a_home_a_silence_says_so(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = run("alerts", "silence", "--until", TOMORROW)
    assert (code, "has no dagster.yaml" in err) == (1, True)


def test_every_sink_can_be_tried(run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as hook:
        monkeypatch.setenv("OPTIINFRA_ALERT_WEBHOOK", hook.url)
        hook.answers = ["403"]
        assert run("alerts", "test")[:2] == (1, "log: taken\nOPTIINFRA_ALERT_WEBHOOK: it answered 403\n")
        assert run("alerts", "test")[:2] == (0, "log: taken\nOPTIINFRA_ALERT_WEBHOOK: taken\n")
        assert hook.texts[1] == "OptiInfra: This is a test of alerts: nothing is wrong."


def test_a_test_of_alerts_that_nobody_would_get_is_no_success(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIINFRA_ALERT_SMTP", "smtps://mail.example.com")
    monkeypatch.setenv("OPTIINFRA_ALERT_MAIL_FROM", "optiinfra@example.com")
    code, out, _ = run("alerts", "test")
    assert code == 1
    assert out.splitlines() == [
        "log: taken",
        "alerts: nobody is told of incidents beyond the log: set OPTIINFRA_ALERT_WEBHOOK or OPTIINFRA_ALERT_SMTP",
        "OPTIINFRA_ALERT_SMTP: no address is mailed to: set OPTIINFRA_ALERT_MAIL_TO, or mail_to of customers",
    ]


# --- optiinfra grants, customers grant and revoke --------------------------------------------------------------------


def test_grants_are_printed_as_statements_without_a_server(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("grants", "reader", "--user", "grafana", OPTIINFRA_CLICKHOUSE_URL="http://127.0.0.1:9/own")
    assert (code, err) == (0, "")
    assert all(line.endswith(";") for line in out.splitlines())
    assert out.splitlines()[1] == "GRANT SELECT ON `own`.* TO `optiinfra__reader`;"
    assert out.splitlines()[-1] == "GRANT `optiinfra__reader` TO `grafana`;"


@pytest.mark.parametrize(
    ("arguments", "said", "ended"),
    [
        (["grants", "reeder"], "There is no role 'reeder' (did you mean 'reader'?).", 2),
        (["grants", "--user", "grafana"], "--user is of use with one role.", 2),
        (["customers", "grant", "acme"], "which has no users", 1),
        (["customers", "grant", "acme", "--print"], "which has no users", 1),
        (["customers", "revoke", "acme"], "Name a ClickHouse server in OPTIINFRA_CLICKHOUSE_URL.", 1),
    ],
)
def test_what_cannot_be_granted_ends_with_one_line(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], said: str, ended: int
) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (ended, "", 1)
    assert err.startswith("error: ")
    assert said in err
