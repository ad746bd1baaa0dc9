"""Replies to requests of the judge: an answer read from a chat completion, whichever server wrote it.

https://platform.openai.com/docs/api-reference/chat/object, https://console.groq.com/docs/structured-outputs. Only what
cannot be misread is an answer; no text of a body is shown, since it may quote what is judged.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.quality import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optiinfra_dagster.model.errors import CloudError
    from optiinfra_dagster.model.quality import JudgeAnswer
    from optiinfra_dagster.quality.rubric import Question

ANSWER = "verdict"
"""The name of the answer's schema, and of the tool that is called with it."""

NO_JSON = "no JSON"
"""What a reply is about that is a web page, a stream, or cut."""

# How an answer ended, in lower case: what filters say begins with one of the first.
_FILTERED = (
    "content_filter", "safety", "refusal", "sensitive", "recitation", "prohibited_content", "blocklist", "spii",
)  # fmt: skip
_CUT = {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
_BROKEN = {"error", "insufficient_system_resource", "abort", "aborted", "cancelled"}  # the second is DeepSeek's
_MOST_COUNTED = 10**8  # tokens of one answer: what tells more is mistaken
_THOUGHTS = re.compile(
    r"\s*(?:<think(?:ing)?>.*?</think(?:ing)?>|<thought>.*?</thought>|\[THINK\].*?\[/THINK\]"
    r"|(?![\s{`<]).*?</think>)",  # the last where the prompt has begun them
    re.DOTALL,
)
_FENCE = re.compile(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", re.DOTALL | re.IGNORECASE)
_APOLOGY = re.compile(
    r"\s*(?:(?:i['\u2019]?m|i am) (?:very )?sorry|sorry\b|i (?:can['\u2019]?t|cannot|can not|won['\u2019]?t|will not)\b"
    r"|i['\u2019]?m (?:unable|not able)|i am (?:unable|not able))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of one request: an answer, a failure, or an error that ends all judging."""

    said: JudgeAnswer | None = None
    failure: Failure | None = None
    fatal: CloudError | None = None
    again: bool = False  # whether the same request may be answered later
    wait: float | None = None  # as the API asked, in seconds
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unanswered: bool = False  # what it used is not known
    refused: str = ""  # `status 400`, where the API did not accept the request
    model: str = ""  # that the server says has answered
    # The words of that refusal, for deciding only, since they may quote texts; or NO_JSON.
    about: str = field(default="", repr=False)


def read_completion(completion: object, question: Question) -> Reply:
    """The verdict in a completion, which is any JSON: nothing of it is taken for granted."""
    if not isinstance(completion, dict):
        return Reply(failure=Failure.MALFORMED, again=True, unanswered=True)
    prompt, answered = _usage(completion.get("usage"))
    reply = Reply(failure=Failure.MALFORMED, again=True, unanswered=True, model=_name(completion.get("model")))
    if prompt is not None and answered is not None:
        reply = replace(reply, prompt_tokens=prompt, completion_tokens=answered, unanswered=False)
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return reply
    message, ended = choices[0].get("message"), str(choices[0].get("finish_reason")).lower()
    if ended.startswith(_FILTERED) or (isinstance(message, dict) and message.get("refusal")):
        return replace(reply, failure=Failure.DECLINED, again=False)
    if ended in _CUT:
        return replace(reply, failure=Failure.TRUNCATED)
    if ended in _BROKEN:
        return replace(reply, failure=Failure.UNAVAILABLE)
    text = _text(message) if isinstance(message, dict) else None
    if text is None:
        return reply
    text = _unwrapped(text)
    if "{" not in text and _APOLOGY.match(text):
        return replace(reply, failure=Failure.DECLINED, again=False)
    said = _answer(text, question)
    return reply if said is None else replace(reply, said=said, failure=None, again=False)


def of_another_model(reply: Reply) -> Reply:
    """The reply where another model than the judge has answered: nothing that it says is the judge's."""
    return replace(reply, said=None, failure=Failure.OTHER_MODEL, again=False)


def _name(model: object) -> str:
    return model if isinstance(model, str) and re.fullmatch(r"[\w./:@+-]{1,200}", model, re.ASCII) else ""


def _usage(usage: object) -> tuple[int | None, int | None]:
    """The tokens of prompt and answer, under the names of chat completions or of the Responses API; None if unknown.

    Gemini tells the tokens of thoughts in the total alone; they are billed as the answer's.
    """
    if not isinstance(usage, dict):
        return None, None
    names = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    prompt, answered = (next((usage[name] for name in of if usage.get(name) is not None), None) for of in names)
    prompt_tokens, answer_tokens, total = _count(prompt), _count(answered), _count(usage.get("total_tokens"))
    if prompt_tokens is not None and answer_tokens is not None and total is not None:
        answer_tokens = max(answer_tokens, total - prompt_tokens)
    return prompt_tokens, answer_tokens


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if 0 <= value <= _MOST_COUNTED else None


def _text(message: Mapping[str, Any]) -> str | None:
    """The text of a message: what its one tool was called with, else its content or the text parts of it.

    A reasoning model that did not think may have its answer taken for thoughts: vLLM's issue 30139.
    """
    called = message.get("function_call")  # as it was before there were tools
    calls = message.get("tool_calls") or ([{"function": called}] if called else [])
    if isinstance(calls, list) and len(calls) == 1 and isinstance(calls[0], dict):
        function = calls[0].get("function")
        if isinstance(function, dict) and function.get("name") == ANSWER:
            return _written(function.get("arguments"))
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str))
    found = _written(content)
    return found if found or calls else _written(message.get("reasoning_content") or message.get("reasoning"))


def _written(value: object) -> str | None:
    """An object as JSON, or a text that is not empty."""
    if isinstance(value, dict):
        return json.dumps(value)
    return value if isinstance(value, str) and value.strip() else None


def _unwrapped(text: str) -> str:
    """A text without the thoughts before it and the code fence around it."""
    text = text.removeprefix("\ufeff")
    text = _THOUGHTS.sub("", text, count=1) if _THOUGHTS.match(text) else text
    found = _FENCE.fullmatch(text)
    return found[1] if found else text


def _answer(text: str, question: Question) -> JudgeAnswer | None:
    """The answer that a text is; None where a key stands twice, a number is none, or it is not what was asked for."""
    try:
        found = _parsed(text)
        found = _parsed(found) if isinstance(found, str) else found  # written as a text once more
        return question.read(json.dumps(found))
    except (ValueError, RecursionError):
        return None


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_number)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(constant)  # NaN and Infinity, which are not JSON


def _number(text: str) -> float:
    """4.0 is the integer 4, as JSON Schema has it."""
    number = float(text)
    return int(number) if number.is_integer() else number
