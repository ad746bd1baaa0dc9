"""Logs of every format through whole runs of Dagster: from each kind of place to verdicts and `application usage`.

What is written are the examples of each format and the recordings of real libraries, moved to the newest window: each
is the log of a customer of its own. What must come out is what `test_formats` and `test_real_libraries` want of them.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from pydantic import SecretStr

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.automation.jobs import READERS_JOB, collection_job
from optiinfra_dagster.model import windows
from optiinfra_dagster.quality.interactions import Interaction, SkippedCall
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from tests.quality.real_libraries.libraries import WAYS, Way
from tests.quality.test_formats import EXAMPLES, read
from tests.quality.test_real_libraries import OTLP, recorded
from tests.quality.test_sources import OTEL_LOGS, OTEL_TRACES
from tests.support.engines import copy_dagster
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from tests.collection.conftest import StartLab

PLACES = ("folder", "s3://formats/", "gs://formats/", "https://acmelogs.blob.core.windows.net/formats/")
OF_EXAMPLES = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)  # their window


@dataclass(frozen=True)
class Log:
    """A customer's log of one window, and what it tells of: interactions, other calls by their kind, bad records.

    Of an example only the kinds and reasons are known, and the tokens of its first call.
    """

    name: str
    files: Mapping[str, bytes]
    interactions: int
    others: Mapping[str, int | None]
    bad: int | set[str]
    provider: str = "aws"
    tokens: tuple[int | None, int | None] = (None, None)


# --- Times ------------------------------------------------------------------------------------------------------------

_EPOCH = re.compile(r"(?<![\dA-Za-z.-])(1[78]\d{8})(?=\d{3}(?!\d)|\d{6}(?!\d)|\d{9}(?!\d)|\.\d|(?!\d))")
_ISO = re.compile(r"(?<!\d)(20\d\d)([-/])(\d\d)[-/](\d\d)([T ])(\d\d):(\d\d)(?=:\d\d|Z)")
_RFC2822 = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d(?= GMT)")


def moved(text: str, by: timedelta) -> bytes:
    """A log with all its times moved by whole minutes."""
    text = _EPOCH.sub(lambda match: str(int(match[1]) + round(by.total_seconds())), text)
    text = _RFC2822.sub(lambda match: format_datetime(parsedate_to_datetime(f"{match[0]} +0000") + by)[:25], text)

    def iso(match: re.Match[str]) -> str:
        year, mark, month, day, between, hour, minute = match.groups()
        moment = datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:00+00:00") + by
        return moment.strftime(f"%Y{mark}%m{mark}%d{between}%H:%M")

    return _ISO.sub(iso, text).encode()


# --- Logs -------------------------------------------------------------------------------------------------------------


def examples(window: datetime) -> Iterator[Log]:
    """The examples of formats."""
    for example in EXAMPLES:
        want = example["want"]
        content = moved("\n".join(example["lines"]) + "\n", window - OF_EXAMPLES)
        providers = [item.provider for item in read(content) if isinstance(item, Interaction | SkippedCall)]
        yield Log(
            name=example["shape"].replace("_", "-"),
            files={"log.jsonl": content},
            interactions=want["interactions"],
            others={want["skipped"]: None} if want.get("skipped") else {},
            bad={want["bad"]} if want.get("bad") else set(),
            provider=next(filter(None, providers), "aws"),
            tokens=(want.get("prompt_tokens"), want.get("response_tokens")),
        )


def recordings(window: datetime) -> Iterator[Log]:
    """The recordings of libraries."""
    for way in WAYS:
        yield Log(
            name=f"recorded-{way.name}".replace("_", "-"),
            files={"log.jsonl.gz": gzip.compress(recording_in(window, way))},
            interactions=len(way.interactions()),
            others=way.others(),
            bad=way.without_texts(),
        )


def recording_in(window: datetime, way: Way) -> bytes:
    """A recording moved to a window."""
    content = recorded(way)
    first = min(item.timestamp for item in read(content) if item.timestamp is not None)
    return moved(content.decode(), window + timedelta(minutes=2) - first.replace(second=0, microsecond=0))


def bedrock_with_bodies(window: datetime) -> Log:
    """Invocations whose request or answer is in an object of its own; of one it never came."""
    hour = "AWSLogs/111111111111/BedrockModelInvocationLogs/us-east-1/2026/11/21/11"
    request = {"messages": [{"role": "user", "content": [{"text": "Why? " * 30_000}]}]}
    answer = {"output": {"message": {"role": "assistant", "content": [{"text": "So."}]}}, "stopReason": "end_turn"}
    whole = {"input": {"inputBodyJson": request}, "output": {"outputBodyJson": answer}}
    parts = [
        {"input": {"inputBodyS3Path": f"s3://elsewhere/{hour}/data/1_input.json.gz"}},
        {"output": {"outputBodyS3Path": f"s3://elsewhere/{hour}/data/2_output.json.gz"}},
        {"output": {"outputBodyS3Path": f"s3://elsewhere/{hour}/data/3_output.json.gz"}},
    ]
    records = [
        {"schemaType": "ModelInvocationLog", "timestamp": window.isoformat(), "requestId": f"r{number}",
         "operation": "Converse", "modelId": "amazon.nova-lite-v1:0", **whole, **part}
        for number, part in enumerate(parts)
    ]  # fmt: skip
    files = {
        f"{hour}/20261121T114500Z_1.json.gz": "\n".join(map(json.dumps, records)),
        f"{hour}/data/1_input.json.gz": json.dumps(request),
        f"{hour}/data/2_output.json.gz": json.dumps(answer),
        f"{hour}/amazon-bedrock-logs-permission-check": "",
    }
    packed = {name: gzip.compress(text.encode()) if text else b"" for name, text in files.items()}
    return Log("bedrock-with-bodies", packed, 2, {}, 1)


# --- Places -----------------------------------------------------------------------------------------------------------


def put(log: Log, place: str, folder: Path, lab: CloudLab, at: datetime) -> dict[str, Any]:
    """Write a log below a place; the fields of its application."""
    if place != "folder":
        for name, content in log.files.items():
            lab.storage.put(f"{place}{log.name}/{name}", content, at)
        keys: dict[str, Any] = {name: {"env": "LAB_KEY"} for name in ("access_key_id", "secret_access_key")}
        own = keys if place.startswith("s3://") else {}
        return {"interactions": f"{place}{log.name}/", "endpoint_url": lab.url, **own}
    for name, content in log.files.items():
        path = folder / log.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (at.timestamp(), at.timestamp()))
    return {"interactions": str(folder / log.name)}


def insert(clickhouse: ClickHouse, logs: Mapping[str, bytes]) -> None:
    """OTLP of customers as the collector's exporter writes it into ClickHouse: every value as text."""
    spans: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for customer, content in logs.items():
        for line in content.splitlines():
            message = json.loads(line)
            for resource, scope, one in _within(message, "Spans", "spans"):
                spans.append(_row_of_span(customer, resource, scope, one))
            for resource, scope, one in _within(message, "Logs", "logRecords"):
                records.append(_row_of_record(customer, resource, scope, one))
    with clickhouse.session() as client:
        for create, table, rows in ((OTEL_TRACES, "otel_traces", spans), (OTEL_LOGS, "otel_logs", records)):
            client.command(create)
            client.insert(table, [list(row.values()) for row in rows], list(rows[0]))


