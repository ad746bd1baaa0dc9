"""The LLM judge's answer, its verdict on an interaction, and the row that is stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """A row of `application_metrics` without what is the same for its slice."""

    metric_type: str
    timestamp: datetime
    application_id: str = ""
    application_name: str = ""
    model_name: str = ""
    interaction_id: str = ""
    score: float | None = None
    label: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    prompt_text: str = field(default="", repr=False)
    response_text: str = field(default="", repr=False)
    tokens: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Failure(StrEnum):
    """The reason for which there is no answer of the judge."""

    MALFORMED = "malformed"  # the answer is not what the schema asks for
    TRUNCATED = "truncated"  # the answer ended before it was complete
    DECLINED = "declined"  # the model, or a filter before it, would not judge these texts
    THROTTLED = "throttled"  # rate limit or capacity
    PAUSED = "paused"  # the server asked to wait for longer than there was time, as limits of a day do
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"  # server error or broken connection
    OUT_OF_TIME = "out_of_time"  # the time for judging a window was over
    TOO_LARGE = "too_large"  # more than the model or the account's limit takes
    REFUSED = "refused"  # the API did not accept the request
    OVER_BUDGET = "over_budget"  # not asked

    @property
    def of_the_question(self) -> bool:
        """True if this very question failed, which it may again: it is asked `MOST_ASKINGS` times in all."""
        return self in {
            Failure.MALFORMED, Failure.TRUNCATED, Failure.DECLINED, Failure.TOO_LARGE, Failure.REFUSED,
        }  # fmt: skip


MOST_ASKINGS = 3
"""How often one question is put to a judge that answers it badly, over all collections; an asking is some requests."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's answer on one interaction, and what that took.

    `prompt_tokens` and `completion_tokens` are those of all answers, bad ones too; `unanswered_tokens` is the most that
    requests without an answer may have used. `usd` is of the answers, None where the model's price or the tokens are
    not known. `askings` counts how often the question failed by itself, earlier askings included.
    """

    judge_model: str
    judge_version: str
    answer: Answer | None = None
    failure: Failure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unanswered_tokens: int = 0
    requests: int = 0
    usd: Decimal | None = Decimal(0)
    askings: int = 0

    @property
    def tokens(self) -> int:
        """The tokens that the judge's answers report."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def settled(self) -> bool:
        """True if this stands: the judge is not asked again."""
        return self.failure is None or (self.failure.of_the_question and self.askings >= MOST_ASKINGS)


Category = Literal["none", "insult", "hate", "harassment", "sexual", "violence", "self_harm", "other"]
LEVELS: Mapping[int, str] = {1: "very_poor", 2: "poor", 3: "fair", 4: "good", 5: "excellent"}
HALLUCINATION: Mapping[str, float] = {"none": 0.0, "minor": 0.5, "major": 1.0}
SEVERITIES: Mapping[int, str] = {0: "none", 1: "mild", 2: "moderate", 3: "severe"}
NOT_ASSESSABLE = "not_assessable"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    evidence: str = Field(repr=False)  # it may quote what is judged


class Graded(_Part):
    """A dimension with a score; higher is better."""

    score: int = Field(ge=1, le=5)  # no Literal: that would take true for 1


class Hallucination(_Part):
    """The part of the response that is not supported by what the application or a reference says."""

    claims_checked: int = Field(ge=0)
    unsupported_claims: int = Field(ge=0)
    label: Literal["none", "minor", "major", "not_assessable"]

    @model_validator(mode="after")
    def _check_counts(self) -> Hallucination:
        if self.unsupported_claims > self.claims_checked:
            raise ValueError("more claims are unsupported than were checked")
        return self


class Toxicity(_Part):
    """The severity is asked for and its label follows from it, so the two cannot disagree."""

    category: Category
    severity: int = Field(ge=0, le=3)


class Answer(BaseModel):
    """A judge's whole answer. Without context and reference there is no hallucination part: that was not asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    coherence: Graded
    relevance: Graded
    accuracy: Graded
    hallucination: Hallucination | None = None
    toxicity: Toxicity

    def without_evidence(self) -> Answer:
        """The same scores; evidence may quote the judged texts, so it is kept only where they may be."""
        parts = {
            name: part.model_copy(update={"evidence": ""})
            for name in type(self).model_fields
            if (part := getattr(self, name)) is not None
        }
        return self.model_copy(update=parts)


METRICS = tuple(Answer.model_fields)
"""The dimensions that the judge scores, in the order in which people read them; an answer has a part for each."""

GRADED = tuple(name for name, part in Answer.model_fields.items() if part.annotation is Graded)
"""The metrics that are graded from 1 to 5, where higher is better; of the others, higher is worse."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of a version of the judge with people on one metric; the columns of `application_golden`.

    What a judge is there to find is positive: a score of 2 or lower, any hallucination, any toxicity.
    """

    metric_type: str
    n: int
    not_assessable: int
    failures: int
    weighted_kappa: float | None
    spearman: float | None
    positives: int
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    negatives: int
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
