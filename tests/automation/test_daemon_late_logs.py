"""Log files that come minutes, hours and a day after their window, on a running daemon: judged, and each call once."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.sql import readers
from tests.support.daemon_site import DaemonSite
from tests.support.moved_clock import morning
from tests.support.spine import Spine, world

FIRST = morning()
W = windows.WINDOW
LAG = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)


class LateLogs(DaemonSite):
    """A place with one customer, who has nothing but an application that writes its log into a folder."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        application = {
            "interactions": f"{self.logs}/{{yyyy}}/{{mm}}/{{dd}}/{{hh}}/", "provider": "aws", "sample_per_window": 20,
        }  # fmt: skip
        super().__init__(
            folder,
            FIRST + W,
            world([]),
            lambda spine, _: _write(spine, application),
            OPTIINFRA_PARTITIONS_START=windows.key(FIRST - 4 * W),
        )

    def deliver(self, name: str, *numbers: int, window: datetime = FIRST) -> None:
        """Write a file now, with calls of a window, into the folder of the window's hour."""
        path = self.logs / f"{window:%Y/%m/%d/%H}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        moment = (window + MINUTE).isoformat()
        calls = ({"id": f"i{n}", "app": "shop", "model": "m", "ts": moment, "prompt": f"What is {n}?",
                  "response": f"It is {n}."} for n in numbers)  # fmt: skip
        path.write_text("".join(json.dumps(call) + "\n" for call in calls))
        os.utime(path, (self.clock.now().timestamp(),) * 2)

    def judged(self) -> dict[str, Counter[str]]:
        """The calls that have a toxicity, by window; each is to be there once."""
        found: dict[str, Counter[str]] = {}
        for row in self.spine.view("application_metrics"):
            if row["metric_type"] == "toxicity":
                found.setdefault(f"{row['window_start']:%d %H:%M}", Counter())[row["interaction_id"]] += 1
        return found

    def told(self, window: datetime) -> int | None:
        """The population of a window in the reader of answers."""
        rows = self.spine.query(
            f"SELECT population FROM {readers()['application', 'answers'].view} "  # noqa: S608
            "WHERE window_start = fromUnixTimestamp({window:UInt32}) AND period = 'window'",
            window=int(window.timestamp()),
        )
        return sum(row["population"] for row in rows) if rows else None

    def collects(self, newest: datetime, wanted: dict[datetime, set[int]]) -> None:
        """Let the tick after a window come, and wait until these calls are judged and the readers tell so."""
        expected = {f"{window:%d %H:%M}": Counter(f"i{n}" for n in numbers) for window, numbers in wanted.items()}
        counts = {window: len(numbers) for window, numbers in wanted.items()}
        tick = newest + W + LAG
        self.clock.advance_to(tick)
        self.wait_for(
            lambda: self.judged() == expected and {window: self.told(window) for window in wanted} == counts,
            f"the calls {expected}, there are {self.judged()}",
            tick + timedelta(minutes=9),
        )


def _write(spine: Spine, application: dict[str, object]) -> None:
    customer = {"id": "acme", "name": "Acme", "application": application}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [customer]}))


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_files_are_judged_minutes_hours_and_a_day_after_their_window(tmp_path: Path) -> None:
    warnings.filterwarnings("ignore", module="dagster")
    site = LateLogs(tmp_path)
    try:
        site.deliver("a.jsonl", 1, 2)
        site.start()
        site.collects(FIRST, {FIRST: {1, 2}})

        # Minutes: after the window was collected, and before the next tick.
        site.deliver("b.jsonl", 3)
        site.deliver("c.jsonl", 4, window=FIRST + W)
        site.collects(FIRST + W, {FIRST: {1, 2, 3}, FIRST + W: {4}})

        # Hours, in which nothing runs, and a call that stands in an older file too.
        site.clock.advance_to(FIRST + 12 * W)
        site.deliver("d.jsonl", 3, 5)
        site.collects(FIRST + 12 * W, {FIRST: {1, 2, 3, 5}, FIRST + W: {4}})

        # A day.
        site.clock.advance_to(FIRST + 100 * W)
        site.deliver("e.jsonl", 6)
        site.deliver("f.jsonl", 7, window=FIRST + W)
        site.collects(FIRST + 100 * W, {FIRST: {1, 2, 3, 5, 6}, FIRST + W: {4, 7}})

        assert site.lab.calls().count("groq", "chat.completions") == 7  # each is paid for once
        assert {status for *_, status in site.runs()} == {"SUCCESS"}
    finally:
        site.close()
