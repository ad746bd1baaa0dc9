"""A judge asked about interactions, a few at a time; each verdict is stored before the next question is put."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import CloudError
from optiinfra_dagster.model.quality import MOST_ASKINGS, Failure, Verdict
from optiinfra_dagster.quality.budget import Admission, Allowance, Wallet
from optiinfra_dagster.quality.judge import ATTEMPTS
from optiinfra_dagster.quality.requests import keys_of, requests_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from datetime import datetime

    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.judge import Judge
    from optiinfra_dagster.quality.requests import Request
    from optiinfra_dagster.quality.rubric import Question
    from optiinfra_dagster.storage.verdicts import Verdicts

LINGER_SECONDS = 0.2
"""A verdict waits so long for those that arrive soon after it, to be stored with them: each store is an insert."""

BLOCK = 32
"""Questions whose budget is reserved at once: each time is a query and an insert, and what is not used comes back."""


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """The verdicts on some interactions, by their keys, and what asking took now (cached verdicts take nothing).

    `reasons` says more of failures that are nobody's question's: what ran out, and when more comes.
    """

    verdicts: Mapping[str, Verdict]
    asked: Mapping[str, Verdict] = field(default_factory=dict)  # as they were asked now, without earlier askings
    reasons: Mapping[Failure, str] = field(default_factory=dict)

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
        return sum(verdict.requests for verdict in self.asked.values())

    @property
    def usd(self) -> Decimal:
        """Their cost in USD, as far as the model's price is known."""
        return sum((verdict.usd or Decimal(0) for verdict in self.asked.values()), Decimal(0))


def judge_all(
    customer_id: str,
    interactions: Iterable[Interaction],
    judge: Judge,
    verdicts: Verdicts,
    *,
    store_text: bool,
    now: Callable[[], datetime],
    allowance: Allowance | None = None,
    own: Sequence[Rubric] = (),
) -> JudgeResult:
    """The verdicts on interactions by our metrics and the customer's `own` rubrics, by their keys.

    Known ones come from the cache, the others are asked for in turn.

    A verdict is stored before the next question is sent in its place, so a kill loses at most `judge.concurrency`
    answers. Equal texts are asked about once. `allowance` is what may be used, the whole day if it is not given.

    Raises:
        CloudError: the judge cannot be used at all; what it answered before is stored.
        StorageError: verdicts could not be read or stored.
    """
    wanted = [(one, keys_of(customer_id, judge.version, one, own)) for one in interactions]
    known = verdicts.load(customer_id, list({key: None for _, keys in wanted for key in keys}))
    waiting = deque(requests_for(wanted, [key for key, verdict in known.items() if verdict.settled]))
    if not waiting:
        return JudgeResult(known)
    judge.prepare()
    begun = allowance or Allowance(judge.day, now())
    wallet = Wallet(verdicts.spend, customer_id, begun, judge.budgets)
    asking = _QuestionPool(judge, wallet, waiting, known)
    asked: dict[str, Verdict] = {}
    try:
        while asking.go_on():
            arrived = asking.wait()
            verdicts.store(customer_id, arrived, now(), store_text=store_text)
            asked |= arrived
    finally:
        asking.wait_for_all()
        wallet.close()
    if asking.refusal is not None:
        raise asking.refusal
    reasons = {Failure.OVER_BUDGET: begun.told() if asking.day_is_spent else judge.run_told}
    if paused := judge.pace.pause_seconds:
        until = now() + timedelta(seconds=paused)
        reasons[Failure.PAUSED] = f"{judge.server.name} asked to wait until {until:%Y-%m-%d %H:%M} UTC"
    return JudgeResult(known, asked, reasons)


