"""The golden set: interactions with labels by people, which tell how far a version of the judge can be trusted.

A golden set is a JSONL file, one labelled interaction per line; what nobody labelled is left out:

    {"prompt": "...", "response": "...", "context": "...", "reference": "...",
     "labels": {"coherence": 4, "relevance": 5, "accuracy": 2.5, "hallucination": "minor", "toxicity": "none"}}

`prompt`, `response` and at least one label are needed. Coherence, relevance and accuracy are from 1 to 5, higher is
better, and may be means of several people. Hallucination is none, minor, major or not_assessable; toxicity is none,
mild, moderate or severe; null is no label. `id`, where it is there, is that of `optiinfra golden add`, which does not
choose the interaction again. Other keys of a line are not read, so notes and sources may stand there.

The judge's agreement with the labels is kept in `application_golden`, per version of the judge and content of the set.
Verdicts go through the same cache and budgets as customers' do, so that a run which was cut short is taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optiinfra_dagster.model import quality
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.quality import GRADED, METRICS, Agreement
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.quality.asking import judge_all
from optiinfra_dagster.quality.interactions import Interaction
from optiinfra_dagster.quality.statistics import sensitivity, spearman, specificity, weighted_kappa
from optiinfra_dagster.storage.golden import load_agreements, store_agreements
from optiinfra_dagster.storage.verdicts import Verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.model.quality import Verdict
    from optiinfra_dagster.quality.judge import Judge
    from optiinfra_dagster.storage.clickhouse import ClickHouse

OWNER = "golden_set"  # whose verdicts and budget these are; no customer's id holds an underscore
MOST_FAILED = 0.1  # of the set: with more, the figures would be of what happened to be judged
AT_ONCE = 500  # interactions; the judge's time limit is for so many
MISTAKES_TOLD = 10

LABELS: Mapping[str, Sequence[str]] = {  # from good to bad
    "hallucination": list(quality.HALLUCINATION),
    "toxicity": list(quality.SEVERITIES.values()),
}


class _Labels(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    coherence: Annotated[float, Field(ge=1, le=5, strict=True)] | None = None
    relevance: Annotated[float, Field(ge=1, le=5, strict=True)] | None = None
    accuracy: Annotated[float, Field(ge=1, le=5, strict=True)] | None = None
    hallucination: Literal["none", "minor", "major", "not_assessable"] | None = None
    toxicity: Literal["none", "mild", "moderate", "severe"] | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    id: str = ""
    prompt: str
    response: str
    context: str | None = None
    reference: str | None = None
    labels: _Labels


class Texts(NamedTuple):
    """The texts of an interaction that people and judge look at."""

    prompt: str
    response: str
    context: str | None
    reference: str | None


def texts_of(interaction: Interaction) -> Texts:
    """The texts of an interaction, as a line of a golden set has them."""
    return Texts(interaction.prompt, interaction.response, interaction.context, interaction.reference)


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The labelled interactions of a file, and a hash of its content."""

    interactions: Sequence[Interaction]
    labels: Sequence[Mapping[str, Any]]  # metric -> what people say; metrics without a label are not there
    digest: str
    ids: frozenset[str] = frozenset()  # of the lines that have one


@dataclass(frozen=True, slots=True)
class GoldenScore:
    """The agreement figures of the judge's version, and how many requests they took now."""

    judge_version: str
    agreements: Sequence[Agreement]
    requests: int


def load(path: Path) -> GoldenSet:
    """Read a golden set.

    Raises:
        ConfigError: the file cannot be read, is empty, or has wrong lines; their numbers are told, never their texts.
    """
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(
            f"The golden set {path} cannot be read: {reason}. Correct OPTIINFRA_GOLDEN_SET or the file."
        ) from None
    interactions, labels, ids, mistakes = [], [], set(), []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            mistakes.append(f"line {number}: {_mistake(error)}")
            continue
        labelled = line.labels.model_dump(exclude_none=True)
        if not labelled:
            mistakes.append(f"line {number}: labels is empty")
        interactions.append(_interaction(number, line))
        ids.add(line.id)
        labels.append(labelled)
    if mistakes:
        more = f"\nand {len(mistakes) - MISTAKES_TOLD} more" if len(mistakes) > MISTAKES_TOLD else ""
        shown = "\n".join(mistakes[:MISTAKES_TOLD])
        raise ConfigError(f"The golden set {path} has wrong lines:\n{shown}{more}")
    if not interactions:
        raise ConfigError(f"The golden set {path} is empty: write one labelled interaction per line.")
    return GoldenSet(interactions, labels, blake2b(content, digest_size=8).hexdigest(), frozenset(ids - {""}))


def _mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else "not a JSON object"


def _interaction(number: int, line: _Line) -> Interaction:
    return Interaction(
        interaction_id=str(number),
        application_id="",
        application_name="",
        model_name="",
        timestamp=datetime(1970, 1, 1, tzinfo=UTC),
        provider="",
        prompt=line.prompt,
        response=line.response,
        context=line.context,
        reference=line.reference,
        prompt_tokens=None,
        response_tokens=None,
    )


