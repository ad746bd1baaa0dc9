"""Replies to requests of the judge: an answer read from a completion, or what a refusal means.

https://console.groq.com/docs/structured-outputs, /errors. No text of a body is shown: it may quote what is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure

if TYPE_CHECKING:
    from groq.types.chat import ChatCompletion

    from optiinfra_dagster.model.quality import Said
    from optiinfra_dagster.quality.rubric import Question

_MOST_COUNTED = 10**8  # tokens of one answer: what tells more is mistaken


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of one request: an answer, a failure, or an error that ends all judging."""

    said: Said | None = None
    failure: Failure | None = None
    fatal: CloudError | None = None
    again: bool = False  # whether the same request may be answered later
    wait: float | None = None  # as the API asked, in seconds
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unanswered: bool = False  # what it used is not known


def read_completion(completion: ChatCompletion, question: Question) -> Reply:
    """The answer in a completion. The SDK does not check what it parses, so nothing is taken for granted."""
    usage = getattr(completion, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    prompt, answered = (n if type(n) is int and 0 <= n <= _MOST_COUNTED else None for n in counts)
    known = prompt is not None and answered is not None
    reply = Reply(
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
    said = question.read(content) if isinstance(content, str) else None
    return reply if said is None else replace(reply, said=said, failure=None, again=False)


def refusal_of(status: int, code: str, wait: float | None, model: str) -> Reply:
    """The reply that an HTTP status stands for. The message of the body is never shown: it may quote the request."""
    if status == 401:
        error = CloudError(Cause.AUTH, "Groq refused the key. Set GROQ_API_KEY to a valid one.")
        return Reply(fatal=error)
    if status == 403:
        error = CloudError(Cause.PERMISSION, f"The Groq key may not use {model}. Allow it in Groq's console.")
        return Reply(fatal=error)
    if status == 404:
        error = CloudError(
            Cause.CONFIG,
            f"Groq knows no model {model}, or no API at its URL. Check OPTIINFRA_JUDGE_MODEL, GROQ_BASE_URL.",
        )
        return Reply(fatal=error)
    if status in {429, 498}:
        return Reply(failure=Failure.THROTTLED, again=True, wait=wait)
    if status >= 500 or status == 408:
        return Reply(failure=Failure.UNAVAILABLE, again=True, wait=wait)
    if code == "json_validate_failed" or status == 422:
        # The model did write something: https://console.groq.com/docs/errors.
        return Reply(failure=Failure.MALFORMED, again=True, unanswered=True)
    if status == 413 or code == "context_length_exceeded":
        return Reply(failure=Failure.TOO_LARGE)
    return Reply(failure=Failure.REFUSED)


def error_code(body: object) -> str:
    """The short code of an error body: `rate_limit_exceeded`."""
    error = body.get("error", body) if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a refusal asks to wait."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86400 else None
