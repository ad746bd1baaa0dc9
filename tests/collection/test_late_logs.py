"""Logs that come after their window was collected, in folders, buckets and tables: judged, and each call once."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import SecretStr

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from optiinfra_dagster.quality import files
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.sql import readers
from tests.support import killing
from tests.support.samples import select
from tests.support.spine import Spine

if TYPE_CHECKING:
    from optiinfra_dagster.storage.slice_report import Report

W = windows.WINDOW
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LAG = timedelta(minutes=6)
AZURE = "https://acmelogs.blob.core.windows.net/logs/"
BUCKETS = ("s3://logs/", "gs://logs/", AZURE)
DATED = "{yyyy}/{mm}/{dd}/{hh}/"


def record(number: int, moment: datetime, **more: Any) -> dict[str, Any]:
    return {
        "id": f"i{number}", "app": "shop", "model": "m", "ts": moment.isoformat(), "prompt": f"What is {number}?",
        "response": f"It is {number}.", **more,
    }  # fmt: skip


def lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


class World:
    """A customer on AWS whose application logs to `place`, a judge, and a clock."""

    def __init__(self, spine: Spine, lab: CloudLab, place: str) -> None:
        self.lab, self.place = lab, place
        settings = spine.settings.model_copy(
            update={"groq_api_key": SecretStr("lab-groq-key"), "groq_base_url": lab.url}
        )
        self.spine = Spine(spine.home, settings, spine.clickhouse)
        self.customers(place)

    def customers(self, interactions: str) -> None:
        account = {"account_id": "1" * 12, "role_arn": f"arn:aws:iam::{'1' * 12}:role/reader", "regions": ["us-east-1"],
                   "endpoint_url": self.lab.url}  # fmt: skip
        application: dict[str, Any] = {"interactions": interactions, "provider": "aws", "sample_per_window": 20}
        if interactions.startswith(("gs://", "https://")):
            application["endpoint_url"] = self.lab.url
        customer = {"id": "acme", "name": "Acme", "aws": [account], "application": application}
        self.spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [customer]}))

    def deliver(self, name: str, data: bytes, at: datetime) -> None:
        """Write a file, or write it anew."""
        if "://" in self.place:
            self.lab.storage.put(self.place.partition("{")[0] + name, data, at)
            return
        path = Path(self.place.partition("{")[0]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (at.timestamp(), at.timestamp()))

    def collect(self, window: datetime, **options: Any) -> Report:
        """The run of a window, at its time."""
        return self.spine.collect("application", [window], now=lambda: window + W + LAG, **options)

    def judged(self) -> dict[datetime, Counter[str]]:
        """The ids that readers see a toxicity of, by window: each is to be there once."""
        found: dict[datetime, Counter[str]] = {}
        for row in self.spine.view("application_metrics"):
            if row["metric_type"] == "toxicity":
                found.setdefault(row["window_start"], Counter())[row["interaction_id"]] += 1
        return found

    def populations(self) -> dict[datetime, int]:
        """The number of calls by window."""
        found: Counter[datetime] = Counter()
        for row in self.spine.view("application_metrics"):
            if row["metric_type"] == "sample":
                found[row["window_start"]] += json.loads(row["details"])["population"]
        return dict(found)

    def batches(self, window: datetime) -> int:
        """How often a window was published."""
        with self.spine.clickhouse.session() as client:
            sql = "SELECT uniqExact(batch) FROM metric_batches "
            sql += "WHERE dataset = 'application' AND window_start = {w:DateTime('UTC')}"
            ((count,),) = client.query(sql, parameters={"w": window}).result_rows
        return int(count)


@pytest.fixture(scope="module")
def running() -> Iterator[CloudLab]:
    account = {"id": "1" * 12, "access_keys": ["KEY1"], "roles": ["reader"], "regions": ["us-east-1"]}
    with CloudLab({"aws": {"accounts": [account]}}, now=lambda: NOON + timedelta(days=2)) as lab:
        yield lab


@pytest.fixture
def lab(running: CloudLab, monkeypatch: pytest.MonkeyPatch) -> CloudLab:
    running.control.reset()
    running.storage._put.clear()
    for name, value in running.env.items():
        monkeypatch.setenv(name, value)
    return running


@pytest.fixture(params=["folder", BUCKETS[0], *(pytest.param(one, marks=pytest.mark.long) for one in BUCKETS[1:])])
def world(request: pytest.FixtureRequest, free_spine: Spine, lab: CloudLab, tmp_path: Path) -> World:
    """A world whose log is in each kind of place, with the hour in its names."""
    place = str(tmp_path / "logs") + "/" if request.param == "folder" else request.param
    return World(free_spine, lab, place + DATED)


@pytest.fixture
def folder(free_spine: Spine, lab: CloudLab, tmp_path: Path) -> World:
    """A world whose log is in a folder, with no time in its names."""
    (tmp_path / "logs").mkdir()
    return World(free_spine, lab, f"{tmp_path}/logs/")


def ids(*numbers: int) -> Counter[str]:
    return Counter(f"i{number}" for number in numbers)


def gets(world: World) -> int:
    return world.lab.control.calls().count(operation="GetObject")


def test_a_file_is_judged_minutes_hours_and_a_day_after_its_window(world: World) -> None:
    """The file of noon's window came in time; others with more of it come later, in the hour's folder or in theirs."""
    world.deliver("2026/11/21/12/a.jsonl", lines(record(1, NOON)), NOON + W)
    world.collect(NOON)
    assert world.judged() == {NOON: ids(1)}

    world.deliver("2026/11/21/12/b.jsonl", lines(record(2, NOON), record(20, NOON + W)), NOON + 2 * W)
    world.collect(NOON + W)
    assert world.judged() == {NOON: ids(1, 2), NOON + W: ids(20)}

    world.deliver("2026/11/21/15/c.jsonl", gzip.compress(lines(record(3, NOON))), NOON + 12 * W)
    world.collect(NOON + 12 * W)
    assert world.judged() == {NOON: ids(1, 2, 3), NOON + W: ids(20)}

    world.deliver("2026/11/21/12/d.jsonl", lines(record(4, NOON), record(21, NOON + W)), NOON + 100 * W)
    world.collect(NOON + 100 * W)
    assert world.judged() == {NOON: ids(1, 2, 3, 4), NOON + W: ids(20, 21)}
    assert world.populations() == {NOON: 4, NOON + W: 2}
    assert [world.batches(window) for window in (NOON, NOON + W)] == [4, 2]
    assert world.lab.control.calls().count("groq", "chat.completions") == 6  # each interaction is paid for once


def test_a_body_that_comes_after_the_line_that_names_it_is_judged_then_and_once(world: World) -> None:
    """As Bedrock's large bodies do, which lie beside its log. One that does not come is told as unread."""
    world.place = world.place.replace(DATED, f"AWSLogs/1/BedrockModelInvocationLogs/us-east-1/{DATED}")
    world.customers(world.place)
    hour = "2026/11/21/12"

    def asked(number: int) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": [{"text": f"Why {number}?"}]}]}

    def told(number: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": [{"text": f"So {number}."}]}
        return {"output": {"message": message}, "stopReason": "end_turn"}

    def invocation(number: int, **parts: dict[str, Any]) -> dict[str, Any]:
        whole = {"input": {"inputBodyJson": asked(number)}, "output": {"outputBodyJson": told(number)}}
        return {
            "schemaType": "ModelInvocationLog", "timestamp": NOON.isoformat(), "requestId": f"i{number}",
            "operation": "Converse", "modelId": "amazon.nova-lite-v1:0", **whole, **parts,
        }  # fmt: skip

    def address(name: str) -> str:
        return f"s3://logs/AWSLogs/1/BedrockModelInvocationLogs/us-east-1/{hour}/data/{name}"

    def unread() -> tuple[str, str]:
        row = world.spine.last("application", "acme", NOON)
        return row["outcome"], row["error"].partition(" (first")[0].partition(" could ")[0]

    log = lines(
        invocation(1),
        invocation(2, input={"inputBodyS3Path": address("2_input.json.gz")}),
        invocation(3, output={"outputBodyS3Path": address("3_output.json.gz")}),
    )
    world.deliver(f"{hour}/20261121T120000Z_1.json.gz", gzip.compress(log), NOON + W)
    world.collect(NOON)
    assert (world.judged(), unread()) == ({NOON: ids(1)}, ("partial", "2 of 3 records of 1 file"))
    assert "2 no_body" in world.spine.last("application", "acme", NOON)["error"]

    world.lab.control.reset()
    world.collect(NOON + W)
    assert (gets(world), world.batches(NOON)) == (0, 1)  # nothing came, so nothing is read

    world.deliver(f"{hour}/data/2_input.json.gz", gzip.compress(json.dumps(asked(2)).encode()), NOON + 3 * W)
    world.collect(NOON + 2 * W)
    assert (world.judged(), unread()) == ({NOON: ids(1, 2)}, ("partial", "1 of 3 records of 1 file"))

    world.deliver(f"{hour}/data/3_output.json.gz", gzip.compress(json.dumps(told(3)).encode()), NOON + 97 * W)
    world.collect(NOON + 96 * W)
    assert (world.judged(), unread()) == ({NOON: ids(1, 2, 3)}, ("ok", ""))
    world.collect(NOON + 97 * W)
    assert (world.batches(NOON), world.populations()[NOON]) == (3, 3)
    assert world.lab.control.calls().count("groq", "chat.completions") == 2  # since the first window


def test_nothing_new_costs_one_listing_and_reads_nothing(world: World) -> None:
    for number in range(4):
        at = NOON + number * W
        world.deliver(f"2026/11/21/{at:%H}/{number}.jsonl", lines(record(number, at)), at + W)
        world.collect(at)
    world.lab.control.reset()
    world.collect(NOON + 4 * W)
    calls = world.lab.control.calls()
    assert calls.count(operation="ListObjectsV2") + calls.count(operation="ListObjects") <= 1
    assert gets(world) == 0
    assert world.judged() == {NOON + n * W: ids(n) for n in range(4)}
    assert [world.batches(NOON + n * W) for n in range(5)] == [1] * 5


def test_files_at_the_far_end_of_what_is_looked_at_are_not_read_again(free_spine: Spine, lab: CloudLab) -> None:
    world = World(free_spine, lab, f"s3://logs/{DATED}")
    world.spine.settings = world.spine.settings.model_copy(update={"late_logs_hours": 1})
    for number in range(7):
        at = NOON + number * W
        world.deliver(f"2026/11/21/{at:%H}/{number}.jsonl", lines(record(number, at)), at + W)
        world.lab.control.reset()
        world.collect(at)
        assert gets(world) == 1


def test_a_file_that_grows_changes_only_the_windows_that_it_grew_by(folder: World) -> None:
    """As a day's log does: it is read again, and what was collected of it stays as it is."""
    log: list[dict[str, Any]] = []
    for number in range(4):
        at = NOON + number * W
        log.append(record(number, at))
        folder.deliver("app.jsonl", lines(*log), at + W)
        folder.collect(at)
    assert folder.judged() == {NOON + n * W: ids(n) for n in range(4)}
    assert [folder.batches(NOON + n * W) for n in range(4)] == [1] * 4
    # A line that was half written when it was read.
    folder.deliver("app.jsonl", lines(*log) + lines(record(9, NOON + 3 * W))[:-9], NOON + 5 * W)
    folder.collect(NOON + 4 * W)
    folder.deliver("app.jsonl", lines(*log, record(9, NOON + 3 * W)), NOON + 6 * W)
    folder.collect(NOON + 5 * W)
    assert folder.judged() == {**{NOON + n * W: ids(n) for n in range(3)}, NOON + 3 * W: ids(3, 9)}


def test_a_file_that_was_cut_is_read_again_once_it_is_whole(folder: World) -> None:
    noise = random.Random(1)  # noqa: S311
    whole = gzip.compress(lines(*(record(n, NOON, context=noise.randbytes(600).hex()) for n in range(12))))
    folder.deliver("a.gz", whole[: len(whole) // 2], NOON + W)
    first = folder.collect(NOON)
    assert "cut_file" in str(first)
    assert 0 < sum(folder.judged()[NOON].values()) < 12
    folder.deliver("a.gz", whole, NOON + 2 * W)
    folder.collect(NOON + W)
    assert folder.judged() == {NOON: ids(*range(12))}


def test_a_file_that_is_delivered_twice_counts_once(folder: World) -> None:
    folder.deliver("a.jsonl", lines(record(1, NOON), record(2, NOON)), NOON + W)
    folder.collect(NOON)
    folder.deliver("b.jsonl", lines(record(2, NOON), record(1, NOON)), NOON + W)
    folder.collect(NOON + W)
    assert folder.judged() == {NOON: ids(1, 2)}
    assert folder.populations() == {NOON: 2}


def test_what_was_collected_stays_where_its_files_are_gone(folder: World) -> None:
    """A shipper that clears away what it sent: what is left is not all that the window had."""
    folder.deliver("a.jsonl", lines(record(1, NOON)), NOON + W)
    folder.collect(NOON)
    (Path(folder.place) / "a.jsonl").unlink()
    folder.deliver("b.jsonl", lines(record(5, NOON + W)), NOON + 2 * W)
    folder.collect(NOON + W)
    assert folder.judged() == {NOON: ids(1), NOON + W: ids(5)}
    folder.deliver("c.jsonl", lines(record(2, NOON)), NOON + 3 * W)
    folder.collect(NOON + 2 * W)
    assert folder.judged() == {NOON: ids(1), NOON + W: ids(5)}


def test_files_that_were_joined_into_one_change_nothing(folder: World) -> None:
    folder.deliver("a.jsonl", lines(record(1, NOON)), NOON + W)
    folder.deliver("b.jsonl", lines(record(2, NOON)), NOON + W)
    folder.collect(NOON)
    for name in "ab":
        (Path(folder.place) / f"{name}.jsonl").unlink()
    folder.deliver("joined.jsonl", lines(record(2, NOON), record(1, NOON)), NOON + 2 * W)
    folder.collect(NOON + W)
    assert (folder.judged(), folder.batches(NOON)) == ({NOON: ids(1, 2)}, 1)


def test_a_run_collects_so_many_late_windows_and_the_next_one_the_others(
    folder: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optiinfra_dagster.collection.application.MOST_LATE", 2)
    folder.deliver("old.jsonl", lines(record(0, NOON - W)), NOON)
    for number in range(5):
        folder.collect(NOON + number * W)
    folder.deliver("late.jsonl", lines(*(record(n, NOON + n * W) for n in range(5))), NOON + 6 * W)
    folder.collect(NOON + 5 * W)
    assert set(folder.judged()) == {NOON + 3 * W, NOON + 4 * W}  # the newest first
    folder.collect(NOON + 6 * W)
    folder.collect(NOON + 7 * W)
    assert folder.judged() == {NOON + n * W: ids(n) for n in range(5)}


def test_late_windows_are_left_alone_beyond_the_hours_that_are_set(folder: World) -> None:
    folder.spine.settings = folder.spine.settings.model_copy(update={"late_logs_hours": 1})
    folder.deliver("a.jsonl", lines(record(1, NOON)), NOON + W)
    folder.collect(NOON)
    folder.deliver("b.jsonl", lines(record(2, NOON)), NOON + 5 * W)
    folder.collect(NOON + 5 * W)
    assert folder.judged() == {NOON: ids(1)}
    folder.spine.settings = folder.spine.settings.model_copy(update={"late_logs_hours": 2})
    folder.collect(NOON + 6 * W)
    assert folder.judged() == {NOON: ids(1, 2)}


def test_a_late_file_that_cannot_be_read_costs_the_present_window_nothing(
    folder: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optiinfra_dagster.model.errors import Cause, CloudError

    def broken(*_: Any) -> Any:
        raise CloudError(Cause.UNAVAILABLE, "the store is away")

    folder.deliver("a.jsonl", lines(record(1, NOON), record(2, NOON + W)), NOON + W)
    folder.collect(NOON)
    with monkeypatch.context() as patched:
        patched.setattr(files.FileSource, "changed", broken)
        folder.collect(NOON + W)
    assert folder.judged() == {NOON: ids(1), NOON + W: ids(2)}


def test_rows_that_come_late_into_a_table_are_judged(folder: World) -> None:
    folder.customers("clickhouse")
    columns = [
        "timestamp",
        "customer_id",
        "provider",
        "application_id",
        "model_name",
        "interaction_id",
        "prompt",
        "response",
    ]

    def insert(number: int, at: datetime) -> None:
        with folder.spine.clickhouse.session() as client:
            row = [at, "acme", "", "shop", "m", f"i{number}", f"What is {number}?", "It is."]
            client.insert("llm_interactions", [row], columns)

    insert(1, NOON)
    folder.collect(NOON)
    insert(2, NOON)
    insert(3, NOON + W)
    folder.collect(NOON + W)
    folder.collect(NOON + 2 * W)
    assert folder.judged() == {NOON: ids(1, 2), NOON + W: ids(3)}
    assert [folder.batches(NOON + n * W) for n in range(3)] == [2, 1, 1]


def spoken(world: World, window: datetime) -> list[tuple[Any, ...]]:
    """What the reader of feedback tells of the day up to a window."""
    reader = readers()["application", "feedback"]
    reader_writer.compute(world.spine.clickhouse, reader, [window])
    sql = f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL"  # noqa: S608
    return [
        (row["application_id"], row["metric_type"], row["feedback"], row["bad"], row["without_interaction"], row["n"])
        for row in select(world.spine.clickhouse, sql, at=window)
        if row["metric_type"] in {"", "toxicity"}
    ]


def test_feedback_of_the_day_after_that_is_delivered_late_is_joined_once(folder: World) -> None:
    day = NOON + timedelta(days=1)
    says = {
        "timestamp": (day + timedelta(minutes=1)).isoformat(),
        "feedback": {"interaction_id": "i1", "thumb": "down"},
    }
    folder.deliver("a.jsonl", lines(record(1, NOON)), NOON + W)
    folder.collect(NOON)
    folder.collect(day)
    assert spoken(folder, day) == []
    for name in ("b", "c"):
        folder.deliver(f"{name}.jsonl", lines(says, says), day + 3 * W)
    folder.collect(day + 3 * W)
    assert [folder.batches(window) for window in (NOON, day, day + 3 * W)] == [1, 2, 1]
    assert spoken(folder, day + 3 * W) == [("shop", "", 1, 1, 0, 0), ("shop", "toxicity", 1, 1, 0, 1)]
    folder.collect(day + 4 * W)
    assert folder.batches(day) == 2


def test_feedback_that_comes_late_into_a_table_is_joined(folder: World) -> None:
    folder.customers("clickhouse")

    def insert(table: str, **values: Any) -> None:
        with folder.spine.clickhouse.session() as client:
            client.insert(table, [["acme", *values.values()]], ["customer_id", *values])

    insert("llm_interactions", timestamp=NOON, application_id="shop", model_name="m", interaction_id="i1", prompt="p",
           response="r")  # fmt: skip
    folder.collect(NOON)
    insert("llm_feedback", timestamp=NOON, interaction_id="i1", name="stars", value="1", comment="card 4111")
    insert("llm_feedback", timestamp=NOON, interaction_id="i2", name="x", value="3", scale="1..10", given_by="jane")
    folder.collect(NOON + W)
    assert spoken(folder, NOON + W)[:2] == [("", "", 1, 0, 1, 0), ("shop", "", 1, 1, 0, 0)]
    kept = [row for row in folder.spine.view("application_metrics") if row["metric_type"] == "feedback"]
    assert sorted(row["label"] for row in kept) == ["bad", "bad"]
    assert "4111" not in str(kept)
    assert "jane" not in str(kept)


# --- A lab whose deliveries are unkind ------------------------------------------------------------------------------

UNKIND: dict[str, dict[str, Any]] = {
    "late": {"late_minutes": 40},
    "very late": {"late_minutes": 100, "compressed": False},
    "doubled": {"doubled": True},
    "cut": {"cut": True},
    "growing": {"growing": True},
    "growing and doubled": {"growing": True, "doubled": True, "compressed": False, "shape": "otlp"},
}


OFTEN = {"very late", "doubled", "cut", "growing"}  # each by itself, and each kind of bucket


@pytest.mark.parametrize(
    ("how", "bucket"),
    [
        pytest.param(how, bucket, marks=[] if how in OFTEN else pytest.mark.long)
        for how, bucket in zip(UNKIND, BUCKETS * 2, strict=True)
    ],
)
def test_whatever_the_delivery_each_interaction_is_judged_once(
    free_spine: Spine, monkeypatch: pytest.MonkeyPatch, bucket: str, how: str
) -> None:
    clock = [NOON]
    bot = {"id": "bot", "provider": "aws", "location": f"{bucket}{DATED}", "per_window": 3, "history_hours": 24}
    account = {"id": "1" * 12, "access_keys": ["KEY1"], "roles": ["reader"], "regions": ["us-east-1"]}
    of = {"aws": {"accounts": [account]}, "applications": [{**bot, **UNKIND[how]}]}
    with CloudLab(of, now=lambda: clock[0]) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        world = World(free_spine, lab, f"{bucket}{DATED}")
        behind = UNKIND[how].get("late_minutes", 0) // 15 + 2
        asked = [NOON + n * W for n in range(behind + 3)]
        for window in asked:
            clock[0] = window + W + LAG
            world.collect(window)
        delivered = asked[:-behind]
        truth = {
            window: Counter(
                r["interaction_id"] for r in lab.storage.expected(bucket.rstrip("/"), "aws", window, window + W)
            )
            for window in delivered
        }
        found = world.judged()
        assert {window: found.get(window) for window in delivered} == truth
        assert all(count == 3 for window, count in world.populations().items() if window in delivered)


# --- Kills, and two runs at once -------------------------------------------------------------------------------------


def killed_run(home: str, url: str, place: str, at: float, step: str) -> None:
    """Collect the window at `at`, and die at a step of it."""
    from optiinfra_dagster.storage import log_files, writer

    world = _reopened(home, url, place)
    if step == "learnt":
        _die_after(log_files, "load_files")
        files.load_files = log_files.load_files  # type: ignore[attr-defined]
    elif step == "kept":
        _die_after(files, "keep_files", times=2)
    else:
        count = [int(step)]

        def die(_name: str) -> None:
            count[0] -= 1
            if not count[0]:
                killing.die()

        made = writer.Writer.__init__
        writer.Writer.__init__ = lambda self, *a, **k: made(self, *a, **{**k, "steps": die})  # type: ignore[method-assign]
    world.collect(datetime.fromtimestamp(at, UTC))


def _die_after(module: Any, name: str, times: int = 1) -> None:
    real: Callable[..., Any] = getattr(module, name)
    left = [times]

    def wrapped(*arguments: Any) -> Any:
        found = real(*arguments)
        left[0] -= 1
        if not left[0]:
            killing.die()
        return found

    setattr(module, name, wrapped)


def _reopened(home: str, url: str, place: str) -> World:
    class Lab:
        pass

    lab = Lab()
    lab.url = url  # type: ignore[attr-defined]
    return World(Spine.at(Path(home)), lab, place)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "step", ["1", *(pytest.param(step, marks=pytest.mark.long) for step in ("learnt", "kept", "2", "3", "4"))]
)
def test_a_kill_at_any_point_loses_and_doubles_nothing(lab: CloudLab, tmp_path: Path, step: str) -> None:
    """The run of the second window finds noon's late file; it dies, and is run again."""
    (tmp_path / "logs").mkdir()
    folder = World(Spine.at(tmp_path / "home"), lab, f"{tmp_path}/logs/")
    folder.spine.clickhouse = ClickHouse(folder.spine.settings.clickhouse_url.get_secret_value())  # does not linger
    folder.deliver("a.jsonl", lines(record(1, NOON)), NOON + W)
    folder.collect(NOON)
    folder.deliver("b.jsonl", lines(record(2, NOON), record(3, NOON + W)), NOON + 2 * W)
    home, url = str(folder.spine.home), folder.lab.url
    status = killing.run(killed_run, home, url, folder.place, (NOON + W).timestamp(), step)
    assert status == -signal.SIGKILL
    folder.collect(NOON + W)
    folder.collect(NOON + 2 * W)  # if the second window was whole already, the next one's run finds what is late
    assert folder.judged() == {NOON: ids(1, 2), NOON + W: ids(3)}


def test_two_runs_at_once_judge_everything_once(folder: World) -> None:
    """The slower one publishes noon again as it was before the late file: the next run finds that."""
    folder.deliver("a.jsonl", lines(record(1, NOON)), NOON + W)
    folder.collect(NOON)
    with folder.spine.clickhouse.session() as client:
        old = client.query_arrow("SELECT * FROM application_metrics").to_pylist()
    folder.deliver("b.jsonl", lines(record(2, NOON)), NOON + 2 * W)
    folder.collect(NOON + W)
    assert folder.judged() == {NOON: ids(1, 2)}
    with folder.spine.clickhouse.session() as client:
        batch = 1 + max(row[0] for row in client.query("SELECT max(batch) FROM metric_batches").result_rows)
        columns = list(old[0])
        rows = [[batch if name == "batch" else row[name] for name in columns] for row in old]
        client.insert("application_metrics", rows, column_names=columns)
        client.command(
            "INSERT INTO metric_batches SELECT * REPLACE ({b:UInt64} AS batch) FROM metric_batches "
            "WHERE dataset = 'application' AND window_start = {w:DateTime('UTC')} "
            "ORDER BY metric_batches.batch LIMIT 1",
            parameters={"b": batch, "w": NOON},
        )
    assert folder.judged() == {NOON: ids(1)}
    folder.collect(NOON + 2 * W)
    assert folder.judged() == {NOON: ids(1, 2)}
