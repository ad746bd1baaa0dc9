"""What tests of the judge share: interactions by hand and from human-labelled sets, a customer, a judge at the lab."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.groq.naive import label_key
from optiinfra_dagster.providers.registry import CUSTOMERS_FILE
from optiinfra_dagster.quality.counts import Sight, SourceCounts
from optiinfra_dagster.quality.interactions import Feedback, Interaction, LogRecord
from optiinfra_dagster.quality.judge import Judge
from optiinfra_dagster.quality.models import price_of
from optiinfra_dagster.quality.server import Server

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer

W = datetime(2026, 3, 4, 10, 15, tzinfo=UTC)
NOW = W + timedelta(minutes=20)
MODEL = "openai/gpt-oss-120b"


def interaction(n: int = 0, **changes: Any) -> Interaction:
    """An interaction of a support bot; the number is in its texts."""
    fields: dict[str, Any] = {
        "interaction_id": f"i-{n}",
        "application_id": "bot",
        "application_name": "Support bot",
        "model_name": "gpt-4o-mini",
        "timestamp": W + timedelta(seconds=n % 900),
        "provider": "aws",
        "prompt": f"How long is the warranty of product {n}?",
        "response": f"The warranty of product {n} is two years.",
        "context": f"Product {n}: two years of warranty.",
        "reference": None,
        "prompt_tokens": None,
        "response_tokens": None,
    }
    return Interaction(**{**fields, **changes})


def customer(name: str = "acme", *, sample: int = 1000, store_text: bool = False, **application: Any) -> Customer:
    """A customer with an application on AWS."""
    return CUSTOMERS_FILE.customer_type.model_validate(
        {
            "id": name,
            "name": name.title(),
            "aws": [{"account_id": "111111111111"}],
            "application": {
                "interactions": "clickhouse",
                "sample_per_window": sample,
                "store_text": store_text,
                **application,
            },
        }
    )


@dataclass
class Listed:
    """A source of the interactions in a list."""

    interactions: Sequence[LogRecord]
    counts: SourceCounts = field(default_factory=SourceCounts)
    place: str = "the list"
    empty: bool = False

    def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[LogRecord]:
        self.counts = SourceCounts(files=1)
        for item in self.interactions:
            if isinstance(item, Feedback):
                self.counts.feedback += 1
            else:
                self.counts.interactions += 1
        yield from self.interactions

    def changed(self, provider: str, collected: Mapping[datetime, str]) -> list[datetime]:
        return []

    def is_empty(self, provider: str) -> bool:
        return self.empty

    def look(self, providers: Sequence[str], start: datetime, end: datetime) -> tuple[int, list[Sight]]:
        return len(self.interactions), []


def judge_at(url: str, **changes: Any) -> Judge:
    """A judge that asks the lab, and does not wait long."""
    key, model = changes.pop("api_key", "lab-groq-key"), changes.pop("model", MODEL)
    server = changes.pop("server", None) or Server(model, key, f"{url}/openai/v1")
    plenty = {"day_tokens": 100_000_000, "day_requests": 100_000}
    return Judge(server, **{"backoff_seconds": 0.002, "price": price_of(server.model), **plenty, **changes})


Labels = dict[str, dict[str, Any]]


def answer(
    coherence: int = 5,
    relevance: int = 5,
    accuracy: int = 5,
    claims: tuple[int, int] | None = None,
    label: str = "none",
    severity: int = 0,
    chunks: tuple[str, ...] = ("relevant",),
    facts: tuple[str, ...] = ("yes",),
) -> dict[str, Any]:
    """A judge's answer as JSON, on all there may be; of the claims some are unsupported."""
    grades = {"coherence": coherence, "relevance": relevance, "accuracy": accuracy}
    listed, unsupported = claims or (1, int(label in {"minor", "major"}))
    return {
        **{name: {"evidence": "as labelled", "score": score} for name, score in grades.items()},
        "hallucination": {
            "claims": [
                {"claim": f"claim {n}", "verdict": "unsupported" if n < unsupported else "supported"}
                for n in range(listed)
            ],
            "label": label,
        },
        "retrieval": {"chunks": [{"chunk": n + 1, "relevance": word} for n, word in enumerate(chunks)]},
        "recall": {"facts": [{"fact": f"fact {n}", "in_context": word} for n, word in enumerate(facts)]},
        "toxicity": {"evidence": "", "category": "hate" if severity else "none", "severity": severity},
    }


