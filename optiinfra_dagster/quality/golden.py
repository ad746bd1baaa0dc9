"""The golden set: interactions with labels by people, which tell how far a version of the judge can be trusted.

A golden set is a JSONL file, one labelled interaction per line; what nobody labelled is left out:

    {"prompt": "...", "response": "...", "context": ["...", "..."], "reference": "...", "customer": "acme",
     "labels": {"coherence": 4, "relevance": 5, "accuracy": 2.5, "hallucination": "minor", "toxicity": "none",
                "groundedness": 0.75, "context_relevance": 0.5, "rubrics": {"tone": "warm", "names_source": 4}}}

`prompt`, `response` and at least one label are needed; `context` is a text or the list of its chunks. Coherence,
relevance and accuracy are from 1 to 5, higher is better, and may be means of several people. Hallucination is none,
minor, major or not_assessable; toxicity is none, mild, moderate or severe. Groundedness, context_relevance,
context_precision and context_recall are shares from 0 to 1. `rubrics` are those of the `customer` in the customers
file, by name, each with one of its labels or a number from 1 to 5; a rubric that is no longer there is left out and
named. null is no label. `id`, where it is there, is that of `optiinfra golden add`, which does not choose the
interaction again; it begins with the customer. Other keys of a line are not read, so notes may stand there.

The judge's agreement with the labels is kept in `application_golden`, per version of the judge and content of the set.
Verdicts go through the same cache and budgets as customers' do, so that a run which was cut short is taken up again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.quality import METRICS, RETRIEVAL, Agreement
from optiinfra_dagster.quality.asking import judge_all
from optiinfra_dagster.quality.golden_scales import Scale
from optiinfra_dagster.quality.interactions import Interaction
from optiinfra_dagster.quality.statistics import sensitivity, spearman, specificity, weighted_kappa
from optiinfra_dagster.storage.golden import load_agreements, store_agreements
from optiinfra_dagster.storage.verdicts import Verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.model.quality import Verdict
    from optiinfra_dagster.quality.judge import Judge
    from optiinfra_dagster.storage.clickhouse import ClickHouse

ByRubric = dict["Rubric | None", "Verdict | None"]
"""Verdicts on one interaction: by our metrics (None), and by each rubric; None by one that needs what it lacks."""

OWNER = "golden_set"  # whose verdicts and budget these are; no customer's id holds an underscore
MOST_FAILED = 0.1  # of the set: with more, the figures would be of what happened to be judged
AT_ONCE = 500  # interactions; the judge's time limit is for so many
MISTAKES_SHOWN = 10

_Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class _Labels(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    coherence: Annotated[float, Field(ge=1, le=5, strict=True)] | None = None
    relevance: Annotated[float, Field(ge=1, le=5, strict=True)] | None = None
    accuracy: Annotated[float, Field(ge=1, le=5, strict=True)] | None = None
    hallucination: Literal["none", "minor", "major", "not_assessable"] | None = None
    toxicity: Literal["none", "mild", "moderate", "severe"] | None = None
    groundedness: _Share | None = None
    context_relevance: _Share | None = None
    context_precision: _Share | None = None
    context_recall: _Share | None = None
    rubrics: dict[str, str | float | None] | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    id: str = ""
    customer: str = ""
    prompt: str
    response: str
    context: str | tuple[str, ...] | None = None
    reference: str | None = None
    labels: _Labels


class Texts(NamedTuple):
    """The texts of an interaction that people and judge look at; those of a context in chunks one by one."""

    prompt: str
    response: str
    context: str | tuple[str, ...] | None
    reference: str | None


def texts_of(interaction: Interaction) -> Texts:
    """The texts of an interaction, as a line of a golden set has them."""
    context = interaction.chunks if len(interaction.chunks) > 1 else interaction.context
    return Texts(interaction.prompt, interaction.response, context, interaction.reference)


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The labelled interactions of a file, and a hash of its content.

    `rubrics` are, for each interaction, those of its customer if one of them is labelled. `left_out` counts the labels
    of rubrics that the customers file does not have.
    """

    interactions: Sequence[Interaction]
    labels: Sequence[Mapping[Scale, Any]]  # what people say; scales without a label are not there
    rubrics: Sequence[tuple[Rubric, ...]]
    digest: str
    ids: frozenset[str] = frozenset()  # of the lines that have one
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def scales(self) -> list[Scale]:
        """The scales on which there are labels, in the order in which people read them."""
        labelled = dict.fromkeys(scale for labels in self.labels for scale in labels)
        known = [*METRICS, *RETRIEVAL]
        return sorted(labelled, key=lambda scale: known.index(scale.metric) if scale.metric else len(known))


