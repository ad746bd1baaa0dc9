"""What users say of answers, joined and counted by the reader's SQL over rows drawn at random, against plain Python."""

# ruff: noqa: S311 - worlds are drawn, not secrets

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.interaction_ids import Ids, hash_of
from optiinfra_dagster.quality.statistics import wilson
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.known_interactions import KnownInteractions
from optiinfra_dagster.storage.sql import readers
from tests.storage.test_application_readers import Row, publish, row
from tests.support.engines import kept_open
from tests.support.samples import W, select

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse

DAY = W.replace(hour=0, minute=0)


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    return kept_open(tmp_path_factory.mktemp("feedback") / "clickhouse")


def floor(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def know(
    clickhouse: ClickHouse, customer: str, interaction_id: str, began: datetime, *, trace: str = "", **facts: Any
) -> None:
    ids = Ids()
    application = facts.get("application", "chat")
    ids.add(interaction_id, facts.get("others", ()), trace, began, (application, application.title()))
    KnownInteractions(clickhouse).keep(customer, facts.get("provider", "aws"), floor(began), ids)


def said(customer: str, key: str, label: str, given_at: datetime, *ids: str, trace: str = "", **facts: Any) -> Row:
    """A row of what somebody said of an answer."""
    details = {"ids": ids, "trace_id": trace, "given_at": round(given_at.timestamp() * 1e6)}
    values = {"provider": "aws", "application_id": "", "score": {"good": 1.0, "bad": 0.0}.get(label)} | facts
    return row(
        timestamp=given_at.replace(microsecond=0), window_start=floor(given_at), customer_id=customer,
        interaction_id=key, metric_type="feedback", label=label, details=details, **values,
    )  # fmt: skip


def judged(customer: str, interaction_id: str, metric: str, score: float | None, began: datetime, **facts: Any) -> Row:
    values = {"provider": "aws", "application_id": "chat"} | facts
    worse = metric in {"hallucination", "toxicity", "rubric:rude"}
    return row(
        timestamp=began.replace(microsecond=0), window_start=floor(began), customer_id=customer, judge_model="judge",
        judge_version="v1", interaction_id=interaction_id, metric_type=metric, score=score,
        details={"direction": "higher_is_worse" if worse else "higher_is_better"}, **values,
    )  # fmt: skip


def compute(clickhouse: ClickHouse, customer: str, window: datetime = W) -> dict[tuple[str, str, str], Row]:
    reader = readers()["application", "feedback"]
    reader_writer.compute(clickhouse, reader, [window])
    sql = (
        f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}} "  # noqa: S608
        "AND customer_id = {customer:String} ORDER BY ALL"
    )
    rows = select(clickhouse, sql, at=window, customer=customer)
    return {(r["provider"], r["application_id"], r["metric_type"]): r for r in rows}


def test_hashes_are_those_of_clickhouse(clickhouse: ClickHouse) -> None:
    for name in ("i-1", "", "ä€👍", "x" * 500):
        sql = "SELECT halfMD5(concat('id ', {name:String})) AS hash"
        assert select(clickhouse, sql, name=name)[0]["hash"] == hash_of("id", name)


