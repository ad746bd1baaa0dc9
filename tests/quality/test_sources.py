"""Interactions from S3, Google Cloud Storage, Azure, a folder, ClickHouse: real SDKs over sockets, and bad days."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.object_storage import gcs
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.quality import files, stores
from optiinfra_dagster.quality.files import FileSource
from optiinfra_dagster.quality.interactions import Feedback, Interaction, Reason
from optiinfra_dagster.quality.sources import InteractionSource, open_source
from optiinfra_dagster.quality.unread import explain_unread
from optiinfra_dagster.quality.window_calls import draw
from optiinfra_dagster.storage import interactions as logged
from tests.support.engines import empty

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.storage.clickhouse import ClickHouse

NOW = datetime(2026, 11, 21, 12, 7, 30, tzinfo=UTC)
START = datetime(2026, 11, 21, 11, 45, tzinfo=UTC)
END = START + timedelta(minutes=15)
DATED = "{provider}/{yyyy}/{mm}/{dd}/{hh}/"
AZURE = "https://acmelogs.blob.core.windows.net/"
EVERYWHERE = ("s3://", "gs://", AZURE)  # what the address of a bucket begins with


def application(provider: str, bucket: str, folder: str, **more: Any) -> dict[str, Any]:
    return {"id": f"bot-{provider}", "provider": provider, "location": f"{bucket}/{folder}", **more}


WORLD: dict[str, Any] = {
    "aws": {"accounts": [{"id": "111111111111", "access_keys": ["KEY1"]}]},
    "applications": [
        *(
            application(provider, bucket, DATED, shape=shape, models=["m1", "m2"], bad_lines=3)
            for bucket in ("s3://dated", "gs://dated", f"{AZURE}dated")
            for provider, shape in (("aws", "flat"), ("gcp", "otel"), ("azure", "otlp"), ("vultr", "flat"))
        ),
        application("aws", "s3://plain", "prod/", compressed=False, history_hours=24),
        application("aws", "gs://plain", "prod/", compressed=False, history_hours=24),
        application("aws", f"{AZURE}plain", "prod/", compressed=False, history_hours=24),
    ],
}


@pytest.fixture(scope="module")
def running() -> Iterator[CloudLab]:
    with CloudLab(WORLD, now=lambda: NOW) as lab:
        yield lab


@pytest.fixture
def lab(running: CloudLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudLab]:
    """The module's lab without counts, faults and further objects."""
    monkeypatch.setenv("LAB_KEY", "KEY1")
    running.control.reset()
    running.storage._put.clear()
    yield running
    running.control.reset()


def customer(tmp_path: Path, lab: CloudLab | None = None, providers: str = "aws gcp azure", **fields: Any) -> Customer:
    """A customer read from a file, whose clouds are the lab."""
    key = {"env": "LAB_KEY"}
    accounts: dict[str, dict[str, Any]] = {
        "aws": {"account_id": "111111111111", "access_key_id": key, "secret_access_key": key},
        "gcp": {"project_id": "acme-prod"},
        "azure": {"subscription_id": "a0000000-0000-4000-8000-000000000001"},
        "vultr": {"api_key": key},
    }
    endpoint = {"endpoint_url": lab.url} if lab else {}
    data = {
        "id": "acme", "name": "Acme", "application": fields,
        **{provider: [{**accounts[provider], **endpoint}] for provider in providers.split()},
    }  # fmt: skip
    path = tmp_path / "customers.yaml"
    path.write_text(yaml.safe_dump({"customers": [data]}))
    return load_customers(path)[0]


def fetched(
    source: InteractionSource, provider: str = "aws", start: datetime = START, end: datetime = END
) -> list[Interaction]:
    return [item for item in source.fetch(provider, start, end) if isinstance(item, Interaction)]


