"""`optiinfra status` on places that are well, empty or broken: lines, JSON, and how it ends; never a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.automation.status.items import Item
from optiinfra_dagster.cli import main
from tests.support.spine import Spine

if TYPE_CHECKING:
    from collections.abc import Callable

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
