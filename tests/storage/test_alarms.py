"""The alarm on LLM quality: its SQL against plain Python on random worlds, and what it says of worlds by hand."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.model.text import to_json
from optiinfra_dagster.storage import arrow, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute, write_select
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support import alarm
from tests.support.samples import select

D, HOUR, Q = timedelta(days=1), timedelta(hours=1), timedelta(minutes=15)
TODAY = windows.floor_to(D, datetime.now(UTC))  # rows expire, so what is drawn is of now
DAY = TODAY - D
DAYS, ALARMS = readers()["application", "days"], readers()["application", "alarms"]
RATES = ("hallucination", "toxicity")


@dataclass(frozen=True)
class Score:
    """A judged answer."""

    window: datetime
    metric: str
    score: float | None
    application: str = "chat"
    model: str = "m-1"
    version: str = "v1"
    text: str = ""  # equal ones are one text; empty for one of its own
    customer: str = "acme"
    provider: str = "aws"
    higher_is_worse: bool | None = None
    label: str = "a label"


Stratum = tuple[str, str, datetime, str, str]  # customer, provider, window, application, model
Populations = Mapping[Stratum, int]


def publish(
    clickhouse: ClickHouse,
    scores: Iterable[Score],
    populations: Populations | None = None,
    status: SliceStatus = SliceStatus.OK,
) -> None:
    """Publish judged answers, each in its slice, with the samples' populations."""
    of_slice: dict[tuple[str, str, datetime], list[dict[str, Any]]] = defaultdict(list)
    empty: dict[str, Any] = {field.name: "" for field in schema.APPLICATION.schema} | {"score": None, "tokens": 0}
    for number, one in enumerate(scores):
        worse = one.metric in RATES if one.higher_is_worse is None else one.higher_is_worse
        details = {"direction": "higher_is_worse" if worse else "higher_is_better"}
        if one.text:
            details |= {"prompt_hash": f"p-{one.text}", "response_hash": f"r-{one.text}"}
        row = empty | {
            "timestamp": one.window, "window_start": one.window, "customer_id": one.customer, "provider": one.provider,
            "application_id": one.application, "application_name": one.application.title(), "model_name": one.model,
            "interaction_id": f"i-{number}", "metric_type": one.metric, "score": one.score, "label": one.label,
            "details": to_json(details), "judge_model": "judge", "judge_version": one.version, "metadata": "{}",
            "collected_at": one.window,
        }  # fmt: skip
        of_slice[one.customer, one.provider, one.window].append(row)
    for (customer, provider, window, application, model), population in (populations or {}).items():
        row = empty | {
            "timestamp": window, "window_start": window, "customer_id": customer, "provider": provider,
            "application_id": application, "model_name": model, "metric_type": "sample", "judge_version": "v1",
            "details": to_json({"population": population}), "metadata": "{}", "collected_at": window,
        }  # fmt: skip
        of_slice[customer, provider, window].append(row)
    batch = [
        SliceResult(
            customer,
            provider,
            [window],
            status,
            rows=arrow.conform(schema.APPLICATION, pa.Table.from_pylist(rows, schema.APPLICATION.schema)),
        )
        for (customer, provider, window), rows in of_slice.items()
    ]
    Writer(clickhouse, schema.APPLICATION).flush(batch)


def verdicts(clickhouse: ClickHouse, day: datetime = DAY) -> list[dict[str, Any]]:
    """Compute all days, and the verdicts of `day`."""
    compute(clickhouse, DAYS, [day - back * D for back in range(alarm.DAYS + 1)])
    write_select(clickhouse, ALARMS.table, ALARMS.select, [day])  # not those of the days before, too
    return select(
        clickhouse, f"SELECT * FROM {ALARMS.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL", at=day
    )


# --- At random -------------------------------------------------------------------------------------------------------


