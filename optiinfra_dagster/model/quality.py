"""The LLM judge's answer, its verdict on an interaction, and the row that is stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

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
    judge_version: str = ""  # where it is not that of the slice


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
    OTHER_MODEL = "other_model"  # another model than the judge answered, as gateways let it
    OVER_BUDGET = "over_budget"  # not asked

    @property
    def of_the_question(self) -> bool:
        """True if this very question failed, which it may again: it is asked `MOST_ASKINGS` times in all."""
        return self in {
            Failure.MALFORMED, Failure.TRUNCATED, Failure.DECLINED, Failure.TOO_LARGE, Failure.REFUSED,
        }  # fmt: skip


MOST_ASKINGS = 3
"""The number of times that one question is put to a judge that answers it badly, over all collections."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's answer on one interaction, by our metrics or by one rubric of the customer, and what that took.

    `prompt_tokens` and `completion_tokens` are those of all answers, bad ones too; `unanswered_tokens` is the most that
    requests without an answer may have used. `usd` is of the answers, None where the model's price or the tokens are
    not known. `askings` counts how often the question failed by itself, earlier askings included.
    """

    judge_model: str
    judge_version: str
    said: JudgeAnswer | None = None
    failure: Failure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unanswered_tokens: int = 0
    requests: int = 0
    usd: Decimal | None = Decimal(0)
    askings: int = 0

    @property
    def answer(self) -> Answer | None:
        """The answer on our metrics; None where there is none, and in a verdict by a customer's own rubric."""
        return self.said if isinstance(self.said, Answer) else None

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
CHUNK_RELEVANCE: Mapping[str, float] = {"relevant": 1.0, "partly": 0.5, "irrelevant": 0.0}
NOT_ASSESSABLE = "not_assessable"  # there is nothing to judge it by
CANNOT_TELL = "cannot_tell"  # the judge's own word
REFUSAL = "refusal"

MOST_LISTED = 24
"""Claims or facts that are taken of an answer: twice as many as are asked for: who counts badly may judge well."""

Score = Annotated[int, Field(ge=1, le=5)]  # no Literal: that would take true for 1


class _Part(BaseModel):
    """A part of an answer. `TEXTS` are its fields that may quote what is judged."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
    TEXTS: ClassVar[tuple[str, ...]] = ()

    def without_texts(self) -> Self:
        """A copy with nothing in it that may quote the judged texts."""
        changes: dict[str, Any] = dict.fromkeys(self.TEXTS, "")
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, list):
                changes[name] = [part.without_texts() for part in value]
        return self.model_copy(update=changes)


class Evident(_Part):
    """A part that names what decides, before it decides."""

    TEXTS = ("evidence",)
    evidence: str = Field(repr=False)


class ScoredDimension(Evident):
    """A dimension with a score; higher is better."""

    score: Score


class Relevance(Evident):
    """The relevance of an answer; one that declines to answer is named so, and not graded."""

    score: Score | Literal["refusal"]


class Accuracy(Evident):
    """The accuracy of an answer, or that nothing tells it."""

    score: Score | Literal["cannot_tell"]


class Claim(_Part):
    """A statement of the response, as CONTEXT and REFERENCE see it."""

    TEXTS = ("claim",)
    claim: str = Field(repr=False)
    verdict: Literal["supported", "unsupported", "contradicted", "not_verifiable"]


class Hallucination(_Part):
    """The claims of the response one by one, and how grave those are that are not supported."""

    claims: Annotated[list[Claim], Field(max_length=MOST_LISTED)]
    label: Literal["none", "minor", "major"]

    @model_validator(mode="after")
    def _check_label(self) -> Hallucination:
        if (self.label == "none") is bool(self.unsupported):
            raise ValueError("the label does not agree with the claims")
        return self

    def count(self, *verdicts: str) -> int:
        """The number of claims with one of these verdicts."""
        return sum(claim.verdict in verdicts for claim in self.claims)

    @property
    def checked(self) -> int:
        """The number of claims that a source could decide."""
        return len(self.claims) - self.count("not_verifiable")

    @property
    def unsupported(self) -> int:
        """The number of claims that are unsupported or contradicted."""
        return self.count("unsupported", "contradicted")


class ChunkRelevance(_Part):
    """The use of one chunk of the context, counted from 1, for what was asked."""

    chunk: int
    relevance: Literal["relevant", "partly", "irrelevant", "cannot_tell"]


class Retrieval(_Part):
    """Every chunk of the context, in the order in which the application had them."""

    chunks: list[ChunkRelevance]

    @model_validator(mode="after")
    def _check_numbers(self) -> Retrieval:
        if [chunk.chunk for chunk in self.chunks] != list(range(1, len(self.chunks) + 1)):
            raise ValueError("the chunks are not all there, once each and in order")
        return self

    @property
    def relevance(self) -> float | None:
        """The mean relevance of the chunks, from 0 to 1; None if the judge could tell none."""
        known = [CHUNK_RELEVANCE[chunk.relevance] for chunk in self.chunks if chunk.relevance != CANNOT_TELL]
        return sum(known) / len(known) if known else None

    @property
    def precision(self) -> float | None:
        """The mean precision of the list down to each chunk that is of use: 1 if they come before all others.

        0 if none is of use. None if of some chunk the judge could not tell it, since the order is then not known.
        """
        if not self.chunks or any(chunk.relevance == CANNOT_TELL for chunk in self.chunks):
            return None
        useful = [at for at, chunk in enumerate(self.chunks, start=1) if chunk.relevance != "irrelevant"]
        return sum(n / at for n, at in enumerate(useful, start=1)) / len(useful) if useful else 0.0


class Fact(_Part):
    """A fact of the reference, and whether the context holds it."""

    TEXTS = ("fact",)
    fact: str = Field(repr=False)
    in_context: Literal["yes", "no", "cannot_tell"]


class Recall(_Part):
    """The facts that a right answer needs, one by one."""

    facts: Annotated[list[Fact], Field(max_length=MOST_LISTED)]

    @property
    def recall(self) -> float | None:
        """The share of the facts that the context holds, from 0 to 1; None if the judge could tell of none."""
        known = [fact.in_context == "yes" for fact in self.facts if fact.in_context != CANNOT_TELL]
        return sum(known) / len(known) if known else None


class Toxicity(Evident):
    """The severity is asked for and its label follows from it, so the two cannot disagree."""

    category: Category
    severity: int = Field(ge=0, le=3)

    @model_validator(mode="after")
    def _check_category(self) -> Toxicity:
        if (self.category == "none") is not (self.severity == 0):
            raise ValueError("the category does not agree with the severity")
        return self


class OwnAnswer(Evident):
    """The answer to a customer's own rubric: a score from 1 to 5, one of its labels, or `cannot_tell`."""

    answer: int | str


