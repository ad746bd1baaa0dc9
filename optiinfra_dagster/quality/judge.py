"""The LLM judge at Groq: one request per interaction, within budgets, rate limits and a time, and what it costs.

A judge that fails gives no score: `Verdict.answer` is None and `Verdict.failure` says why.

Documents: https://console.groq.com/docs/structured-outputs, /rate-limits, /errors, /flex-processing, /models.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure, Verdict
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.quality.budget import Admission, Budget, Budgets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from groq import Groq
    from groq.types.chat import ChatCompletion

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.model.quality import Answer
    from optiinfra_dagster.quality.rubric import Question

MOST_ANSWER_TOKENS = 2048
"""Of an answer and the reasoning before it; five short pieces of evidence take about 300."""

ATTEMPTS = 6  # at a request that was refused for now or not answered
MALFORMED_ATTEMPTS = 2  # the same question at temperature 0 rarely gets a better answer
REQUEST_SECONDS = 60.0  # an answer takes 1 to 5 s
BACKOFF_SECONDS = 0.5  # where the answer names no time; doubles

# USD per million tokens, input and output, as of 2026-07: https://console.groq.com/docs/models. Cached input costs
# half, which is left out, so the amounts are at most too high. A model that is not listed here costs an unknown amount.
PRICES: Mapping[str, tuple[Decimal, Decimal]] = {
    "openai/gpt-oss-120b": (Decimal("0.15"), Decimal("0.60")),
    "openai/gpt-oss-20b": (Decimal("0.075"), Decimal("0.30")),
    "openai/gpt-oss-safeguard-20b": (Decimal("0.075"), Decimal("0.30")),
}
_MOST_COUNTED = 10**8  # tokens of one answer: what tells more is mistaken
_CENT = Decimal("0.000000001")  # of the columns that hold money

# Words in model names that tell who made the model. A distilled model has two makers.
FAMILIES: Mapping[str, frozenset[str]] = {
    "openai": frozenset({"openai", "gpt", "chatgpt", "o1", "o3", "o4", "davinci"}),
    "anthropic": frozenset({"anthropic", "claude"}),
    "google": frozenset({"google", "gemini", "gemma", "palm"}),
    "meta": frozenset({"meta", "llama"}),
    "mistral": frozenset({"mistral", "mistralai", "mixtral", "ministral", "codestral", "magistral", "pixtral"}),
    "alibaba": frozenset({"alibaba", "qwen", "qwq"}),
    "deepseek": frozenset({"deepseek"}),
    "moonshot": frozenset({"moonshotai", "kimi"}),
    "amazon": frozenset({"nova", "titan"}),
    "cohere": frozenset({"cohere", "command"}),
    "microsoft": frozenset({"phi"}),
    "xai": frozenset({"xai", "grok"}),
}


def families(model: str) -> frozenset[str]:
    """Who made a model, by the words of its name: `us.meta.llama3-3-70b` is meta's."""
    words = {re.sub(r"(?<=\D\D)\d.*$", "", word) for word in re.split(r"[^a-z0-9]+", model.lower())}
    return frozenset(family for family, names in FAMILIES.items() if names & words)


def same_family(judge: str, judged: str) -> bool:
    """Whether a judge may prefer the judged model because they were made by the same people."""
    return bool(families(judge) & families(judged))


