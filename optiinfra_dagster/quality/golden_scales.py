"""The scales on which people label what the judge scores: our metrics, the figures of retrieval, and own rubrics.

On each scale a label and the judge's verdict are numbers, and some of these are what the judge is there to find
(positive): a grade of 2 or lower, any hallucination, any toxicity; a share below a half; of a rubric a score on the bad
side of the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model import quality
from optiinfra_dagster.model.quality import GRADED, LEVELS, METRICS, RETRIEVAL
from optiinfra_dagster.quality import own_rubrics
from optiinfra_dagster.quality.rows import score_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.model.quality import Verdict

LABELS: Mapping[str, Sequence[str]] = {  # from good to bad
    "hallucination": list(quality.HALLUCINATION),
    "toxicity": list(quality.SEVERITIES.values()),
}


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of one metric, or of a customer's rubric."""

    metric: str
    rubric: Rubric | None = None

    @property
    def metric_type(self) -> str:
        """The metric's name in rows."""
        return self.metric if self.rubric is None else f"rubric:{self.rubric.name}"

    def version(self, judge_version: str) -> str:
        """The judge's version as the metric's rows have it."""
        return judge_version if self.rubric is None else own_rubrics.judged_by(judge_version, self.rubric)

    def takes(self, label: object) -> bool:
        """True if a label is one that the scale has."""
        if self.rubric is None:
            return True  # which was checked when it was read
        if self.rubric.anchors:
            return isinstance(label, int | float) and min(LEVELS) <= label <= max(LEVELS)
        return label in dict(self.rubric.labels)

    def number(self, label: float | str) -> float | None:
        """A label as a number; None where it is not assessable."""
        if self.rubric is not None:
            return dict(self.rubric.labels)[label] if isinstance(label, str) else (label - 1) / 4
        if isinstance(label, str):
            known = LABELS.get(self.metric, ())
            return float(known.index(label)) if label in known else None
        return float(label)

    def judged(self, verdict: Verdict | None) -> float | None:
        """The judge's verdict as a number; None where it gave none, or could not be asked."""
        if verdict is None or verdict.said is None:
            return None
        if self.rubric is not None:
            return own_rubrics.score_of(self.rubric, verdict.said.own[self.rubric.name])[0]
        scored = score_of(self.metric, verdict)
        if self.metric in RETRIEVAL:
            return scored.score
        return self.number(
            scored.details["raw"] if self.metric in GRADED and scored.score is not None else scored.label
        )

    def grade(self, number: float) -> int:
        """The nearest grade, of five where it is a share; one half-way between two is the higher one."""
        if self.rubric is not None and self.rubric.labels:
            scores = sorted({score for _, score in self.rubric.labels})
            return min(range(len(scores)), key=lambda place: (abs(scores[place] - number), -place))
        return int((4 * number if self.metric not in METRICS else number) + 0.5)

    def is_positive(self, number: float) -> bool:
        """True for what the judge is there to find."""
        if self.rubric is not None and self.rubric.direction == "higher_is_worse":
            return number > 0.5
        if self.metric not in METRICS:
            return number < 0.5
        grade = self.grade(number)
        return grade <= 2 if self.metric in GRADED else grade > 0