def told(items: list[Interaction]) -> list[tuple[Any, ...]]:
    return sorted(
        (i.interaction_id, i.application_id, i.model_name, i.prompt, i.response, i.context, i.reference,
         i.prompt_tokens, i.response_tokens, i.timestamp.timestamp() // 0.001)
        for i in items
    )  # fmt: skip


def truth(lab: CloudLab, bucket: str, provider: str) -> list[tuple[Any, ...]]:
    return sorted(
        (r["interaction_id"], r["application_id"], r["model"], r["prompt"], r["response"], r["context"], r["reference"],
         r["prompt_tokens"], r["response_tokens"], r["timestamp"].timestamp() // 0.001)
        for r in lab.storage.expected(bucket, provider, START, END)
    )  # fmt: skip


def record(number: int, moment: datetime = START, **more: Any) -> dict[str, Any]:
    return {"id": f"i{number}", "app": "shop", "ts": moment.isoformat(), "prompt": "p", "response": "r", **more}


def lines(*records: dict[str, Any] | bytes) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in records)


def ids(items: list[Interaction]) -> list[str]:
    return sorted(item.interaction_id for item in items)


def listings(lab: CloudLab) -> int:
    """How often the lab was asked to list objects."""
    calls = lab.control.calls()
    return sum(calls.count(operation=operation) for operation in ("ListObjectsV2", "ListObjects"))


# --- Buckets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", [f"{place}dated" for place in EVERYWHERE])
@pytest.mark.parametrize("provider", ["aws", "gcp", "azure", "vultr"])
def test_every_interaction_of_the_window_is_found_whatever_its_shape(
    lab: CloudLab, tmp_path: Path, bucket: str, provider: str
) -> None:
    meter = Meter()
    source = open_source(customer(tmp_path, lab, interactions=f"{bucket}/{DATED}"), meter=meter)
    assert told(fetched(source, provider)) == truth(lab, bucket, provider)
    assert (source.counts.interactions, source.counts.bad_lines, source.counts.files) == (20, 3, 1)
    # 11 h, and 12 h for what is delivered late, in one listing: no other hour of the 48 that are there.
    assert listings(lab) == 1
    assert meter.calls.total() == 1 + lab.control.calls().count(operation="GetObject")
    assert meter.cost_usd > 0


@pytest.mark.parametrize("bucket", [f"{place}plain" for place in EVERYWHERE])
def test_small_location_without_dates_is_listed_in_one_call(lab: CloudLab, tmp_path: Path, bucket: str) -> None:
    source = open_source(customer(tmp_path, lab, interactions=f"{bucket}/prod"))
    assert told(fetched(source)) == truth(lab, bucket, "aws")
    calls = lab.control.calls()
    assert listings(lab) == 1
    # Of the 96 files, those that were written since an hour before the window.
    assert calls.count(operation="GetObject", status=200) + calls.count(operation="GetObject", status=206) == 6
    assert not fetched(source, "gcp")
    assert source.counts.other_provider == 20


@pytest.mark.parametrize(("place", "files", "calls"), [("s3://", 50, 3), ("gs://", 50, 3), (AZURE, 170, 4)])
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y/%m/%d", "year=%Y/month=%m/day=%d", "app-%Y%m%d"])
def test_large_location_is_listed_from_its_date_on(
    lab: CloudLab, tmp_path: Path, place: str, files: int, calls: int, form: str
) -> None:
    for age in range(30):
        for number in range(files):
            day = NOW - timedelta(days=age)
            data = lines(record(number, START)) if age == 0 and number < 3 else b""
            lab.storage.put(f"{place}large/log/{day:{form}}/{number:02d}.jsonl", data, NOW)
    source = open_source(customer(tmp_path, lab, interactions=f"{place}large/log/", provider="aws"))
    assert ids(fetched(source)) == ["i0", "i1", "i2"]
    # The first page, a look behind the last date (Azure: in both pages), and the day: not all the files.
    assert listings(lab) == calls
    assert lab.control.calls().count(operation="GetObject") == 3


@pytest.mark.parametrize("odd", ["zoo.jsonl", "0-first.jsonl"])
def test_large_location_whose_names_do_not_sort_by_date_is_refused(lab: CloudLab, tmp_path: Path, odd: str) -> None:
    for number in range(1001):
        lab.storage.put(f"s3://large/2026-11-21-{number:04d}.jsonl", b"", NOW)
    lab.storage.put(f"s3://large/{odd}", b"", NOW)
    source = open_source(customer(tmp_path, lab, interactions="s3://large"))
    with pytest.raises(ConfigError, match=r"s3://large/ holds over 1,000 files.*\{yyyy\}"):
        fetched(source)


def test_pages_are_followed(lab: CloudLab, tmp_path: Path) -> None:
    for number in range(1203):
        data = lines(record(number)) if number % 400 == 0 else b""
        lab.storage.put(f"s3://large/2026/11/21/11-{number:04d} +&ü.jsonl", data, NOW)
    source = open_source(customer(tmp_path, lab, interactions="s3://large/{yyyy}/{mm}/{dd}/{hh}", provider="aws"))
    assert ids(fetched(source)) == ["i0", "i1200", "i400", "i800"]


def test_bucket_may_have_keys_of_its_own_and_then_needs_no_account(lab: CloudLab, tmp_path: Path) -> None:
    key = {"env": "LAB_KEY"}
    mine = customer(tmp_path, None, "vultr", interactions="s3://dated/" + DATED, endpoint_url=lab.url,
                    access_key_id=key, secret_access_key=key)  # fmt: skip
    meter = Meter()
    assert told(fetched(open_source(mine, meter=meter), "vultr")) == truth(lab, "s3://dated", "vultr")
    assert meter.calls["ListObjectsV2"] == 1


def test_host_reads_a_bucket_where_the_customer_has_no_account_of_that_cloud(
    lab: CloudLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores._s3_client.cache_clear()
    for name, value in {**lab.env, "STORAGE_EMULATOR_HOST": lab.url, "GOOGLE_CLOUD_PROJECT": "host"}.items():
        monkeypatch.setenv(name, value)
    for bucket in ("s3://dated", "gs://dated"):
        mine = customer(tmp_path, None, "vultr", interactions=f"{bucket}/{DATED}")
        assert told(fetched(open_source(mine), "vultr")) == truth(lab, bucket, "vultr")
    mine = customer(tmp_path, None, "vultr", interactions=f"{AZURE}dated/{DATED}", endpoint_url=lab.url)
    assert told(fetched(open_source(mine), "vultr")) == truth(lab, f"{AZURE}dated", "vultr")
    stores._s3_client.cache_clear()


def test_blob_storage_is_never_called_at_another_host_than_its_own(tmp_path: Path) -> None:
    mine = customer(tmp_path, None, "vultr", interactions=f"{AZURE}logs", endpoint_url="https://elsewhere.example")
    with pytest.raises(ConfigError, match="remove endpoint_url"):
        open_source(mine)


def test_large_bodies_that_bedrock_keeps_beside_its_log_are_read_with_their_records(
    lab: CloudLab, tmp_path: Path
) -> None:
    hour = "prod/AWSLogs/111111111111/BedrockModelInvocationLogs/us-east-1/2026/11/21/11"
    request = {"messages": [{"role": "user", "content": [{"text": "Why? " * 30_000}]}]}
    answer = {"output": {"message": {"role": "assistant", "content": [{"text": "So."}]}}, "stopReason": "end_turn"}

    def logged(number: int, **parts: dict[str, Any]) -> dict[str, Any]:
        whole = {"input": {"inputBodyJson": request}, "output": {"outputBodyJson": answer}, **parts}
        return {
            "schemaType": "ModelInvocationLog", "timestamp": START.isoformat(), "requestId": f"r{number}",
            "operation": "Converse", "modelId": "amazon.nova-lite-v1:0", **whole,
        }  # fmt: skip

    def put(name: str, content: bytes) -> str:
        lab.storage.put(f"s3://bedrock/{hour}/{name}", gzip.compress(content), NOW)
        return f"s3://bedrock/{hour}/{name}"

    asked = put("data/r1_input.json.gz", json.dumps(request).encode())
    told = put("data/r2_output.json.gz", json.dumps(answer).encode())
    larger = put("data/r4_input.json.gz", json.dumps({"messages": "x" * 5_000_000}).encode())
    put(
        "20261121T114500Z_1.json.gz",
        lines(
            logged(1, input={"inputBodyS3Path": asked}),
            logged(2, output={"outputBodyS3Path": told}),
            logged(3, input={"inputBodyS3Path": f"{asked}.gone"}),
            logged(4, input={"inputBodyS3Path": larger}),
        ),
    )
    lab.storage.put(f"s3://bedrock/{hour}/amazon-bedrock-logs-permission-check", b"", NOW)
    place = "s3://bedrock/prod/AWSLogs/111111111111/BedrockModelInvocationLogs/us-east-1/{yyyy}/{mm}/{dd}/{hh}/"
    source = open_source(customer(tmp_path, lab, interactions=place, provider="aws"))
    found = fetched(source)
    assert ids(found) == ["r1", "r2"]
    assert {(item.prompt, item.response) for item in found} == {("Why? " * 30_000, "So.")}
    assert source.counts.reasons == {Reason.NO_BODY: 1, Reason.TOO_LARGE: 1}
    count, sights = source.look(["aws"], START, END)
    assert (count, [sight.interactions for sight in sights]) == (5, [2])


# --- What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", EVERYWHERE)
def test_missing_bucket_is_named(lab: CloudLab, tmp_path: Path, place: str) -> None:
    source = open_source(customer(tmp_path, lab, interactions=f"{place}nowhere/x/"))
    with pytest.raises(CloudError, match=r"there is no (bucket|container) nowhere.*`interactions`") as caught:
        fetched(source)
    assert caught.value.cause is Cause.CONFIG


@pytest.mark.parametrize(
    ("bucket", "service", "remedy"),
    [
        ("s3://dated", "s3", "s3:ListBucket"),
        ("gs://dated", "storage", "objectViewer"),
        (f"{AZURE}dated", "blob", "Storage Blob Data Reader"),
    ],
)
def test_missing_permission_names_the_remedy(
    lab: CloudLab, tmp_path: Path, bucket: str, service: str, remedy: str
) -> None:
    lab.control.add_faults({"action": "deny", "operation": None, "service": service})
    source = open_source(customer(tmp_path, lab, interactions=f"{bucket}/{DATED}"))
    with pytest.raises(CloudError, match=f"{bucket}.*{remedy}") as caught:
        fetched(source)
    assert caught.value.cause is Cause.PERMISSION


@pytest.mark.parametrize("bucket", [f"{place}dated" for place in EVERYWHERE])
@pytest.mark.parametrize("action", ["partial", "disconnect", "throttle", "unavailable"])
def test_passing_trouble_costs_nothing(
    lab: CloudLab, tmp_path: Path, bucket: str, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    lab.control.add_faults({"action": action, "operation": "GetObject", "times": 2})
    source = open_source(customer(tmp_path, lab, interactions=f"{bucket}/{DATED}"))
    assert told(fetched(source)) == truth(lab, bucket, "aws")


@pytest.mark.parametrize("bucket", [f"{place}dated" for place in EVERYWHERE])
@pytest.mark.parametrize(
    ("action", "cause"),
    [("partial", Cause.UNAVAILABLE), ("disconnect", Cause.UNAVAILABLE), ("throttle", Cause.THROTTLED),
     ("error", Cause.UNAVAILABLE), ("expired", Cause.AUTH)],
)  # fmt: skip
def test_lasting_trouble_ends_as_an_error_without_texts(
    lab: CloudLab, tmp_path: Path, bucket: str, action: str, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "PATIENCE_S", 0.5)
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.02)))
    lab.control.add_faults({"action": action, "operation": "GetObject"})
    source = open_source(customer(tmp_path, lab, interactions=f"{bucket}/{DATED}"))
    with pytest.raises(CloudError) as caught:
        fetched(source)
    busy = action == "throttle" and bucket.startswith(AZURE)  # 503 ServerBusy, as where it is not available
    assert caught.value.cause is (Cause.UNAVAILABLE if busy else cause)
    assert "prompt" not in str(caught.value)


