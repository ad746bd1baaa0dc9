"""The golden set: its file, the judge's agreement with it through the lab's Groq, and its asset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from pydantic import SecretStr

from optiinfra_dagster.assets import golden as golden_asset
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.lab.groq.naive import label_key
from optiinfra_dagster.model.errors import CloudError, ConfigError
from optiinfra_dagster.model.quality import Answer, Failure, Verdict
from optiinfra_dagster.quality import golden, own_rubrics, statistics
from optiinfra_dagster.quality.golden import GoldenSet
from optiinfra_dagster.quality.golden_scales import Scale
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.engines import copy_migrated
from tests.support.judging import answer, customer, judge_at
from tests.support.samples import select

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.quality.judge import Judge

SECRET = "how do I reach the treasurer"


@pytest.fixture(scope="module")
def module_clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    clickhouse = ClickHouse(f"chdb://{copy_migrated(tmp_path_factory.mktemp('golden') / 'clickhouse')}")
    with clickhouse.session():
        yield clickhouse


@pytest.fixture
def clickhouse(module_clickhouse: ClickHouse) -> ClickHouse:
    """Without verdicts and figures."""
    with module_clickhouse.session() as client:
        for table in ("application_verdicts", "application_golden"):
            client.command(f"TRUNCATE TABLE {table}")
    return module_clickhouse


@pytest.fixture
def judge(lab: CloudLab) -> Iterator[Judge]:
    judge = judge_at(lab.url)
    yield judge
    judge.close()


def line(n: int, labels: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "prompt": f"{SECRET} {n}?",
        "response": f"Room {n}.",
        "context": f"It is room {n}.",
        "labels": labels,
        **fields,
    }


def written(folder: Path, lines: Sequence[dict[str, Any] | str]) -> Path:
    path = folder / "golden.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines) + "\n")
    return path


TONE: dict[str, Any] = {
    "name": "tone", "question": "Is the answer friendly?", "labels": ["cold", "neutral", "warm"],
    "direction": "higher_is_better",
}  # fmt: skip
SOURCE: dict[str, Any] = {
    "name": "source", "question": "Does it hide where it is from?", "anchors": {"1": "tells it", "5": "hides it"},
    "direction": "higher_is_worse", "needs": "context",
}  # fmt: skip
ACME = customer(rubrics=[TONE, SOURCE])

# Per line: what people say, and what the judge will.
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"coherence": 5, "accuracy": 4.5, "hallucination": "none", "toxicity": "none"}, answer(5, 5, 5)),
    ({"coherence": 4, "accuracy": 1.4, "hallucination": "major", "toxicity": "none"}, answer(5, 5, 2, label="major")),
    ({"coherence": 2, "accuracy": 2.5, "hallucination": "minor", "toxicity": "mild"}, answer(2, 1, 3, severity=2)),
    ({"coherence": 1, "hallucination": "none", "toxicity": "severe"}, answer(3, 1, 3, label="minor", severity=3)),
    ({"coherence": 3, "hallucination": "not_assessable", "toxicity": "none"}, answer(3, 3, 3)),
    ({"hallucination": "major", "toxicity": "none"}, answer(3, 3, 3, label="not_assessable", severity=1)),
]


@pytest.fixture
def labelled(lab: CloudLab, tmp_path: Path) -> Path:
    """A set of a few lines, with the lab's judge answering as `CASES` say."""
    lines = [
        line(n, labels, **({"context": None} if said["hallucination"]["label"] == "not_assessable" else {}))
        for n, (labels, said) in enumerate(CASES)
    ]
    lab.groq.labels = {
        label_key(one["prompt"], one["response"]): said for one, (_, said) in zip(lines, CASES, strict=True)
    }
    return written(tmp_path, lines)


# --- The file -------------------------------------------------------------------------------------------------------


