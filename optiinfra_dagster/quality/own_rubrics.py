"""A customer's own rubrics in the judge's question and answer, and as scores.

Each rubric's answer is a verdict of its own, found again by a key of its own: one that changes is asked about anew, and
nothing else is. So that this costs little, rubrics are asked about in one request with our metrics as far as they fit.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.quality import CANNOT_TELL, LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.model.quality import OwnAnswer

TOGETHER = 5  # rubrics that are asked about along with our metrics
TOGETHER_CHARACTERS = 2_500  # of those rubrics in all; our own metrics take 3,000


def version_of(rubric: Rubric) -> str:
    """A rubric's version: it changes with every word of it."""
    everything = [told(rubric), rubric.labels, rubric.direction, rubric.needs]
    return blake2b(json.dumps(everything).encode(), digest_size=4).hexdigest()


def judged_by(judge_version: str, rubric: Rubric) -> str:
    """The judge's version as a rubric's scores have it: a change of either begins another series."""
    return f"{judge_version}-{version_of(rubric)}"


def told(rubric: Rubric) -> str:
    """A rubric in the words of the question, on one line."""
    if rubric.anchors:
        answers = "; ".join(f"{score} {meaning}" for score, meaning in rubric.anchors)
    else:
        answers = " | ".join(json.dumps(label, ensure_ascii=False) for label, _ in rubric.labels)
    return f'own.{rubric.name} - {" ".join(rubric.question.split())} Answer {answers}; or "{CANNOT_TELL}".'


def fit_together(rubrics: Sequence[Rubric]) -> bool:
    """True if they may be asked about along with our metrics."""
    return len(rubrics) <= TOGETHER and sum(len(told(rubric)) for rubric in rubrics) <= TOGETHER_CHARACTERS


def schema_of(rubric: Rubric) -> dict[str, Any]:
    """The JSON schema of the answer to a rubric, without its evidence."""
    if rubric.anchors:
        cannot = {"type": "string", "enum": [CANNOT_TELL]}
        return {"anyOf": [{"type": "integer", "enum": list(LEVELS)}, cannot]}
    return {"type": "string", "enum": [*(label for label, _ in rubric.labels), CANNOT_TELL]}


def is_answered(rubric: Rubric, answer: OwnAnswer) -> bool:
    """True if it is an answer that the rubric has."""
    return answer.answer == CANNOT_TELL or (
        answer.answer in LEVELS if rubric.anchors else answer.answer in dict(rubric.labels)
    )


def score_of(rubric: Rubric, answer: OwnAnswer) -> tuple[float | None, str]:
    """The score from 0 to 1, and its label. None where the judge could not tell."""
    if answer.answer == CANNOT_TELL:
        return None, CANNOT_TELL
    if isinstance(answer.answer, int):
        return (answer.answer - 1) / 4, str(answer.answer)
    return dict(rubric.labels)[answer.answer], answer.answer
