"""The Makefile where two makes run at once: one builds .venv, the other waits for it and uses it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

# Python as far as the Makefile asks for it. `-m venv` and pip only write down that they were called, and take a while.
STAND_IN = """#!/bin/sh
case "$*" in
  *"-m venv --clear"*) echo venv >> calls; rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; sleep 1;;
  *"-m pip"*--editable*) echo project >> calls; sleep 0.5;;
  *"-m pip"*) test -x .venv/bin/python || exit 3; echo pip >> calls; sleep 0.5;;
  *) exec {python} "$@";;
esac
"""


def place(folder: Path) -> None:
    """What a make needs, with a Python that only notes what it is asked for."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    python = folder / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)


def start(folder: Path) -> subprocess.Popen[str]:
    command = ["make", f"PYTHON={folder / 'python'}", ".venv/.ready"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_of_two_makes_at_once_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    place(tmp_path)
    makes = [start(tmp_path), start(tmp_path)]
    said = [make.communicate(timeout=60)[0] for make in makes]
    assert [make.returncode for make in makes] == [0, 0], said
    assert (tmp_path / "calls").read_text().split() == ["venv", "pip", "pip", "project"]
    assert sum("Building .venv" in text for text in said) == 1, said


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_make_that_waits_for_another_says_so(tmp_path: Path) -> None:
    place(tmp_path)
    with (tmp_path / "requirements.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        make = start(tmp_path)
        assert make.stdout is not None
        assert "waiting for it" in make.stdout.readline()
    assert make.communicate(timeout=60)[0].startswith("Building .venv")
    assert make.returncode == 0
