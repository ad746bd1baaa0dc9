"""The scales of users' feedback in customers.yaml, for numbers that do not say on which scale they are."""

from __future__ import annotations

import re
from collections import Counter

from pydantic import Field, field_validator

from optiinfra_dagster.config.secrets import Section, problem

THUMBS = "thumbs"  # 1 or true is up, 0, -1 or false is down

_SCALE = re.compile(r"(-?\d{1,6}(?:\.\d{1,3})?)\.\.(-?\d{1,6}(?:\.\d{1,3})?)")


class FeedbackScale(Section):
    """A kind of feedback that users give, for `application feedback`.

    `name` is that of the score, key or annotation in the log, to the letter. `scale` is `worst..best`, such as `0..1`,
    `1..5` or `5..1`, or `thumbs`. What is named here counts as users' feedback whoever sent it.
    """

    name: str = Field(min_length=1, description="Write the name as the log has it, such as user-feedback")
    scale: str = Field(description="Write worst..best, such as 0..1 or 1..5, or thumbs")

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, value: str) -> str:
        if value != THUMBS and ends_of(value) is None:
            raise problem("is no scale")
        return value


def ends_of(scale: str) -> tuple[float, float] | None:
    """The worst and the best of a scale such as 1..5; None for what is none."""
    match = _SCALE.fullmatch(scale)
    ends = (float(match[1]), float(match[2])) if match else None
    return ends if ends and ends[0] != ends[1] else None


def check_feedback(scales: tuple[FeedbackScale, ...]) -> tuple[FeedbackScale, ...]:
    """The scales, if each name is there once."""
    twice = [name for name, count in Counter(scale.name for scale in scales).items() if count > 1]
    if twice:
        raise problem(f"names '{twice[0]}' twice", "Keep one scale of each name")
    return scales
