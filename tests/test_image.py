"""The image without Docker: the Dockerfile's steps in a fresh venv, then compose's processes and health checks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import postgres
from tests.support.moved_clock import free_port, until

PROJECT = Path(__file__).parents[1]
DEPLOY = PROJECT / "deploy"
BUILD_SECONDS = 1_200  # of which the dependencies take the most: 0.5 GB are unpacked and compiled
PATIENCE = 180.0

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(BUILD_SECONDS + 4 * PATIENCE),
    pytest.mark.skipif(not postgres.programs(), reason="needs a PostgreSQL server"),
]

CUSTOMERS = """
customers:
  - id: acme
    name: Acme
    paused: true
    vultr: [{api_key: {env: ACME_VULTR_KEY}}]
"""


def build_stage() -> list[tuple[str, str]]:
    """The steps of the Dockerfile's first stage: instruction and argument."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    stages = [n for n, line in enumerate(lines) if line.startswith("FROM ")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines[stages[0] + 1 : stages[1]]]


def build(folder: Path) -> Path:
    """Do the steps in a folder; returns what /opt/optiinfra is there."""
    at, installed = folder / "build", folder / "opt"
    at.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for instruction, argument in build_stage():
        if instruction == "ENV":
            environment |= dict(part.split("=", 1) for part in shlex.split(argument))
        elif instruction == "COPY":
            *sources, to = argument.split()
            for source in sources:
                target = at / to / Path(source).name if to.endswith("/") else at / to
                target.parent.mkdir(parents=True, exist_ok=True)
                if (PROJECT / source).is_dir():
                    shutil.copytree(PROJECT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(PROJECT / source, target)
        elif instruction == "RUN":
            command = argument.replace("/opt/optiinfra", str(installed))
            command = re.sub(r"(?<![\w/])python -m venv", f"{sys.executable} -m venv", command)
            subprocess.run(["sh", "-ec", command], cwd=at, env=environment, check=True, timeout=BUILD_SECONDS)
        else:
            assert instruction == "WORKDIR", instruction
    return installed


class Site:
    """Compose's services as processes of the venv, with ports, folders and databases of the test."""

    def __init__(self, installed: Path, folder: Path, database: str) -> None:
        self.services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
        self.home = folder / "dagster"
        self.home.mkdir()
        self._ports = {"4000": str(free_port()), "3000": str(free_port())}
        shutil.copy(DEPLOY / "dagster.yaml", self.home)
        workspace = (DEPLOY / "workspace.yaml").read_text().replace("host: code", "host: 127.0.0.1")
        (folder / "workspace.yaml").write_text(workspace.replace("4000", self._ports["4000"]))
        (folder / "customers.yaml").write_text(CUSTOMERS)
        self._workspace = str(folder / "workspace.yaml")
        self.env = {
            "PATH": f"{installed}/bin:/usr/bin:/bin", "HOME": str(folder), "DAGSTER_HOME": str(self.home),
            "DAGSTER_EVENT_BATCH_SIZE": "200", "PYTHONUNBUFFERED": "1",
            "DAGSTER_POSTGRES_URL": database,
            "OPTIINFRA_CLICKHOUSE_URL": f"chdb://{folder}/clickhouse",
            "OPTIINFRA_CUSTOMERS": str(folder / "customers.yaml"),
        }  # fmt: skip

    def command(self, words: list[str]) -> list[str]:
        """A command of compose.yaml as it is here."""
        words = [word.replace("/etc/dagster/workspace.yaml", self._workspace) for word in words]
        for known, ours in self._ports.items():
            words = [re.sub(rf"\b{known}\b", ours, word) for word in words]
        return [word.replace("0.0.0.0", "127.0.0.1") for word in words]  # noqa: S104 - compose's, not this one's

    @contextmanager
    def running(self, service: str) -> Iterator[None]:
        """A service, from when its health check is content; it ends well when it is told to."""
        log = self.home.with_name(f"{service}.log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command(self.services[service]["command"]), cwd=self.home, env=self.env, stdout=out, stderr=out
            )
        try:
            until(lambda: process.poll() is not None or self.is_healthy(service), PATIENCE, f"{service}: {log}")
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        assert "Traceback" not in log.read_text(), log.read_text()

    def is_healthy(self, service: str) -> bool:
        """What the health check of compose.yaml says."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(*self.command(words)).returncode == 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of the image."""
        return subprocess.run(words, cwd=self.home, env=self.env, capture_output=True, text=True, check=False)


def test_what_the_image_is_made_of_starts_and_is_healthy(tmp_path: Path) -> None:
    installed = build(tmp_path)
    with postgres.running() as server, ExitStack() as up:
        site = Site(installed, tmp_path, server.new_database())
        migrated = site.run(*site.services["migrate"]["command"])
        assert migrated.returncode == 0, migrated.stderr
        assert not site.is_healthy("code")  # a check that cannot fail says nothing
        for service in ("code", "webserver", "daemon"):
            up.enter_context(site.running(service))
        assert all(site.is_healthy(service) for service in ("code", "webserver", "daemon"))
        status = site.run("optiinfra", "status", "--format", "json")
        items = {one["item"]: one["state"] for one in yaml.safe_load(status.stdout)["items"]}
        assert (items["clickhouse"], items["customers file"]) == ("ok", "ok"), status.stdout
