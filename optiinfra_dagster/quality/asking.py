"""A judge asked about interactions, a few at a time; each verdict is stored before the next question is put."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import CloudError
from optiinfra_dagster.model.quality import Failure, Verdict
from optiinfra_dagster.quality.budget import Admission
from optiinfra_dagster.quality.requests import keys_of, requests_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.quality.budget import Budget
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.judge import Judge
    from optiinfra_dagster.quality.requests import Request
    from optiinfra_dagster.storage.verdicts import Verdicts

LINGER_SECONDS = 0.2
"""A verdict waits so long for those that arrive soon after it, to be stored with them: each store is an insert."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts on some interactions, by their keys, and what asking took now (cached verdicts take nothing)."""

    verdicts: Mapping[str, Verdict]
    asked: frozenset[str] = frozenset()

    def of(
        self, customer_id: str, judge_version: str, interaction: Interaction, own: Sequence[Rubric]
    ) -> tuple[Verdict, dict[Rubric, Verdict | None]]:
        """The verdict on an interaction by our metrics, and by each rubric; None by one that needs what it lacks."""
        keys = keys_of(customer_id, judge_version, interaction, own)
        by = {rubric: self.verdicts[key] for key, rubric in keys.items()}
        return by[None], {rubric: by.get(rubric) for rubric in own}

    @property
    def requests(self) -> int:
        """The number of requests that were made."""
        return sum(self.verdicts[key].requests for key in self.asked)

    @property
    def usd(self) -> Decimal:
        """Their cost in USD, as far as the model's price is known."""
        return sum((self.verdicts[key].usd or Decimal(0) for key in self.asked), Decimal(0))


def judge_all(
    customer_id: str,
    interactions: Iterable[Interaction],
    judge: Judge,
    verdicts: Verdicts,
    *,
    store_text: bool,
    now: Callable[[], datetime],
    own: Sequence[Rubric] = (),
) -> Judged:
    """The verdicts on interactions by our metrics and the customer's `own` rubrics, by their keys.

    Known ones come from the cache, the others are asked for in turn.

    A verdict is stored before the next question is sent in its place, so a kill loses at most `judge.concurrency`
    answers. Equal texts are asked about once.

    Raises:
        CloudError: the judge cannot be used at all; what it answered before is stored.
        StorageError: verdicts could not be read or stored.
    """
    wanted = [(one, keys_of(customer_id, judge.version, one, own)) for one in interactions]
    today = now().astimezone(UTC).date()
    known, used = verdicts.load(customer_id, list({key: None for _, keys in wanted for key in keys}), today)
    waiting = deque(requests_for(wanted, known))
    if not waiting:
        return Judged(known)
    judge.prepare()
    purse = [judge.run_budget, judge.day_budget(customer_id, today, *used)]
    asking = _Asking(judge, purse, waiting, known)
    asked: set[str] = set()
    while asking.go_on():
        arrived = asking.wait()
        verdicts.store(customer_id, arrived, now(), store_text=store_text)
        asked |= arrived.keys()
    if asking.refusal is not None:
        raise asking.refusal
    return Judged(known, frozenset(asked))


class _Asking:
    """Questions put to a judge a few at a time, each in the place of one whose verdict was taken."""

    def __init__(
        self,
        judge: Judge,
        purse: list[Budget],
        waiting: deque[Request],
        known: dict[str, Verdict],
    ) -> None:
        self._judge, self._purse, self._waiting, self._known = judge, purse, waiting, known
        self._deadline = time.monotonic() + judge.seconds
        self._under_way: dict[Future[Verdict], Request] = {}
        self.refusal: CloudError | None = None

    def go_on(self) -> bool:
        """Put as many questions as may be under way; True while there is something to wait for."""
        while self._waiting and len(self._under_way) < self._judge.concurrency:
            question = self._waiting[0].question
            in_time = time.monotonic() < self._deadline
            leave = self._judge.hold(question, self._purse) if in_time else Admission.NEVER
            if leave is Admission.LATER:
                break
            request = self._waiting.popleft()
            if leave is Admission.GRANTED:
                self._under_way[self._judge.ask(question, self._purse, self._deadline)] = request
            else:
                failure = Failure.OVER_BUDGET if in_time else Failure.OUT_OF_TIME
                self._known |= request.verdicts(self._judge.not_asked(failure))
        return bool(self._waiting or self._under_way)

    def wait(self) -> dict[str, Verdict]:
        """The verdicts that arrive next, none where budgets are held by the questions of other customers."""
        if not self._under_way:
            self._judge.budgets.wait(self._deadline)
            return {}
        arrived: dict[str, Verdict] = {}
        wait(self._under_way, return_when=FIRST_COMPLETED)
        for future in wait(self._under_way, timeout=LINGER_SECONDS).done:
            request = self._under_way.pop(future)
            try:
                arrived |= request.verdicts(future.result())
            except CloudError as error:
                self.refusal = error
                self._waiting.clear()
        self._known.update(arrived)
        return arrived


# Causes that stay until somebody changes something, or the budget's day is over.
NEED_A_HAND = {Failure.OVER_BUDGET, Failure.TOO_LARGE, Failure.REFUSED}

_REMEDIES = {
    Failure.OVER_BUDGET: "raise the limits OPTIINFRA_JUDGE_RUN_TOKENS={0.run_tokens}, OPTIINFRA_JUDGE_RUN_REQUESTS="
    "{0.run_requests}, OPTIINFRA_JUDGE_CUSTOMER_DAY_TOKENS={0.day_tokens} and OPTIINFRA_JUDGE_CUSTOMER_DAY_REQUESTS="
    "{0.day_requests}, or lower sample_per_window",
    Failure.OUT_OF_TIME: "raise OPTIINFRA_JUDGE_SECONDS={0.seconds:g} or OPTIINFRA_JUDGE_CONCURRENCY={0.concurrency}, "
    "or lower sample_per_window",
    Failure.THROTTLED: "ask Groq for a higher rate limit, or lower sample_per_window",
    Failure.TOO_LARGE: "set OPTIINFRA_JUDGE_MODEL to a model with a larger context or rate limit",
    Failure.REFUSED: "set OPTIINFRA_JUDGE_MODEL to a model that supports strict JSON schemas",
}


def explain(lacking: Mapping[Failure, int], sampled: int, judge: Judge) -> str:
    """`3 of 40 sampled interactions have no verdict: 2 throttled, 1 timeout. Remedy: ...`."""
    if not lacking:
        return ""
    causes = ", ".join(f"{count} {cause.value}" for cause, count in sorted(lacking.items()))
    remedies = "; ".join(_REMEDIES[cause].format(judge) for cause in sorted(lacking) if cause in _REMEDIES)
    text = f"{sum(lacking.values())} of {sampled} sampled interactions have no verdict: {causes}."
    return f"{text} Remedy: {remedies}." if remedies else text
