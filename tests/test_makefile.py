"""The Makefile where two makes run at once: one builds .venv, the other waits for it and uses it."""

from __future__ import annotations

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


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_of_two_makes_at_once_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", ".venv/.ready"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    makes = [
        subprocess.Popen(command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    said = [make.communicate(timeout=60)[0] for make in makes]
    assert [make.returncode for make in makes] == [0, 0], said
    assert (tmp_path / "calls").read_text().split() == ["venv", "pip", "pip", "project"]
    assert sorted("waiting for it" in text for text in said) == [False, True], said