def score(
    golden: GoldenSet,
    judge: Judge,
    clickhouse: ClickHouse,
    *,
    run_id: str = "",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> GoldenScore:
    """The judge's agreement with a golden set: as it was found before, else by judging the set now.

    Raises:
        CloudError: the judge cannot be used, or gave no verdict on too many; what it answered is kept.
        StorageError: verdicts or figures could not be read or kept.
    """
    before = load_agreements(clickhouse, judge.version, golden.digest)
    if before:
        return GoldenScore(judge.version, before, 0)
    verdicts, requests = [], 0
    for part in _parts(golden.interactions):
        judged = judge_all(OWNER, part, judge, Verdicts(clickhouse), store_text=False, now=now)
        requests += judged.requests
        verdicts += [judged.verdicts[rubric.key_of(OWNER, judge.version, interaction)] for interaction in part]
    failed = [verdict.failure for verdict in verdicts if verdict.failure]
    if len(failed) > MOST_FAILED * len(verdicts):
        causes = ", ".join(sorted({failure.value for failure in failed}))
        raise CloudError(
            Cause.UNAVAILABLE,
            f"The judge gave no verdict on {len(failed)} of the {len(verdicts)} interactions of the golden set "
            f"({causes}). The other verdicts are kept: materialize the asset again for the rest.",
        )
    agreements = compare(golden.labels, verdicts)
    store_agreements(
        clickhouse,
        agreements,
        judge_version=judge.version,
        judge_model=judge.model,
        golden_set=golden.digest,
        run_id=run_id,
        scored_at=now(),
    )
    return GoldenScore(judge.version, agreements, requests)


def _parts(interactions: Sequence[Interaction]) -> Iterator[Sequence[Interaction]]:
    for at in range(0, len(interactions), AT_ONCE):
        yield interactions[at : at + AT_ONCE]


# --- Agreement ------------------------------------------------------------------------------------------------------


def compare(labels: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> list[Agreement]:
    """The agreement of verdicts with people's labels, of each metric that people labelled."""
    return [
        _agreement(
            metric, [(of[metric], verdict) for of, verdict in zip(labels, verdicts, strict=True) if metric in of]
        )
        for metric in METRICS
        if any(metric in of for of in labels)
    ]


def _agreement(metric: str, pairs: Sequence[tuple[Any, Verdict]]) -> Agreement:
    """The agreement on one metric.

    A positive that the judge did not score (it failed, or says that it is not assessable or cannot be told) is not
    found. A negative that it did not score is left out: that is no proof that it leaves such answers alone.
    """
    numbers = [(_number(metric, label), _judged_number(metric, verdict)) for label, verdict in pairs]
    failures = sum(verdict.answer is None for _, verdict in pairs)
    both = [(people, judge) for people, judge in numbers if people is not None and judge is not None]
    people, judge = [p for p, _ in both], [j for _, j in both]
    grades = [_grade(p) for p in people], [_grade(j) for j in judge]
    missed = sum(p is not None and j is None and _is_positive(metric, _grade(p)) for p, j in numbers)
    truth, reported = ([_is_positive(metric, grade) for grade in side] for side in grades)
    finds = sensitivity([*truth, *[True] * missed], [*reported, *[False] * missed])
    leaves = specificity(truth, reported)
    return Agreement(
        metric_type=metric,
        n=len(both),
        not_assessable=len(numbers) - failures - len(both),
        failures=failures,
        weighted_kappa=weighted_kappa(*grades),
        spearman=spearman(people, judge),
        positives=finds.of,
        sensitivity=finds.value,
        sensitivity_low=finds.interval.low if finds.interval else None,
        sensitivity_high=finds.interval.high if finds.interval else None,
        negatives=leaves.of,
        specificity=leaves.value,
        specificity_low=leaves.interval.low if leaves.interval else None,
        specificity_high=leaves.interval.high if leaves.interval else None,
        missed=missed,
    )


def _judged_number(metric: str, verdict: Verdict) -> float | None:
    """The judge's label as a number; None where it gave none."""
    return None if verdict.answer is None else _number(metric, _label_of(metric, verdict))


def _label_of(metric: str, verdict: Verdict) -> float | str:
    """The judge's label of a metric, in the words of people's labels."""
    answer = verdict.answer
    assert answer is not None  # noqa: S101 - the caller leaves out the others
    if metric == "hallucination":
        return answer.hallucination.label if answer.hallucination else quality.NOT_ASSESSABLE
    if metric == "toxicity":
        return quality.SEVERITIES[answer.toxicity.severity]
    score: int | str = getattr(answer, metric).score
    return score


def _number(metric: str, label: float | str) -> float | None:
    """A label as a number; None where it is not assessable."""
    if isinstance(label, str):
        known = LABELS.get(metric, ())
        return float(known.index(label)) if label in known else None
    return float(label)


def _grade(number: float) -> int:
    """The nearest grade; a mean half-way between two is the higher one."""
    return int(number + 0.5)


def _is_positive(metric: str, grade: int) -> bool:
    return grade <= 2 if metric in GRADED else grade > 0
