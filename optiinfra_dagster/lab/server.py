"""HTTP as the lab's clouds see it, and the server that carries it: HTTP/1.1, keep-alive, loopback only."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, read completely."""

    method: str
    path: str
    query: str
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. `None` in its place means: close the connection without an answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def as_json(status: int, data: Any, headers: dict[str, str] | None = None) -> Response:
    """An answer of JSON; `headers` come on top, and may name another type than application/json."""
    return Response(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})


Handler = Callable[[Request], Response | None]


class Server(ThreadingHTTPServer):
    """A thread per connection on 127.0.0.1, each request given to one `handler`.

    A port that is chosen for it is none that a lab of this process had before: clients, tokens and signing keys are
    remembered by address, and a new lab at an old address refuses those of the one that was there.
    """

    daemon_threads = True
    block_on_close = False  # idle keep-alive connections must not hold up the end
    request_queue_size = 128
    _had: ClassVar[set[int]] = set()

    def __init__(self, handler: Handler, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Connection, bind_and_activate=False)
        self._bind(choose=port == 0)
        self.server_activate()
        self.handler = handler
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def _bind(self, *, choose: bool) -> None:
        """Bind to the port asked for; with `choose`, to one that no lab of this process had before.

        A client may still remember a session with the lab that had it. Ports that were offered again are held until
        another is found, or the system would offer them once more.
        """
        tried = []
        self.server_bind()
        while choose and self.server_address[1] in self._had:
            tried.append(self.socket)
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_address = ("127.0.0.1", 0)
            self.server_bind()
        self._had.add(int(self.server_address[1]))
        for one in tried:
            one.close()

    @property
    def url(self) -> str:
        """The server's base URL, e.g. `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Serve in a background thread."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="lab").start()

    def stop(self) -> None:
        """Stop serving and close every connection, so that no client keeps talking to a lab that is gone."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection for `stop`."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; anything else is a bug of the lab and shows its traceback."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """Reads requests off one connection and writes each answer in one piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # status line, headers and body leave in one write
    server: Server

    def handle_one_request(self) -> None:
        """Read one request, answer it, and keep the connection unless the client or a fault ends it."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.handler(Request(self.command, url.path, url.query, self.headers, body))
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" in answer.headers:  # promised more than is sent: the connection ends with it
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Keep quiet: the lab counts requests instead of logging them."""