@pytest.mark.parametrize("place", EVERYWHERE)
@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_object_that_changes_between_listing_and_reading_is_passed_over(
    lab: CloudLab, tmp_path: Path, place: str, change: str
) -> None:
    for number in range(3):
        lab.storage.put(f"{place}moving/{number}.jsonl", lines(record(number)), NOW)
    source = open_source(customer(tmp_path, lab, interactions=f"{place}moving", provider="aws"))
    stream = source.fetch("aws", START, END)
    first = next(stream)
    assert isinstance(first, Interaction)
    assert first.interaction_id == "i0"
    if change == "removed":
        del lab.storage._put[f"{place}moving"]["1.jsonl"]
    else:
        lab.storage.put(f"{place}moving/1.jsonl", lines(record(9)), NOW)
    assert [item.interaction_id for item in stream if isinstance(item, Interaction)] == ["i2"]


def test_budget_stops_before_the_call(lab: CloudLab, tmp_path: Path) -> None:
    from decimal import Decimal

    source = open_source(customer(tmp_path, lab, interactions=f"s3://dated/{DATED}"), meter=Meter(Decimal(0)))
    with pytest.raises(CloudError) as caught:
        fetched(source)
    assert caught.value.cause is Cause.BUDGET
    assert not lab.control.calls().count("s3")