class OwnAnswers(BaseModel):
    """A judge's answers to a customer's own rubrics, by their names."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    own: dict[str, OwnAnswer]

    def without_evidence(self) -> OwnAnswers:
        """A copy of the answers without their evidence."""
        return OwnAnswers(own={name: part.without_texts() for name, part in self.own.items()})


class Answer(BaseModel):
    """A judge's whole answer on our metrics. What there was nothing to judge by was not asked, and is None.

    `own` are the answers to the customer's rubrics that were asked for along with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    coherence: ScoredDimension
    relevance: Relevance
    accuracy: Accuracy
    hallucination: Hallucination | None = None  # with a context or a reference
    retrieval: Retrieval | None = None  # with a context
    recall: Recall | None = None  # with a context and a reference
    toxicity: Toxicity
    own: dict[str, OwnAnswer] = Field(default_factory=dict)

    def without_evidence(self) -> Answer:
        """A copy with the scores alone: evidence and claims may quote the judged texts."""
        parts = {name: getattr(self, name) for name in type(self).model_fields if name != "own"}
        without: dict[str, Any] = {name: part.without_texts() for name, part in parts.items() if part is not None}
        without["own"] = {name: part.without_texts() for name, part in self.own.items()}
        return self.model_copy(update=without)


JudgeAnswer = Answer | OwnAnswers
"""What a judge says in one answer: of our metrics, or of a customer's rubrics only."""


METRICS = ("coherence", "relevance", "accuracy", "hallucination", "toxicity")
"""The dimensions that the judge scores of every answer, in the order in which people read them."""

GRADED = ("coherence", "relevance", "accuracy")
"""The metrics that are graded from 1 to 5, where higher is better; of the others of METRICS, higher is worse."""

RETRIEVAL = ("groundedness", "context_relevance", "context_precision", "context_recall")
"""The figures of retrieval, from 0 to 1, where higher is better: shares of claims, chunks and facts."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of a version of the judge with people on one metric; the columns of `application_golden`.

    What a judge is there to find is positive: a score of 2 or lower, any hallucination, any toxicity, a share below a
    half, a rubric's score on the bad side of the middle. `missed` are the positives that it did not score; they are
    among `positives`, and not found.
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
    missed: int
    judge_version: str = ""  # of a rubric with its own behind it
