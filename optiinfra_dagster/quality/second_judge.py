"""A second judge on a share of what the first has judged, so that their agreement can be told.

Its scores stand in rows of their own, `second:<metric>`, with its own model and version, beside the first judge's score
of the same interaction. They change no other figure, and a second judge that fails costs no score of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import CloudError
from optiinfra_dagster.model.quality import METRICS, RETRIEVAL
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.quality.asking import explain, judge_all
from optiinfra_dagster.quality.judge import Judge
from optiinfra_dagster.quality.rows import metric_rows
from optiinfra_dagster.quality.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.model.quality import ApplicationRow, Verdict
    from optiinfra_dagster.quality.budget import Allowance
    from optiinfra_dagster.quality.dialects import Memory
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.storage.verdicts import Verdicts

PREFIX = "second:"
"""Before the metric in the metric_type of its rows."""

JUDGED = {*METRICS, *RETRIEVAL}
"""The metrics that it judges: the customer's own rubrics and the rules are the first judge's and nobody's."""

SHOWN = ("direction", "cause")  # what its rows have of the details that the first judge's rows have


@dataclass(frozen=True, slots=True)
class SecondOpinions:
    """The rows of a second judge on a window, and what they took; `error` says what is missing."""

    rows: Sequence[ApplicationRow] = ()
    model: str = ""
    version: str = ""
    requests: int = 0
    usd: Decimal = Decimal(0)
    error: str = ""


@dataclass(frozen=True, slots=True)
class SecondJudge:
    """Another judge, and the share of the judged interactions that it is asked about."""

    judge: Judge
    share: float

    @classmethod
    def of(cls, settings: Settings, first: Judge, memory: Memory | None = None) -> SecondJudge | None:
        """The second judge that the settings describe, which spends from the budgets of the first; None without one."""
        server = Server.second_of(settings)
        if server is None:
            return None
        judge = Judge.at(server, settings, memory)
        judge.budgets, judge.run_budget = first.budgets, first.run_budget
        return cls(judge, settings.second_judge_share)

    def is_asked(self, customer_id: str, interaction: Interaction) -> bool:
        """True for the share of interactions that it judges: by their texts, so always the same ones."""
        return int(rubric.key_of(customer_id, "second judge", interaction), 16) < self.share * 2**128

    def opinions(
        self,
        customer_id: str,
        application: Application,
        scored: Sequence[tuple[Interaction, Verdict]],
        verdicts: Verdicts,
        allowance: Allowance,
        now: Callable[[], datetime],
    ) -> SecondOpinions:
        """Its scores of the share of `scored` that the first judge has answered.

        Raises:
            StorageError: verdicts could not be read or stored.
        """
        judged_pairs = [
            (interaction, first)
            for interaction, first in scored
            if first.answer is not None and self.is_asked(customer_id, interaction)
        ]
        if not judged_pairs:
            return SecondOpinions()
        judge = self.judge
        try:
            judged = judge_all(
                customer_id,
                [interaction for interaction, _ in judged_pairs],
                judge,
                verdicts,
                store_text=application.store_text,
                now=now,
                allowance=allowance,
            )
            version = judge.version
        except CloudError as error:
            return SecondOpinions(error=f"The second judge gave no verdict. {error}")
        rows: list[ApplicationRow] = []
        lacking = []
        for interaction, first in judged_pairs:
            second = judged.verdicts[rubric.key_of(customer_id, version, interaction)]
            lacking += [second] if second.failure else []
            pairs = zip(
                metric_rows(customer_id, interaction, application, first, {}),
                metric_rows(customer_id, interaction, application, second, {}),
                strict=True,
            )
            rows += [_beside(*pair, first) for pair in pairs if pair[0].metric_type in JUDGED]
        missing = explain(lacking, len(judged_pairs), judge, judged.reasons)
        lacks = f"The second judge: {missing}" if missing else ""
        return SecondOpinions(rows, judge.model, version, judged.requests, judged.usd, lacks)


def _beside(of_first: ApplicationRow, of_second: ApplicationRow, first: Verdict) -> ApplicationRow:
    details = {name: of_second.details[name] for name in SHOWN if name in of_second.details}
    return replace(
        of_second,
        metric_type=PREFIX + of_second.metric_type,
        prompt_text="",
        response_text="",
        details={
            **details,
            "first": of_first.score,
            "first_label": of_first.label,
            "first_model": first.judge_model,
            "first_version": first.judge_version,
        },
    )
