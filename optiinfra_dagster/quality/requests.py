"""Which verdicts an interaction needs, and which of them one request to the judge gives.

There is a verdict by our metrics, and one by each of the customer's rubrics, each with a key of its own: what is known
already is not asked again, whatever else is new. What is new is asked in one request where it fits, else in two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.quality import Answer, OwnAnswers
from optiinfra_dagster.quality import own_rubrics, rubric
from optiinfra_dagster.quality.rubric import Question

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.model.quality import Verdict
    from optiinfra_dagster.quality.interactions import Interaction


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request about an interaction. `gives` has the keys of its verdicts; None is for our metrics, and first."""

    interaction: Interaction
    gives: Mapping[str, Rubric | None]

    @property
    def key(self) -> str:
        """The key of the first of its verdicts."""
        return next(iter(self.gives))

    @property
    def question(self) -> Question:
        """The question that is put to the judge."""
        own = [one for one in self.gives.values() if one is not None]
        return Question.about(self.interaction, own, only_own=len(own) == len(self.gives))

    def verdicts(self, verdict: Verdict) -> dict[str, Verdict]:
        """The verdict on the whole question as one by each key; the first has the tokens, so that sums stay right."""
        by_key = {}
        own_answers = verdict.said.own if verdict.said is not None else {}
        for key, own in self.gives.items():
            answer: Answer | OwnAnswers | None = None
            if own is None:
                answer = None if verdict.answer is None else verdict.answer.model_copy(update={"own": {}})
            elif verdict.said is not None:
                answer = OwnAnswers(own={own.name: own_answers[own.name]})
            by_key[key] = replace(verdict, said=answer)
            verdict = replace(
                verdict, prompt_tokens=0, completion_tokens=0, unanswered_tokens=0, requests=0, usd=Decimal(0)
            )
        return by_key


def keys_of(
    customer_id: str, judge_version: str, interaction: Interaction, own: Sequence[Rubric]
) -> dict[str, Rubric | None]:
    """The keys of all verdicts on an interaction; rubrics that need what it lacks have none."""
    texts = rubric.texts_of(interaction)
    keys: dict[str, Rubric | None] = {rubric.key_of(customer_id, judge_version, interaction): None}
    for one in own:
        if one.needs == "none" or one.needs in texts:
            keys[rubric.key_of(customer_id, own_rubrics.judged_by(judge_version, one), interaction)] = one
    return keys


def requests_for(
    wanted: Iterable[tuple[Interaction, Mapping[str, Rubric | None]]], known: Collection[str]
) -> Iterator[Request]:
    """The requests for the verdicts that are not known. Equal texts are asked about once."""
    seen = set(known)
    for interaction, keys in wanted:
        missing = {key: own for key, own in keys.items() if key not in seen}
        seen |= missing.keys()
        own = {key: one for key, one in missing.items() if one is not None}
        if not missing:
            continue
        if len(own) == len(missing) or own_rubrics.fit_together(list(own.values())):
            yield Request(interaction, missing)
        else:
            yield Request(interaction, {key: None for key, one in missing.items() if one is None})
            yield Request(interaction, own)
