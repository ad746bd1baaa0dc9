"""Texts of LLM interactions: judged, and found nowhere afterwards unless the customer lets them be stored."""

from __future__ import annotations

import gzip
import json
import logging
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from pydantic import SecretStr

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.automation.jobs import READERS_JOB, collection_job
from optiinfra_dagster.lab.faults import Action, Fault
from optiinfra_dagster.lab.groq import cloud as groq
from optiinfra_dagster.lab.groq.naive import label_key, split
from optiinfra_dagster.lab.service import ApiError
from optiinfra_dagster.model import windows
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from optiinfra_dagster.storage.sql import readers
from tests.support.engines import copy_dagster
from tests.support.leaks import places_of
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab

# Customer -> cloud, and whether its texts may be stored.
CUSTOMERS = {"acme": ("aws", False), "globex": ("gcp", False), "initech": ("azure", False), "umbrella": ("azure", True)}
SUBSCRIPTIONS = {name: f"{n:08d}-0000-4000-8000-000000000000" for n, name in enumerate(("initech", "umbrella"), 1)}
PARTS = ("prompt", "response", "context", "reference", "evidence")
TOLD = ("judged", "malformed", "truncated", "bad_lines")
SPOILT = ("schema", "truncated", "json", "body")
TONE = {
    "name": "tone", "question": "Is the answer friendly?", "labels": ["cold", "warm"], "direction": "higher_is_better",
}  # fmt: skip


def word(customer: str, what: str) -> str:
    """A word that stands in one text of one customer and nowhere else."""
    return f"zq{what}of{customer}qz"


def interaction(customer: str, n: str, window: datetime) -> dict[str, Any]:
    """A line of a log with a word in each text."""
    return {
        "id": f"{customer}-{n}",
        "application": "bot",
        "model": "gpt-4o-mini",
        "timestamp": (window + timedelta(minutes=3)).isoformat(),
        **{part: f"About {n}: {word(customer, part)}, is it so?" for part in PARTS[:4]},
    }


def span(customer: str, window: datetime) -> dict[str, Any]:
    """The same as an OpenTelemetry span."""
    said = {
        part: [{"role": "user", "parts": [{"type": "text", "content": word(customer, part)}]}] for part in PARTS[:2]
    }
    return {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331",
        "startTimeUnixNano": str(int((window + timedelta(minutes=3)).timestamp()) * 10**9),
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.input.messages": json.dumps(said["prompt"]),
            "gen_ai.output.messages": json.dumps(said["response"]),
        },
    }


def log_of(customer: str, window: datetime) -> bytes:
    """Good lines, whose numbers tell the lab's judge what to make of them, and every kind of bad one, full of words."""
    good = [interaction(customer, n, window) for n in ("good", "refused", *SPOILT)]
    lines = [json.dumps(one) for one in good] + [json.dumps(span(customer, window))]
    bad = interaction(customer, "bad", window)
    lines += [
        json.dumps(bad)[:-20],
        json.dumps({**bad, "response": {"odd": bad["response"]}, "prompt": [[bad["prompt"]]]}),
        json.dumps({**bad, "timestamp": bad["prompt"]}),
    ]
    return b"\n".join([*(line.encode() for line in lines), f"{bad['prompt']} ".encode() + b"\xff", b""])


