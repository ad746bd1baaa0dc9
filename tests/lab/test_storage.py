"""S3 and Google Cloud Storage of the lab, asked by the clouds' own clients."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError
from google.api_core import exceptions as google
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from optiinfra_dagster.config.secrets import Endpoint
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.world import World
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.client import open_principal
from optiinfra_dagster.providers.azure.errors import RefusedError
from optiinfra_dagster.providers.azure.transport import calling
from tests.lab.conftest import ACCOUNT, NOW, connect

WINDOW = datetime(2026, 11, 20, 11, 45, tzinfo=UTC)
LOCATION = "{provider}/{yyyy}/{mm}/{dd}/{hh}/"
BOT: dict[str, Any] = {"id": "bot", "provider": "aws", "location": f"s3://logs/{LOCATION}", "history_hours": 24}
WORLD: dict[str, Any] = {
    "seed": 7,
    "aws": {"accounts": [{"id": ACCOUNT, "access_keys": ["KEY1"]}]},
    "applications": [
        {**BOT, "bad_lines": 5},
        {**BOT, "provider": "vultr"},
        {**BOT, "location": f"gs://logs/{LOCATION}", "compressed": False},
    ],
}
KEYS = [f"aws/2026/11/20/11/{minute}-aws-bot.jsonl" for minute in ("1100", "1115", "1130", "1145")]


@pytest.fixture(scope="module")
def running() -> Iterator[CloudLab]:
    with CloudLab(WORLD, now=lambda: NOW) as lab:
        yield lab


@pytest.fixture
def store(running: CloudLab) -> Iterator[CloudLab]:
    running.control.reset()
    yield running
    running.control.reset()


def bucket(lab: CloudLab, name: str = "logs") -> Any:
    client = storage.Client("p", AnonymousCredentials(), client_options={"api_endpoint": lab.url})  # type: ignore[no-untyped-call]
    return client.bucket(name)


def listed(answer: dict[str, Any]) -> list[str]:
    return [one["Key"] for one in answer.get("Contents", ())]


def refusal(call: Any, **request: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_s3_lists_by_prefix_in_pages_and_from_a_key_on(store: CloudLab) -> None:
    s3 = connect(store, "s3")
    whole = listed(s3.list_objects_v2(Bucket="logs", Prefix="aws/2026/11/20/11/"))
    assert whole == [f"{key}.gz" for key in KEYS]
    first = s3.list_objects_v2(Bucket="logs", Prefix="aws/2026/11/20/11/", MaxKeys=3)
    assert (listed(first), first["IsTruncated"]) == (whole[:3], True)
    rest = s3.list_objects_v2(Bucket="logs", Prefix="aws/", MaxKeys=3, ContinuationToken=first["NextContinuationToken"])
    assert listed(rest)[0] == whole[3]
    assert listed(s3.list_objects_v2(Bucket="logs", Prefix="aws/2026/11/20/11/", StartAfter=whole[1])) == whole[2:]
    everything = listed(s3.list_objects_v2(Bucket="logs"))
    assert len(everything) == 2 * 24 * 4
    assert everything == sorted(everything)


def test_nothing_is_there_before_its_window_is_over(store: CloudLab) -> None:
    s3 = connect(store, "s3")
    found = s3.list_objects_v2(Bucket="logs", Prefix="aws/2026/11/20/1")["Contents"]
    assert max(one["Key"] for one in found) == f"{KEYS[-1]}.gz"
    assert all(WINDOW - timedelta(days=1) < one["LastModified"] <= NOW for one in found)


def test_s3_reads_objects_whole_in_part_and_only_unchanged(store: CloudLab) -> None:
    s3 = connect(store, "s3")
    request = {"Bucket": "logs", "Key": f"{KEYS[-1]}.gz"}
    answer = s3.get_object(**request)
    data = answer["Body"].read()
    assert answer["ContentLength"] == len(data)
    part = s3.get_object(**request, Range="bytes=10-19", IfMatch=answer["ETag"])
    assert (part["Body"].read(), part["ContentRange"]) == (data[10:20], f"bytes 10-19/{len(data)}")
    assert s3.get_object(**request, Range=f"bytes={len(data) - 3}-")["Body"].read() == data[-3:]
    assert refusal(s3.get_object, **request, Range=f"bytes={len(data)}-") == (416, "InvalidRange")
    assert refusal(s3.get_object, **request, IfMatch='"other"') == (412, "PreconditionFailed")


def test_s3_refuses_in_its_own_words(store: CloudLab) -> None:
    s3 = connect(store, "s3")
    assert refusal(s3.list_objects_v2, Bucket="nowhere") == (404, "NoSuchBucket")
    assert refusal(s3.get_object, Bucket="logs", Key="nothing") == (404, "NoSuchKey")
    assert refusal(connect(store, "s3", "STRANGER").list_objects_v2, Bucket="logs") == (403, "InvalidAccessKeyId")
    words = {"throttle": (503, "SlowDown"), "deny": (403, "AccessDenied"), "error": (500, "InternalError")}
    for action, told in words.items():
        store.control.add_faults({"action": action, "service": "s3", "times": 1})
        assert refusal(s3.list_objects_v2, Bucket="logs") == told
    assert store.control.calls().count("s3", "ListObjectsV2", ACCOUNT, "us-east-1", 503) == 1


def test_google_lists_between_names_and_in_pages(store: CloudLab) -> None:
    logs = bucket(store)
    names = [blob.name for blob in logs.list_blobs(prefix="aws/2026/11/20/11/")]
    assert names == KEYS
    between = logs.list_blobs(start_offset=KEYS[1], end_offset=KEYS[3])
    assert [blob.name for blob in between] == KEYS[1:3]
    pages = [len(list(page)) for page in logs.list_blobs(prefix="aws/2026/11/20/11/", page_size=3).pages]
    assert pages == [3, 1]
    assert store.control.calls().count("storage", "ListObjects") == 4


def test_google_reads_objects_of_a_generation(store: CloudLab) -> None:
    (found,) = bucket(store).list_blobs(prefix=KEYS[-1])
    data = found.download_as_bytes(raw_download=True, checksum=None)
    assert found.size == len(data)
    assert found.download_as_bytes(start=5, end=9, raw_download=True) == data[5:10]
    with pytest.raises(google.NotFound):
        bucket(store).blob(KEYS[-1], generation=1).download_as_bytes(raw_download=True)
    with pytest.raises(google.RequestRangeNotSatisfiable):
        found.download_as_bytes(start=len(data), raw_download=True)


def test_google_refuses_in_its_own_words(store: CloudLab) -> None:
    with pytest.raises(google.NotFound):
        list(bucket(store, "nowhere").list_blobs())
    for action, error in (("deny", google.Forbidden), ("throttle", google.TooManyRequests)):
        store.control.add_faults({"action": action, "service": "storage", "times": 1})
        with pytest.raises(error):
            list(bucket(store).list_blobs(retry=None))


def test_cut_answer_promises_more_than_it_gives(store: CloudLab) -> None:
    from botocore.exceptions import BotoCoreError

    store.control.add_faults({"action": "partial", "operation": "GetObject", "times": 1})
    s3 = connect(store, "s3")
    body = s3.get_object(Bucket="logs", Key=f"{KEYS[-1]}.gz")["Body"]
    with pytest.raises(BotoCoreError):
        body.read()
    assert s3.get_object(Bucket="logs", Key=f"{KEYS[-1]}.gz")["Body"].read()  # on a connection of its own


def test_logs_follow_from_the_seed_and_hold_what_is_expected(store: CloudLab) -> None:
    other = CloudLab(WORLD, now=lambda: NOW + timedelta(hours=12))
    first = store.storage.listed("s3://logs", KEYS[-1])
    again = other.storage.listed("s3://logs", KEYS[-1])
    other.close()
    assert first is not None
    assert again is not None
    assert [one.read() for one in first] == [one.read() for one in again]
    lines = gzip.decompress(first[0].read()).splitlines()
    truth = store.storage.expected("s3://logs", "aws", WINDOW, WINDOW + timedelta(minutes=15))
    assert len(lines) == len(truth) + 5
    assert len({record["interaction_id"] for record in truth}) == len(truth) == 20
    assert all(WINDOW <= record["timestamp"] < WINDOW + timedelta(minutes=15) for record in truth)
    everything = store.storage.expected("s3://logs", "aws", WINDOW - timedelta(hours=10), WINDOW)
    assert {record["quality"] for record in everything} == {"good", "made_up", "poor", "rude"}


def test_given_interactions_take_turns(tmp_path: Path) -> None:
    given = [{"id": f"g{n}", "prompt": f"p{n}", "response": "r", "context": None} for n in range(5)]
    (tmp_path / "given.jsonl").write_text("\n".join(json.dumps(one) for one in given))
    file = tmp_path / "world.json"
    file.write_text(json.dumps({**WORLD, "applications": [{**BOT, "file": "given.jsonl", "per_window": 3}]}))
    lab = CloudLab(file)
    truth = lab.storage.expected("s3://logs", "aws", WINDOW, WINDOW + timedelta(minutes=75))
    lab.close()
    assert len(truth) == 15
    assert [truth.count(record) for record in truth] == [1] * 15
    prompts = [record["prompt"] for record in truth]
    assert {prompt: prompts.count(prompt) for prompt in prompts} == {f"p{n}": 3 for n in range(5)}


@pytest.mark.parametrize("wrong", [{"location": "ftp://x/"}, {"provider": "oracle"}, {"shape": "csv"}, {"colour": 1}])
def test_mistake_in_the_world_is_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    file = tmp_path / "world.json"
    file.write_text(json.dumps({"applications": [{**BOT, **wrong}]}))
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        World.load(file)


def test_azure_lists_in_pages_and_reads_objects_whole_in_part_and_only_unchanged(store: CloudLab) -> None:
    host, container = "acme.blob.core.windows.net", "logs"
    for number in range(3):
        store.storage.put(f"https://{host}/{container}/a/{number}.jsonl", f"line {number}".encode(), NOW)
    principal = open_principal(
        AzureAccount(subscription_id="a0000000-0000-4000-8000-000000000001", endpoint_url=Endpoint(url=store.url))
    )
    with calling(Meter(), 30.0):
        page = ET.fromstring(principal.list_blobs(host, container, "a/", "").lstrip("\ufeff"))  # noqa: S314
        names = [name.text for name in page.iter("Name")]
        etags = [etag.text for etag in page.iter("Etag")]
        assert names == ["a/0.jsonl", "a/1.jsonl", "a/2.jsonl"]
        rest = ET.fromstring(principal.list_blobs(host, container, "a/", "a/2.jsonl").lstrip("\ufeff"))  # noqa: S314
        assert [name.text for name in rest.iter("Name")] == names[2:]
        unchanged = {"If-Match": f'"{etags[1]}"'}
        assert principal.blob(host, container, "a/1.jsonl", unchanged).read() == b"line 1"
        assert principal.blob(host, container, "a/1.jsonl", {**unchanged, "Range": "bytes=5-"}).read() == b"1"
        for name, headers, status in (("a/1.jsonl", {"If-Match": '"other"'}, 412), ("a/9.jsonl", {}, 404)):
            with pytest.raises(RefusedError) as caught:
                principal.blob(host, container, name, headers)
            assert caught.value.status == status
