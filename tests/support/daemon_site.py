"""A lab and a home under a moved clock, and a real `dagster-daemon` with its code server and run workers there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.definitions.run_request import InstigatorType

from optiinfra_dagster.automation.schedules import GOING
from optiinfra_dagster.lab import LabControl
from tests.support.moved_clock import PROJECT, MovedClock, Process, free_port, start_lab, until
from tests.support.spine import Spine

PATIENCE = 400.0  # real seconds for one step; it takes 15 to 25 on two free cores, and minutes beside other work


class DaemonSite:
    """A place in `folder` whose processes live from `start` on; `write_customers` gets the lab's environment.

    `env` is set for each process on top of the spine's own.
    """

    def __init__(
        self,
        folder: Path,
        start: datetime,
        world: Mapping[str, Any],
        write_customers: Callable[[Spine, Mapping[str, str]], None],
        **env: str,
    ) -> None:
        self.clock = MovedClock(folder, start)
        self.spine = Spine.at(folder / "home")
        shutil.copy(PROJECT / "optiinfra_dagster" / "dagster.yaml", self.spine.home / "dagster.yaml")
        (folder / "world.yaml").write_text(yaml.safe_dump(world))
        self.env = {**self.spine.env, **self.clock.env, **env}
        self.log = folder / "daemon.log"
        self._lab, lab_env = start_lab(self.env, folder / "world.yaml", folder / "lab.log")
        self.env |= lab_env
        self.lab = LabControl(lab_env["OPTIINFRA_LAB_AWS"])
        write_customers(self.spine, lab_env)
        with self.spine.clickhouse.session():
            pass  # the tables, once and before the clock matters
        self.instance = dg.DagsterInstance.from_config(str(self.spine.home))
        # The daemon's own code server would end at each jump, since it hears from the daemon every 20 s of the clock.
        port = free_port()
        (folder / "workspace.yaml").write_text(
            yaml.safe_dump(
                {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "optiinfra"}}]}
            )
        )
        module = "optiinfra_dagster.definitions"
        self._commands = {
            "code": ["dagster", "api", "grpc", "-m", module, "-h", "127.0.0.1", "-p", str(port)],
            "daemon": ["tests.support.moved_daemon", "run", "-w", str(folder / "workspace.yaml")],
        }
        self.processes: dict[str, Process] = {}

    def start(self) -> None:
        """Start the code server and `dagster-daemon run`, and wait until the daemon works."""
        self.launch(*self._commands)
        # A schedule that the daemon has not seen yet begins with its first tick after that.
        self.wait_for(
            lambda: any(
                state.instigator_type is InstigatorType.SCHEDULE for state in self.instance.all_instigator_state()
            ),
            "the daemon to know the schedule",
            self.clock.now() + timedelta(minutes=3),
        )

    def launch(self, *names: str) -> None:
        """Start some of the processes, `code` and `daemon`."""
        for name in names:
            self.processes[name] = Process([sys.executable, "-m", *self._commands[name]], self.env, self.log)

    def stop(self) -> None:
        """Stop them, with the run workers."""
        for process in self.processes.values():
            process.stop()
        self.processes = {}

    def cpu_seconds(self) -> float:
        """CPU time so far of the daemon, the code server and every run worker that has ended."""
        return sum(process.cpu_seconds() for process in self.processes.values())

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._lab.stop()
        self.instance.dispose()

    def wait_for(self, condition: Callable[[], object], what: str, hurry_until: datetime | None = None) -> None:
        """Wait until `condition` holds and no run is going.

        `hurry_until` lets the clock run ahead to that moment, half a minute at a time.

        Sensors tick every 30 and 60 seconds of the moved clock; nothing jumps while a run is going.
        """
        polls = 0

        def check() -> bool:
            nonlocal polls
            assert not any(process.ended for process in self.processes.values()), self.tail()
            polls += 1
            if self.going():
                return False
            if hurry_until and polls % 6 == 0:
                self.clock.advance_to(min(self.clock.now() + timedelta(seconds=30), hurry_until))
            # Conditions open ClickHouse, which the daemon's sensors and runs want to themselves.
            return polls % 4 == 0 and bool(condition()) and not self.going()

        try:
            until(check, PATIENCE, what)
        except AssertionError as error:
            raise AssertionError(
                f"{error}; at {self.clock.now():%H:%M:%S}, runs {self.runs()}\n{self.tail()}"
            ) from None

    def status(self) -> dict[str, dict[str, Any]]:
        """What `optiinfra status` says under this clock, by item."""
        command = [str(Path(sys.executable).with_name("optiinfra")), "status", "--format", "json"]
        told = subprocess.run(command, cwd=PROJECT, env=self.env, capture_output=True, text=True, check=False)
        return {item["item"]: item for item in json.loads(told.stdout)["items"]}

    def tail(self, last: int | None = 6000) -> str:
        """The end of the daemon's log."""
        return self.log.read_text()[-last if last else 0 :] if self.log.exists() else ""

    def going(self) -> list[dg.DagsterRun]:
        """The runs that are not over."""
        return list(self.instance.get_runs(dg.RunsFilter(statuses=GOING)))

    def runs(self, job: str | None = None) -> list[tuple[str, str, str, str]]:
        """(job, first window, last window, status) of every run, oldest first."""
        found = []
        for run in reversed(self.instance.get_runs(dg.RunsFilter(job_name=job))):
            one = run.tags.get("dagster/partition", "")
            first = run.tags.get("dagster/asset_partition_range_start", one)
            last = run.tags.get("dagster/asset_partition_range_end", one)
            found.append((run.job_name, first[11:16], last[11:16], run.status.value))
        return found

    def workers(self, job: str) -> list[int]:
        """The process ids of a job's runs that have begun and are not over."""
        going = self.instance.get_runs(dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.STARTED]))
        events = (entry.user_message or entry.message for run in going for entry in self.instance.all_logs(run.run_id))
        found = (re.search(r"Executing steps in process \(pid: (\d+)\)", event) for event in events)
        return [int(match[1]) for match in found if match]

    def kill(self, *names: str) -> None:
        """Kill processes as a power cut does, with all that they have started; nobody is asked first."""
        for pid in {pid for name in names for pid in self.processes[name].descendants()}:
            os.kill(pid, signal.SIGKILL)
        for name in names:
            self.processes.pop(name).stop()
