"""The two ways to the server: over standard input and output, or over HTTP with a token."""

from __future__ import annotations

import json
import logging
import socket
from typing import TYPE_CHECKING, Any, cast

import anyio

from optiinfra_dagster.assistant.server import make_server
from optiinfra_dagster.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.context import ServerRequestContext
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from optiinfra_dagster.assistant.access import Access, Tokens
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

PATH = "/mcp"
MOST_REQUESTS = 64  # at once; more are told to come back
MOST_BODY = 1 << 20  # bytes of a question
_ACCESS = "optiinfra.access"  # in the scope of a request


def serve_stdio(clickhouse: ClickHouse, settings: Settings, access: Access, say: Callable[[str], None]) -> None:
    """Answer whoever started this process, until they close its standard input."""
    from mcp.server.stdio import stdio_server

    _quiet()
    server = make_server(clickhouse, settings, lambda _: access, say)

    async def serve() -> None:
        async with stdio_server() as (reads, writes):
            await server.run(reads, writes, server.create_initialization_options())

    anyio.run(serve)


def serve_http(
    clickhouse: ClickHouse,
    settings: Settings,
    tokens: Tokens,
    say: Callable[[str], None],
    address: str,
    port: int,
) -> None:
    """Answer whoever has a token, until interrupted; port 0 chooses a free one.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    import uvicorn

    _quiet()
    listening = _listen(address, port)
    app = http_app(clickhouse, settings, tokens, say, address)
    config = uvicorn.Config(
        app, access_log=False, log_config=None, server_header=False, limit_concurrency=MOST_REQUESTS, lifespan="on",
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    host = f"[{address}]" if ":" in address else address
    say(f"MCP is at http://{host}:{listening.getsockname()[1]}{PATH}")
    uvicorn.Server(config).run(sockets=[listening])


def http_app(
    clickhouse: ClickHouse,
    settings: Settings,
    tokens: Tokens,
    say: Callable[[str], None],
    address: str,
) -> ASGIApp:
    """The application of the server over HTTP: each request by itself, so that a token is looked at with each."""

    def who(context: ServerRequestContext[Any, Any]) -> Access:
        access: Access = cast("Request", context.request).scope[_ACCESS]
        return access

    server = make_server(clickhouse, settings, who, say)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        host=address,
        max_request_body_size=MOST_BODY,
    )
    return _Gate(app, tokens)


class _Gate:
    """Lets requests with a token through, and says 401 to all others before anything of them is read."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            access = self._who(scope)
            if access is None:
                await _refuse(send)
                return
            scope = {**scope, _ACCESS: access}
        await self._app(scope, receive, send)

    def _who(self, scope: Scope) -> Access | None:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        kind, _, token = headers[0].partition(b" ") if len(headers) == 1 else (b"", b"", b"")
        if kind.lower() != b"bearer" or not token.strip():
            return None
        return self._tokens.who(token.strip().decode("latin-1"))


async def _refuse(send: Send) -> None:
    body = json.dumps({"error": "Send a token that is known here: Authorization: Bearer TOKEN."}).encode()
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _listen(address: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while ")[0]  # which names it again
        raise ConfigError(
            f"{address}:{port} cannot be listened on: {reason}. Choose another --serve or --address."
        ) from error


def _quiet() -> None:
    """Keep the SDK's own log away: it repeats what was sent. What fails is told by the server itself."""
    for name in ("mcp", "sse_starlette"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
