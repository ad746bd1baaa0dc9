"""The alarm on LLM quality: its SQL against plain Python on random worlds, and what it says of worlds by hand."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optiinfra_dagster.automation.status import ledger_facts, sections
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.model.text import to_json
from optiinfra_dagster.storage import arrow, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute, write_select
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support import alarm
from tests.support.engines import kept_open
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


def verdicts(clickhouse: ClickHouse, days: Iterable[datetime], day: datetime = DAY) -> list[dict[str, Any]]:
    """Compute the days that were judged, and the verdicts of `day`."""
    write_select(clickhouse, DAYS.table, DAYS.select, sorted(days))
    write_select(clickhouse, ALARMS.table, ALARMS.select, [day])  # not those of the days before, too
    return select(
        clickhouse, f"SELECT * FROM {ALARMS.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL", at=day
    )


# --- At random -------------------------------------------------------------------------------------------------------


def drawn(seed: int) -> tuple[list[Score], Populations]:
    """A world of some applications of two customers over 88 days, some of which become worse, or change their model."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    scores: list[Score] = []
    populations: dict[Stratum, int] = {}
    judged = [*range(4), *sorted(chance.sample(range(4, 89), 14))]  # days back
    for customer, provider in (("acme", "aws"), ("acme", "gcp"), ("globex", "aws")):
        for application in ("chat", "search"):
            is_plain = application == "chat" and provider == "aws"  # some have a verdict in each world
            first = chance.choice([70, 88] if is_plain else [2, 5, 86])
            hours = sorted(chance.sample(range(24), 6 if is_plain else chance.choice([1, 3])))
            models = ["m-1", "m-2", "m-3"] if is_plain else chance.choice([["m-1"], ["m-1", "m-2", ""]])
            new_version = 0 if is_plain else chance.choice([0, 0, 4])
            worse_by = chance.choice([0.0, 0.3, 0.6])
            is_weighted, repeats = chance.random() < 0.6, chance.choice([1, 3, 30])
            for back in (one for one in reversed(judged) if one <= first):
                version = "v2" if back < new_version else "v1"
                level = min(max(0.25 + chance.gauss(0, 0.05) + (worse_by if back < 2 else 0), 0.0), 1.0)
                for hour in hours:
                    for model in models:
                        window = DAY - back * D + hour * HOUR + chance.randrange(4) * Q
                        if chance.random() < 0.2 or (back > 60 and model == "m-2"):
                            continue
                        whose: dict[str, Any] = {
                            "application": application,
                            "model": model,
                            "version": version,
                            "customer": customer,
                        }
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
    as_of: datetime = DAY - 200 * D


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


Days = Mapping[datetime, Sequence[Rolled]]  # of a series: what each of its models has


def compared(key: Key, days: Days, span: int, of_application: float = 0) -> dict[str, Any]:
    """The newest days of a series against those before."""
    cells = np.zeros((5, 1, alarm.DAYS, 24))
    for day, its in days.items():
        if 0 <= (DAY - day).days < alarm.DAYS:
            cells[:, 0, alarm.DAYS - 1 - (DAY - day).days] = sum(of.sums for of in its)
    worse = 1 if key[3] in {*RATES, "rubric:cost"} else -1
    return alarm.compare(alarm.Cells(*cells), worse, key[3] in RATES, span, of_application)


def dispersions(series: Mapping[tuple[Key, str], Days]) -> dict[tuple[str, str, str], float]:
    """How far days lie from each other, by application: the mean of its metrics that were judged on 7 days before."""
    found = defaultdict(list)
    for (key, model), days in series.items():
        one = compared(key, days, 1)
        if not model and one["days_before"][0] >= alarm.LEAST_DAYS:
            found[key[:3]].append(one["dispersion"][0])
    return {application: float(np.mean(its)) for application, its in found.items()}


def of_series(key: Key, days: Days, of_application: float) -> dict[str, Any] | None:
    """What must be said of a series; None of one without the day."""
    one, three = (compared(key, days, span, of_application) for span in (1, alarm.SPAN))
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
        return f"{before} of the 84 days before were judged by this version of the judge, 7 are needed"
    return "" if hours else "no hour of the day was judged on a day before"