def _within(message: dict[str, Any], kind: str, name: str) -> Iterator[tuple[dict[str, str], str, dict[str, Any]]]:
    for group in message.get(f"resource{kind}", ()):
        resource = _texts(group.get("resource", {}).get("attributes"))
        for scope in group[f"scope{kind}"]:
            for one in scope[name]:
                yield resource, scope.get("scope", {}).get("name", ""), one


def _row_of_span(customer: str, resource: dict[str, str], scope: str, span: dict[str, Any]) -> dict[str, Any]:
    begun, ended = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    events = span.get("events") or []
    failed = span.get("status", {}).get("code") in {2, "STATUS_CODE_ERROR"}
    return {
        "Timestamp": begun, "TraceId": span["traceId"], "SpanId": span["spanId"],
        "ParentSpanId": span.get("parentSpanId") or "", "SpanName": span["name"],
        "ServiceName": resource.get("service.name", ""), "ScopeName": scope,
        "StatusCode": "Error" if failed else "Unset",
        "Duration": ended - begun, "ResourceAttributes": {**resource, "customer.id": customer},
        "SpanAttributes": _texts(span.get("attributes")),
        "Events.Timestamp": [int(event["timeUnixNano"]) for event in events],
        "Events.Name": [event["name"] for event in events],
        "Events.Attributes": [_texts(event.get("attributes")) for event in events],
    }  # fmt: skip


