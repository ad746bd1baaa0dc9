"""The alarm on LLM quality: its SQL against plain Python on random worlds, and what it says of worlds by hand."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
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
from optiinfra_dagster.storage.reader_writer import compute
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


Stratum = tuple[str, str, datetime, str, str, str]  # customer, provider, window, application, model, version


def publish(
    clickhouse: ClickHouse,
    scores: Iterable[Score],
    populations: Mapping[Stratum, tuple[int, int]] | None = None,
    status: SliceStatus = SliceStatus.OK,
) -> None:
    """Publish judged answers, each in its slice, with the samples' populations and how many of them were judged."""
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
            "interaction_id": f"i-{number}", "metric_type": one.metric, "score": one.score, "label": "a label",
            "details": to_json(details), "judge_model": "judge", "judge_version": one.version, "metadata": "{}",
            "collected_at": one.window,
        }  # fmt: skip
        of_slice[one.customer, one.provider, one.window].append(row)
    for (customer, provider, window, application, model, version), (size, judged) in (populations or {}).items():
        row = empty | {
            "timestamp": window, "window_start": window, "customer_id": customer, "provider": provider,
            "application_id": application, "model_name": model, "metric_type": "sample", "judge_version": version,
            "details": to_json({"population": size, "judged": judged}), "metadata": "{}", "collected_at": window,
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
    compute(clickhouse, ALARMS, [day])
    return select(
        clickhouse, f"SELECT * FROM {ALARMS.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL", at=day
    )


# --- At random -------------------------------------------------------------------------------------------------------


def drawn(seed: int) -> tuple[list[Score], dict[Stratum, tuple[int, int]]]:
    """A world of some applications of two customers over 60 days, some of which become worse, or change their model."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    scores: list[Score] = []
    populations: dict[Stratum, tuple[int, int]] = {}
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
                            key = (customer, provider, window, application, model, version)
                            populations[key] = (chance.choice([count, 50, 1000]), chance.choice([0, count, count]))
                        for _ in range(count):
                            text = chance.choice(["", f"{chance.randrange(3000 // repeats)}"])
                            bad = chance.random() < level
                            graded = chance.choice([0.0, 0.25, 0.5] if bad else [0.75, 1.0])
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
    as_of: datetime = datetime.fromtimestamp(0, UTC)


Key = tuple[str, str, str, str]  # customer, provider, application, metric


def rolled_up(
    scores: Iterable[Score], populations: Mapping[Stratum, tuple[int, int]]
) -> dict[tuple[Key, str, str, datetime], Rolled]:
    """By series, model, version of the judge and day."""
    texts: dict[tuple[Any, ...], list[tuple[Score, float]]] = defaultdict(list)
    for number, one in enumerate(scores):
        if one.score is not None:
            stratum = (one.customer, one.provider, one.window, one.application, one.model, one.version)
            size, judged = populations.get(stratum, (0, 0))
            weight = size / judged if judged and size else 1.0
            series = ((one.customer, one.provider, one.application, one.metric), one.model, one.version)
            day = windows.floor_to(D, one.window)
            texts[(*series, day, one.text or number)].append((one, weight))
    found: dict[tuple[Key, str, str, datetime], Rolled] = defaultdict(lambda: Rolled(np.zeros((5, 24))))
    for (key, model, version, day, _), its in texts.items():
        values = [float(one.score > 0) if key[3] in RATES else one.score for one, _ in its if one.score is not None]
        value, weight = math.fsum(values) / len(its), math.fsum(w for _, w in its) / len(its)
        hour = min(one.window for one, _ in its).hour
        of = found[key, model, version, day]
        of.sums[:, hour] += [weight, weight**2, weight * value, weight * value**2, weight * value**3]
        of.observations += 1
        of.scores += len(its)
        of.as_of = max([of.as_of, *(one.window for one, _ in its)])
    return found


def expected(
    scores: Iterable[Score], populations: Mapping[Stratum, tuple[int, int]]
) -> dict[tuple[Key, str], dict[str, Any]]:
    """What must be said of a day that is over, by series and model ("" for all of its models)."""
    rolled = rolled_up(scores, populations)
    found: dict[tuple[Key, str], dict[str, Any]] = {}
    for key in {key for key, *_ in rolled}:
        of_day = [
            (r.as_of, r.observations, version) for (k, _, version, day), r in rolled.items() if (k, day) == (key, DAY)
        ]
        if not of_day:
            continue
        newest = max(of_day)[2]
        models = {model for k, model, version, _ in rolled if (k, version) == (key, newest)}
        for model in {"", *models}:
            cells, there, observations, of_scores = np.zeros((5, 1, alarm.DAYS, 24)), set(), 0, 0
            for (k, m, version, day), of in rolled.items():
                back = (DAY - day).days
                if (k, version) == (key, newest) and model in {"", m} and 0 <= back < alarm.DAYS:
                    cells[:, 0, alarm.DAYS - 1 - back] += of.sums
                    there |= {back} if back >= alarm.SPAN else set()
                    observations += of.observations if back == 0 else 0
                    of_scores += of.scores if back == 0 else 0
            worse = 1 if key[3] in {*RATES, "rubric:cost"} else -1
            one, three = (alarm.compare(alarm.Cells(*cells), worse, key[3] in RATES, span) for span in (1, alarm.SPAN))
            reason = ""
            if observations < alarm.LEAST_N:
                reason = f"{observations} different texts were judged, 20 are needed"
            elif len(there) < alarm.LEAST_DAYS:
                reason = f"{len(there)} of the 56 days before were judged by this version of the judge, 7 are needed"
            elif not one["hours"][0]:
                reason = "no hour of the day was judged on a day before"
            if model and (reason or len(models - {""}) + 1 <= 2):
                continue
            row: dict[str, Any] = {"reason": reason, "observations": observations, "scores": of_scores,
                                   "days_before": len(there), "judge_version": newest, "hours": one["hours"][0]}  # fmt: skip
            if one["hours"][0]:
                row |= {name: one[name][0] for name in ("figure", "usual", "effect", "low", "high", "effective_n")}
                row |= {f"{name}_of_three_days": three[name][0] for name in ("figure", "effect", "low", "high")}
            if not reason:
                row |= {"p_day": one["p"][0], "p_three_days": three["p"][0]}
                row["p"] = float(alarm.together(one["p"], three["p"])[0])
            found[key, model] = row
    for level, owner, name in ((alarm.LEVEL, 3, "q_application"), (alarm.LEVEL_OF_CUSTOMER, 1, "q_customer")):
        families = defaultdict(list)
        for (key, model), row in found.items():
            if "p" in row:
                families[key[:owner]].append(row)
        for family in families.values():
            for row, q in zip(family, alarm.benjamini_hochberg(np.array([r["p"] for r in family])), strict=True):
                row[name] = float(q)
                row["alarm"] = row.get("alarm", True) and bool(q <= level)
    return found


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 9))])
def test_every_column_is_what_plain_python_says(chdb_url: str, seed: int) -> None:
    clickhouse = ClickHouse(chdb_url)
    scores, populations = drawn(seed)
    with clickhouse.session():
        publish(clickhouse, scores, populations)
        publish(clickhouse, [Score(DAY + D, "accuracy", None, customer="other")])  # the day is over
        rows = verdicts(clickhouse)
    said = {
        ((r["customer_id"], r["provider"], r["application_id"], r["metric_type"]), r["model_name"]): r for r in rows
    }
    told = expected(scores, populations)
    assert len(said) == len(rows)
    assert said.keys() == told.keys()
    for key, row in told.items():
        for name in ("p", "p_day", "p_three_days", "q_application", "q_customer", "alarm", "effect", "low", "high"):
            row.setdefault(name, None)
        for name, value in row.items():
            if isinstance(value, float):
                assert said[key][name] == pytest.approx(value, rel=1e-7, abs=1e-10), (key, name)
            else:
                assert said[key][name] == value, (key, name)
    assert {row["reason"] == "" for row in rows} == {True, False}
    assert any(row["model_name"] for row in rows)