@dataclass(frozen=True, slots=True)
class GoldenScore:
    """The agreement figures of the judge's version, and how many requests they took now."""

    judge_version: str
    agreements: Sequence[Agreement]
    requests: int


def load(path: Path, customers: Iterable[Customer] = ()) -> GoldenSet:
    """Read a golden set; the rubrics are those of the customers.

    Raises:
        ConfigError: the file cannot be read, is empty, or has wrong lines; it names their numbers, never their texts.
    """
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(
            f"The golden set {path} cannot be read: {reason}. Correct OPTIINFRA_GOLDEN_SET or the file."
        ) from None
    rubrics_of = {one.id: one.application.rubrics if one.application else () for one in customers}
    labelled: list[_Labelled] = []
    mistakes: list[str] = []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            mistakes.append(f"line {number}: {_mistake(error)}")
            continue
        one = _labelled(number, line, rubrics_of)
        labelled.append(one)
        mistakes += [f"line {number}: {mistake}" for mistake in one.mistakes]
    if mistakes:
        more = f"\nand {len(mistakes) - MISTAKES_SHOWN} more" if len(mistakes) > MISTAKES_SHOWN else ""
        shown = "\n".join(mistakes[:MISTAKES_SHOWN])
        raise ConfigError(f"The golden set {path} has wrong lines:\n{shown}{more}")
    usable = [one for one in labelled if one.labels]
    if not usable:
        raise ConfigError(f"The golden set {path} is empty: write one labelled interaction per line.")
    return GoldenSet(
        [one.interaction for one in usable],
        [one.labels for one in usable],
        [one.rubrics for one in usable],
        digest=blake2b(content, digest_size=8).hexdigest(),
        ids=frozenset(one.id for one in labelled if one.id),
        left_out=Counter(name for one in labelled for name in one.left_out),
    )


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A line of a golden set. `left_out` are its labels of rubrics that the customers file does not have."""

    id: str
    interaction: Interaction
    labels: Mapping[Scale, Any]
    rubrics: tuple[Rubric, ...]
    left_out: Sequence[str]
    mistakes: Sequence[str]


def _labelled(number: int, line: _Line, rubrics_of: Mapping[str, Sequence[Rubric]]) -> _Labelled:
    """A line with its labels by scale, those of the customer's rubrics among them."""
    customer = line.customer or line.id.partition("/")[0]
    rubrics = rubrics_of.get(customer, ())
    by_name = {rubric.name: Scale("", rubric) for rubric in rubrics}
    of_metrics: dict[Scale, Any] = {
        Scale(name): label for name, label in line.labels.model_dump(exclude={"rubrics"}, exclude_none=True).items()
    }
    own = {name: label for name, label in (line.labels.rubrics or {}).items() if label is not None}
    of_rubrics: dict[Scale, Any] = {by_name[name]: label for name, label in own.items() if name in by_name}
    mistakes = [] if of_metrics or own else ["labels is empty"]
    mistakes += [
        f"labels.rubrics.{scale.rubric.name}: {_how_to_label(scale.rubric)}"
        for scale, label in of_rubrics.items()
        if scale.rubric is not None and not scale.takes(label)
    ]
    return _Labelled(
        line.id,
        _interaction(number, line),
        of_metrics | of_rubrics,
        tuple(rubrics) if of_rubrics else (),
        [f"{customer or 'no customer'}: {name}" for name in own if name not in by_name],
        mistakes,
    )