def expected(scores: Sequence[Score], populations: Populations) -> dict[tuple[Key, str], dict[str, Any]]:
    """What must be said of a day that is over, by series and model ("" for all of its models)."""
    rolled = rolled_up(scores, populations)
    found: dict[tuple[Key, str], dict[str, Any]] = {}
    answers: dict[Key, dict[str, list[Rolled]]] = defaultdict(lambda: defaultdict(list))
    for (key, _, version, day), of in rolled.items():
        if day == DAY:
            answers[key][version].append(of)
    series: dict[tuple[Key, str], Days] = {}
    judges = {}
    for key, versions in answers.items():
        by = max(versions, key=lambda one: (sum(of.observations for of in versions[one]), one))
        judges[key] = by
        its = {(model, day): of for (k, model, version, day), of in rolled.items() if (k, version) == (key, by)}
        models = {model for model, day in its if (DAY - day).days < alarm.DAYS} - {""}
        for model in ("", *models):
            days = defaultdict(list)
            for (own, day), of in its.items():
                if model in {"", own}:
                    days[day].append(of)
            series[key, model] = days
    vary = dispersions(series)
    for (key, model), its_days in series.items():
        row = of_series(key, its_days, vary.get(key[:3], 0))
        has_models = sum(one == key for one, _ in series) > 2
        if row and (not model or (has_models and not row["reason"])):
            found[key, model] = row | {"judge_version": judges[key]}
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


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 9))])
def test_every_column_is_what_plain_python_says(chdb_url: str, seed: int) -> None:
    clickhouse = ClickHouse(chdb_url)
    scores, populations = drawn(seed)
    with clickhouse.session():
        publish(clickhouse, scores, populations)
        publish(clickhouse, [Score(DAY + D, "accuracy", None, customer="other")])  # the day is over
        rows = verdicts(clickhouse, {windows.floor_to(D, one.window) for one in scores})
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


# --- By hand ---------------------------------------------------------------------------------------------------------


def day_of(back: int, bad: int, count: int = 40, *, hours: Sequence[int] = (9, 15), **changes: Any) -> list[Score]:
    """The toxicity of `count` answers in each of some hours of a day, the first `bad` of them bad."""
    start = DAY - back * D
    return [
        Score(start + hour * HOUR, "toxicity", 1 / 3 if number < bad else 0.0, **changes)
        for hour in hours
        for number in range(count)
    ]


# The days before; most are those whose verdicts are too old to be computed again.
BEFORE = [1, 2, *range(15, 27)]


def usual(days: Iterable[int] = BEFORE, **changes: Any) -> list[Score]:
    """Days of 10 to 15 % bad answers."""
    return [one for back in days for one in day_of(back, 4 + back % 3, **changes)]