def _row_of_record(customer: str, resource: dict[str, str], scope: str, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "Timestamp": int(record.get("timeUnixNano") or record["observedTimeUnixNano"]),
        "TraceId": record.get("traceId") or "", "SpanId": record.get("spanId") or "",
        "ServiceName": resource.get("service.name", ""), "ScopeName": scope, "EventName": record.get("eventName") or "",
        "ResourceAttributes": {**resource, "customer.id": customer}, "LogAttributes": _texts(record.get("attributes")),
        "Body": _text(_value(record.get("body"))),
    }  # fmt: skip


def _texts(attributes: list[dict[str, Any]] | None) -> dict[str, str]:
    return {one["key"]: _text(_value(one["value"])) for one in attributes or ()}


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _value(value: dict[str, Any] | None) -> Any:
    """OTLP's value as the exporter's `AsString` writes it: lists and objects as JSON."""
    for kind, held in (value or {}).items():
        if kind == "arrayValue":
            return [_value(one) for one in held.get("values") or ()]
        if kind == "kvlistValue":
            return {one["key"]: _value(one.get("value")) for one in held.get("values") or ()}
        return int(held) if kind == "intValue" else held
    return None


# --- Runs -------------------------------------------------------------------------------------------------------------


def run(spine: Spine, window: datetime) -> None:
    """Collect the applications of each cloud, and compute what they used."""
    overrides = {"clickhouse": spine.clickhouse, "io_manager": ClickHouseIOManager(spine.clickhouse)}
    defs = build_defs(spine.settings, overrides)
    jobs = {collection_job(name): dg.AssetKey([name, "application"]) for name in ("aws", "gcp", "azure")}
    with dg.DagsterInstance.local_temp(copy_dagster(spine.home)) as instance:
        for job, asset in (jobs | {READERS_JOB: dg.AssetKey(["application", "usage"])}).items():
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance, partition_key=windows.key(window), asset_selection=[asset], raise_on_error=False
            )
            assert result.success, job


def found(spine: Spine, window: datetime) -> dict[str, dict[str, Any]]:
    """By customer: how many interactions have a verdict, what was read, and what the reader says was used."""
    told: dict[str, dict[str, Any]] = defaultdict(lambda: {"judged": Counter(), "used": Counter()})
    for row in spine.view("application_metrics"):
        if row["metric_type"] == "toxicity":
            told[row["customer_id"]]["judged"][row["interaction_id"]] += row["score"] is not None
        if row["metric_type"] == "source":
            told[row["customer_id"]]["source"] = json.loads(row["details"])
    sql = "SELECT * FROM application_usage_current WHERE window_start = {window:DateTime('UTC')} AND period = 'window'"
    for row in spine.query(sql, window=window):
        names = ("requests", "interactions", "steps", "embeddings", "failed", "input_tokens", "output_tokens")
        told[row["customer_id"]]["used"].update({name: row[name] or 0 for name in names})
    return told


