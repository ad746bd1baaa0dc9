"""A loopback model with the interfaces of OpenAI and Anthropic, which knows the answer to each of the calls."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.quality.real_libraries.calls import CLAUDE_RELEASE, EMBEDDER, RELEASE, TOOL, Call, Kind, find, text_of

CREATED = 1_795_262_400  # 2026-11-21 12:00 UTC
Events = Iterator[tuple[str, dict[str, Any]]]


class Model:
    """The server, in a thread; `url` is where it listens.

    It takes the place of the store of a library's log too: `stored` are the bodies that came by PUT, by PATCH,
    and those that came by POST under a path that is none of a model, by path in the order in which they came.
    """

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes]] = []
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.stored = self.stored
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stored: list[tuple[str, bytes]]


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
        """Nothing is printed."""

    def do_POST(self) -> None:
        """Answer one call."""
        path = self.path.partition("?")[0].rstrip("/")
        content = self._content()
        if not path.endswith(("/embeddings", "/responses", "/messages", "/completions")):
            self.server.stored.append((path, content))
            self._json(200, {})
            return
        body = json.loads(content)
        if path.endswith("/embeddings"):
            self._json(200, _embedding(body))
        elif path.endswith("/responses"):
            self._answer(body, _asked_of_input(body["input"]), _response, _response_events, named=True)
        elif path.endswith("/messages"):
            self._answer(body, _asked_of_messages(body["messages"]), _message, _message_events, named=True)
        else:
            self._answer(body, _asked_of_messages(body["messages"]), _completion, _completion_events, named=False)

    def do_GET(self) -> None:
        """Say nothing about what the server can do."""
        self._json(200, {})

    def do_PATCH(self) -> None:
        """Store a change."""
        self.server.stored.append((self.path, self._content()))
        self._json(200, {})

    def do_PUT(self) -> None:
        """Store an object."""
        self.server.stored.append((self.path, self._content()))
        self._send(200, "text/plain", "")

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, body: dict[str, Any], asked: tuple[str, bool], whole: Any, events: Any, *, named: bool) -> None:
        call = find(asked[0], after_tools=asked[1])
        if call.status != 200:
            kind = {400: "invalid_request_error", 429: "rate_limit_error"}.get(call.status, "api_error")
            error = {"type": kind, "message": f"The model answers {call.status}.", "code": kind, "param": None}
            self._json(call.status, {"type": "error", "error": error})
        elif body.get("stream"):
            lines = [
                (f"event: {name}\n" if named else "") + f"data: {json.dumps(event)}\n\n"
                for name, event in events(call, body)
            ]
            self._send(200, "text/event-stream", "".join(lines) + ("" if named else "data: [DONE]\n\n"))
        else:
            self._json(200, whole(call))

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content))

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _asked_of_messages(messages: list[dict[str, Any]]) -> tuple[str, bool]:
    users = [message for message in messages if message["role"] == "user" and text_of(message["content"])]
    last = messages[-1]
    results = isinstance(last["content"], list) and any(part["type"] == "tool_result" for part in last["content"])
    return text_of(users[-1]["content"]), last["role"] == "tool" or results


def _asked_of_input(items: Any) -> tuple[str, bool]:
    if isinstance(items, str):
        return items, False
    users = [item for item in items if item.get("role") == "user"]
    return text_of(users[-1]["content"]), items[-1].get("type") == "function_call_output"


def _embedding(body: dict[str, Any]) -> dict[str, Any]:
    count = len(body["input"]) if isinstance(body["input"], list) else 1
    data = [{"object": "embedding", "index": index, "embedding": [0.25, -0.5, 1.0]} for index in range(count)]
    return {"object": "list", "model": EMBEDDER, "data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}}


def _pieces(text: str) -> list[str]:
    return [text[start : start + 9] for start in range(0, len(text), 9)]


# --- Chat completions: https://platform.openai.com/docs/api-reference/chat --------------------------------------------


def _tool_calls() -> list[dict[str, Any]]:
    return [
        {"id": f"call_{city}", "type": "function", "function": {"name": TOOL, "arguments": f'{{"city": "{city}"}}'}}
        for city in ("Paris", "Rome")
    ]


def _usage(call: Call) -> dict[str, Any]:
    return {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.response_tokens,
        "total_tokens": call.prompt_tokens + call.response_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _completion(call: Call) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    if call.kind is Kind.STEP:
        message["tool_calls"] = _tool_calls()
    else:
        message["refusal" if call.refused else "content"] = call.answer
        if call.thought:  # as DeepSeek and vLLM name it
            message["reasoning_content"] = call.thought
    reason = "tool_calls" if call.kind is Kind.STEP else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    head = {"id": f"chatcmpl-{call.name}", "object": "chat.completion", "created": CREATED, "model": RELEASE}
    return {**head, "choices": [choice], "usage": _usage(call), "service_tier": "default", "system_fingerprint": "fp_1"}


def _completion_events(call: Call, body: dict[str, Any]) -> Events:
    head = {"id": f"chatcmpl-{call.name}", "object": "chat.completion.chunk", "created": CREATED, "model": RELEASE}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    if call.kind is Kind.STEP:
        for index, tool in enumerate(_tool_calls()):
            whole = tool["function"]["arguments"]
            deltas.append({"tool_calls": [{"index": index, **tool, "function": {"name": TOOL, "arguments": ""}}]})
            deltas += [{"tool_calls": [{"index": index, "function": {"arguments": part}}]} for part in _pieces(whole)]
    else:
        deltas += [{"content": piece} for piece in _pieces(call.answer)]
    for delta in deltas:
        yield "", {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
    reason = "tool_calls" if call.kind is Kind.STEP else "stop"
    yield "", {**head, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield "", {**head, "choices": [], "usage": _usage(call)}


# --- Responses: https://platform.openai.com/docs/api-reference/responses ----------------------------------------------


def _response(call: Call) -> dict[str, Any]:
    if call.kind is Kind.STEP:
        output = [
            {"type": "function_call", "id": f"fc_{tool['id']}", "call_id": tool["id"], "status": "completed",
             **tool["function"]} for tool in _tool_calls()
        ]  # fmt: skip
    else:
        part: dict[str, Any] = {"type": "output_text", "text": call.answer, "annotations": [], "logprobs": []}
        if call.refused:
            part = {"type": "refusal", "refusal": call.answer}
        message = {"type": "message", "id": f"msg_{call.name}", "status": "completed", "role": "assistant"}
        output = [{**message, "content": [part]}]
        if call.thought:
            summary = [{"type": "summary_text", "text": call.thought}]
            output.insert(0, {"type": "reasoning", "id": f"rs_{call.name}", "summary": summary, "status": "completed"})
    usage = {
        "input_tokens": call.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": call.response_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": call.prompt_tokens + call.response_tokens,
    }
    return {**_response_head(call, "completed"), "output": output, "usage": usage}


def _response_head(call: Call, status: str) -> dict[str, Any]:
    return {
        "id": f"resp_{call.name}", "object": "response", "created_at": CREATED, "status": status, "error": None,
        "incomplete_details": None, "instructions": None, "max_output_tokens": None, "model": RELEASE, "output": [],
        "parallel_tool_calls": True, "previous_response_id": None, "store": True, "temperature": 1.0, "text":
        {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0, "truncation": "disabled",
        "usage": None, "metadata": {},
    }  # fmt: skip


def _response_events(call: Call, body: dict[str, Any]) -> Events:
    events = list(_response_steps(call))
    for number, (name, event) in enumerate(events):
        yield name, {"type": name, "sequence_number": number, **event}


def _response_steps(call: Call) -> Events:
    yield "response.created", {"response": _response_head(call, "in_progress")}
    yield "response.in_progress", {"response": _response_head(call, "in_progress")}
    whole = _response(call)
    for index, item in enumerate(whole["output"]):
        place = {"item_id": item["id"], "output_index": index}
        empty: dict[str, Any] = {"arguments": ""} if call.kind is Kind.STEP else {"content": []}
        added = {**item, **empty, "status": "in_progress"}
        yield "response.output_item.added", {"output_index": index, "item": added}
        if call.kind is Kind.STEP:
            for piece in _pieces(item["arguments"]):
                yield "response.function_call_arguments.delta", {**place, "delta": piece}
            yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"], "name": TOOL}
        else:
            (part,) = item["content"]
            inside = {**place, "content_index": 0}
            yield "response.content_part.added", {**inside, "part": {**part, "text": ""}}
            for piece in _pieces(part["text"]):
                yield "response.output_text.delta", {**inside, "delta": piece, "logprobs": []}
            yield "response.output_text.done", {**inside, "text": part["text"], "logprobs": []}
            yield "response.content_part.done", {**inside, "part": part}
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield "response.completed", {"response": whole}


# --- Messages: https://docs.claude.com/en/api/messages ----------------------------------------------------------------


def _message(call: Call) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": call.answer}]
    if call.thought:
        content.insert(0, {"type": "thinking", "thinking": call.thought, "signature": "c2lnbmVk"})
    reason = "refusal" if call.refused else "end_turn"
    if call.kind is Kind.STEP:
        reason = "tool_use"
        content = [
            {"type": "tool_use", "id": tool["id"], "name": TOOL, "input": json.loads(tool["function"]["arguments"])}
            for tool in _tool_calls()
        ]
    usage = {
        "input_tokens": call.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": call.response_tokens,
        "service_tier": "standard",
    }
    head = {"id": f"msg_{call.name}", "type": "message", "role": "assistant", "model": CLAUDE_RELEASE}
    return {**head, "content": content, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def _message_events(call: Call, body: dict[str, Any]) -> Events:
    for name, event in _message_steps(call):
        yield name, {"type": name, **event}


def _message_steps(call: Call) -> Events:
    whole = _message(call)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield "message_start", {"message": begun}
    for index, block in enumerate(whole["content"]):
        kind = block["type"]
        text = json.dumps(block["input"]) if kind == "tool_use" else block[kind]
        empty: dict[str, Any] = {"input": {}} if kind == "tool_use" else {kind: ""}
        yield "content_block_start", {"index": index, "content_block": {**block, **empty}}
        name, within = {"tool_use": ("input_json_delta", "partial_json")}.get(kind, (f"{kind}_delta", kind))
        for piece in _pieces(text):
            yield "content_block_delta", {"index": index, "delta": {"type": name, within: piece}}
        yield "content_block_stop", {"index": index}
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield "message_delta", {"delta": end, "usage": {"output_tokens": call.response_tokens}}
    yield "message_stop", {}