class Drawn:
    """Interactions of today and of days before, judged or not, and what several users say of them, again and again."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.rows: list[Row] = []
        self.interactions: list[tuple[str, str, str, datetime]] = []
        self.ids: dict[tuple[str, datetime], Ids] = defaultdict(Ids)
        self.newest: dict[str, tuple[datetime, str, int]] = {}
        self.taken: set[tuple[str, datetime]] = set()
        for n in range(400):
            self._add_interaction(n)
        for n in range(600):
            self._say(n)

    def _add_interaction(self, n: int) -> None:
        draw = self.draw
        began = W - timedelta(minutes=draw.choice([3, 40, 60, 1500, 9000]), seconds=draw.randrange(60))
        provider, application = draw.choice(["aws", "gcp"]), draw.choice(["chat", "search"])
        self.interactions.append((f"i-{n}", provider, application, began))
        names = (application, application.title())
        self.ids[provider, floor(began)].add(f"i-{n}", (f"other-{n}",), f"t-{n}", began, names)
        for metric in ("relevance", "hallucination", "rubric:rude"):
            if draw.random() < 0.5:
                score = draw.choice([0.0, 0.25, 0.5, 0.75, 1.0, None])
                facts = {"provider": provider, "application_id": application}
                self.rows.append(judged("drawn", f"i-{n}", metric, score, began, **facts))

    def _say(self, n: int) -> None:
        draw = self.draw
        about = draw.randrange(500)
        key, label = f"{about}-{draw.randrange(3)}", draw.choice(["good", "good", "bad", "unknown"])
        given = DAY + timedelta(seconds=n + draw.randrange(int((W - DAY).total_seconds() // 900)) * 900)
        if about < len(self.interactions):
            given = max(given, self.interactions[about][3] + timedelta(seconds=n % 7))
        if (key, floor(given)) in self.taken:
            return
        self.taken.add((key, floor(given)))
        names, trace = draw.choice([((f"i-{about}",), ""), (("?", f"other-{about}"), "?"), ((), f"t-{about}")])
        self.rows.append(said("drawn", key, label, given, *names, trace=trace))
        if key not in self.newest or given > self.newest[key][0]:
            self.newest[key] = given, label, about

    def labels(self) -> dict[int, list[str]]:
        """What counts of what was said, by interaction; those that are not known have higher numbers."""
        found: dict[int, list[str]] = defaultdict(list)
        for _, label, about in self.newest.values():
            found[about].append(label)
        return found

    def expected(self) -> dict[tuple[str, str, str], Counter[str]]:
        found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        scores: dict[str, dict[str, float]] = defaultdict(dict)
        for one in self.rows:
            if one["metric_type"] != "feedback" and one["score"] is not None:
                scores[one["interaction_id"]][one["metric_type"]] = one["score"]
        for number, labels in self.labels().items():
            if number >= len(self.interactions):
                continue
            name, provider, application, _ = self.interactions[number]
            known = {label for label in labels if label != "unknown"}
            verdict = "mixed" if len(known) == 2 else next(iter(known), "unknown")
            for metric in ("", *scores[name]):
                of = found[provider, application, metric]
                of.update({"interactions": 1, "feedback": len(labels), verdict: 1, "judged": bool(scores[name])})
                if metric and verdict in {"good", "bad"}:
                    bad_by_judge = is_bad(metric, scores[name][metric])
                    of.update({"n": 1, "agree": (verdict == "bad") == bad_by_judge})
                    of.update(only_users_bad=verdict == "bad" and not bad_by_judge)
                    of.update(only_judge_bad=verdict == "good" and bad_by_judge)
        return found


def is_bad(metric: str, score: float) -> bool:
    return {"hallucination": score > 0, "rubric:rude": score > 0.5, "relevance": score < 0.5}[metric]


def check_share(got: Row, names: tuple[str, str, str], hits: int, of: int) -> None:
    share, low, high = (got[name] for name in names)
    interval = wilson(hits / of, of) if of else None
    if interval is None:
        assert (share, low, high) == (None, None, None)
    else:
        assert (share, low, high) == pytest.approx((hits / of, interval.low, interval.high))


def test_figures_are_those_of_plain_python(clickhouse: ClickHouse) -> None:
    drawn = Drawn(5)
    for (provider, window), ids in drawn.ids.items():
        KnownInteractions(clickhouse).keep("drawn", provider, window, ids)
        if window == floor(W):
            KnownInteractions(clickhouse).keep("drawn", provider, window, ids)  # it is collected again
    publish(clickhouse, drawn.rows)
    found, expected = compute(clickhouse, "drawn"), drawn.expected()
    lost = sum(len(labels) for about, labels in drawn.labels().items() if about >= len(drawn.interactions))
    without = found.pop(("aws", "", ""))
    assert (without["feedback"], without["without_interaction"], without["interactions"]) == (lost, lost, 0)
    assert found.keys() == expected.keys()
    for key, of in expected.items():
        got = found[key]
        for name in ("interactions", "feedback", "good", "bad", "mixed", "unknown", "judged", "n", "only_users_bad",
                     "only_judge_bad"):  # fmt: skip
            assert got[name] == of[name], (key, name)
        check_share(got, ("good_share", "good_low", "good_high"), of["good"], of["good"] + of["bad"])
        check_share(got, ("agreement", "agreement_low", "agreement_high"), of["agree"], of["n"])


def test_interaction_that_comes_later_than_its_feedback_is_found_then(clickhouse: ClickHouse) -> None:
    publish(clickhouse, [said("late", "k", "bad", W, "i-1", application_id="shop")])
    found = compute(clickhouse, "late")
    assert {key: row["without_interaction"] for key, row in found.items()} == {("aws", "shop", ""): 1}
    know(clickhouse, "late", "i-1", W - timedelta(days=3))
    found = compute(clickhouse, "late")
    assert {key: (row["without_interaction"], row["bad"]) for key, row in found.items()} == {
        ("aws", "chat", ""): (0, 1)
    }


@pytest.mark.parametrize(("given", "application"), [(0, ""), (70, "first"), (130, "second"), (400, "last")])
def test_trace_stands_for_the_last_interaction_before(clickhouse: ClickHouse, given: int, application: str) -> None:
    """So does an id that begins anew with each process."""
    start = W + timedelta(minutes=2)
    customer = f"trace-{given}"
    for number, (name, after) in enumerate([("first", 70), ("second", 135), ("last", 300)]):
        know(clickhouse, customer, f"i-{number}", start + timedelta(seconds=after), trace="t", application=name)
        know(clickhouse, customer, "1", start + timedelta(seconds=after), application=name)
    at = start + timedelta(seconds=given)
    publish(clickhouse, [said(customer, "a", "good", at, trace="t"), said(customer, "b", "good", at, "1")])
    assert [key[1] for key in compute(clickhouse, customer)] == [application]


def test_feedback_that_names_no_provider_counts_once(clickhouse: ClickHouse) -> None:
    know(clickhouse, "two", "i-1", W, provider="gcp")
    publish(clickhouse, [said("two", "k", "good", W, "i-1", provider=provider) for provider in ("aws", "gcp")])
    assert {key: row["feedback"] for key, row in compute(clickhouse, "two").items()} == {("gcp", "chat", ""): 1}


def test_what_was_said_on_other_days_and_by_others_counts_not(clickhouse: ClickHouse) -> None:
    know(clickhouse, "mine", "i-1", W - timedelta(days=2))
    publish(clickhouse, [
        said("mine", "k", "good", W - timedelta(days=1), "i-1"),
        said("mine", "k", "bad", W + timedelta(minutes=15), "i-1"),
        said("other", "k", "bad", W, "i-1"),
    ])  # fmt: skip
    assert compute(clickhouse, "mine") == {}
    assert [row["without_interaction"] for row in compute(clickhouse, "other").values()] == [1]