def place_logs(lab: CloudLab, folder: Path, window: datetime) -> dict[str, str]:
    """Put everybody's log where the customers file says: in two clouds' storage and in folders."""
    places = {"acme": "s3://acme-llm/", "globex": "gs://globex-llm/"}
    delivered = window + windows.WINDOW
    whole = gzip.compress(log_of("acme", window))
    lab.storage.put("s3://acme-llm/log.jsonl.gz", whole, delivered)
    lab.storage.put("s3://acme-llm/cut.jsonl.gz", whole[: len(whole) * 3 // 4], delivered)
    lab.storage.put("gs://globex-llm/log.jsonl", log_of("globex", window), delivered)
    for customer in ("initech", "umbrella"):
        places[customer] = str(folder / customer)
        (folder / customer).mkdir(parents=True)
        (folder / customer / "log.jsonl").write_bytes(log_of(customer, window))
    return places


def world() -> dict[str, Any]:
    """A machine on each cloud."""
    return {
        "aws": {
            "accounts": [
                {"id": "1" * 12, "regions": ["us-east-1"], "fleets": [{"kind": "ec2:instance", "region": "us-east-1"}]}
            ]
        },
        "gcp": {"projects": [{"id": "globex-prod", "fleets": [{"kind": "gcp:instance", "region": "us-central1"}]}]},
        "azure": {
            "subscriptions": [
                {"id": one, "fleets": [{"kind": "azure:vm", "region": "westeurope"}]} for one in SUBSCRIPTIONS.values()
            ]
        },
    }


def write_customers(spine: Spine, lab: CloudLab, places: dict[str, str]) -> None:
    """Each customer on its cloud."""
    at = {"endpoint_url": lab.url}
    assert lab.gcp.monitoring is not None
    azure = {"metrics_endpoint_url": lab.url}
    accounts: dict[str, dict[str, Any]] = {
        "acme": {"account_id": "1" * 12, "role_arn": f"arn:aws:iam::{'1' * 12}:role/r", "regions": ["us-east-1"]},
        "globex": {"project_id": "globex-prod", "monitoring_endpoint_url": lab.gcp.monitoring.url},
        **{customer: {"subscription_id": one, **azure} for customer, one in SUBSCRIPTIONS.items()},
    }
    customers = [
        {
            "id": customer,
            "name": customer.title(),
            provider: [{**accounts[customer], **at}],
            "application": {
                "interactions": places[customer],
                "sample_per_window": 50,
                "store_text": stored,
                "rubrics": [TONE],
            },
        }
        for customer, (provider, stored) in CUSTOMERS.items()
    ]
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))


def quote(lab: CloudLab, monkeypatch: pytest.MonkeyPatch, window: datetime) -> None:
    """Let the judge quote what it judges: in its evidence, in answers that are none, and in what it refuses with."""
    for customer in CUSTOMERS:
        for one in (interaction(customer, n, window) for n in ("good", *SPOILT)):
            evidence = {"evidence": f"{one['prompt']} {one['response']} {word(customer, 'evidence')}"}
            lab.groq.labels[label_key(one["prompt"], one["response"])] = {
                **{name: {**evidence, "score": 4} for name in ("coherence", "relevance", "accuracy")},
                "hallucination": {
                    "claims": [{"claim": evidence["evidence"], "verdict": "unsupported"}],
                    "label": "minor",
                },
                "retrieval": {"chunks": [{"chunk": 1, "relevance": "relevant"}]},
                "recall": {"facts": [{"fact": evidence["evidence"], "in_context": "yes"}]},
                "toxicity": {**evidence, "category": "none", "severity": 0},
                "own": {"tone": {**evidence, "answer": "warm"}},
            }
    complete = groq.GroqApi._complete

    def answer(self: groq.GroqApi, body: dict[str, Any], faults: list[Any]) -> Any:
        prompt = split(body["messages"])[1]["prompt"]
        n = prompt.removeprefix("About ").partition(":")[0]
        if n == "refused":
            raise ApiError(400, "json_validate_failed", f"Failed to validate JSON: {json.dumps(body)}")
        spoilt = [Fault(action=Action.MALFORMED, mode=n)] if n in SPOILT else []
        return complete(self, body, [*faults, *spoilt])

    monkeypatch.setattr(groq.GroqApi, "_complete", answer)


