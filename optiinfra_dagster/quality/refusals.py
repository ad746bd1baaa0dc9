"""What a refusal of the judge's server means: a status and an error body in, a `Reply` or the error of the run out.

https://console.groq.com/docs/errors, https://platform.openai.com/docs/guides/error-codes. The text of a body decides,
but is never shown: it may quote the judged texts.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.model.retry_after import retry_after
from optiinfra_dagster.quality.pace import EPOCH_SECONDS, duration
from optiinfra_dagster.quality.replies import Reply

if TYPE_CHECKING:
    from optiinfra_dagster.quality.server import Server

LONGEST_NAMED_WAIT = 32 * 86400.0  # seconds; quotas of a month are the longest


@dataclass(frozen=True, slots=True, repr=False)
class ErrorBody:
    """The body of an error, in lower case: its short code, the parameter it is about, and its text."""

    code: str = ""
    param: str = ""
    text: str = ""

    @property
    def begin(self) -> str:
        """The first words of its text, which are the server's own: what it quotes comes after them."""
        return self.text[:200]


def error_body(body: object) -> ErrorBody:
    """Read an error body of any of the shapes in use.

    They are {"error": {...}}, {"error": "text"}, {"object": "error", "message": ...}, {"detail": ...}, and each of
    these in a list.
    """
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return ErrorBody()
    error = body.get("error", body)
    if not isinstance(error, dict):
        return ErrorBody(text=str(error).lower())
    inner = error.get("innererror")
    words = [error.get("code"), inner.get("code") if isinstance(inner, dict) else None, error.get("type")]
    code = next((word.lower() for word in words if isinstance(word, str) and not word.isdecimal()), "")
    text = error.get("message", error.get("detail", ""))
    return ErrorBody(code, str(error.get("param") or "").lower(), str(text).lower())


# --- Errors of the account, key or model: they end the run ----------------------------------------------------------

_NO_CREDIT = {
    "insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "credit_balance_exhausted",
    "organization_spend_limit_exceeded", "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
    "budget_exceeded",
}  # fmt: skip
_NO_CREDIT_TEXT = re.compile(
    r"credit balance is too low|used all available credits|reaching the monthly spending limit"
)
_NO_KEY_TEXT = re.compile(r"api key (?:not valid|expired)|incorrect api key")
_NO_ACCESS = {"key_model_access_denied", "team_model_access_denied", "user_model_access_denied"}  # LiteLLM's, with 401
_NO_MODEL = {
    "model_not_found", "model_decommissioned", "model_not_active", "deploymentnotfound", "unknown_model",
    "invalid_model",
}  # fmt: skip
_NO_MODEL_TEXT = re.compile(
    r"\bmodels?\b.*(?:does not exist|not exist\b|not found|decommissioned)|invalid model name|not a valid model id"
    r"|no endpoints found for|model identifier is invalid|^model: |^no models? loaded"
)

_ACCOUNT_ERRORS: tuple[tuple[Callable[[int, ErrorBody], object], Cause, str], ...] = (
    (
        lambda status, e: (
            e.code in _NO_CREDIT
            or status == 402
            or (e.code == "blocked_api_access" and "spend" in e.text)
            or (status in {400, 403, 412} and _NO_CREDIT_TEXT.search(e.begin))
        ),
        Cause.PERMISSION,
        "{0.name} answers no more: the account's credit or spend limit is used up. Raise it in {0.console}.",
    ),
    (
        lambda _, e: e.code == "organization_restricted",
        Cause.PERMISSION,
        "{0.name} has restricted the organisation of the key. Ask its support, or set {0.key_setting} to another's.",
    ),
    (
        lambda _, e: e.code == "blocked_api_access",
        Cause.PERMISSION,
        "{0.name} blocks this organisation's access to its API. Allow it in {0.console}.",
    ),
    (
        lambda status, e: (
            (status == 401 and e.code not in _NO_ACCESS)
            or e.code in {"invalid_api_key", "expired_api_key"}
            or (status == 400 and _NO_KEY_TEXT.search(e.begin))
        ),
        Cause.AUTH,
        "{0.name} refused the key. Set {0.key_setting} to a valid one.",
    ),
    (
        lambda status, e: status == 410 or "decommissioned" in e.code + e.begin,
        Cause.CONFIG,
        "{0.name} has shut down the model {0.model}. Set {0.model_setting} to one that it still has.",
    ),
    (
        lambda _, e: e.text.startswith("no endpoints") and "policy" in e.text,
        Cause.PERMISSION,
        "{0.name} has {0.model} only where the account's privacy settings forbid it. Change them in {0.console}.",
    ),
    (
        lambda status, e: (
            e.code in _NO_MODEL
            or (status in {400, 404} and _NO_MODEL_TEXT.search(e.begin))
            or (status == 404 and e.param == "model")
        ),
        Cause.CONFIG,
        "{0.name} knows no model {0.model}. Set {0.model_setting} to one that it has.",
    ),
    (
        lambda status, e: status == 403 or e.code in _NO_ACCESS,
        Cause.PERMISSION,
        "{0.name} does not let the key use {0.model}. Allow it in {0.console}, or change {0.model_setting}.",
    ),
    (
        lambda status, _: status in {404, 405},
        Cause.CONFIG,
        "{0.name} has no chat completions at {0.base_url}. Correct {0.url_setting}.",
    ),
    (
        lambda status, _: 300 <= status < 400,
        Cause.CONFIG,
        "{0.name} redirects, which is not followed: texts go only where you say. Correct {0.url_setting}.",
    ),
)
"""When no further question makes sense, as (status and body, cause, what happened and the remedy); the first counts."""