def drawn(seed: int) -> tuple[list[Score], Populations]:
    """A world of some applications of two customers over 60 days, some of which become worse, or change their model."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    scores: list[Score] = []
    populations: dict[Stratum, int] = {}
    for customer, provider in (("acme", "aws"), ("acme", "gcp"), ("globex", "aws")):
        for application in ("chat", "search"):
            is_plain = application == "chat" and provider == "aws"  # some have a verdict in each world
            first = chance.choice([20, 60] if is_plain else [2, 5, 58])
            hours = sorted(chance.sample(range(24), 6 if is_plain else chance.choice([1, 3])))
            models = ["m-1", "m-2", "m-3"] if is_plain else chance.choice([["m-1"], ["m-1", "m-2", ""]])
            new_version = 0 if is_plain else chance.choice([0, 0, 9])
            worse_by = chance.choice([0.0, 0.3, 0.6])
            is_weighted, repeats = chance.random() < 0.6, chance.choice([1, 3, 30])
            for back in range(first, -1, -1):
                version = "v2" if back < new_version else "v1"
                level = min(max(0.25 + chance.gauss(0, 0.05) + (worse_by if back < 2 else 0), 0.0), 1.0)
                for hour in hours:
                    for model in models:
                        window = DAY - back * D + hour * HOUR + chance.randrange(4) * Q
                        if chance.random() < 0.2 or (back > 9 and model == "m-2"):
                            continue
                        whose = {"application": application, "model": model, "version": version, "customer": customer}
                        count = chance.choice([1, 2, 8, 9])
                        if is_weighted:
                            key = (customer, provider, window, application, model)
                            populations[key] = chance.choice([count, 50, 1000])
                        for _ in range(count):
                            text = chance.choice(["", f"{chance.randrange(3000 // repeats)}"])
                            bad = chance.random() < level
                            graded = chance.choice([0.0, 0.25, 0.5] if bad else [0.75, 1.0])
                            if chance.random() < 0.05:
                                why = chance.choice(["judge_failed", "over_budget"])
                                scores.append(Score(window, "accuracy", None, provider=provider, label=why, **whose))
                                continue
                            scores += [
                                Score(window, "accuracy", graded, text=text, provider=provider, **whose),
                                Score(window, "toxicity", bad / 3, text=text, provider=provider, **whose),
                                Score(window, "rubric:cost", 1 - graded, text=text, provider=provider,
                                      higher_is_worse=True, **whose),
                                Score(window, "hallucination", None, text=text, provider=provider, **whose),
                            ]  # fmt: skip
    return scores, populations


@dataclass
class Rolled:
    """What the rollup holds of a model's metric and day, by hour."""

    sums: np.ndarray[Any, Any]  # weight, its square, weighted powers: 5 x 24
    observations: int = 0
    scores: int = 0
    as_of: datetime = DAY - 100 * D


Key = tuple[str, str, str, str]  # customer, provider, application, metric


def whose(one: Score) -> Stratum:
    return one.customer, one.provider, one.window, one.application, one.model


def rolled_up(scores: Sequence[Score], populations: Populations) -> dict[tuple[Key, str, str, datetime], Rolled]:
    """By series, model, version of the judge and day."""
    answered = Counter((whose(one), one.metric, one.version) for one in scores if one.label == "a label")
    texts: dict[tuple[Any, ...], list[tuple[Score, float]]] = defaultdict(list)
    for number, one in enumerate(scores):
        if one.score is not None:
            count = answered[whose(one), one.metric, one.version]
            series = ((one.customer, one.provider, one.application, one.metric), one.model, one.version)
            texts[(*series, windows.floor_to(D, one.window), one.text or number)].append(
                (one, max(populations.get(whose(one), 0), count) / count)
            )
    found: dict[tuple[Key, str, str, datetime], Rolled] = defaultdict(lambda: Rolled(np.zeros((5, 24))))
    for (key, model, version, day, _), its in texts.items():
        values = [float(one.score > 0) if key[3] in RATES else one.score for one, _ in its if one.score is not None]
        value, weight = math.fsum(values) / len(its), math.fsum(w for _, w in its) / len(its)
        of = found[key, model, version, day]
        hour = min(one.window for one, _ in its).hour
        of.sums[:, hour] += [weight, weight**2, weight * value, weight * value**2, weight * value**3]
        of.observations += 1
        of.scores += len(its)
        of.as_of = max([of.as_of, *(one.window for one, _ in its)])
    return found