def run(spine: Spine, window: datetime) -> None:
    """Run what collects applications in the clouds' jobs, and those readers that texts could reach, as Dagster does.

    Texts come into a run by that family only.
    """
    overrides = {"clickhouse": spine.clickhouse, "io_manager": ClickHouseIOManager(spine.clickhouse)}
    defs = build_defs(spine.settings, overrides)
    of_application = [dg.AssetKey([family, name]) for family, name in readers() if family == "application"]
    jobs = {collection_job(name): [dg.AssetKey([name, "application"])] for name, _ in CUSTOMERS.values()}
    with dg.DagsterInstance.local_temp(copy_dagster(spine.home)) as instance:
        for job, selection in (jobs | {READERS_JOB: of_application}).items():
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance,
                partition_key=windows.key(window),
                asset_selection=selection,
                run_config={"loggers": {"console": {"config": {"log_level": "INFO"}}}},
                raise_on_error=False,
            )
            assert result.success, job


def fail_with_texts(spine: Spine, window: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect a window again, in which this program fails at an interaction, with its texts in the error."""

    def fail(texts: dict[str, str]) -> list[str]:
        raise ValueError(f"cannot read {texts}")

    with monkeypatch.context() as patched:
        patched.setattr(rubric, "too_long", fail)
        spine.collect("application", [window], provider="gcp", customers=["globex"], refresh=True)
    row = spine.last("application", "globex", window)
    assert row["outcome"] == "failed"
    assert "ValueError" in row["error"]


@pytest.mark.timeout(300)  # five runs of Dagster jobs on a machine with other work
def test_texts_are_found_only_where_their_customer_lets_them_be_stored(
    start_lab: StartLab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in tables, events, logs, memory and left files; not of bad lines, bad answers and faults of the program."""
    caplog.set_level(logging.INFO)
    window = newest_window()
    lab = start_lab(world(), now=lambda: window + windows.WINDOW)
    spine = Spine.at(tmp_path / "home")
    judge = {"groq_api_key": SecretStr(lab.env["GROQ_API_KEY"]), "groq_base_url": lab.url}
    spine.settings = spine.settings.model_copy(update=judge)
    spine.clickhouse = ClickHouse(spine.settings.clickhouse_url.get_secret_value(), linger=60.0)
    (spine.home / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spine.home / "tmp"))
    write_customers(spine, lab, place_logs(lab, tmp_path / "logs", window))
    quote(lab, monkeypatch, window)

    run(spine, window)
    fail_with_texts(spine, window, monkeypatch)

    console = "".join(capfd.readouterr()) + caplog.text
    words = {word(customer, part): (customer, part) for customer in CUSTOMERS for part in PARTS}
    there = ["azure_collection", "dagster/row_count", "umbrella-good"]
    found = places_of([*words, *there], spine.home, spine)
    assert all(any(place.startswith("index.db") for place in found[name]) for name in there[:1])
    assert found["umbrella-good"] == {"application_metrics.interaction_id"}
    told: dict[str, Counter[str]] = {customer: Counter() for customer in CUSTOMERS}
    for row in spine.view("application_metrics"):
        if row["metric_type"] in {"sample", "source"}:
            details = json.loads(row["details"])
            numbers = {**details, **details.get("failed", {})}
            told[row["customer_id"]].update({n: numbers[n] for n in TOLD if n in numbers})
    # Acme's file came twice, the second time cut off, so some of its bad lines count twice.
    assert min(counts.pop("bad_lines") for counts in told.values()) >= 4
    assert [counts for counts in told.values() if counts != {"judged": 2, "malformed": 4, "truncated": 1}] == []

    evidence = {"application_metrics.details", "application_verdicts.answer"}
    allowed = {
        "prompt": {"application_metrics.prompt_text", *evidence},
        "response": {"application_metrics.response_text", *evidence},
        "evidence": evidence,
    }
    assert {name: found[name] for name in words} == {
        name: allowed.get(part, set()) if CUSTOMERS[customer][1] else set() for name, (customer, part) in words.items()
    }
    assert [name for name in words if name in console] == []
    assert "azure_collection" in console
