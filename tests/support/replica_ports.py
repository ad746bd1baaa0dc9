"""The ports of `Replicas`: ClickHouse's HTTP interface as far as requests are to be told apart and passed on."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

from tests.support.clickhouse_http import HTTP_STATUS, HttpHandler, ServerError, read_statement

Balance = Literal["request", "connection"]


class Request(NamedTuple):
    """One statement with its data, and the parameters of its URL or form."""

    statement: bytes
    parameters: Mapping[str, str]
    authorization: str

    def of(self, statement: bytes) -> Request:
        """The same request with another statement."""
        return self._replace(statement=statement)


class Response(NamedTuple):
    """What the engine answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Gone(Exception):  # noqa: N818 - it is no error of the model
    """The replica is down: the connection closes without an answer."""


class Cluster(Protocol):
    """What answers behind the ports."""

    balance: Balance

    def choose(self) -> int:
        """The replica for a request or a connection of the balancer's."""

    def answer(self, replica: int, request: Request) -> Response:
        """What a replica answers."""


class Port:
    """A port: that of a replica, or of the balancer. It stays this process's own, and refuses, while it is closed."""

    def __init__(self, cluster: Cluster, replica: int | None) -> None:
        self._cluster = cluster
        self._replica = replica
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self._server: _Server | None = None

    def open(self) -> None:
        """Take connections."""
        self._server = _Server(self.port, self._cluster, self._replica)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Close the connections, and refuse new ones."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None

    def hang_up(self, replica: int | None = None) -> None:
        """Close the connections, or those that go to a replica."""
        if self._server:
            self._server.hang_up(replica)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, cluster: Cluster, replica: int | None) -> None:
        self.cluster = cluster
        self.replica = replica
        self.connections: dict[socket.socket, int | None] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    def shutdown_request(self, request: Any) -> None:
        self.connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may leave, and so may a replica
            super().handle_error(request, client_address)

    def hang_up(self, replica: int | None = None) -> None:
        for connection, its in list(self.connections.items()):
            if replica is None or its == replica:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(HttpHandler):
    server: _Server

    def setup(self) -> None:
        super().setup()
        fixed = self.server.replica
        if fixed is None and self.server.cluster.balance == "connection":
            fixed = self.server.cluster.choose()
        self._fixed = fixed
        self.server.connections[self.request] = fixed

    def serve(self, body: bytes) -> None:
        url = urlsplit(self.path)
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        cluster = self.server.cluster
        replica = cluster.choose() if self._fixed is None else self._fixed
        try:
            if url.path == "/ping":
                response = Response(200, [], b"Ok.\n")
            else:
                statement = read_statement(self.headers, body, parameters)
                request = Request(statement, parameters, self.headers.get("Authorization", ""))
                response = cluster.answer(replica, request)
        except ServerError as error:
            code = str(error.code)
            text = f"Code: {code}. DB::Exception: {error} (version 26.1.1.1 (official build))\n"
            response = Response(
                HTTP_STATUS.get(error.code, 500), [("X-ClickHouse-Exception-Code", code)], text.encode()
            )
        except Gone:
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.headers:
            if name.lower().startswith("x-clickhouse-") or name.lower() == "content-type":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)
