"""The cloud lab and Dagster's development servers as processes beside the command line."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from optiinfra_dagster.cli.dagster_runs import prepare_home
from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model.errors import ConfigError, OptiInfraError
from optiinfra_dagster.storage.sql import SQL

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

MARKER = "OPTIINFRA_LAB_AWS"

DEV_SECONDS = 60.0  # for the webserver, the daemon and the code server to end; they take about 5
WORKER_SECONDS = 10.0


@contextmanager
def for_demo(settings: Settings, say: Callable[[str], None]) -> Iterator[Settings]:
    """Run the demo lab for the duration, where the demo customers are used and no lab is named in the environment.

    Gives the settings to work with: the lab brings its own.
    """
    if not settings.uses_demo or MARKER in os.environ:
        yield settings
        return
    # In a session of its own: what ends this process and its group must not take the clouds from the threads at work.
    command = [sys.executable, "-m", "optiinfra_dagster.lab", "--parent", str(os.getpid())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603
    before = dict(os.environ)
    interrupted = False
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
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if not interrupted:  # threads may still be at work, and this process ends
            os.environ.clear()
            os.environ.update(before)
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def ui_port() -> int:
    """The port of Dagster's UI: PORT, or 3000.

    Raises:
        ConfigError: it is none, or it cannot be listened on.
    """
    text = os.environ.get("PORT", "3000")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"PORT is {text!r}: write a number from 1 to 65535.")
    try:
        socket.create_server(("127.0.0.1", int(text))).close()
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while ")[0]  # which names the address again
        raise ConfigError(
            f"127.0.0.1:{text} cannot be listened on: {reason}. End what listens there, or choose another port "
            "for the UI: PORT=3001."
        ) from error
    return int(text)


def dagster_dev(settings: Settings, port: int) -> None:
    """Dagster's UI and daemon in the foreground, on http://127.0.0.1 and a port.

    Raises:
        OptiInfraError: they ended badly, and nobody had asked for it.
    """
    prepare_home(settings)
    workspace = SQL.parent / "workspace.yaml"
    target = ["-w", str(workspace)] if workspace.exists() else ["-m", "optiinfra_dagster.definitions"]
    command = [sys.executable, "-m", "dagster", "dev", *target, "-h", "127.0.0.1", "-p", str(port)]
    # In a session of its own, so that it is told to end once, and all that it started is known.
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - this interpreter, Dagster's own command
    try:
        while process.poll() is None:  # waking up, since a signal may have been delivered to another thread
            time.sleep(0.5)
        if process.returncode:
            raise OptiInfraError(
                f"Dagster's UI and daemon ended by themselves with {process.returncode}; what they said stands above."
            )
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(timeout=DEV_SECONDS)
    finally:
        _end_group(process.pid)
        process.wait()


def _end_group(leader: int) -> None:
    """End what is left of a process group: run workers are told to, and get some seconds for it."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)
        for _ in range(int(WORKER_SECONDS / 0.1)):
            time.sleep(0.1)
            os.killpg(leader, 0)
        os.killpg(leader, signal.SIGKILL)