def test_fetch_does_not_go_on_for_ever(lab: CloudLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", -1.0)
    with pytest.raises(CloudError, match="s3://dated took over") as caught:
        fetched(open_source(customer(tmp_path, lab, interactions=f"s3://dated/{DATED}")))
    assert not caught.value.cause.permanent


# --- Folders ----------------------------------------------------------------------------------------------------------


def write(path: Path, data: bytes, modified: datetime = NOW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified.timestamp(), modified.timestamp()))


def in_folder(tmp_path: Path, providers: str = "aws", location: str = "logs", **fields: Any) -> FileSource:
    source = open_source(customer(tmp_path, None, providers, interactions=str(tmp_path / location), **fields))
    assert isinstance(source, FileSource)
    return source


def test_files_are_read_plain_or_compressed_whatever_their_names(tmp_path: Path) -> None:
    first, second = lines(record(1)), lines(record(2))
    write(tmp_path / "logs/a.jsonl", lines(record(0))[:-1])  # the last line is not ended
    write(tmp_path / "logs/deep/er/b.gz", gzip.compress(first) + gzip.compress(second))  # as `cat` joins them
    write(tmp_path / "logs/c", gzip.compress(lines(record(3))))
    write(tmp_path / "logs/.hidden.jsonl", lines(record(4)))
    write(tmp_path / "logs/_tmp.jsonl", lines(record(5)))
    write(tmp_path / "logs/empty.jsonl", b"")
    write(tmp_path / "logs/old.jsonl", lines(record(6)), START - timedelta(hours=2))
    write(tmp_path / "logs-of-others/d.jsonl", lines(record(7)))
    source = in_folder(tmp_path)
    assert ids(fetched(source)) == ["i0", "i1", "i2", "i3"]
    assert (source.counts.files, source.counts.bad_lines) == (3, 0)


def test_only_the_hours_of_a_dated_folder_are_read(tmp_path: Path) -> None:
    for hour in range(24):
        write(tmp_path / f"logs/aws/2026-11-21-{hour:02d}.jsonl", lines(record(hour)))
    write(tmp_path / "logs/gcp/2026-11-21-11.jsonl", lines(record(99)))
    source = in_folder(tmp_path, location="logs/{provider}/{yyyy}-{mm}-{dd}-{hh}")
    assert ids(fetched(source)) == ["i11", "i12"]
    assert ids(fetched(source, "gcp")) == ["i99"]
    assert ids(fetched(source, "vultr")) == []


