"""A customer's own rubrics: questions that the judge answers of each judged interaction, beside our metrics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator

from optiinfra_dagster.config.secrets import Section, problem

MOST_RUBRICS = 10  # of an application: each is about 100 tokens in, and 40 out, of every judgment
MOST_LABELS = 10
LONGEST_TEXT = 200  # characters of an anchor or a label

_HOW_TO_ANCHOR = "Write what 1 and 5 mean, such as {1: ignores it, 5: follows it to the letter}"
_HOW_TO_LABEL = "Write two to ten labels from the lowest score to the highest, or with scores such as {no: 0, yes: 1}"


def _anchors(value: object) -> tuple[tuple[int, str], ...]:
    """Scores from 1 to 5 with what they mean, from `{1: ..., 5: ...}`."""
    if not isinstance(value, Mapping) or not {"1", "5"} <= value.keys() <= set("12345"):
        raise problem("does not say what the scores 1 and 5 mean", _HOW_TO_ANCHOR)
    if not all(isinstance(text, str) and 0 < len(text.strip()) <= LONGEST_TEXT for text in value.values()):
        raise problem(f"has a meaning that is no text of up to {LONGEST_TEXT} characters", _HOW_TO_ANCHOR)
    return tuple((int(score), " ".join(value[score].split())) for score in sorted(value))


def _labels(value: object) -> tuple[tuple[str, float], ...]:
    """Labels with their scores from 0 to 1, from `{no: 0, yes: 1}` or, at equal distances, from `[no, partly, yes]`."""
    if isinstance(value, list | tuple):
        names = list(value)
        scores: list[object] = [place / max(len(names) - 1, 1) for place in range(len(names))]
    elif isinstance(value, Mapping):
        names, scores = list(value), list(value.values())
    else:
        raise problem("is no list of labels", _HOW_TO_LABEL)
    if not 2 <= len(names) <= MOST_LABELS or len(set(names)) != len(names):
        raise problem(f"does not hold 2 to {MOST_LABELS} labels that differ", _HOW_TO_LABEL)
    if not all(isinstance(name, str) and 0 < len(name.strip()) <= LONGEST_TEXT for name in names):
        raise problem(f"has a label that is no text of up to {LONGEST_TEXT} characters", f"{_HOW_TO_LABEL}, in quotes")
    if "cannot_tell" in names:
        raise problem("holds cannot_tell, which the judge may answer anyway", "Remove it")
    labels = []
    for name, score in zip(names, scores, strict=True):
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise problem("has a score that is no number from 0 to 1", _HOW_TO_LABEL)
        labels.append((name.strip(), float(score)))
    return tuple(labels)


class Rubric(Section):
    """A question of the customer's own about each judged answer, such as whether it names its source.

    The judge answers it with a score from 1 to 5, of which `anchors` says what 1 and 5 mean, or with one of `labels`:
    those of a list are scored from 0 to 1 at equal distances in its order, else as written. Or it says that it cannot
    tell. `direction` says which way is better. With `needs`, an interaction without that part is not asked about.

    Scores are `application rubrics`. Where any word of a rubric changes, its scores begin a series of their own, and no
    other score is judged anew.
    """

    name: str = Field(
        description="Write up to 40 small letters, digits and _, such as names_source",
    )
    question: str = Field(description="Write the question in 10 to 600 characters, in quotes")
    anchors: Annotated[tuple[tuple[int, str], ...], PlainValidator(_anchors)] = Field(
        default=(), description=_HOW_TO_ANCHOR
    )
    labels: Annotated[tuple[tuple[str, float], ...], PlainValidator(_labels)] = Field(
        default=(), description=_HOW_TO_LABEL
    )
    direction: Literal["higher_is_better", "higher_is_worse"] = Field(
        description="Write higher_is_better or higher_is_worse"
    )
    needs: Literal["context", "reference", "none"] = Field(
        default="none", description="Write context, reference or none"
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
            raise problem("is no name that a column could have")
        return name

    @field_validator("question")
    @classmethod
    def _check_question(cls, question: str) -> str:
        if not 10 <= len(question) <= 600:  # it is a part of every request
            raise problem("is too short or too long")
        return question

    @model_validator(mode="after")
    def _check_answers(self) -> Rubric:
        if bool(self.anchors) is bool(self.labels):
            raise problem("has no answers to choose from" if not self.anchors else "has both anchors and labels",
                          "Write anchors or labels, one of the two")  # fmt: skip
        return self


def check_names(rubrics: tuple[Rubric, ...]) -> tuple[Rubric, ...]:
    """The rubrics, if they are not too many and each name is there once."""
    if len(rubrics) > MOST_RUBRICS:
        raise problem(f"holds more than {MOST_RUBRICS} rubrics", "Keep those that you look at")
    twice = [name for name, count in Counter(rubric.name for rubric in rubrics).items() if count > 1]
    if twice:
        raise problem(f"names the rubric '{twice[0]}' twice", "Keep one, or rename it")
    return rubrics