def usd(model: str, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
    """What tokens cost; None where the model's price is not known."""
    if model not in PRICES:
        return None
    price_in, price_out = PRICES[model]
    return ((prompt_tokens * price_in + completion_tokens * price_out) / 1_000_000).quantize(_CENT)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came of one request: an answer, a failure, or an error that ends all judging."""

    answer: Answer | None = None
    failure: Failure | None = None
    fatal: CloudError | None = None
    again: bool = False  # whether the same request may be answered later
    wait: float | None = None  # as the API asked, in seconds
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unanswered: bool = False  # what it used is not known


class Pace:
    """When the next request may go: after the pause that a refusal asked for, and while the rate limit has tokens.

    Limits are of the whole organisation, so one request's refusal holds back all. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._tokens_left: int | None = None
        self._renewed = 0.0

    def pause(self, seconds: float) -> None:
        """Send nothing for some time."""
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def note(self, headers: Mapping[str, str]) -> None:
        """Take in the x-ratelimit headers of an answer."""
        tokens = headers.get("x-ratelimit-remaining-tokens", "")
        renewal = duration(headers.get("x-ratelimit-reset-tokens", ""))
        if tokens.isdecimal() and renewal is not None:
            with self._lock:
                self._tokens_left, self._renewed = int(tokens), time.monotonic() + renewal
        # Requests are limited per day, so "none left" may last for hours; the deadline of the caller decides.
        renewal = duration(headers.get("x-ratelimit-reset-requests", ""))
        if headers.get("x-ratelimit-remaining-requests") == "0" and renewal is not None:
            self.pause(renewal)

    def wait(self, tokens: int, deadline: float) -> bool:
        """Wait until a request of about so many tokens may go; False if that is after the deadline."""
        while True:
            with self._lock:
                now = time.monotonic()
                if self._renewed <= now:
                    self._tokens_left = None
                lacking = self._tokens_left is not None and self._tokens_left < tokens
                due = max(self._not_before, self._renewed if lacking else 0.0)
                if due <= now:
                    if self._tokens_left is not None:
                        self._tokens_left -= tokens
                    return now < deadline
            if due >= deadline:
                return False
            time.sleep(due - now)


def duration(text: str) -> float | None:
    """Seconds of a duration as Groq writes it: `7.66s`, `2m59.56s`, `120ms`."""
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    if not re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+", text):
        return None
    return sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[dhms])", text))


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
        self.version = rubric.version(self.model, self._options)
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
        self._client: Groq | None = None
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
            client = self._connect()
            available = self._models(client)
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
        """Ask until there is an answer, or a reason to stop; the first request's budget is held already."""
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
            reply = self._refused_before() or self._send(question, deadline)
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

    def _refused_before(self) -> _Reply | None:
        return None if self._refusal is None else _Reply(fatal=self._refusal)

    def _add(self, verdict: Verdict, reply: _Reply, most: int) -> Verdict:
        prompt_tokens = verdict.prompt_tokens + reply.prompt_tokens
        completion_tokens = verdict.completion_tokens + reply.completion_tokens
        return replace(
            verdict,
            answer=reply.answer,
            failure=reply.failure,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            unanswered_tokens=verdict.unanswered_tokens + (most if reply.unanswered else 0),
            requests=verdict.requests + 1,
            usd=usd(self.model, prompt_tokens, completion_tokens),
        )

    def _most_tokens(self, question: Question) -> int:
        return question.most_prompt_tokens + MOST_ANSWER_TOKENS

    @property
    def _options(self) -> dict[str, Any]:
        """What shapes the answer besides the question."""
        options: dict[str, Any] = {"temperature": 0, "seed": 1, "max_completion_tokens": MOST_ANSWER_TOKENS}
        if self.model.startswith("openai/gpt-oss"):
            options |= {"reasoning_effort": "low", "include_reasoning": False}
        return options

    def _request(self, question: Question) -> dict[str, Any]:
        answer = {"name": "verdict", "strict": True, "schema": rubric.schema(grounded=question.grounded)}
        return {
            "model": self.model,
            "messages": question.messages,
            "response_format": {"type": "json_schema", "json_schema": answer},
            **self._options,
        }

    def _send(self, question: Question, deadline: float) -> _Reply:
        """One request. No error of the SDK leaves here: they carry the request, and with it the judged texts."""
        import groq

        client = self._client
        if client is None:
            raise RuntimeError("prepare() comes first")
        try:
            raw = client.chat.completions.with_raw_response.create(
                **self._request(question),
                timeout=max(0.05, min(self.request_seconds, deadline - time.monotonic())),
            )
            self.pace.note(raw.headers)
            return _read(raw.parse(), grounded=question.grounded)
        except groq.APITimeoutError:
            return _Reply(failure=Failure.TIMEOUT, again=True, unanswered=True)
        except groq.APIConnectionError:
            return _Reply(failure=Failure.UNAVAILABLE, again=True, unanswered=True)
        except groq.APIStatusError as error:
            self.pace.note(error.response.headers)
            return _refusal(error.status_code, _code(error.body), _retry_after(error.response.headers), self.model)
        except (groq.APIError, ValueError):
            # A body that is not JSON, or not a completion.
            return _Reply(failure=Failure.MALFORMED, again=True, unanswered=True)

    def _connect(self) -> Groq:
        import groq

        # At DEBUG the SDK logs requests with everything in them.
        logging.getLogger("groq").setLevel(logging.INFO)
        return groq.Groq(
            api_key=self.api_key,
            base_url=self.base_url,
            max_retries=0,  # its own retries know neither our budgets nor our deadline
            timeout=self.request_seconds,
            http_client=groq.DefaultHttpxClient(follow_redirects=False),  # texts go where the setting says, only
        )

    def _models(self, client: Groq) -> set[str]:
        """The account's models."""
        import groq

        error = CloudError(Cause.UNAVAILABLE, f"Groq at {self.base_url} did not list its models. Try again later.")
        for attempt in range(3):
            try:
                listed = client.models.list(timeout=15.0)
                return {str(model.id) for model in listed.data}
            except groq.APIStatusError as refused:
                after = _retry_after(refused.response.headers)
                reply = _refusal(refused.status_code, _code(refused.body), after, self.model)
                if reply.fatal is not None:
                    self._refusal = reply.fatal
                    error = reply.fatal
                    break
                wait = after
            except (groq.APIError, ValueError, TypeError, AttributeError):
                wait = None
            time.sleep(min(self.backoff_seconds * 2**attempt if wait is None else wait, 10.0))
        client.close()
        raise error


