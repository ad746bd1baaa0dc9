"""`rubrics` and `rules` of the customers file: what they give, and what people read for a wrong one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.config.rubrics import Rubric
from optiinfra_dagster.model.errors import ConfigError
from tests.config.test_allocation import load

if TYPE_CHECKING:
    from optiinfra_dagster.config.application import Application

NAMED = "name: names_source, question: 'Does it name its source?'"
ANCHORS = "anchors: {1: 'no source', 5: 'each source'}"
DIRECTION = "direction: higher_is_better"
ONE = f"{{{NAMED}, {ANCHORS}, {DIRECTION}}}"


def application(folder: Path, text: str) -> Application:
    customer = load(folder, f"application: {{interactions: clickhouse, {text}}}")
    assert customer.application is not None
    return customer.application


def test_a_rubric_has_anchors_or_labels(tmp_path: Path) -> None:
    labels = f"{{name: tone, question: 'Is it friendly?', labels: [cold, neutral, warm], {DIRECTION}}}"
    scored = (
        "{name: upsells, question: 'Does it sell things?', labels: {none: 0, some: 0.25, 'all of it': 1},"
        " direction: higher_is_worse, needs: context}"
    )
    first, second, third = application(tmp_path, f"rubrics: [{ONE}, {labels}, {scored}]").rubrics
    assert first == Rubric.model_validate(
        {
            "name": "names_source", "question": "Does it name its source?",
            "anchors": {"1": "no source", "5": "each source"}, "direction": "higher_is_better",
        }
    )  # fmt: skip
    assert first.anchors == ((1, "no source"), (5, "each source"))
    assert second.labels == (("cold", 0.0), ("neutral", 0.5), ("warm", 1.0))
    assert third.labels == (("none", 0.0), ("some", 0.25), ("all of it", 1.0))
    assert (second.needs, third.needs, third.direction) == ("none", "context", "higher_is_worse")


def test_the_example_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "llm_judge.md").read_text(encoding="utf-8")
    [written] = re.findall(r"```yaml\n    application:\n(.*?)```", page, re.DOTALL)
    described = load(tmp_path, "application:\n" + written).application
    assert described is not None
    assert [(one.name, one.needs) for one in described.rubrics] == [("names_source", "context"), ("tone", "none")]


def test_rules_are_all_looked_for_unless_some_are_named(tmp_path: Path) -> None:
    assert application(tmp_path, "sample_per_window: 5").rules == ("pii", "refusal", "empty", "too_long", "language")
    some = application(tmp_path, "rules: [pii, refusal], languages: [en, de], longest_answer: 500")
    assert (some.rules, some.languages, some.longest_answer) == (("pii", "refusal"), ("en", "de"), 500)
    assert application(tmp_path, "rules: []").rules == ()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (f"rubrics: [{ONE}, {ONE}]", "names the rubric 'names_source' twice. Keep one, or rename it"),
        (f"rubrics: [{', '.join([ONE] * 11)}]", "holds more than 10 rubrics"),
        (f"rubrics: [{{{NAMED}, {DIRECTION}}}]", "has no answers to choose from. Write anchors or labels"),
        (f"rubrics: [{{{NAMED}, {ANCHORS}, labels: [a, b], {DIRECTION}}}]", "has both anchors and labels. Write"),
        (f"rubrics: [{{{NAMED}, {ANCHORS}}}]", "direction: is missing. Write higher_is_better or higher_is_worse"),
        (f"rubrics: [{{{NAMED}, anchors: {{1: bad}}, {DIRECTION}}}]", "does not say what the scores 1 and 5 mean"),
        (f"rubrics: [{{{NAMED}, anchors: {{0: a, 1: b, 5: c}}, {DIRECTION}}}]", "Write what 1 and 5 mean, such as"),
        (f"rubrics: [{{{NAMED}, labels: [one], {DIRECTION}}}]", "labels: does not hold 2 to 10 labels that differ"),
        (f"rubrics: [{{{NAMED}, labels: [a, cannot_tell], {DIRECTION}}}]", "holds cannot_tell, which the judge may"),
        (f"rubrics: [{{{NAMED}, labels: {{a: 0, b: 2}}, {DIRECTION}}}]", "has a score that is no number from 0 to 1"),
        (f"rubrics: [{{{NAMED}, labels: [yes, no], {DIRECTION}}}]", "that is no text of up to 200 characters."),
        (f"rubrics: [{{name: Names, question: 'Does it name it?', {ANCHORS}, {DIRECTION}}}]", "Write up to 40 small"),
        (f"rubrics: [{{name: short, question: 'Eh?', {ANCHORS}, {DIRECTION}}}]", "Write the question in 10"),
        (f"rubrics: [{{name: long, question: {'x' * 601}, {ANCHORS}, {DIRECTION}}}]", "Write the question in 10"),
        (f"rubrics: [{{{NAMED}, {ANCHORS}, {DIRECTION}, needs: prompt}}]", "Write context, reference or none"),
        ("rules: [pii, refusals]", "Write a list of pii, refusal, empty, too_long, language, or [] for none"),
        ("languages: [english]", "Write a list of languages that answers should have, of en, de,"),
        ("longest_answer: 0", "Write a number of characters"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_refused_with_its_line_and_what_to_write(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        application(tmp_path, written)
    assert said in str(raised.value)
    assert "customers.yaml:" in str(raised.value)