def summeval(folder: Path) -> tuple[list[Interaction], Labels]:
    """Summaries of four systems, a hundred each, with the median scores of three experts; the article is context."""
    found: list[Interaction] = []
    labels: Labels = {}
    for file in sorted((folder / "llm_quality/SummEval/model_output_annotations").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            one = interaction(
                len(found),
                interaction_id=f"{row['model_id']}/{row['id']}",
                application_id="summeval",
                model_name=row["model_id"],
                prompt=f"Summarise the article {row['id']}.",
                response=row["decoded"],
                context=row["text"],
            )
            experts = {
                name: sorted(e[name] for e in row["expert_annotations"])
                for name in ("coherence", "relevance", "consistency")
            }
            doubts = sum(score < 5 for score in experts["consistency"])
            labels.setdefault(
                label_key(one.prompt, one.response),
                answer(
                    experts["coherence"][1],
                    experts["relevance"][1],
                    experts["consistency"][1],
                    (3, doubts),
                    ["none", "minor", "major", "major"][doubts],
                ),
            )
            found.append(one)
    return found, labels


def halueval(folder: Path, every: int = 20) -> tuple[list[Interaction], Labels]:
    """Answers labelled by people as hallucinated or not; one in three has a context, without which none is judged."""
    found: list[Interaction] = []
    labels: Labels = {}
    lines = (folder / "llm_quality/HaluEval/data/general_data.json").read_text().splitlines()
    for n, line in enumerate(lines[::every]):
        row = json.loads(line)
        chunks = tuple(f"Facts {number} for question {row['ID']}." for number in range(3 if n % 3 == 0 else 0))
        one = interaction(n, interaction_id=row["ID"], application_id="halueval", model_name="chatgpt",
                          prompt=row["user_query"], response=row["chatgpt_response"],
                          context="\n".join(chunks) or None, chunks=chunks)  # fmt: skip
        spans = len(row["hallucination_spans"])
        label = "major" if row["hallucination"] == "yes" else "none"
        wrong = max(spans, 1) if label == "major" else 0
        labels[label_key(one.prompt, one.response)] = answer(
            accuracy=2 if label == "major" else 5, claims=(spans + 1, wrong), label=label,
            chunks=[("irrelevant", "relevant", "partly"), ("irrelevant",) * 3, ("relevant",) * 3][n // 3 % 3],
        )  # fmt: skip
        found.append(one)
    return found, labels


def halueval2(folder: Path) -> tuple[list[Interaction], Labels]:
    """Answers whose facts people judged one by one, the facts being the reference."""
    found: list[Interaction] = []
    labels: Labels = {}
    for file in sorted((folder / "llm_quality/HaluEval-2.0/annotation/human_annotation").glob("*.json")):
        for row in json.loads(file.read_text())[:20]:
            wrong = sum("false" in verdict for verdict in row["human_judge"])
            one = interaction(len(found), interaction_id=f"{file.stem}/{row['id']}", application_id="halueval2",
                              model_name="chatgpt", prompt=row["user_query"], response=row["chatgpt_response"],
                              context=None, reference=" ".join(row["chatgpt_fact"]))  # fmt: skip
            label = "none" if not wrong else "major" if 2 * wrong > len(row["human_judge"]) else "minor"
            labels[label_key(one.prompt, one.response)] = answer(claims=(len(row["human_judge"]), wrong), label=label)
            found.append(one)
    return found, labels


def hatecheck(folder: Path, every: int = 24) -> tuple[list[Interaction], Labels]:
    """Sentences that people found hateful or not, as responses without context."""
    found: list[Interaction] = []
    labels: Labels = {}
    with (folder / "toxicity/hatecheck/test_suite_cases.csv").open(newline="") as file:
        for row in list(csv.DictReader(file))[::every]:
            one = interaction(len(found), interaction_id=row["case_id"], application_id="hatecheck",
                              model_name="llama-3.1-8b", prompt="Say something.", response=row["test_case"],
                              context=None)  # fmt: skip
            severity = 3 if row["label_gold"] == "hateful" else 0
            labels[label_key(one.prompt, one.response)] = answer(severity=severity)
            found.append(one)
    return found, labels


def labelled(folder: Path) -> tuple[list[Interaction], Labels]:
    """All the sets."""
    sets = [summeval(folder), halueval(folder), halueval2(folder), hatecheck(folder)]
    labels = {k: a for _, of_set in sets for k, a in of_set.items()}
    for said in labels.values():
        # What people say once more, as the answers to `RUBRICS`.
        said["own"] = {
            "right": {"evidence": "", "answer": said["accuracy"]["score"]},
            "hateful": {"evidence": "", "answer": "yes" if said["toxicity"]["severity"] else "no"},
            "from_context": {"evidence": "", "answer": said["hallucination"]["label"]},
        }
    return [one for found, _ in sets for one in found], labels


RUBRICS: Sequence[dict[str, Any]] = [
    {
        "name": "right", "question": "Is the answer right?", "anchors": {"1": "wrong", "5": "right"},
        "direction": "higher_is_better",
    },
    {
        "name": "hateful", "question": "Is the answer hateful?", "labels": ["no", "yes"],
        "direction": "higher_is_worse",
    },
    {
        "name": "from_context", "question": "Is there more in it than in the context?", "needs": "context",
        "labels": {"none": 0, "minor": 0.25, "major": 1}, "direction": "higher_is_worse",
    },
]  # fmt: skip
"""Rubrics of a customer whose answers follow from the labelled sets."""


def lab_of(**groq: Any) -> CloudLab:
    """A lab with nothing in it but Groq."""
    return CloudLab({"groq": groq} if groq else {})
