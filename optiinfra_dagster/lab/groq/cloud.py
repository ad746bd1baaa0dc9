"""Groq on the lab's endpoint, under /openai/v1/: chat completions and the list of models.

Requests are checked as the API does, tokens are counted (four bytes are one), rate limits are kept and told in headers.
Answers come from `labels` where they hold the judged texts, else from the naive judge.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.groq import naive, odd, rules
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service, meet

if TYPE_CHECKING:
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.world import World

_REFUSALS: Refusals = {
    Action.THROTTLE: (429, "rate_limit_exceeded", "Rate limit reached for model in organization `org_lab`"),
    Action.CAPACITY: (498, "capacity_exceeded", "Flex tier capacity exceeded"),
    Action.DENY: (403, "permissions_error", "The model is blocked at the organization level"),
    Action.ERROR: (500, "internal_server_error", "Internal Server Error"),
    Action.UNAVAILABLE: (503, "service_unavailable", "Service Unavailable"),
    Action.EXPIRED: (401, "expired_api_key", "Invalid API Key"),
    Action.UNKNOWN_KEY: (401, "invalid_api_key", "Invalid API Key"),
}
_OF_THE_WAY = {Action.DELAY, Action.DISCONNECT}
_REASONING_TOKENS = 40  # that every answer takes on top


@dataclass(slots=True, kw_only=True)
class GroqCall(ApiCall):
    """A request to Groq; its model stands for the region."""

    service: str = "groq"
    body: dict[str, Any] = field(default_factory=dict)


class Limits:
    """The account's tokens per minute, which come back bit by bit, and its requests per day."""

    def __init__(self, tokens: int, requests: int, minute: float) -> None:
        self.tokens, self.requests, self._minute = tokens, requests, minute
        self._level, self._time, self._asked = float(tokens), time.monotonic(), 0
        self._lock = Lock()

    def take(self, tokens: int) -> dict[str, str]:
        """Take tokens for a request if there are so many; the headers of its answer.

        Raises:
            ApiError: 429, or 413 for a request that can never fit.
        """
        with self._lock:
            now = time.monotonic()
            self._level = min(self.tokens, self._level + (now - self._time) * self.tokens / self._minute)
            self._time = now
            self._asked += 1
            fits = tokens <= self._level and self._asked <= self.requests
            if fits:
                self._level -= tokens
            headers = {
                "x-ratelimit-limit-requests": str(self.requests),
                "x-ratelimit-limit-tokens": str(self.tokens),
                "x-ratelimit-remaining-requests": str(max(self.requests - self._asked, 0)),
                "x-ratelimit-remaining-tokens": str(int(self._level)),
                "x-ratelimit-reset-requests": f"{1440 * self._minute / self.requests:.3f}s",
                "x-ratelimit-reset-tokens": f"{(self.tokens - self._level) * self._minute / self.tokens:.3f}s",
            }
            if tokens > self.tokens:
                raise ApiError(413, "rate_limit_exceeded", f"Request too large: limit {self.tokens} TPM", headers)
            if not fits:
                wait = max((tokens - self._level) * self._minute / self.tokens, 0.001)
                raise ApiError(
                    429, "rate_limit_exceeded", "Rate limit reached", {**headers, "retry-after": f"{wait:.3f}"}
                )
            return headers