def test_compressed_file_that_is_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    noise = random.Random(1)  # noqa: S311
    data = lines(*(record(n, prompt=noise.randbytes(400).hex()) for n in range(500)))
    whole = gzip.compress(data)
    write(tmp_path / "logs/a.gz", whole[: len(whole) // 2])
    write(tmp_path / "logs/b.gz", whole[:2000] + b"\0" * 2000, START)  # before any whole line
    source = in_folder(tmp_path)
    assert len(fetched(source)) > 200
    assert source.counts.reasons == {Reason.CUT_FILE: 2}


def test_bad_lines_are_counted_and_the_others_read(tmp_path: Path) -> None:
    huge = record(7, prompt="x" * 9_000_000)
    write(
        tmp_path / "logs/a.jsonl",
        lines(record(0), b"{", b"\xff\xfe", b"[5]", huge, record(1), record(2, response=None), b"", record(3)),
    )
    source = in_folder(tmp_path)
    assert ids(fetched(source)) == ["i0", "i1", "i3"]
    reasons = [Reason.NOT_JSON, Reason.NOT_UTF8, Reason.WRONG_TYPE, Reason.TOO_LARGE, Reason.NO_TEXTS]
    assert source.counts.reasons == dict.fromkeys(reasons, 1)


def test_bad_line_counts_in_one_window_only_and_again_in_the_same(tmp_path: Path) -> None:
    bad = b"{"
    quarters = [START + timedelta(minutes=15 * n) for n in range(3)]
    rows: list[dict[str, Any] | bytes] = [
        bad,
        record(0, quarters[0]),
        bad,
        bad,
        record(1, quarters[1]),
        bad,
        record(2, quarters[2]),
    ]
    write(tmp_path / "logs/a.jsonl", lines(*rows))
    write(tmp_path / "logs/only-bad.jsonl", lines(bad), quarters[2] + timedelta(minutes=1))
    source = in_folder(tmp_path)
    counts = []
    for quarter in (*quarters, quarters[0]):
        fetched(source, "aws", quarter, quarter + timedelta(minutes=15))
        counts.append((source.counts.bad_lines, source.counts.files))
    assert counts == [(3, 1), (1, 1), (1, 2), (3, 1)]


def test_records_of_a_time_after_their_file_was_written_are_counted_when_it_was(tmp_path: Path) -> None:
    """As of an application that writes its local time without a zone, east of Greenwich: no window would read them."""
    tokyo = [record(n, START + timedelta(hours=9)).items() for n in range(3)]
    rows = [{**dict(row), "ts": dict(row)["ts"].removesuffix("+00:00")} for row in tokyo]
    write(tmp_path / "logs/a.jsonl", lines(record(7, START + timedelta(minutes=40)), *rows), START)
    source = in_folder(tmp_path)
    assert fetched(source) == []
    assert source.counts.reasons == {Reason.IN_FUTURE: 3}
    assert "3 in_future" in explain_unread(source.counts)
    assert "with their zone" in explain_unread(source.counts)
    assert source.look(["aws"], START, END)[1][0].reasons == {Reason.IN_FUTURE: 3}
    assert ids(fetched(source, "aws", END + timedelta(minutes=15), END + timedelta(minutes=30))) == ["i7"]
    assert source.counts.reasons == {}


def test_window_includes_its_start_and_not_its_end(tmp_path: Path) -> None:
    moments = [START - timedelta(microseconds=1), START, END - timedelta(microseconds=1), END]
    write(tmp_path / "logs/a.jsonl", lines(*(record(n, moment) for n, moment in enumerate(moments))))
    assert ids(fetched(in_folder(tmp_path))) == ["i1", "i2"]


def test_a_call_that_a_file_tells_again_with_more_counts_once_with_all_that_is_known(tmp_path: Path) -> None:
    whole = record(0, prompt_tokens=12, completion_tokens=5)
    write(tmp_path / "logs/a.jsonl", lines(record(0), whole, whole, record(1)))
    application = customer(tmp_path, None, "aws", interactions="clickhouse").application
    assert application is not None
    drawn = draw("acme", application, "aws", START, in_folder(tmp_path))
    (row,) = drawn.usage.rows(START, {})
    assert (row.details["requests"], row.details["input_tokens"], row.details["output_tokens"]) == (2, 12, 5)


def test_where_an_application_runs(tmp_path: Path) -> None:
    rows = [record(0), record(1, provider="gcp"), record(2, provider="openai"), record(3, provider="alibaba_cloud")]
    write(tmp_path / "logs/a.jsonl", lines(*rows))
    only, two = in_folder(tmp_path), in_folder(tmp_path, "aws gcp")
    assert (ids(fetched(only)), only.counts.other_provider) == (["i0", "i2"], 2)
    assert (ids(fetched(two, "gcp")), two.counts.other_provider) == (["i1"], 1)
    assert two.counts.reasons == {Reason.NO_PROVIDER: 2}
    told_so = in_folder(tmp_path, "aws gcp", provider="gcp")
    assert ids(fetched(told_so, "gcp")) == ["i0", "i1", "i2"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no folder .*/logs.*`interactions`"):
        fetched(in_folder(tmp_path))


def test_large_file_is_read_within_little_memory(tmp_path: Path) -> None:
    noise = random.Random(1)  # noqa: S311
    texts = [noise.randbytes(1000).hex() for _ in range(8)]
    data = gzip.compress(lines(*(record(n, prompt=texts[n % 8], response=texts[n % 7]) for n in range(3000))), 1)
    write(tmp_path / "logs/a.gz", data)
    source = in_folder(tmp_path)
    tracemalloc.start()
    count = sum(1 for _ in source.fetch("aws", START, END))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3000
    assert peak < 2 * 2**20  # of 12 MB


# --- ClickHouse -------------------------------------------------------------------------------------------------------

OTEL_TRACES = """
CREATE TABLE otel_traces (
    Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
    SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String), ScopeName String, ScopeVersion String,
    SpanAttributes Map(LowCardinality(String), String), Duration UInt64, StatusCode LowCardinality(String),
    StatusMessage String,
    Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes Map(LowCardinality(String), String))
) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
"""


OTEL_LOGS = """
CREATE TABLE otel_logs (
    Timestamp DateTime64(9), TraceId String, SpanId String, SeverityText LowCardinality(String),
    ServiceName LowCardinality(String), Body String, ResourceAttributes Map(LowCardinality(String), String),
    ScopeName String, LogAttributes Map(LowCardinality(String), String), EventName String
) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, Timestamp)
"""


@pytest.fixture
def clickhouse(open_engine: ClickHouse) -> Iterator[ClickHouse]:
    """An engine with every table and no row; its traces and logs are gone after the test."""
    yield open_engine
    with open_engine.session() as client:
        for table in ("otel_traces", "otel_logs"):
            client.command(f"DROP TABLE IF EXISTS {table} SYNC")
        empty(client)


@pytest.mark.parametrize("rows_at_a_time", [1, 2000])
def test_table_is_read_by_customer_provider_and_time(
    tmp_path: Path, clickhouse: ClickHouse, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logged, "ROWS_AT_ONCE", rows_at_a_time)
    columns = ["timestamp", "customer_id", "provider", "application_id", "model_name", "interaction_id", "prompt",
               "response", "context", "prompt_tokens"]  # fmt: skip
    rows: list[list[Any]] = [
        [START, "acme", "aws", "shop", "m", "i0", "p", "r", "", 5],
        [START + timedelta(microseconds=1500), "acme", "", "shop", "m", "i1", "p", "r", "c", None],
        [START, "acme", "gcp", "shop", "m", "i2", "p", "r", "", None],
        [START, "globex", "aws", "shop", "m", "i3", "p", "r", "", None],
        [END, "acme", "aws", "shop", "m", "i4", "p", "r", "", None],
        [START, "acme", "aws", "shop", "m", "i5", "p", "", "", None],
        [START, "acme", "aws", "shop", "m", "i6", "x" * 5_000_000, "r", "", None],
    ]
    with clickhouse.session() as client:
        client.insert("llm_interactions", rows, columns)
    source = open_source(
        customer(tmp_path, None, "aws gcp", interactions="clickhouse", provider="aws"), clickhouse=clickhouse
    )
    found = sorted(fetched(source), key=lambda item: item.interaction_id)
    assert found == [
        Interaction("i0", "shop", "shop", "m", START, "aws", "p", "r", prompt_tokens=5),
        Interaction("i1", "shop", "shop", "m", START + timedelta(microseconds=1500), "", "p", "r", context="c"),
    ]
    assert (source.counts.interactions, source.counts.other_provider) == (2, 1)
    assert source.counts.reasons == {Reason.NO_TEXTS: 1, Reason.TOO_LARGE: 1}


def test_traces_of_opentelemetry_are_read_where_they_are(tmp_path: Path, clickhouse: ClickHouse) -> None:
    model = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "m", "gen_ai.usage.input_tokens": "4"}
    user, assistant = (
        '[{"role":"user","parts":[{"type":"text","content":"p"}]}]',
        '[{"role":"assistant","content":"r"}]',
    )
    messages = {"gen_ai.input.messages": user, "gen_ai.output.messages": assistant}
    details = "gen_ai.client.inference.operation.details"
    spans: list[tuple[dict[str, str], list[tuple[str, dict[str, str]]]]] = [
        ({**model, **messages}, []),
        ({**model, "gen_ai.prompt": "p", "gen_ai.completion": "r"}, []),
        ({**model, "gen_ai.prompt.0.content": "p", "gen_ai.completion.0.content": "r"}, []),
        (model, [("log", {}), (details, messages)]),
        (model, [("gen_ai.content.prompt", {"gen_ai.prompt": user}),
                 ("gen_ai.content.completion", {"gen_ai.completion": assistant})]),
        (model, [("gen_ai.user.message", {"content": "p"}), ("gen_ai.choice", {"message": '{"content":"r"}'})]),
        (model, []),  # texts were not captured
        ({"http.method": "GET"}, []),
        ({**model, **messages, "gen_ai.operation.name": "execute_tool"}, []),
    ]  # fmt: skip
    names = ["Timestamp", "TraceId", "SpanId", "ServiceName", "ResourceAttributes", "SpanAttributes",
             "Events.Timestamp", "Events.Name", "Events.Attributes"]  # fmt: skip
    rows = [
        [START, "t", f"s{number}", "shop", {"customer.id": owner, "cloud.provider": "aws"}, attributes,
         [START] * len(events), [name for name, _ in events], [held for _, held in events]]
        for owner in ("acme", "globex")
        for number, (attributes, events) in enumerate(spans)
    ]  # fmt: skip
    source = open_source(customer(tmp_path, None, interactions="clickhouse"), clickhouse=clickhouse)
    assert fetched(source) == []  # there is no otel_traces yet
    with clickhouse.session() as client:
        client.command(OTEL_TRACES)
        client.insert("otel_traces", rows, names)
    found = sorted(fetched(source), key=lambda item: item.interaction_id)
    assert found == [
        Interaction(f"t-s{n}", "shop", "shop", "m", START, "aws", "p", "r", prompt_tokens=4, trace_id="t", latency_ms=0)
        for n in range(6)
    ]
    assert source.counts.reasons == {Reason.TEXTS_NOT_LOGGED: 1}


@pytest.mark.parametrize(
    ("rows_at_a_time", "has_names"),
    [
        pytest.param(1, True, id="one row at a time, a column of names"),
        pytest.param(2000, False, id="names as attributes"),
        pytest.param(1, False, id="one row at a time, names as attributes", marks=pytest.mark.long),
        pytest.param(2000, True, id="a column of names", marks=pytest.mark.long),
    ],
)
def test_spans_and_their_log_records_are_one_call(
    tmp_path: Path, clickhouse: ClickHouse, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch, *, has_names: bool
) -> None:
    monkeypatch.setattr(logged, "ROWS_AT_ONCE", rows_at_a_time)
    resource = {"customer.id": "acme", "cloud.provider": "aws"}
    late = END - timedelta(seconds=2)  # whose answer is logged in the next window
    spans = [
        [moment, f"t{number}", "s", "", "chat", "shop", resource, {"gen_ai.request.model": "m"}, 3 * 10**9, "Unset"]
        for number, moment in enumerate((START, late, END))
    ]
    spans += [
        [START, "t9", f"s{n}", "s0" * n, "chat", "shop", resource, {**held, "gen_ai.response.id": "r"}, 10**9, "Unset"]
        for n, held in enumerate(({"gen_ai.prompt": "p", "gen_ai.completion": "r"}, {"gen_ai.request.model": "m"}))
    ]
    spans += [[START, "t8", "s", "", "chat", "shop", resource, {"gen_ai.system": "openai"}, 10**9, "Error"]]
    span_names = ["Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "ServiceName", "ResourceAttributes",
                  "SpanAttributes", "Duration", "StatusCode"]  # fmt: skip
    logs = []
    for number, moment in enumerate((START, late, END)):
        answer = {"index": 0, "message": {"content": f"r{number}"}}
        for name, after, body in (("gen_ai.user.message", 0, {"content": "p"}), ("gen_ai.choice", 3, answer)):
            attributes = {} if has_names else {"event.name": name}
            named = [name] if has_names else []
            logs.append([moment + timedelta(seconds=after), f"t{number}", "s", "shop", resource, attributes,
                         json.dumps(body), *named])  # fmt: skip
    log_names = ["Timestamp", "TraceId", "SpanId", "ServiceName", "ResourceAttributes", "LogAttributes", "Body"]
    with clickhouse.session() as client:
        client.command(OTEL_TRACES)
        client.command(OTEL_LOGS if has_names else OTEL_LOGS.replace(", EventName String", ""))
        client.insert("otel_traces", spans, span_names)
        client.insert("otel_logs", logs, log_names + ["EventName"] * has_names)
    source = open_source(customer(tmp_path, None, interactions="clickhouse"), clickhouse=clickhouse)
    found = [(item.interaction_id, item.model_name, item.response, item.latency_ms) for item in fetched(source)]
    assert sorted(found) == [("t0-s", "m", "r0", 3000), ("t1-s", "m", "r1", 3000), ("t9-s0", "m", "r", 1000)]
    assert source.counts.reasons == {}


def test_a_log_is_read_without_arrow() -> None:
    """It is 40 MB, of the 60 that a window of 100,000 interactions may take."""
    code = (
        "import sys, optiinfra_dagster.quality.files, optiinfra_dagster.quality.window_calls; "
        "print({'pyarrow', 'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("table", "columns"), [("otel_traces", OTEL_TRACES), ("otel_logs", OTEL_LOGS)])
def test_attributes_that_are_json_are_named(tmp_path: Path, clickhouse: ClickHouse, table: str, columns: str) -> None:
    source = open_source(customer(tmp_path, None, interactions="clickhouse"), clickhouse=clickhouse)
    with clickhouse.session() as client:
        client.command(columns.replace("Map(LowCardinality(String), String)", "JSON"))
    with pytest.raises(ConfigError, match=f"{table} has attributes of the type JSON.*clickhouse.json"):
        fetched(source)


def test_log_records_are_read_where_no_spans_are_stored(tmp_path: Path, clickhouse: ClickHouse) -> None:
    source = open_source(customer(tmp_path, None, interactions="clickhouse"), clickhouse=clickhouse)
    answer = {"index": 0, "message": {"content": "r"}}
    with clickhouse.session() as client:
        client.command(OTEL_LOGS)
        client.insert(
            "otel_logs",
            [[START, "t", "s", "shop", {"customer.id": "acme", "cloud.provider": provider}, {}, json.dumps(body), name]
             for provider in ("aws", "gcp")
             for name, body in (("gen_ai.user.message", {"content": "p"}), ("gen_ai.choice", answer))],
            ["Timestamp", "TraceId", "SpanId", "ServiceName", "ResourceAttributes", "LogAttributes", "Body",
             "EventName"],
        )  # fmt: skip
    assert [(item.prompt, item.response, item.application_id) for item in fetched(source)] == [("p", "r", "shop")]
    assert source.counts.other_provider == 2
    assert source.look(["aws"], START, END)[0] == 4


def test_feedback_is_read_from_the_tables_of_opentelemetry(tmp_path: Path, clickhouse: ClickHouse) -> None:
    """Also what is said of an interaction of long ago, and in a span that is no call."""
    resource = {"customer.id": "acme", "cloud.provider": "aws"}
    name = "gen_ai.evaluation.result"
    held = {"gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": "1"}
    with clickhouse.session() as client:
        client.command(OTEL_TRACES)
        client.command(OTEL_LOGS)
        client.insert(
            "otel_logs",
            [[moment, "t1", "s1", "shop", resource, held, name] for moment in (START, END)],
            ["Timestamp", "TraceId", "SpanId", "ServiceName", "ResourceAttributes", "LogAttributes", "EventName"],
        )
        client.insert(
            "otel_traces",
            [[START, "t2", "s2", "http", "shop", resource, {"http.method": "GET"}, [START], [name], [held]]],
            ["Timestamp", "TraceId", "SpanId", "SpanName", "ServiceName", "ResourceAttributes", "SpanAttributes",
             "Events.Timestamp", "Events.Name", "Events.Attributes"],
        )  # fmt: skip
    source = open_source(customer(tmp_path, None, interactions="clickhouse"), clickhouse=clickhouse)
    found = list(source.fetch("aws", START, END))
    assert [(item.ids, item.number) for item in found if isinstance(item, Feedback)] == [
        (("t1-s1",), 1.0), (("t2-s2",), 1.0),
    ]  # fmt: skip
    assert (len(found), source.counts.feedback, source.counts.bad_lines) == (2, 2, 0)


def test_feedback_that_names_no_provider_is_wanted_of_each(tmp_path: Path) -> None:
    one = {"timestamp": START.isoformat(), "feedback": {"interaction_id": "i", "thumb": "up"}}
    write(tmp_path / "logs" / "a.jsonl", lines(one, {**one, "provider": "gcp"}))
    source = in_folder(tmp_path, "aws gcp")
    assert [len(list(source.fetch(provider, START, END))) for provider in ("aws", "gcp")] == [1, 2]
    assert source.counts.bad_lines == 0


# --- The customers file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interactions": "s3://logs/{year}/"}, "holds {year}"),
        ({"interactions": "s3://logs/{dd}/"}, "part of the hour without the parts before it"),
        ({"interactions": "ftp://logs"}, "not a place that interactions can be read from"),
        ({"interactions": "/logs", "endpoint_url": "https://x.example"}, "of use only with s3://, gs://, https://"),
        ({"interactions": "gs://logs", "access_key_id": {"env": "A"}, "secret_access_key": {"env": "B"}},
         "of use only with s3://"),
        ({"interactions": "s3://logs", "access_key_id": {"env": "A"}}, "work only together"),
        ({"interactions": "s3://logs", "endpoint_url": "https://x.example"}, "has keys of its own"),
        ({"interactions": "s3://logs", "secret_access_key": "hunter2"}, "only a reference to it"),
        ({"interactions": "s3://logs", "provider": "oracle"}, "Choose from aws, gcp, azure, vultr"),
    ],
)  # fmt: skip
def test_mistakes_in_the_description_of_an_application(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        customer(tmp_path, **fields)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