def _how_to_label(rubric: Rubric) -> str:
    if rubric.anchors:
        return "a number from 1 to 5 should stand there"
    return f"one of {', '.join(label for label, _ in rubric.labels)} should stand there"


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
        context=line.context if isinstance(line.context, str) else "\n".join(line.context or ()) or None,
        chunks=line.context if isinstance(line.context, tuple) else (),
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
    wanted = [(scale.metric_type, scale.version(judge.version)) for scale in golden.scales]
    before = load_agreements(clickhouse, {version for _, version in wanted}, golden.digest)
    if all(one in before for one in wanted):
        return GoldenScore(judge.version, [before[one] for one in wanted], 0)
    verdicts: list[ByRubric] = [{}] * len(golden.interactions)
    requests = 0
    for places, own in _parts(golden.rubrics):
        part = [golden.interactions[place] for place in places]
        judged = judge_all(OWNER, part, judge, Verdicts(clickhouse), store_text=False, now=now, own=own)
        requests += judged.requests
        for place, interaction in zip(places, part, strict=True):
            by_us, by_own = judged.of(OWNER, judge.version, interaction, own)
            verdicts[place] = dict([(None, by_us), *by_own.items()])
    failed = [one.failure for by in verdicts for one in by.values() if one is not None and one.failure]
    if len(failed) > MOST_FAILED * sum(map(len, verdicts)):
        causes = ", ".join(sorted({failure.value for failure in failed}))
        raise CloudError(
            Cause.UNAVAILABLE,
            f"The judge gave no verdict on {len(failed)} of the {sum(map(len, verdicts))} questions of the golden set "
            f"({causes}). The other verdicts are kept: materialize the asset again for the rest.",
        )
    agreements = compare(golden, verdicts, judge.version)
    store_agreements(
        clickhouse,
        agreements,
        judge_model=judge.model,
        golden_set=golden.digest,
        run_id=run_id,
        scored_at=now(),
    )
    return GoldenScore(judge.version, agreements, requests)


def _parts(rubrics: Sequence[tuple[Rubric, ...]]) -> Iterator[tuple[Sequence[int], tuple[Rubric, ...]]]:
    """The places of interactions that are asked about at once, and by which rubrics."""
    for own in dict.fromkeys(rubrics):
        places = [place for place, host_facts in enumerate(rubrics) if host_facts == own]
        for at in range(0, len(places), AT_ONCE):
            yield places[at : at + AT_ONCE], own


# --- Agreement ------------------------------------------------------------------------------------------------------


def compare(golden: GoldenSet, verdicts: Sequence[ByRubric], judge_version: str) -> list[Agreement]:
    """The agreement of verdicts with people's labels, on each scale that people used."""
    return [
        _agreement(
            scale,
            [(of[scale], by.get(scale.rubric)) for of, by in zip(golden.labels, verdicts, strict=True) if scale in of],
            judge_version,
        )
        for scale in golden.scales
    ]


def _agreement(scale: Scale, pairs: Sequence[tuple[Any, Verdict | None]], judge_version: str) -> Agreement:
    """The agreement on one scale.

    A positive that the judge did not score (it failed, or says that it is not assessable or cannot be told) is not
    found. A negative that it did not score is left out: that is no proof that it leaves such answers alone.
    """
    numbers = [(scale.number(label), scale.judged(verdict)) for label, verdict in pairs]
    failures = sum(verdict is not None and verdict.said is None for _, verdict in pairs)
    both = [(people, judge) for people, judge in numbers if people is not None and judge is not None]
    people, judge = [p for p, _ in both], [j for _, j in both]
    missed = sum(p is not None and j is None and scale.is_positive(p) for p, j in numbers)
    truth, reported = ([scale.is_positive(number) for number in side] for side in (people, judge))
    finds = sensitivity([*truth, *[True] * missed], [*reported, *[False] * missed])
    leaves = specificity(truth, reported)
    return Agreement(
        metric_type=scale.metric_type,
        n=len(both),
        not_assessable=len(numbers) - failures - len(both),
        failures=failures,
        weighted_kappa=weighted_kappa([scale.grade(p) for p in people], [scale.grade(j) for j in judge]),
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
        judge_version=scale.version(judge_version),
    )