def _read(completion: ChatCompletion, *, grounded: bool) -> _Reply:
    """The verdict in a completion. The SDK does not check what it parses, so nothing is taken for granted."""
    usage = getattr(completion, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    prompt, answered = (n if type(n) is int and 0 <= n <= _MOST_COUNTED else None for n in counts)
    known = prompt is not None and answered is not None
    reply = _Reply(
        failure=Failure.MALFORMED,
        again=True,
        prompt_tokens=prompt or 0,
        completion_tokens=answered or 0,
        unanswered=not known,
    )
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        return reply
    if getattr(choices[0], "finish_reason", None) == "length":
        return replace(reply, failure=Failure.TRUNCATED)
    content = getattr(getattr(choices[0], "message", None), "content", None)
    answer = rubric.read(content, grounded=grounded) if isinstance(content, str) else None
    return reply if answer is None else replace(reply, answer=answer, failure=None, again=False)


def _refusal(status: int, code: str, wait: float | None, model: str) -> _Reply:
    """What an HTTP status means. The message of the body is never shown: it may quote the request."""
    if status == 401:
        error = CloudError(Cause.AUTH, "Groq refused the key. Set GROQ_API_KEY to a valid one.")
        return _Reply(fatal=error)
    if status == 403:
        error = CloudError(Cause.PERMISSION, f"The Groq key may not use {model}. Allow it in Groq's console.")
        return _Reply(fatal=error)
    if status == 404:
        error = CloudError(
            Cause.CONFIG,
            f"Groq knows no model {model}, or no API at its URL. Check OPTIINFRA_JUDGE_MODEL, GROQ_BASE_URL.",
        )
        return _Reply(fatal=error)
    if status in {429, 498}:
        return _Reply(failure=Failure.THROTTLED, again=True, wait=wait)
    if status >= 500 or status == 408:
        return _Reply(failure=Failure.UNAVAILABLE, again=True, wait=wait)
    if code == "json_validate_failed" or status == 422:
        # The model did write something: https://console.groq.com/docs/errors.
        return _Reply(failure=Failure.MALFORMED, again=True, unanswered=True)
    if status == 413 or code == "context_length_exceeded":
        return _Reply(failure=Failure.TOO_LARGE)
    return _Reply(failure=Failure.REFUSED)


def _code(body: object) -> str:
    """The short code of an error body: `rate_limit_exceeded`."""
    error = body.get("error", body) if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a refusal asks to wait."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86400 else None