def cases() -> dict[str, list[Score]]:
    """The answers of each customer that a test below tells of."""
    return {
        "steady": [*usual(), *day_of(0, 5)],
        "worse": [*usual(), *day_of(0, 24)],
        "collected again": [*usual(), *day_of(0, 24)],
        "better": [*usual(), *day_of(0, 0)],
        # The same at noon and worse at night: of the day only the night came in.
        "night only": [*usual(), *usual(hours=[3]), *usual(hours=[3]), *day_of(0, 5, hours=[3])]
        + [one for back in BEFORE for one in day_of(back, 30, 40, hours=[3])],
        "new hour": [*usual(), *day_of(0, 40, hours=[4])],
        "one text": [*usual(), *day_of(0, 5), *day_of(0, 100, 100, text="same")],
        "many texts": [*usual(), *day_of(0, 5), *day_of(0, 100, 100)],
        "new judge": [*usual(), *day_of(0, 24, version="v2")],
        "judge changed at noon": [*usual(), *day_of(0, 24, hours=[9]), *day_of(0, 0, 39, hours=[15], version="v2")],
        "new model": [*usual(), *day_of(0, 24, model="m-2")],
        "one of two models": [*usual(), *usual(model="m-2"), *day_of(0, 5), *day_of(0, 24, model="m-2")],
        "few": [*usual(), *day_of(0, 9, 9, hours=[9])],
        "young": [*usual(BEFORE[:5]), *day_of(0, 24)],
        "rare": [*(one for back in BEFORE for one in day_of(back, 0)), *day_of(0, 0), *day_of(0, 1, 1)[:1]],
        "small windows": [
            one
            for back in [0, *BEFORE]
            for one in [*day_of(back, 1), *day_of(back, 4 if back else 40, 4 if back else 40, hours=[12])]
        ],
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """A place with the verdicts of the day and of the one before, on every case; the day after it has begun."""
    clickhouse = kept_open(tmp_path_factory.mktemp("alarms") / "clickhouse")  # other tests here have their own
    with clickhouse.session():
        scores = [replace(one, customer=customer) for customer, its in cases().items() for one in its]
        sizes = {whose(one): 6 if one.window.hour == 12 else 600 for one in scores if one.customer == "small windows"}
        publish(clickhouse, scores, sizes)
        publish(clickhouse, [Score(TODAY, "toxicity", 1.0, customer="worse") for _ in range(30)])
        write_select(clickhouse, DAYS.table, DAYS.select, [DAY - back * D for back in (-1, 0, *BEFORE)])
        write_select(clickhouse, ALARMS.table, ALARMS.select, [DAY - D, DAY, TODAY])
    return clickhouse


def said_of(clickhouse: ClickHouse, customer: str, day: datetime = DAY, model: str = "") -> dict[str, Any]:
    """The one verdict on a customer's only metric."""
    sql = (
        f"SELECT * FROM {ALARMS.view} WHERE customer_id = {{customer:String}} AND model_name = {{model:String}} "
        "AND window_start = {at:DateTime('UTC')}"
    )
    [row] = select(clickhouse, sql, customer=customer, at=day, model=model)
    return row


@pytest.mark.parametrize(
    ("case", "is_alarm"),
    [
        ("steady", False), ("worse", True), ("better", False), ("night only", False), ("one text", False),
        ("many texts", True), ("new model", True), ("one of two models", True), ("rare", False),
        ("small windows", False), ("judge changed at noon", True),
    ],
)  # fmt: skip
def test_an_alarm_is_told_of_what_got_worse_only(told: ClickHouse, case: str, is_alarm: bool) -> None:
    row = said_of(told, case)
    assert (row["alarm"], row["reason"]) == (is_alarm, "")
    assert said_of(told, case, DAY - D)["alarm"] is False


def test_a_verdict_tells_what_it_is_of(told: ClickHouse) -> None:
    row = said_of(told, "worse")
    assert (row["figure"], row["usual"]) == (pytest.approx(0.6), pytest.approx(0.125, abs=0.01))
    assert 0.3 < row["low"] < row["effect"] < row["high"] < 0.6
    assert (row["observations"], row["days_before"], row["hours"], row["seen_in_days"]) == (80, 12, 2, 1)
    assert row["q_application"] <= alarm.LEVEL
    assert (row["application_name"], row["judge_version"], row["as_of"]) == ("Chat", "v1", DAY + 15 * HOUR)


def test_the_model_that_got_worse_is_named(told: ClickHouse) -> None:
    assert said_of(told, "one of two models", model="m-2")["alarm"] is True
    assert said_of(told, "one of two models", model="m-1")["alarm"] is False
    with pytest.raises(ValueError, match="not enough values"):  # it has no days before to be compared with
        said_of(told, "new model", model="m-2")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("few", "9 different texts were judged, 20 are needed"),
        ("young", "3 of the 84 days before were judged by this version of the judge, 7 are needed"),
        ("new judge", "0 of the 84 days before were judged by this version of the judge, 7 are needed"),
        ("new hour", "no hour of the day was judged on a day before"),
    ],
)
def test_where_there_is_no_verdict_the_reason_is_said(told: ClickHouse, case: str, reason: str) -> None:
    row = said_of(told, case)
    assert (row["alarm"], row["p"], row["q_customer"], row["reason"]) == (None, None, None, reason)


def test_a_day_that_is_not_over_has_figures_and_no_verdict(told: ClickHouse) -> None:
    row = said_of(told, "worse", TODAY)
    assert (row["alarm"], row["reason"], row["observations"]) == (None, "the day is not over", 30)


def test_alerts_tell_of_what_got_worse_in_a_sentence(told: ClickHouse) -> None:
    with told.session() as client:
        found = ledger_facts.quality_worse(client, ["steady", "worse", "one of two models"], TODAY + 10 * HOUR)
        assert ledger_facts.quality_worse(client, ["worse"], TODAY + 5 * D) == []
    troubles = {trouble.key: trouble.text for trouble in sections.worse_quality(found)}
    assert troubles.keys() == {
        "quality_worse/one of two models/aws/application/chat:toxicity",
        "quality_worse/one of two models/aws/application/chat:m-2:toxicity",
        "quality_worse/worse/aws/application/chat:toxicity",
    }  # fmt: skip
    assert {one.days for one in found} == {1}
    text = troubles["quality_worse/worse/aws/application/chat:toxicity"]
    assert text.startswith(
        f"worse aws chat: toxicity was 60.0 % on {DAY:%Y-%m-%d}, 12.5 % in the same hours of the 12 weeks"
    )
    assert text.endswith("See `optiinfra read application alarms --customer worse`.")


def test_a_day_that_is_collected_again_has_its_verdict_again(told: ClickHouse) -> None:
    """Computing the windows of today finds the day before whose windows were published anew."""
    assert said_of(told, "collected again")["alarm"] is True
    publish(told, [replace(one, customer="collected again") for one in day_of(0, 5)])
    for reader in (DAYS, ALARMS):
        assert DAY in compute(told, reader, [TODAY])
    assert said_of(told, "collected again")["alarm"] is False
    for reader in (DAYS, ALARMS):
        assert compute(told, reader, [TODAY]).keys() == {TODAY}
