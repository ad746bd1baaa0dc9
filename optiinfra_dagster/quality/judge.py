"""The LLM judge at Groq: one request per interaction, within budgets, rate limits and a time, and what it costs.

A judge that fails gives no score: `Verdict.answer` is None and `Verdict.failure` says why.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure, Verdict
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.quality.budget import Admission, Budget, Budgets
from optiinfra_dagster.quality.groq_client import MOST_ANSWER_TOKENS, GroqClient, options_of
from optiinfra_dagster.quality.models import usd
from optiinfra_dagster.quality.pace import Pace
from optiinfra_dagster.quality.replies import Reply

if TYPE_CHECKING:
    from concurrent.futures import Future
    from datetime import date

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.quality.rubric import Question

ATTEMPTS = 6  # at a request that was refused for now or not answered
MALFORMED_ATTEMPTS = 2  # the same question at temperature 0 rarely gets a better answer
REQUEST_SECONDS = 60.0  # an answer takes 1 to 5 s
BACKOFF_SECONDS = 0.5  # where the answer names no time; doubles


@dataclass(eq=False)
class Judge:
    """The judge of a run, shared by all customers. Thread-safe; `close` it at the end.

    At most `concurrency` requests are under way. Nothing is sent before the first question, so a run whose verdicts
    are all known makes no request.
    """

    model: str
    api_key: str = field(repr=False)
    base_url: str = "https://api.groq.com"
    concurrency: int = 8
    seconds: float = 600.0
    run_tokens: int = 5_000_000
    run_requests: int = 5_000
    day_tokens: int = 3_000_000
    day_requests: int = 3_000
    request_seconds: float = REQUEST_SECONDS
    backoff_seconds: float = BACKOFF_SECONDS

    def __post_init__(self) -> None:
        self.version = rubric.version(self.model, options_of(self.model))
        self.budgets = Budgets()
        self.run_budget = Budget(
            f"OPTIINFRA_JUDGE_RUN_TOKENS={self.run_tokens} or OPTIINFRA_JUDGE_RUN_REQUESTS={self.run_requests}",
            self.run_tokens,
            self.run_requests,
        )
        self.pace = Pace()
        self._day_budgets: dict[tuple[str, date], Budget] = {}
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="judge")
        self._lock = threading.Lock()
        self._client: GroqClient | None = None
        self._refusal: CloudError | None = None  # the key or the model is of no use: nothing more is asked

    @classmethod
    def of(cls, settings: Settings) -> Judge | None:
        """The judge that the settings describe; None without a key."""
        if settings.groq_api_key is None:
            return None
        return cls(
            model=settings.judge_model,
            api_key=settings.groq_api_key.get_secret_value(),
            base_url=settings.groq_base_url,
            concurrency=settings.judge_concurrency,
            seconds=settings.judge_seconds,
            run_tokens=settings.judge_run_tokens,
            run_requests=settings.judge_run_requests,
            day_tokens=settings.judge_customer_day_tokens,
            day_requests=settings.judge_customer_day_requests,
        )

    def close(self) -> None:
        """Drop what waits to be asked, wait for what is under way, close connections."""
        self._pool.shutdown(cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def day_budget(self, customer_id: str, day: date, used_tokens: int, used_requests: int) -> Budget:
        """A customer's budget of a day, of which others are known to have used so much."""
        with self._lock:
            budget = self._day_budgets.setdefault(
                (customer_id, day),
                Budget(
                    f"OPTIINFRA_JUDGE_CUSTOMER_DAY_TOKENS={self.day_tokens} or "
                    f"OPTIINFRA_JUDGE_CUSTOMER_DAY_REQUESTS={self.day_requests}",
                    self.day_tokens,
                    self.day_requests,
                ),
            )
        self.budgets.at_least(budget, used_tokens, used_requests)
        return budget

    def prepare(self) -> None:
        """Make sure, once, that the key works and that the account has the model.

        Raises:
            CloudError: not so; the message names the setting, and the models that there are.
        """
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if self._client is not None:
                return
            client = GroqClient(
                self.model, self.api_key, self.base_url, self.pace, self.request_seconds, self.backoff_seconds
            )
            try:
                available = client.models()
            except CloudError as error:
                client.close()
                if error.cause is not Cause.UNAVAILABLE:
                    self._refusal = error
                raise
            if self.model not in available:
                client.close()
                self._refusal = CloudError(
                    Cause.CONFIG,
                    f"The Groq account has no model {self.model}. Set OPTIINFRA_JUDGE_MODEL to one of "
                    f"{', '.join(sorted(available)) or '(it has none)'} that supports strict JSON schemas.",
                )
                raise self._refusal
            self._client = client

    def hold(self, question: Question, purse: list[Budget]) -> Admission:
        """Hold back the budget of a question's first request."""
        return self.budgets.hold(purse, self._most_tokens(question))

    def ask(self, question: Question, purse: list[Budget], deadline: float) -> Future[Verdict]:
        """Ask a question whose budget is held; the future raises CloudError where no further question makes sense."""
        return self._pool.submit(self._ask, question, purse, deadline)

    def not_asked(self, failure: Failure) -> Verdict:
        """The verdict on an interaction that the judge was not asked about."""
        return Verdict(self.model, self.version, failure=failure)

    # --- One question -----------------------------------------------------------------------------------------------

    def _ask(self, question: Question, purse: list[Budget], deadline: float) -> Verdict:
        """Ask until there is an answer, or a reason to stop; the first request's budget is held already.

        A loop of its own: each attempt takes budget and waits for the rate limit that all questions share, and an
        answer that cannot be used counts apart from one that did not come.
        """
        client = self._client
        if client is None:
            raise RuntimeError("prepare() comes first")
        most = self._most_tokens(question)
        verdict = self.not_asked(Failure.OUT_OF_TIME)
        malformed = 0
        for attempt in range(ATTEMPTS):
            if attempt and self.budgets.hold(purse, most) is not Admission.GRANTED:
                break
            # Groq's rate limit counts what a request may use at most; a token of plain text is about four bytes.
            if not self.pace.wait(question.most_prompt_tokens // 4 + MOST_ANSWER_TOKENS, deadline):
                self.budgets.settle(purse, most, 0, sent=False)
                return replace(verdict, failure=Failure.OUT_OF_TIME) if not attempt else verdict
            reply = Reply(fatal=self._refusal) if self._refusal else client.ask(question, deadline)
            used = most if reply.unanswered else reply.prompt_tokens + reply.completion_tokens
            self.budgets.settle(purse, most, used)
            if reply.fatal is not None:
                self._refusal = reply.fatal
                raise reply.fatal
            verdict = self._add(verdict, reply, most)
            malformed += bool(reply.failure and reply.failure.settled)
            if not reply.again or malformed >= MALFORMED_ATTEMPTS:
                break
            if reply.wait is not None:
                self.pace.pause(reply.wait)
            elif not malformed:
                time.sleep(max(0.0, min(self.backoff_seconds * 2**attempt, deadline - time.monotonic())))
        return verdict

    def _add(self, verdict: Verdict, reply: Reply, most: int) -> Verdict:
        prompt_tokens = verdict.prompt_tokens + reply.prompt_tokens
        completion_tokens = verdict.completion_tokens + reply.completion_tokens
        return replace(
            verdict,
            said=reply.said,
            failure=reply.failure,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            unanswered_tokens=verdict.unanswered_tokens + (most if reply.unanswered else 0),
            requests=verdict.requests + 1,
            usd=usd(self.model, prompt_tokens, completion_tokens),
        )

    def _most_tokens(self, question: Question) -> int:
        return question.most_prompt_tokens + MOST_ANSWER_TOKENS
