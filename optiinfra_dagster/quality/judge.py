"""The LLM judge: one request per interaction, within budgets, rate limits and a time, and what it costs.

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
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.quality import dialects, rubric
from optiinfra_dagster.quality.budget import Admission, Budget, Budgets
from optiinfra_dagster.quality.client import Client
from optiinfra_dagster.quality.dialects import Dialect, Memory
from optiinfra_dagster.quality.models import price_of, usd
from optiinfra_dagster.quality.pace import Pace
from optiinfra_dagster.quality.replies import Reply, of_another_model
from optiinfra_dagster.quality.server import Server
from optiinfra_dagster.storage.spend import Amount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from decimal import Decimal
    from typing import Any

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.quality.rubric import Question

ATTEMPTS = 6  # at a request that was refused for now or not answered
MALFORMED_ATTEMPTS = 2  # the same question at temperature 0 rarely gets a better answer
REQUEST_SECONDS = 60.0  # an answer takes 1 to 5 s
BACKOFF_SECONDS = 0.5  # where the answer names no time; doubles
REFUSED_IN_A_ROW = 5
"""Questions that the API refuses one after the other before the run is over: no other would fare better."""
AWAY_SECONDS = 60.0
"""A server that did not answer is not looked for again so long: one that takes no connection costs a minute or more."""
_PROBE_PATIENCE = Patience(BACKOFF_SECONDS, 10.0, 3)


@dataclass(eq=False)
class Judge:
    """The judge of a run, shared by all customers. Thread-safe; `close` it at the end.

    At most `concurrency` requests are under way. Nothing is sent before the first question, so a run whose verdicts
    are all known makes no request; except where it must be found out how the server is to be asked, which is
    remembered in `memory`.
    """

    server: Server
    effort: str | None = None
    concurrency: int = 8
    seconds: float = 600.0
    run_tokens: int = 5_000_000
    run_requests: int = 5_000
    day_tokens: int = 3_000_000
    day_requests: int = 3_000
    late_share: float = 0.2
    request_seconds: float = REQUEST_SECONDS
    backoff_seconds: float = BACKOFF_SECONDS
    price: tuple[Decimal, Decimal] | None = None
    memory: Memory | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self.budgets = Budgets()
        self.run_budget = Budget(self.run_tokens, self.run_requests)
        self.pace = Pace()
        self.most_answer_tokens = dialects.most_answer_tokens(self.effort)
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="judge")
        self._client: Client | None = None
        self._dialect = dialects.known(self.server)
        self._refusal: CloudError | None = None  # the key or the model is of no use: nothing more is asked
        self._refused_in_a_row = 0
        self._versions: dict[Dialect, str] = {}
        self._away: tuple[float, CloudError] | None = None  # until when nobody asks whether the server is there

    @classmethod
    def of(cls, settings: Settings, memory: Memory | None = None) -> Judge | None:
        """The judge that the settings describe; None without a key."""
        server = Server.of(settings)
        return None if server is None else cls.at(server, settings, memory)

    @classmethod
    def at(cls, server: Server, settings: Settings, memory: Memory | None) -> Judge:
        """A judge at a server, with what the settings say of judges."""
        return cls(
            server,
            effort=settings.judge_reasoning_effort,
            concurrency=settings.judge_concurrency,
            seconds=settings.judge_seconds,
            run_tokens=settings.judge_run_tokens,
            run_requests=settings.judge_run_requests,
            day_tokens=settings.judge_customer_day_tokens,
            day_requests=settings.judge_customer_day_requests,
            late_share=settings.judge_backfill_share,
            price=settings.judge_price or (price_of(server.model) if server.is_groq else None),
            memory=memory,
        )

    def close(self) -> None:
        """Drop what waits to be asked, wait for what is under way, close connections."""
        self._pool.shutdown(cancel_futures=True)
        if self._client is not None:
            self._client.close()

    @property
    def model(self) -> str:
        """The model that judges."""
        return self.server.model

    @property
    def day(self) -> Amount:
        """A customer's budget of a day."""
        return Amount(self.day_tokens, self.day_requests)

    @property
    def run_told(self) -> str:
        """The budget of a run, for people."""
        return f"a run may use {self.run_tokens:,} tokens and {self.run_requests:,} requests"

    @property
    def version(self) -> str:
        """The version of the judge: it changes with all that may change a verdict.

        Raises:
            CloudError: how the server is to be asked is not known yet, and could not be found out.
        """
        dialect = self._find_dialect()
        if dialect not in self._versions:
            options: dict[str, Any] = {**dialect.options(self.server, self.effort), "form": dialect.form}
            if not self.server.is_groq:
                options["base_url"] = self.server.base_url
            if dialect.answers_as not in {"", self.model}:
                options["answers_as"] = dialect.answers_as
            self._versions[dialect] = rubric.version(self.model, options)
        return self._versions[dialect]

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
            self._check_presence()
            server = self.server
            client = Client(server, self.pace, self.request_seconds, self.backoff_seconds)
            if server.is_groq:  # others list what an account may deploy, or nothing
                try:
                    available = client.models()
                except CloudError as error:
                    client.close()
                    self._remember(error)
                    raise
                if server.model not in available:
                    client.close()
                    self._refusal = CloudError(
                        Cause.CONFIG,
                        f"The Groq account has no model {server.model}. Set {server.model_setting} to one of "
                        f"{', '.join(sorted(available)) or '(it has none)'}.",
                    )
                    raise self._refusal
            self._client = client

    def hold(self, question: Question, purse: list[Budget]) -> Admission:
        """Hold back the budget of a question's first request."""
        return self.budgets.hold(purse, self.most_tokens(question))

    def ask(self, question: Question, purse: list[Budget], deadline: float) -> Future[Verdict]:
        """Ask a question whose budget is held; the future raises CloudError where no further question makes sense."""
        return self._pool.submit(self._ask, question, purse, deadline)

    def not_asked(self, failure: Failure) -> Verdict:
        """The verdict on an interaction that the judge was not asked about."""
        return Verdict(self.model, self.version, failure=failure)

    def most_tokens(self, question: Question) -> int:
        """The most tokens that one request of a question can take."""
        return question.most_prompt_tokens + self.most_answer_tokens

    # --- How the server is to be asked ------------------------------------------------------------------------------

    def _find_dialect(self) -> Dialect:
        with self._lock:
            if self._dialect is not None:
                return self._dialect
            found = self.memory.recall(self.server.base_url, self.model) if self.memory else None
            self._dialect = None if found is None else Dialect.from_json(found)
            if self._dialect is not None:
                return self._dialect
            self.prepare()
            self._check_presence()
            try:
                self._dialect = dialects.find(self.server, self.effort, self._ask_once)
            except CloudError as error:
                self._remember(error)
                raise
            if self.memory:
                self.memory.keep(self.server.base_url, self.model, self._dialect.to_json())
            return self._dialect

    def _remember(self, error: CloudError) -> None:
        """Keep an error, so that customers one after the other do not each wait for a server that is away."""
        if error.cause is Cause.UNAVAILABLE:
            self._away = (time.monotonic() + AWAY_SECONDS, error)
        else:
            self._refusal = error

    def _check_presence(self) -> None:
        if self._away is not None and time.monotonic() < self._away[0]:
            raise self._away[1]

    def _ask_once(self, dialect: Dialect, question: Question) -> tuple[Reply, Mapping[str, Any]]:
        """Ask a question that belongs to nobody, again where the server is away for a moment."""
        client, request = self._client, dialect.request(self.server, self.effort, question)
        if client is None:
            raise RuntimeError("prepare() comes first")

        def ask() -> Reply:
            reply = client.ask(question, request, time.monotonic() + self.request_seconds)
            if reply.failure in {Failure.THROTTLED, Failure.UNAVAILABLE, Failure.TIMEOUT}:
                text = f"{self.server.name} did not answer ({reply.failure.value}). Try again later."
                raise CloudError(Cause.UNAVAILABLE, text, reply.wait)
            return reply

        return retrying({Cause.UNAVAILABLE: replace(_PROBE_PATIENCE, first_wait=self.backoff_seconds)})(ask), request

    def _note_refusal(self, reply: Reply) -> CloudError | None:
        """Count questions that the API refuses in a row, or that others answer; the error that ends the run then."""
        with self._lock:
            is_other = reply.failure is Failure.OTHER_MODEL
            is_refused = is_other or reply.failure is Failure.REFUSED
            self._refused_in_a_row = self._refused_in_a_row + 1 if is_refused else 0
            if self._refused_in_a_row < REFUSED_IN_A_ROW:
                return None
            if self.memory and dialects.known(self.server) is None:
                self.memory.keep(self.server.base_url, self.model, "")
                text = f"{self.server.name} no longer takes the judge's questions ({reply.refused}). How it is to be "
                if is_other:
                    text = f"{self._other_answers(reply)} If it is to be the judge, do nothing: how it is to be "
                return CloudError(Cause.UNAVAILABLE, f"{text}asked is found out again with the next collection.")
            if is_other:
                return CloudError(Cause.UNAVAILABLE, self._other_answers(reply))
            text = f"{self.server.name} refused {REFUSED_IN_A_ROW} questions in a row ({reply.refused}). Set "
            return CloudError(
                Cause.CONFIG, f"{text}{self.server.model_setting} to a model that supports strict JSON schemas."
            )

    def _other_answers(self, reply: Reply) -> str:
        server, other = self.server, reply.model if reply.model != self.model else ""
        return (
            f"At {server.name} another model {f'({other}) ' if other else ''}answered {REFUSED_IN_A_ROW} questions in "
            f"a row in place of {self.model}. Let {server.model_setting}={self.model} be one model, without fallbacks."
        )

    # --- One question -----------------------------------------------------------------------------------------------

    def _ask(self, question: Question, purse: list[Budget], deadline: float) -> Verdict:
        """Ask until there is an answer, or a reason to stop; the first request's budget is held already.

        A loop of its own: each attempt takes budget and waits for the rate limit that all questions share, and an
        answer that cannot be used counts apart from one that did not come.
        """
        client = self._client
        if client is None:
            raise RuntimeError("prepare() comes first")
        dialect = self._find_dialect()
        request = dialect.request(self.server, self.effort, question)
        most = self.most_tokens(question)
        verdict = self.not_asked(Failure.OUT_OF_TIME)
        bad = 0
        for attempt in range(ATTEMPTS):
            if attempt and self.budgets.hold(purse, most) is not Admission.GRANTED:
                break
            # The rate limit counts what a request may use at most; a token of plain text is about four bytes.
            if not self.pace.wait(question.most_prompt_tokens // 4 + self.most_answer_tokens, deadline):
                self.budgets.settle(purse, most, 0, sent=False)
                cause = Failure.PAUSED if self.pace.is_paused_at(deadline) else Failure.OUT_OF_TIME
                return verdict if attempt and cause is Failure.OUT_OF_TIME else replace(verdict, failure=cause)
            reply = Reply(fatal=self._refusal) if self._refusal else client.ask(question, request, deadline)
            if reply.said is not None and not dialect.is_of(reply.model):
                reply = of_another_model(reply)
            used = most if reply.unanswered else reply.prompt_tokens + reply.completion_tokens
            self.budgets.settle(purse, most, used)
            if fatal := reply.fatal or self._note_refusal(reply):
                self._refusal = fatal
                raise fatal
            verdict = self._add(verdict, reply, most)
            bad += bool(reply.failure and reply.failure.of_the_question)
            if not reply.again or bad >= MALFORMED_ATTEMPTS:
                break
            if reply.wait is not None:
                self.pace.pause(reply.wait)
            elif not bad:
                time.sleep(max(0.0, min(self.backoff_seconds * 2**attempt, deadline - time.monotonic())))
        return verdict

    def _add(self, verdict: Verdict, reply: Reply, most: int) -> Verdict:
        prompt_tokens = verdict.prompt_tokens + reply.prompt_tokens
        completion_tokens = verdict.completion_tokens + reply.completion_tokens
        is_free = reply.said is None and not reply.prompt_tokens + reply.completion_tokens
        is_others = reply.failure is Failure.OTHER_MODEL  # whose price is not known
        of_reply = None if is_others else usd(self.price, reply.prompt_tokens, reply.completion_tokens)
        if is_free:
            cost = verdict.usd
        else:
            cost = None if verdict.usd is None or of_reply is None or reply.unanswered else verdict.usd + of_reply
        return replace(
            verdict,
            said=reply.said,
            failure=reply.failure,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            unanswered_tokens=verdict.unanswered_tokens + (most if reply.unanswered else 0),
            requests=verdict.requests + 1,
            usd=cost,
        )