def check(log: Log, told: dict[str, Any], status: str) -> None:
    """What came out of a log is what it tells of."""
    source, used = told["source"], told["used"]
    assert (len(told["judged"]), set(told["judged"].values())) == (log.interactions, {1} if log.interactions else set())
    assert source["interactions"] == log.interactions
    kinds = Counter(source["skipped"])
    assert kinds.keys() == {kind for kind, number in log.others.items() if number != 0}
    assert all(number in {None, kinds[kind]} for kind, number in log.others.items())
    if isinstance(log.bad, int):
        assert source["bad_lines"] == log.bad
    else:
        assert source["reasons"].keys() == log.bad
    assert status == ("partial" if log.bad else "ok")
    assert source["other_provider"] == 0
    assert used["interactions"] == log.interactions
    assert (used["steps"], used["embeddings"], used["failed"]) == (kinds["step"], kinds["embedding"], kinds["failed"])
    assert used["requests"] == log.interactions + kinds.total()
    if used["requests"] == 1 and None not in log.tokens:
        assert (used["input_tokens"], used["output_tokens"]) == log.tokens


@pytest.fixture
def spine(free_spine: Spine) -> Iterator[Spine]:
    """A spine whose tables of OpenTelemetry are gone after the test: the engine is that of other tests, too."""
    yield free_spine
    with free_spine.clickhouse.session() as client:
        for table in ("otel_traces", "otel_logs"):
            client.command(f"DROP TABLE IF EXISTS {table} SYNC")


def test_every_example_is_of_the_window_that_they_are_moved_from() -> None:
    elsewhere = [
        example["shape"]
        for example in EXAMPLES
        for item in read("\n".join([*example["lines"], ""]).encode())
        if isinstance(item, Interaction | SkippedCall) and item.timestamp is not None
        if windows.floor_to(windows.WINDOW, item.timestamp) != OF_EXAMPLES
    ]
    assert elsewhere == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("turn", "step"), [(0, 6), *(pytest.param(n, 1, marks=pytest.mark.long) for n in range(4))])
def test_every_format_is_judged_and_counted_by_a_run_from_every_kind_of_place(
    start_lab: StartLab, spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int, step: int
) -> None:
    """The formats are dealt to the places in turn; four turns bring each into each. Else it is every sixth, once."""
    window = newest_window()
    delivered = window + timedelta(minutes=14)  # by which bad records without any time are of this window
    lab = start_lab({"aws": {"accounts": [{"id": "1" * 12, "access_keys": ["KEY1"]}]}}, now=lambda: delivered)
    monkeypatch.setenv("LAB_KEY", "KEY1")
    # As long as a busy machine takes: what is not judged in time would count as a log that is not read.
    judge = {"groq_api_key": SecretStr(lab.env["GROQ_API_KEY"]), "groq_base_url": lab.url, "judge_seconds": 3600.0}
    spine.settings = spine.settings.model_copy(update=judge)

    logs = [*recordings(window), bedrock_with_bodies(window), *examples(window)][::step]
    applications = {
        log.name: put(log, PLACES[(number + turn) % len(PLACES)], tmp_path / "logs", lab, delivered)
        for number, log in enumerate(logs)
    }
    tables = {f"table-{way.name}".replace("_", "-"): way for way in OTLP}
    insert(spine.clickhouse, {name: recording_in(window, way) for name, way in tables.items()})
    applications |= {name: {"interactions": "clickhouse"} for name in tables}
    logs += [Log(name, {}, len(way.interactions()), way.others(), way.without_texts()) for name, way in tables.items()]

    customers = [
        {"id": log.name, "name": log.name,
         "application": {**applications[log.name], "provider": log.provider, "sample_per_window": 50}}
        for log in logs
    ]  # fmt: skip
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))
    run(spine, window)

    told = found(spine, window)
    statuses = {customer: rows[-1]["outcome"] for customer, rows in spine.ledger("application", window).items()}
    wrong = {}
    for log in logs:
        try:
            check(log, told[log.name], statuses[log.name])
        except (AssertionError, KeyError) as error:
            wrong[log.name] = f"{type(error).__name__} {error} {statuses.get(log.name)} {dict(told[log.name])}"
    assert not wrong, "\n".join(f"{name}: {error}" for name, error in wrong.items())
