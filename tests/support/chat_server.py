"""A loopback server with OpenAI's chat completions that is not Groq: other paths, forms, errors and usage."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from optiinfra_dagster.lab.groq import naive
from optiinfra_dagster.quality.server import Server

Body = dict[str, Any]


def openai_error(status: int, message: str, param: str) -> object:
    """As OpenAI and Azure word it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_value"}}


def vllm_error(status: int, message: str, param: str) -> object:
    """As vLLM worded it, with a number for a code and nothing around it."""
    return {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": status}


def text_error(status: int, message: str, param: str) -> object:
    """As LM Studio words it."""
    return {"error": message}


def detail_error(status: int, message: str, param: str) -> object:
    """As servers built with FastAPI word what their validation finds."""
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", param], "msg": message}]}


@dataclass
class ChatServer:
    """The server as a test holds it. `forms` are those that it takes; the options in `refuses` it does not take.

    With `ignores` it takes every form and answers as if nothing had been said of one. `always` is what it answers to
    everything: a status and a body, in bytes where that is no JSON. It says that `answered` has answered, and sends
    `more` headers. `requests` are all bodies.
    """

    forms: Collection[str] = ("json_schema", "tool", "json_object", "text")
    refuses: Collection[str] = ()
    ignores: bool = False
    error: Any = openai_error
    usage: tuple[str, str] = ("prompt_tokens", "completion_tokens")
    models: Collection[str] = ("judge-1",)
    header: str = "Authorization"
    status: int = 400
    always: tuple[int, object] | None = None
    answered: str | None = None
    more: dict[str, str] = field(default_factory=dict)
    away: int = 0  # so many times it answers 503 first
    url: str = ""
    requests: list[Body] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def server(self, model: str = "judge-1", path: str = "/v1", key: str = "any word") -> Server:
        """The judge's side of it."""
        return Server(
            model, key, self.url + path, is_groq=False, key_setting="OPTIINFRA_JUDGE_API_KEY",
            url_setting="OPTIINFRA_JUDGE_BASE_URL",
        )  # fmt: skip

    def reply(self, body: Body) -> tuple[int, object]:
        """The status and body of the answer."""
        if self.always is not None:
            return self.always
        if self.away:
            self.away -= 1
            return 503, self.error(503, "The server is starting.", "")
        if body["model"] not in self.models:
            return 404, self.error(404, f"The model `{body['model']}` does not exist.", "model")
        for name in sorted(body.keys() & set(self.refuses)):
            return self.status, self.error(self.status, f"Unsupported parameter: '{name}' is not supported.", name)
        form = "tool" if "tools" in body else body.get("response_format", {"type": "text"})["type"]
        if form not in self.forms and not self.ignores:
            what = "tools" if form == "tool" else "response_format"
            return self.status, self.error(self.status, f"{what}: {form} is not supported by this model.", what)
        message: Body = {"role": "assistant", "content": "I think that the answer is quite good."}
        if form in self.forms:
            answer = json.dumps(naive.judge(body["messages"], _schema(body, form)))
            message["content"] = answer
            if form == "tool":
                call = {"id": "c", "type": "function", "function": {"name": "verdict", "arguments": answer}}
                message = {"role": "assistant", "content": None, "tool_calls": [call]}
        usage = dict.fromkeys(self.usage, 100)
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        told = {} if self.answered is None else {"model": self.answered}
        return 200, {"id": "x", "object": "chat.completion", **told, "choices": [choice], "usage": usage}


def _schema(body: Body, form: str) -> Body:
    if form == "tool":
        found: Body = body["tools"][0]["function"]["parameters"]
    elif form == "json_schema":
        found = body["response_format"]["json_schema"]["schema"]
    else:
        found = json.loads(body["messages"][0]["content"].rpartition("JSON schema:\n")[2])
    return found


@contextmanager
def serving(server: ChatServer) -> Iterator[ChatServer]:
    """Run a server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

        def do_GET(self) -> None:
            """List nothing: there is no such path."""
            self._send(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            """Answer a chat completion."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.paths.append(self.path)
            if not self.path.partition("?")[0].endswith("/chat/completions"):
                self._send(404, {"detail": "Not Found"})
                return
            if "any word" not in (self.headers.get(server.header) or ""):
                self._send(401, server.error(401, "Incorrect API key provided.", ""))
                return
            server.requests.append(body)
            self._send(*server.reply(body))

        def _send(self, status: int, body: object) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in server.more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
