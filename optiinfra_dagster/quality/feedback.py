"""The feedback of a window, each user's newest on each thing, as rows of `application_metrics`.

It is joined to its interaction where it is read (`application/feedback`), since the one may come days after the other.
It changes no score.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.quality import ApplicationRow
from optiinfra_dagster.quality.interactions import Origin
from optiinfra_dagster.quality.opinions import BAD, GOOD, is_of_users, opinion_of, shown_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.model.interaction_ids import Ids
    from optiinfra_dagster.quality.interactions import Feedback, Interaction

METRIC = "feedback"


class WindowFeedback:
    """The feedback of a window while its log is read."""

    def __init__(self, customer_id: str, application: Application) -> None:
        self._customer_id, self._store_text = customer_id, application.store_text
        self._scales = {scale.name: scale.scale for scale in application.feedback}
        self._newest: dict[str, Feedback] = {}
        self.evaluations = 0  # what evaluators said, which is no feedback

    def add(self, feedback: Feedback) -> None:
        """Keep feedback, unless newer one of the same user on the same thing is there."""
        if feedback.name not in self._scales and (
            feedback.origin is Origin.MACHINE or (feedback.origin is Origin.UNSAID and not is_of_users(feedback.name))
        ):
            self.evaluations += 1
            return
        key = _key(self._customer_id, feedback)
        known = self._newest.get(key)
        if known is None or _order(feedback) > _order(known):
            self._newest[key] = feedback

    def rows(self) -> Iterator[ApplicationRow]:
        """A row of each, by its key."""
        for key, feedback in sorted(self._newest.items()):
            opinion = opinion_of(feedback, self._scales.get(feedback.name, ""))
            details: dict[str, Any] = {
                "ids": feedback.ids,
                "trace_id": feedback.trace_id,
                "name": feedback.name,
                "value": shown_value(feedback),
                "rule": opinion.rule,
                "given_at": round(feedback.timestamp.timestamp() * 1e6),
            }
            if self._store_text:
                texts = {"word": feedback.word, "comment": feedback.comment}
                details |= {name: text for name, text in texts.items() if text}
            yield ApplicationRow(
                METRIC,
                feedback.timestamp,
                feedback.application_id,
                feedback.application_id,
                interaction_id=key,
                score={GOOD: 1.0, BAD: 0.0}.get(opinion.label),
                label=opinion.label,
                details=details,
            )


def note_ids(ids: Ids, interaction: Interaction) -> None:
    """Note the ids by which feedback may name an interaction; a span is named by its own id, too."""
    further: Sequence[str] = interaction.other_ids
    if interaction.trace_id:
        prefix, own_ids = f"{interaction.trace_id}-", (interaction.interaction_id, *further)
        further = [*further, *(one.removeprefix(prefix) for one in own_ids if one.startswith(prefix))]
    ids.add(
        interaction.interaction_id,
        further,
        interaction.trace_id,
        interaction.timestamp,
        (interaction.application_id, interaction.application_name),
    )


def _key(customer_id: str, feedback: Feedback) -> str:
    """What is the same for all that one user says on one thing under one name.

    Of the user it has 16 bits, salted with the rest: enough to tell apart those who speak of one answer, too little to
    find out who it was, and different on every answer.
    """
    about = feedback.ids[0] if feedback.ids else feedback.trace_id or feedback.about
    thing = json.dumps([customer_id, about, feedback.name])
    user = _digest(f"{thing}\0{feedback.given_by}", 2) if feedback.given_by else ""
    return f"{_digest(thing, 12)}-{user}"


def _order(feedback: Feedback) -> tuple[Any, ...]:
    """The newest is the last; of the same time, the same one whatever the order of reading."""
    return feedback.timestamp, str(feedback.number), feedback.word, feedback.comment


def _digest(text: str, size: int) -> str:
    return blake2b(text.encode("utf-8", "replace"), digest_size=size).hexdigest()
