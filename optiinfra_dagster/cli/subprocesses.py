"""The cloud lab and Dagster's development servers as processes beside the command line."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optiinfra_dagster.cli.dagster_runs import prepare_home
from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.storage.sql import SQL

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

MARKER = "OPTIINFRA_LAB_AWS"


@contextmanager
def for_demo(settings: Settings, say: Callable[[str], None]) -> Iterator[Settings]:
    """Run the demo lab for the duration, where the demo customers are used and no lab is named in the environment.

    Gives the settings to work with: the lab brings its own.
    """
    if not settings.uses_demo or MARKER in os.environ:
        yield settings
        return
    process = subprocess.Popen([sys.executable, "-m", "optiinfra_dagster.lab"], stdout=subprocess.PIPE, text=True)
    before = dict(os.environ)
    try:
        # The lab takes 2 s to start, and so does Dagster to be imported: both at once, on two cores.
        importlib.import_module("optiinfra_dagster.cli.dagster_runs")
        for line in process.stdout or ():
            name, _, value = line.strip().removeprefix("export ").partition("=")
            if line.startswith("export "):
                os.environ[name] = shlex.split(value)[0] if value else ""
            if line.startswith("#"):
                break
        if MARKER not in os.environ:
            raise ConfigError("The cloud lab did not start; run `optiinfra lab serve` to see why.")
        say(f"Cloud lab at {os.environ[MARKER]}")
        yield load_settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def dagster_dev(settings: Settings) -> None:
    """Dagster's UI and daemon in the foreground, on http://127.0.0.1:3000."""
    prepare_home(settings)
    workspace = SQL.parent / "workspace.yaml"
    target = ["-w", str(workspace)] if workspace.exists() else ["-m", "optiinfra_dagster.definitions"]
    command = [sys.executable, "-m", "dagster", "dev", *target, "-h", "127.0.0.1", "-p", os.environ.get("PORT", "3000")]
    try:
        subprocess.run(command, check=False)  # noqa: S603 - this interpreter, Dagster's own command
    except KeyboardInterrupt:
        return