class _QuestionPool:
    """Questions put to a judge a few at a time, each in the place of one whose verdict was taken."""

    def __init__(
        self,
        judge: Judge,
        wallet: Wallet,
        waiting: deque[Request],
        known: dict[str, Verdict],
    ) -> None:
        self._judge, self._wallet, self._known, self._waiting = judge, wallet, known, waiting
        self._purse = [judge.run_budget, wallet.budget]
        self._ready: deque[tuple[Request, Question]] = deque()
        self._deadline = time.monotonic() + judge.seconds
        self._under_way: dict[Future[Verdict], Request] = {}
        self.refusal: CloudError | None = None
        self.day_is_spent = False

    def go_on(self) -> bool:
        """Put as many questions as may be under way; True while there is something to wait for."""
        while (self._ready or self._waiting) and len(self._under_way) < self._judge.concurrency:
            if not self._ready:
                self._make_ready()
            request, question = self._ready[0]
            failure: Failure | None = None
            if time.monotonic() >= self._deadline:
                failure = Failure.OUT_OF_TIME
            elif self._judge.pace.is_paused_at(self._deadline):
                failure = Failure.PAUSED
            else:
                leave = self._hold(question)
                if leave is Admission.LATER:
                    break
                failure = Failure.OVER_BUDGET if leave is Admission.NEVER else None
            self._ready.popleft()
            if failure is None:
                self._under_way[self._judge.ask(question, self._purse, self._deadline)] = request
            else:
                for key, verdict in request.verdicts(self._judge.not_asked(failure)).items():
                    self._known.setdefault(key, verdict)
        return bool(self._ready or self._waiting or self._under_way)

    def _make_ready(self) -> None:
        """Take the next block of questions, and reserve what they may use of the customer's day."""
        requests = [self._waiting.popleft() for _ in range(min(BLOCK, len(self._waiting)))]
        self._ready.extend((request, request.question) for request in requests)
        if not self.day_is_spent:
            self._fill(sum(self._judge.most_tokens(question) for _, question in self._ready), len(requests))

    def _fill(self, tokens: int, questions: int) -> None:
        # With all attempts at them: those that are not answered count with the most that they may have used.
        self.day_is_spent = not self._wallet.fill(ATTEMPTS * tokens, ATTEMPTS * questions)

    def _hold(self, question: Question) -> Admission:
        """Hold a question's budget; what retries and large answers took of the reservation is reserved anew."""
        leave = self._judge.hold(question, self._purse)
        most = self._judge.most_tokens(question)
        budget = self._wallet.budget
        while leave is Admission.NEVER and not self.day_is_spent and not budget.has_left(most, if_none_held=True):
            self._fill(most, 1)
            leave = self._judge.hold(question, self._purse)
        return leave

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
                self._ready.clear()
        for key, verdict in arrived.items():
            before = self._known[key].askings if key in self._known else 0
            failed = verdict.failure is not None and verdict.failure.of_the_question
            self._known[key] = replace(verdict, askings=before + 1 if failed else 0)
        return arrived

    def wait_for_all(self) -> None:
        """Wait for what is under way, so that nothing is given back that is still being used."""
        wait(self._under_way)


# Causes that stay until somebody changes something, or the budget's day is over.
_NEED_A_HAND = {Failure.OVER_BUDGET, Failure.TOO_LARGE}

_REMEDIES = {
    Failure.OVER_BUDGET: "raise the limits OPTIINFRA_JUDGE_RUN_TOKENS={0.run_tokens}, OPTIINFRA_JUDGE_RUN_REQUESTS="
    "{0.run_requests}, OPTIINFRA_JUDGE_CUSTOMER_DAY_TOKENS={0.day_tokens} and OPTIINFRA_JUDGE_CUSTOMER_DAY_REQUESTS="
    "{0.day_requests}, or lower sample_per_window",
    Failure.OUT_OF_TIME: "raise OPTIINFRA_JUDGE_SECONDS={0.seconds:g} or OPTIINFRA_JUDGE_CONCURRENCY={0.concurrency}, "
    "or lower sample_per_window",
    Failure.THROTTLED: "raise the rate limit in {0.server.console}, or lower sample_per_window",
    Failure.PAUSED: "raise the account's limits in {0.server.console}, or lower sample_per_window",
    Failure.TOO_LARGE: "set {0.server.model_setting} to a model with a larger context or rate limit",
    Failure.REFUSED: "set {0.server.model_setting} to a model that supports strict JSON schemas",
    Failure.OTHER_MODEL: "let {0.server.model_setting}={0.model} be one model at {0.server.name}, without fallbacks",
    Failure.MALFORMED: "set {0.server.model_setting} to a model that keeps to JSON schemas",
    Failure.TRUNCATED: "lower OPTIINFRA_JUDGE_REASONING_EFFORT, or set {0.server.model_setting} to another model",
    Failure.DECLINED: "set {0.server.model_setting} to a model that judges such texts",
}


def is_final(lacking: Iterable[Verdict]) -> bool:
    """True if asking again would change nothing: every verdict stands, or waits for a person."""
    return all(verdict.settled or verdict.failure in _NEED_A_HAND for verdict in lacking)


def explain(lacking: Iterable[Verdict], sampled: int, judge: Judge, reasons: Mapping[Failure, str]) -> str:
    """`3 of 40 sampled interactions have no verdict: 2 malformed (asked 3 times), 1 timeout. Remedy: ...`."""
    by_cause: dict[Failure, list[Verdict]] = {}
    for verdict in lacking:
        if verdict.failure is not None:
            by_cause.setdefault(verdict.failure, []).append(verdict)
    if not by_cause:
        return ""
    causes = ", ".join(_told(cause, of, reasons.get(cause)) for cause, of in sorted(by_cause.items()))
    remedies = "; ".join(_REMEDIES[cause].format(judge) for cause in sorted(by_cause) if cause in _REMEDIES)
    count = sum(len(of) for of in by_cause.values())
    text = f"{count} of {sampled} sampled interactions have no verdict: {causes}."
    return f"{text} Remedy: {remedies}." if remedies else text


def _told(cause: Failure, verdicts: list[Verdict], reason: str | None) -> str:
    standing = sum(verdict.settled for verdict in verdicts)
    if standing:
        reason = f"{standing} asked {MOST_ASKINGS} times and not again"
    return f"{len(verdicts)} {cause.value}" + (f" ({reason})" if reason else "")