class GroqApi(Service[GroqCall]):
    """Groq for one organisation. `labels` maps `naive.label_key` to the answer; `answered` counts answers by that key.

    `tokens` is the sum of all usage that was told to callers, or was used for answers that were lost on the way.
    """

    refusals = _REFUSALS

    def __init__(self, world: World, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._world = world.groq
        self._limits = Limits(world.groq.tokens_per_minute, world.groq.requests_per_day, world.groq.minute)
        self._lock = Lock()
        self.labels: dict[str, dict[str, Any]] = {}
        self.answered: Counter[str] = Counter()
        self.tokens = 0
        self.requests: list[dict[str, Any]] = []  # bodies, while `record` is set
        self.record = False

    def claims(self, request: Request) -> bool:
        """True for a request that is meant for Groq."""
        return request.path.startswith("/openai/v1/")

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        return self.run(GroqCall(operation=request.path.removeprefix("/openai/v1/").replace("/", ".")), request)

    def admit(self, call: GroqCall, request: Request) -> None:
        """Read whose key it is, and the body."""
        key = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        call.account = f"key{self._world.keys.index(key) + 1}" if key in self._world.keys else ""
        call.body = json.loads(request.body) if request.body else {}
        call.region = str(call.body.get("model", ""))

    def respond(self, call: GroqCall, request: Request) -> Response | None:
        """Meet the faults of a call; those of the way back come after the answer, which has cost its tokens."""
        faults = self._faults.for_call(call)
        of_the_way = [fault for fault in faults if fault.action in _OF_THE_WAY]
        meet(call, [fault for fault in faults if fault.action not in _OF_THE_WAY], self.refusal)
        response = self.reply(call, request)
        return response if meet(call, of_the_way, self.refusal) else None

    def refusal(self, call: GroqCall, fault: Fault) -> ApiError | None:
        """The error that a fault stands for, one of many where it is odd."""
        if fault.action is Action.ODD and (refused := odd.REFUSALS.get(fault.mode)):
            return ApiError(refused.status, refused.code, refused.message, dict(refused.headers))
        return super().refusal(call, fault)

    def refusal_headers(self, call: GroqCall, fault: Fault) -> dict[str, str]:  # noqa: ARG002 - the same for every call
        """The wait that a fault asks for."""
        return {"retry-after": f"{fault.seconds:g}"} if fault.seconds else {}

    def reply(self, call: GroqCall, request: Request) -> Response:
        """The models, or a completion."""
        if not call.account:
            raise ApiError(*self.refusals[Action.UNKNOWN_KEY])
        match request.method, call.operation:
            case "GET", "models":
                models = [
                    {"id": m, "object": "model", "created": 1754400000, "owned_by": "lab"} for m in self._world.models
                ]
                return as_json(200, {"object": "list", "data": models})
            case "POST", "chat.completions":
                return self._complete(call.body, call.faults)
        raise ApiError(404, "unknown_url", f"Unknown request URL: {request.method} {request.path}")

    def worded(self, call: GroqCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for every call
        """An error as Groq words it."""
        kind = "invalid_request_error" if error.status == 400 else error.code
        body = {"message": error.message, "type": kind, "code": error.code}
        return as_json(error.status, {"error": body}, error.headers)

    def _complete(self, body: dict[str, Any], faults: Sequence[Fault]) -> Response:
        if body.get("model") not in self._world.models:
            raise ApiError(404, "model_not_found", f"The model `{body.get('model')}` does not exist")
        rules.check_request(body)
        schema = _schema_in(body)
        if self.record:
            self.requests.append(body)
        prompt = 8 + sum(_tokens(message["content"]) + 4 for message in body["messages"]) + _tokens(json.dumps(schema))
        if prompt > self._world.context_tokens:
            raise rules.InvalidError("Please reduce the length of the messages", "context_length_exceeded")
        most = body.get("max_completion_tokens", 8192)
        headers = self._limits.take(prompt + most)
        _, parts = naive.split(body["messages"])
        key = naive.label_key(parts.get("prompt", ""), parts.get("response", ""))
        found = self.labels.get(key) or naive.judge(body["messages"], schema)
        found = naive.fitting(found, schema)
        if not rules.conforms(found, schema):
            raise ValueError(f"the labels {found} are not in the form of the schema")
        content, finish = json.dumps(found), "stop"
        if (completion := _tokens(content) + _REASONING_TOKENS) > most:
            content, finish, completion = content[: max(0, 4 * (most - _REASONING_TOKENS))], "length", most
        with self._lock:
            self.tokens += prompt + completion
            self.answered[key] += not faults
        completed = _spoiled(_completion(body, content, finish, prompt, completion), faults)
        if isinstance(completed, bytes):
            return Response(200, completed, {"Content-Type": "text/html", **headers})
        return as_json(200, completed, headers)


def _schema_in(body: dict[str, Any]) -> dict[str, Any]:
    """The schema that an answer shall conform to: of the response format, of the tool, or in the rules' words."""
    wanted, tools = body.get("response_format", {}), body.get("tools")
    found: Any = wanted.get("json_schema", {}).get("schema") or (tools[0]["function"]["parameters"] if tools else None)
    if found is None:
        _, _, words = str(body["messages"][0]["content"]).rpartition("JSON schema:\n")
        found = json.loads(words) if words.startswith("{") else None
    if not isinstance(found, dict):
        raise rules.InvalidError("the lab's judge answers only with a JSON schema")
    return found


def _spoiled(completed: dict[str, Any], faults: Sequence[Fault]) -> dict[str, Any] | bytes:
    """A completion as the faults that are left to the answer make it."""
    for fault in faults:
        if fault.action is Action.ODD:
            spoilt = odd.ANSWERS[fault.mode](completed)
            if isinstance(spoilt, bytes):
                return spoilt
            completed = spoilt
        elif fault.action is Action.MALFORMED:
            if fault.mode == "body":
                return b"<html>upstream error</html>"
            (choice,) = completed["choices"]
            content, finish = _spoil(choice["message"]["content"], choice["finish_reason"], fault.mode)
            message = {**choice["message"], "content": content}
            completed = {**completed, "choices": [{**choice, "message": message, "finish_reason": finish}]}
    return completed


def _spoil(content: str, finish: str, mode: str) -> tuple[str, str]:
    """An answer as a model could get it wrong."""
    match mode:
        case "schema":
            return content.replace('"score": ', '"score": 1'), finish  # 11 to 15
        case "truncated":
            return content[: len(content) // 2], "length"
        case "empty":
            return "", finish
        case _:
            return f"Sure! Here is my verdict: {content[:-2]}", finish


def _completion(body: dict[str, Any], content: str, finish: str, prompt: int, completion: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": content}
        message = {"role": "assistant", "tool_calls": [{"id": "call_lab", "type": "function", "function": function}]}
    return {
        "id": "chatcmpl-lab",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "completion_tokens_details": {"reasoning_tokens": _REASONING_TOKENS},
        },
        "system_fingerprint": "fp_lab",
        "x_groq": {"id": "req_lab"},
        "service_tier": "on_demand",
    }


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // 4)