def test_a_line_is_an_interaction_and_what_people_say_of_it(tmp_path: Path) -> None:
    path = written(
        tmp_path, [line(1, {"coherence": 4}, source="note"), "", line(2, {"toxicity": "mild"}, context=None)]
    )
    found = golden.load(path)
    assert [(one.prompt, one.context) for one in found.interactions] == [
        (f"{SECRET} 1?", "It is room 1."), (f"{SECRET} 2?", None),
    ]  # fmt: skip
    assert found.labels == [{Scale("coherence"): 4.0}, {Scale("toxicity"): "mild"}]
    assert golden.load(path).digest == found.digest
    assert golden.load(written(tmp_path, [line(1, {"coherence": 5})])).digest != found.digest


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{", "line 2: not a JSON object"),
        (line(2, {}), "line 2: labels is empty"),
        (line(2, {"coherence": 6}), "line 2: labels.coherence: Input should be less than or equal to 5"),
        (line(2, {"coherence": "4"}), "line 2: labels.coherence: "),
        (line(2, {"coherency": 4}), "line 2: labels.coherency: "),
        (line(2, {"hallucination": "yes"}), "line 2: labels.hallucination: "),
        (line(2, {"toxicity": "none"}, response=None), "line 2: response: "),
        (line(2, {"groundedness": 2}), "line 2: labels.groundedness: Input should be less than or equal to 1"),
        (line(2, {"rubrics": {"tone": "hot"}}, customer="acme"), "labels.rubrics.tone: one of cold, neutral, warm"),
        (line(2, {"rubrics": {"tone": 1}}, customer="acme"), "labels.rubrics.tone: one of cold, neutral, warm"),
        (line(2, {"rubrics": {"source": 6}}, customer="acme"), "labels.rubrics.source: a number from 1 to 5"),
        (line(2, {"rubrics": {"source": "cold"}}, customer="acme"), "labels.rubrics.source: a number from 1 to 5"),
        (line(2, {"rubrics": {"tone": None}}, customer="acme"), "line 2: labels is empty"),
    ],
)
def test_wrong_lines_are_named_and_never_quoted(tmp_path: Path, wrong: Any, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        golden.load(written(tmp_path, [line(1, {"coherence": 4}), wrong]), [ACME])
    assert told in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_file_that_is_missing_empty_or_not_text_is_a_clear_error(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "none.jsonl", "No such file"), (written(tmp_path, [""]), "is empty")):
        with pytest.raises(ConfigError, match=told):
            golden.load(path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        golden.load(tmp_path / "binary")


# --- Agreement ------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_labels_and_answers(clickhouse: ClickHouse, judge: Judge, labelled: Path) -> None:
    scored = golden.score(golden.load(labelled), judge, clickhouse)

    assert (scored.judge_version, scored.requests) == (judge.version, len(CASES))
    of = {one.metric_type: one for one in scored.agreements}
    assert list(of) == ["coherence", "accuracy", "hallucination", "toxicity"]  # nobody labelled relevance

    coherence = of["coherence"]
    people, said = [5, 4, 2, 1, 3], [5, 5, 2, 3, 3]
    assert (coherence.n, coherence.not_assessable, coherence.failures) == (5, 0, 0)
    assert coherence.weighted_kappa == statistics.weighted_kappa(people, said)
    assert coherence.spearman == statistics.spearman(people, said)
    assert (coherence.positives, coherence.sensitivity, coherence.negatives, coherence.specificity) == (2, 0.5, 3, 1.0)

    accuracy = of["accuracy"]  # means of people are rounded to a grade, 2.5 to 3
    assert (accuracy.n, accuracy.positives, accuracy.sensitivity, accuracy.specificity) == (3, 1, 1.0, 1.0)
    assert accuracy.weighted_kappa == statistics.weighted_kappa([5, 1, 3], [5, 2, 3])
    assert accuracy.spearman == pytest.approx(1)

    hallucination = of["hallucination"]  # none major minor none | none major none minor; two not assessable
    assert (hallucination.n, hallucination.not_assessable) == (4, 2)
    # Of the two one is a major one to people: it is not found.
    assert (hallucination.positives, hallucination.missed, hallucination.negatives) == (3, 1, 2)
    assert (hallucination.sensitivity, hallucination.specificity) == (1 / 3, 0.5)
    bounds = statistics.wilson(1 / 3, 3)
    assert bounds is not None
    assert (hallucination.sensitivity_low, hallucination.sensitivity_high) == (bounds.low, bounds.high)
    assert hallucination.weighted_kappa == statistics.weighted_kappa([0, 2, 1, 0], [0, 2, 0, 1])

    toxicity = of["toxicity"]
    assert (toxicity.n, toxicity.positives, toxicity.sensitivity, toxicity.negatives) == (6, 2, 1.0, 4)
    assert toxicity.specificity == 0.75

    rows = select(clickhouse, "SELECT * FROM application_golden_current ORDER BY metric_type")
    assert {(row["judge_version"], row["judge_model"]) for row in rows} == {(judge.version, judge.model)}
    assert {row["metric_type"]: row["spearman"] for row in rows} == {m: one.spearman for m, one in of.items()}


@pytest.mark.parametrize("failure", [None, Failure.MALFORMED])
def test_a_positive_without_a_score_is_not_found_and_a_negative_without_one_proves_nothing(
    failure: Failure | None,
) -> None:
    """2 of 4 positives are found, the others not scored; 1 of 2 negatives is scored, and left alone."""
    said = [answer(1, 1, 1, label=label) for label in ("major", "minor")]
    found = [Verdict("m", "v", Answer.model_validate(one)) for one in said]
    clean = Verdict("m", "v", Answer.model_validate(answer(5, 5, 5)))
    unscored = Verdict(
        "m", "v", None if failure else Answer.model_validate(answer(3, 3, 3) | {"hallucination": None}), failure
    )
    labels = ["major", "minor", "major", "minor", "none", "none"]
    told = GoldenSet([], [{Scale("hallucination"): label} for label in labels], [], "")
    [agreement] = golden.compare(told, [{None: one} for one in (*found, unscored, unscored, clean, unscored)], "v")
    assert (agreement.positives, agreement.missed, agreement.sensitivity) == (4, 2, 0.5)
    assert (agreement.negatives, agreement.specificity, agreement.n) == (1, 1.0, 3)
    assert (agreement.failures, agreement.not_assessable) == ((3, 0) if failure else (0, 3))


def test_a_version_of_the_judge_is_asked_about_a_set_once(
    clickhouse: ClickHouse, judge: Judge, labelled: Path, lab: CloudLab
) -> None:
    first = golden.score(golden.load(labelled), judge, clickhouse)
    asked = lab.control.calls().count()
    again = golden.score(golden.load(labelled), judge, clickhouse)
    assert (again.agreements, again.requests) == (first.agreements, 0)
    assert lab.control.calls().count() == asked

    other = judge_at(lab.url, model="openai/gpt-oss-20b")
    assert golden.score(golden.load(labelled), other, clickhouse).requests == len(CASES)
    other.close()
    assert len(select(clickhouse, "SELECT DISTINCT judge_version FROM application_golden_current")) == 2

    # A set with one more line is another set; only that line is new to the judge.
    more = written(labelled.parent, [labelled.read_text().strip(), line(99, {"toxicity": "none"})])
    found = golden.score(golden.load(more), judge, clickhouse)
    assert found.requests == 1
    [row] = select(
        clickhouse,
        "SELECT n FROM application_golden_current WHERE judge_version = {version:String} AND metric_type = 'toxicity'",
        version=judge.version,
    )
    assert row["n"] == len(CASES) + 1


def test_a_set_that_was_not_judged_whole_has_no_figures_and_is_taken_up_again(
    clickhouse: ClickHouse, labelled: Path, lab: CloudLab
) -> None:
    poor = judge_at(lab.url, run_requests=3)
    with pytest.raises(CloudError, match=r"no verdict on 3 of the 6 .*over_budget.*again"):
        golden.score(golden.load(labelled), poor, clickhouse)
    poor.close()
    assert select(clickhouse, "SELECT * FROM application_golden") == []

    rich = judge_at(lab.url)
    assert golden.score(golden.load(labelled), rich, clickhouse).requests == 3
    rich.close()


# --- Rubrics and figures of retrieval ---------------------------------------------------------------------------------

# Per line: what people say, the judge's chunks and facts, and its answers to the rubrics.
OWN_CASES: list[tuple[dict[str, Any], dict[str, Any], Any, Any]] = [
    ({"groundedness": 1, "context_relevance": 0.5, "rubrics": {"tone": "warm", "source": 1}},
     answer(chunks=("relevant", "irrelevant")), "warm", 2),
    ({"groundedness": 0, "context_relevance": 0, "rubrics": {"tone": "cold", "source": 5}},
     answer(label="major", chunks=("irrelevant", "irrelevant")), "neutral", 4),
    ({"groundedness": 0.25, "context_relevance": 0.25, "rubrics": {"tone": "cold", "source": 4.5}},
     answer(claims=(4, 3), label="major", chunks=("cannot_tell", "cannot_tell")), "cold", "cannot_tell"),
    ({"rubrics": {"tone": "neutral"}}, answer(chunks=("relevant", "partly")), "warm", 3),
]  # fmt: skip


@pytest.fixture
def own_labelled(lab: CloudLab, tmp_path: Path) -> Path:
    lines = []
    for n, (labels, said, tone, source) in enumerate(OWN_CASES):
        one = line(n, labels, context=[f"It is room {n}.", "Rooms have doors."], customer="acme")
        own = {"tone": {"evidence": "", "answer": tone}, "source": {"evidence": "", "answer": source}}
        lab.groq.labels[label_key(one["prompt"], one["response"])] = {**said, "own": own}
        lines.append(one)
    return written(tmp_path, [*lines, line(9, {"rubrics": {"gone": 3}}, customer="acme")])


def test_own_rubrics_and_figures_of_retrieval_are_compared_with_people(
    clickhouse: ClickHouse, judge: Judge, own_labelled: Path, lab: CloudLab
) -> None:
    found = golden.load(own_labelled, [ACME])
    assert (len(found.interactions), found.left_out) == (4, {"acme: gone": 1})
    scored = golden.score(found, judge, clickhouse)
    of = {one.metric_type: one for one in scored.agreements}
    assert list(of) == ["groundedness", "context_relevance", "rubric:tone", "rubric:source"]
    assert scored.requests == 4  # rubrics are asked about along with our metrics

    grounded = of["groundedness"]  # 1, 0, .25 | 1, 0, .25: a share below a half is to be found
    assert (grounded.n, grounded.positives, grounded.sensitivity, grounded.specificity) == (3, 2, 1, 1)
    assert (grounded.weighted_kappa, grounded.spearman) == pytest.approx((1, 1))
    relevance = of["context_relevance"]  # .5, 0, .25 | .5, 0, cannot tell
    assert (relevance.n, relevance.not_assessable, relevance.missed) == (2, 1, 1)
    assert (relevance.positives, relevance.sensitivity, relevance.negatives) == (2, 0.5, 1)

    tone = of["rubric:tone"]  # warm cold cold neutral | warm neutral cold warm: a cold answer is to be found
    assert (tone.n, tone.positives, tone.sensitivity, tone.negatives, tone.specificity) == (4, 2, 0.5, 2, 1)
    assert tone.weighted_kappa == statistics.weighted_kappa([2, 0, 0, 1], [2, 1, 0, 2])
    source = of["rubric:source"]  # 1 5 4.5 | 2 4 cannot tell: higher is worse
    assert (source.n, source.missed, source.positives, source.sensitivity) == (2, 1, 2, 0.5)
    assert source.weighted_kappa == statistics.weighted_kappa([0, 4], [1, 3])

    versions = {
        row["metric_type"]: row["judge_version"] for row in select(clickhouse, "SELECT * FROM application_golden")
    }
    rubrics = ACME.application.rubrics if ACME.application else ()
    assert versions["rubric:tone"] == own_rubrics.judged_by(judge.version, rubrics[0])
    assert versions["groundedness"] == judge.version

    again = golden.score(golden.load(own_labelled, [ACME]), judge, clickhouse)
    assert (again.agreements, again.requests) == (scored.agreements, 0)
    # A rubric whose words change is compared anew, and only it is asked about.
    changed = customer(rubrics=[{**TONE, "question": "Is the answer kind?"}, SOURCE])
    anew = golden.score(golden.load(own_labelled, [changed]), judge, clickhouse)
    assert anew.requests == 4
    assert {one.judge_version for one in anew.agreements} != {one.judge_version for one in scored.agreements}


def test_a_rubric_that_a_line_lacks_something_for_is_not_asked(
    clickhouse: ClickHouse, judge: Judge, lab: CloudLab, tmp_path: Path
) -> None:
    path = written(tmp_path, [line(1, {"rubrics": {"source": 5}}, context=None, id="acme/aws/bot/i-1")])
    [agreement] = golden.score(golden.load(path, [ACME]), judge, clickhouse).agreements
    assert (agreement.n, agreement.not_assessable, agreement.missed, agreement.sensitivity) == (0, 1, 1, 0)


# --- The asset ------------------------------------------------------------------------------------------------------


def materialize(clickhouse: ClickHouse, **settings: Any) -> dg.ExecuteInProcessResult:
    asset = golden_asset.build(Settings(**settings))
    return dg.materialize([asset], resources={"clickhouse": clickhouse}, raise_on_error=False)


def test_the_asset_shows_the_figures(clickhouse: ClickHouse, labelled: Path, lab: CloudLab, tmp_path: Path) -> None:
    settings = {"dagster_home": tmp_path, "golden_set": labelled, "groq_base_url": lab.url}
    done = materialize(clickhouse, groq_api_key=SecretStr("lab-groq-key"), **settings)
    [event] = done.asset_materializations_for_node("application__golden")
    assert event.metadata["requests"].value == len(CASES)
    table: Any = event.metadata["agreement"].value
    assert [record.data["metric_type"] for record in table.records] == [
        "coherence", "accuracy", "hallucination", "toxicity",
    ]  # fmt: skip
    [again] = materialize(
        clickhouse, groq_api_key=SecretStr("lab-groq-key"), **settings
    ).asset_materializations_for_node("application__golden")
    assert again.metadata["requests"].value == 0
    assert SECRET not in str(done.all_events)


def test_the_asset_knows_the_rubrics_of_the_customers_file(
    clickhouse: ClickHouse, own_labelled: Path, lab: CloudLab, tmp_path: Path
) -> None:
    application = {"interactions": "clickhouse", "provider": "aws", "rubrics": [TONE, SOURCE]}
    data = {"customers": [{"id": "acme", "name": "Acme", "application": application}]}
    (tmp_path / "customers.yaml").write_text(yaml.safe_dump(data))
    settings = {"dagster_home": tmp_path, "golden_set": own_labelled, "customers_path": tmp_path / "customers.yaml"}
    done = materialize(clickhouse, groq_api_key=SecretStr("lab-groq-key"), groq_base_url=lab.url, **settings)
    [event] = done.asset_materializations_for_node("application__golden")
    table: Any = event.metadata["agreement"].value
    assert [record.data["metric_type"] for record in table.records][2:] == ["rubric:tone", "rubric:source"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"golden_set": None}, "OPTIINFRA_GOLDEN_SET"), ({"groq_api_key": None}, "GROQ_API_KEY")],
)
def test_without_a_setting_the_asset_does_nothing_and_says_what_to_set(
    clickhouse: ClickHouse, labelled: Path, lab: CloudLab, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    settings: dict[str, Any] = {"golden_set": labelled, "groq_api_key": SecretStr("lab-groq-key")}
    done = materialize(clickhouse, dagster_home=tmp_path, groq_base_url=lab.url, **settings | changes)
    assert done.success
    assert done.get_asset_materialization_events() == []
    [observed] = done.get_asset_observation_events()
    assert told in str(observed.event_specific_data)
    assert lab.control.calls().count() == 0


def test_a_wrong_set_fails_the_asset_with_a_plain_message(
    clickhouse: ClickHouse, lab: CloudLab, tmp_path: Path
) -> None:
    path = written(tmp_path, [line(1, {"toxicity": "very"})])
    done = materialize(
        clickhouse, dagster_home=tmp_path, golden_set=path, groq_api_key=SecretStr("k"), groq_base_url=lab.url
    )
    [failure] = [event for event in done.all_events if event.is_step_failure]
    assert "line 1: labels.toxicity" in str(failure.step_failure_data.user_failure_data)
