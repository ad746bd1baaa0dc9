"""The program `optiinfra` as a process: what it loads, how it ends, and with which code."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from optiinfra_dagster.cli import __main__ as program
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.engines import copy_migrated
from tests.support.spine import Spine

PROJECT = Path(__file__).parents[2]
# A command line that ends as told; `Loaded` is taken apart at the end of a process unless that is left out.
ENDS = """
import atexit, sys
from optiinfra_dagster.cli import __main__ as program, main

class Loaded:
    def __del__(self): sys.stderr.write("taken apart\\n")

loaded = Loaded()

def ends():
    atexit.register(sys.stderr.write, "given back\\n")
    sys.stdout.write("an answer")
    {end}

main.main = ends
program.start()
"""


def ended(end: str, out: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENDS.format(end=end)],
        cwd=PROJECT, stdout=out, stderr=subprocess.PIPE, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )  # fmt: skip


@pytest.mark.parametrize(("end", "code"), [("sys.exit()", 0), ("sys.exit(0)", 0), ("sys.exit(141)", 141)])
def test_it_ends_when_all_is_written_and_given_back_without_taking_anything_apart(end: str, code: int) -> None:
    done = ended(end)
    assert (done.returncode, done.stdout, done.stderr) == (code, "an answer", "given back\n")


@pytest.mark.parametrize(
    ("end", "code", "said"), [("1 / 0", 1, "ZeroDivisionError: division by zero"), ("sys.exit('why')", 1, "why")]
)
def test_what_python_has_to_say_itself_it_says(end: str, code: int, said: str) -> None:
    done = ended(end)
    assert (done.returncode, done.stdout) == (code, "an answer")
    assert said in done.stderr.splitlines()


def test_an_answer_that_cannot_be_written_is_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        done = ended("sys.exit(0)", full.fileno())
    assert done.returncode == 120  # Python's own
    assert "No space left on device" in done.stderr


INTERRUPTED = """
import os, signal, sys
from importlib.abc import MetaPathFinder
from optiinfra_dagster.cli import __main__ as program

class CtrlC(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "MODULE":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, CtrlC())
program.start()
"""


@pytest.mark.parametrize("module", ["optiinfra_dagster.cli.main", "typer", "optiinfra_dagster.config.settings"])
def test_ctrl_c_while_the_command_line_is_loaded_is_one_line(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.replace("MODULE", module)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted. Nothing was begun.\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("status", 1), ("read cost waste --customer acmee", 2), ("--help", 0)])
def test_a_closed_stream_is_no_crash(tmp_path: Path, closed: str, arguments: str, code: int) -> None:
    spine = Spine.at(tmp_path / "home", tables=False)
    spine.write_customers("http://127.0.0.1:9", ["acme"])
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m optiinfra_dagster.cli {arguments} {closed}', sys.executable],
        cwd=PROJECT, env=spine.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_command_is_this_program() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"optiinfra": f"{program.__name__}:{program.start.__name__}"}


def test_a_read_loads_the_engine_and_no_library_for_columns(tmp_path: Path) -> None:
    spine = Spine.at(tmp_path / "home", tables=False)
    spine.write_customers("http://127.0.0.1:9", ["acme"])
    assert spine.clickhouse.path
    copy_migrated(spine.clickhouse.path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "optiinfra_dagster.cli", "read", "cost", "waste", "--customer",
         "acme"],
        cwd=PROJECT, env={**spine.env, "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "No cost was collected yet for acme" in done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}  # pyarrow itself: looked for
    assert "clickhouse_connect.driver._chdbclient" in loaded
    unneeded = {"numpy", "pyarrow.lib", "pandas", "dagster", "boto3", "google.cloud", "azure.core", "groq"}
    assert loaded & unneeded == set()


ARROW = """
import sys, threading
from optiinfra_dagster.storage.clickhouse import ClickHouse, fetch
if {beside}:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
with ClickHouse({url!r}).session(migrated=False) as client:
    print(sorted(dict.fromkeys(["numpy", "pyarrow"]) & sys.modules.keys()))
    print(fetch(client, "SELECT 1 AS a, toDateTime('2026-11-30 10:00:00', 'UTC') AS at").to_pylist()[0]["at"])
"""


@pytest.mark.parametrize(("beside", "loaded"), [(False, "[]"), (True, "['numpy', 'pyarrow']")])
def test_columns_are_read_all_the_same_and_no_other_thread_misses_their_library(
    beside: bool, loaded: str, tmp_path: Path
) -> None:
    url = ClickHouse(f"chdb://{tmp_path / 'engine'}").place
    done = subprocess.run(
        [sys.executable, "-c", ARROW.format(beside=beside, url=url)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [loaded, "2026-11-30 10:00:00+00:00"], done.stderr