def of_series(key: Key, days: Mapping[datetime, Sequence[Rolled]]) -> dict[str, Any] | None:
    """What must be said of a series, whose days hold what its models have; None of one without the day."""
    cells = np.zeros((5, 1, alarm.DAYS, 24))
    for day, its in days.items():
        if 0 <= (DAY - day).days < alarm.DAYS:
            cells[:, 0, alarm.DAYS - 1 - (DAY - day).days] = sum(of.sums for of in its)
    worse = 1 if key[3] in {*RATES, "rubric:cost"} else -1
    one, three = (alarm.compare(alarm.Cells(*cells), worse, key[3] in RATES, span) for span in (1, alarm.SPAN))
    observations = sum(of.observations for of in days.get(DAY, ()))
    before = sum(alarm.SPAN <= (DAY - day).days < alarm.DAYS for day in days)
    row: dict[str, Any] = dict.fromkeys(("p", "p_day", "p_three_days", "q_application", "q_customer", "alarm", "low"))
    row |= {
        "reason": reason(observations, before, one["hours"][0]), "observations": observations, "days_before": before,
        "scores": sum(of.scores for of in days.get(DAY, ())), "hours": one["hours"][0],
    }  # fmt: skip
    if one["hours"][0]:
        row |= {name: one[name][0] for name in ("figure", "usual", "effect", "low", "high", "effective_n")}
        row |= {f"{name}_of_three_days": three[name][0] for name in ("figure", "effect", "low", "high")}
        row |= {"visible_in_a_day": one["visible"][0], "visible_in_three_days": three["visible"][0]}
    if not row["reason"]:
        row |= {"p_day": one["p"][0], "p_three_days": three["p"][0]}
        row["p"] = float(alarm.together(one["p"], three["p"])[0])
    return row if observations else None


def reason(observations: int, before: int, hours: float) -> str:
    """Why there is no verdict."""
    if observations < alarm.LEAST_N:
        return f"{observations} different texts were judged, 20 are needed"
    if before < alarm.LEAST_DAYS:
        return f"{before} of the 56 days before were judged by this version of the judge, 7 are needed"
    return "" if hours else "no hour of the day was judged on a day before"


def expected(scores: Sequence[Score], populations: Populations) -> dict[tuple[Key, str], dict[str, Any]]:
    """What must be said of a day that is over, by series and model ("" for all of its models)."""
    rolled = rolled_up(scores, populations)
    found: dict[tuple[Key, str], dict[str, Any]] = {}
    answers: dict[Key, dict[str, list[Rolled]]] = defaultdict(lambda: defaultdict(list))
    for (key, _, version, day), of in rolled.items():
        if day == DAY:
            answers[key][version].append(of)
    for key, versions in answers.items():
        by = max(versions, key=lambda one: (sum(of.observations for of in versions[one]), one))
        its = {(model, day): of for (k, model, version, day), of in rolled.items() if (k, version) == (key, by)}
        models = {model for model, day in its if (DAY - day).days < alarm.DAYS} - {""}
        for model in ("", *models):
            days = defaultdict(list)
            for (own, day), of in its.items():
                if model in {"", own}:
                    days[day].append(of)
            row = of_series(key, days)
            if row and (not model or (len(models) > 1 and not row["reason"])):
                found[key, model] = row | {"judge_version": by}
    add_rates(found)
    return found


def add_rates(found: Mapping[tuple[Key, str], dict[str, Any]]) -> None:
    """Add the false discovery rates, and whether there is an alarm."""
    for level, owner, name in ((alarm.LEVEL, 3, "q_application"), (alarm.LEVEL_OF_CUSTOMER, 1, "q_customer")):
        families = defaultdict(list)
        for (key, _), row in found.items():
            if row["p"] is not None:
                families[key[:owner]].append(row)
        for family in families.values():
            for row, q in zip(family, alarm.benjamini_hochberg(np.array([r["p"] for r in family])), strict=True):
                row[name] = float(q)
                row["alarm"] = row["alarm"] is not False and bool(q <= level)


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 9))])
def test_every_column_is_what_plain_python_says(chdb_url: str, seed: int) -> None:
    clickhouse = ClickHouse(chdb_url)
    scores, populations = drawn(seed)
    with clickhouse.session():
        publish(clickhouse, scores, populations)
        publish(clickhouse, [Score(DAY + D, "accuracy", None, customer="other")])  # the day is over
        rows = verdicts(clickhouse)
    said = {}
    for row in rows:
        key = (row["customer_id"], row["provider"], row["application_id"], row["metric_type"])
        said[key, row["model_name"]] = row
    told = expected(scores, populations)
    assert len(said) == len(rows)
    assert said.keys() == told.keys()
    for one, of_one in told.items():
        for name, value in of_one.items():
            if isinstance(value, float):
                assert said[one][name] == pytest.approx(value, rel=1e-7, abs=1e-10), (one, name)
            else:
                assert said[one][name] == value, (one, name)
    assert {row["reason"] == "" for row in rows} == {True, False}
    assert any(row["model_name"] for row in rows)