def _account_error(status: int, error: ErrorBody, server: Server) -> CloudError | None:
    for applies, cause, text in _ACCOUNT_ERRORS:
        if applies(status, error):
            return CloudError(cause, text.format(server))
    return None


# --- Errors of one question -----------------------------------------------------------------------------------------

_TOO_LONG = re.compile(
    r"context length|context window|maximum context|reduce (?:the length|your)|too many tokens|prompt is too long"
    r"|request too large|exceeds the available context|context size has been exceeded|too large to process"
    r"|exceeds the maximum number of tokens|maximum prompt length|input is too long|`inputs` (?:tokens|must have)"
)
_OF_A_LENGTH = {400, 422, 500}  # statuses under which servers say so
_OF_A_DAY_TEXT = re.compile(r"\bper[- ]day\b|\b[tr]pd\b|\bdaily\b|\bper[- ]month\b")
_FILTERED = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "data_inspection_failed"}
_FILTERED_TEXT = re.compile(
    r"\b(?:input|prompt|content|request) (?:was |were |has been |is )?flagged|violates usage guidelines"
    r"|content exists risk|blocked by content filtering policy"
)
_NOT_AS_ASKED = {"json_validate_failed", "tool_use_failed", "output_parse_failed"}  # Groq's, of what the model wrote
_AWAY = {408, 409, 424, 425, 499}  # statuses besides those from 500 on; 424 is that of Hugging Face's server
_A_DAY = 3600.0  # seconds to wait where a limit of a day names none: by the hour something comes back


def refusal_of(status: int, error: ErrorBody, wait: float | None, server: Server) -> Reply:
    """The reply that an HTTP status and its body stand for; `wait` is what the headers ask for, in seconds."""
    if error.code in _FILTERED or (400 <= status < 500 and _FILTERED_TEXT.search(error.text)):
        return Reply(failure=Failure.DECLINED)  # whatever the status: a gateway's filter answers with 403
    is_of_the_form = status == 404 and error.text.startswith("no endpoints found that")  # OpenRouter's of parameters
    if not is_of_the_form and (fatal := _account_error(status, error, server)):
        return Reply(fatal=fatal)
    is_too_long = status in _OF_A_LENGTH and _TOO_LONG.search(error.text)
    if status == 413 or error.code == "context_length_exceeded" or is_too_long:
        return Reply(failure=Failure.TOO_LARGE)
    if status in {429, 498}:
        named = wait if wait is not None else _wait_in(error.text)
        if named is None and _OF_A_DAY_TEXT.search(error.text):
            named = _A_DAY
        return Reply(failure=Failure.THROTTLED, again=True, wait=named)
    if (status >= 500 and status != 501) or status in _AWAY:
        return Reply(failure=Failure.UNAVAILABLE, again=True, wait=wait)
    if error.code in _NOT_AS_ASKED:
        # The model did write something: https://console.groq.com/docs/errors.
        return Reply(failure=Failure.MALFORMED, again=True, unanswered=True)
    return Reply(failure=Failure.REFUSED, refused=f"status {status}", about=f"{error.param} {error.code} {error.text}")


def _wait_in(text: str) -> float | None:
    """The wait that a message names: `Please try again in 7m12.5s`, `Please retry after 86400 seconds`, `wait 9 s`."""
    found = re.search(
        r"(?:(?:try again|retry) (?:in|after)|please wait) ([0-9][0-9a-z.]*)(?: (second|minute|hour|day))?", text
    )
    if found is None:
        return None
    named = found[1].rstrip(".")
    return duration(f"{named}{found[2][0]}" if found[2] else named)


def named_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds that a refusal asks to wait: milliseconds, seconds with or without a fraction, a date, or the moment.

    Where Retry-After is not told, the reset of a rate limit is: seconds, or since the epoch in s or ms.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "").partition(",")[0]) * unit  # a proxy may have added its own
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, LONGEST_NAMED_WAIT)
    named = headers.get("retry-after", "")
    seconds_to = retry_after(named)
    if seconds_to is None:
        seconds_to = duration(named.strip())
    if seconds_to is None:
        seconds_to = _until_reset(headers)
    return None if seconds_to is None else min(seconds_to, LONGEST_NAMED_WAIT)


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """The wait until the only limit that is told begins anew, as OpenRouter, Together and RFC drafts have it."""
    reset = next((seconds for name in _RESETS if (seconds := duration(headers.get(name, ""))) is not None), None)
    if reset is None or reset < EPOCH_SECONDS:
        return reset
    ahead = (reset if reset < _EPOCH_MS else reset / 1000) - time.time()
    return ahead if ahead > 0 else None


_RESETS = ("x-ratelimit-reset", "ratelimit-reset")
_EPOCH_MS = 1e12  # from which on a time is told in ms
