"""A ClickHouse server for tests: ClickHouse's HTTP interface, answered by the embedded engine.

clickhouse-connect's real HTTP client works against it, so the code path of a server is tested without installing one.
It runs in a process of its own, because chdb holds one engine path per process and the test's own process may hold
another:

    with ClickHouseHttp(password="secret") as server:
        client = clickhouse_connect.get_client(host="127.0.0.1", port=server.port, password="secret")
        server.fault("drop_after", match="^INSERT")

Statements run one at a time. What differs from a server: answers are complete and uncompressed, and Native answers have
the shape that a server gives a client without protocol version (a DateTime column does not name its zone; the engine's
zone is UTC). External data, brotli and ClickHouse's own block compression are refused.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import email
import email.policy
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support import access as access_control

if TYPE_CHECKING:
    from email.message import Message
    from io import BufferedIOBase
    from types import TracebackType

FaultKind = Literal["drop_before", "drop_after", "cut", "unavailable", "exception"]

# Parameters of the request itself; every other one that is not a param_ is a setting of the query.
TRANSPORT_PARAMETERS = frozenset(
    {
        *("query", "default_format", "database", "user", "password", "role", "quota_key", "query_id"),
        *("session_id", "session_timeout", "session_check", "close_session", "client_protocol_version"),
        *("buffer_size", "wait_end_of_query", "compress", "decompress", "stacktrace"),
    }
)
# What the embedded engine sets otherwise than a server does.
SERVER_SETTINGS = {"implicit_select": "0"}
SESSIONS_KEPT = 32

# Exception code -> HTTP status, as in ClickHouse's exceptionCodeToHTTPStatus; any other code is 500.
HTTP_STATUS: dict[int, int] = {
    194: 401,  # REQUIRED_PASSWORD
    **dict.fromkeys((192, 193, 516), 403),  # UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED
    # CANNOT_PARSE_*, SYNTAX_ERROR, INCORRECT_DATA, TYPE_MISMATCH, BAD_ARGUMENTS
    **dict.fromkeys((6, 25, 26, 27, 36, 38, 41, 53, 62, 72, 117), 400),
    # UNKNOWN_TABLE, _FUNCTION, _IDENTIFIER, _TYPE, _STORAGE, _FORMAT, _DATABASE, _SETTING
    **dict.fromkeys((46, 47, 50, 56, 60, 73, 81, 115), 404),
    48: 501,  # NOT_IMPLEMENTED
    159: 408,  # TIMEOUT_EXCEEDED
    439: 503,  # CANNOT_SCHEDULE_TASK
}

_SKIPPED = rb"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*"
_INSERT_WITH_DATA = re.compile(
    rb"\A" + _SKIPPED + rb"INSERT\s+INTO\s+(?:TABLE\s+)?(?P<into>[^\s()]+\s*(?:\([^)]*\))?)\s*"
    rb"(?P<settings>SETTINGS\s+[^\n]+?\s+)?FORMAT\s+(?P<format>\w+)[ \t]*\r?\n?",
    re.IGNORECASE | re.DOTALL,
)
_GIVES_ROWS = re.compile(
    rb"\A" + _SKIPPED + rb"\(*(?:SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN|CHECK)\b", re.IGNORECASE | re.DOTALL
)
_NAMED_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
_SECOND_STATEMENT = re.compile(
    # Possessive: a comment is a comment, never characters of the statement, however the match goes on.
    r"""\A(?>'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|`(?:[^`\\]|\\.)*+`|--[^\n]*+|/\*.*?\*/|[^;'"`])*+;"""
    r"""(?!(?:\s|;|--[^\n]*+)*+\Z)""",
    re.DOTALL,
)


class ServerError(Exception):
    """A ClickHouse exception: its code, and its message as the server words it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Fault:
    """What goes wrong with the statements whose text `match` finds: after `skip` of them, `times` times."""

    kind: FaultKind
    match: str
    times: int = 1
    skip: int = 0
    code: int = 0


@dataclass(frozen=True)
class Statement:
    """One statement that reached the engine, or that a fault kept from it."""

    text: str  # its first 500 characters, without inserted data
    database: str
    settings: dict[str, str]
    status: int  # HTTP; 0 where the connection was dropped
    written_rows: int


@dataclass(frozen=True)
class Answer:
    """What the engine made of one statement."""

    body: bytes = b""
    format: str | None = None  # None where the statement has no result set
    summary: dict[str, str] = field(default_factory=dict)


def decode_body(body: bytes, encoding: str) -> bytes:
    """Undo a request's Content-Encoding. Every frame counts: a client compresses each block into a frame of its own.

    Raises:
        ServerError: encoding not offered here, or a damaged body.
    """
    import lz4.frame

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    decoders: dict[str, Callable[[], Any]] = {
        "lz4": lz4.frame.LZ4FrameDecompressor,
        "zstd": zstd.ZstdDecompressor,
        "deflate": zlib.decompressobj,
    }
    try:
        if encoding in ("", "identity"):
            return body
        if encoding == "gzip":
            return gzip.decompress(body)  # reads every member
        if encoding not in decoders:
            raise ServerError(48, f"Unknown http content encoding: {encoding}")
        decoded = bytearray()
        while body:
            decoder = decoders[encoding]()
            decoded += decoder.decompress(body)
            if not decoder.eof:
                raise EOFError("truncated frame")
            body = decoder.unused_data or b""
        return bytes(decoded)
    except (OSError, EOFError, RuntimeError, zlib.error, zstd.ZstdError) as error:
        raise ServerError(117, f"Cannot decompress the {encoding} body: {error}") from error


def read_statement(headers: Message, body: bytes, parameters: dict[str, str]) -> bytes:
    """The statement of a request with its data; a form's fields are parameters too, which large values travel as.

    Raises:
        ServerError: something that is not offered here.
    """
    content_type = headers.get("Content-Type", "")
    if content_type.startswith("multipart/form-data"):
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        for part in form.iter_parts():
            if part.get_filename():
                raise ServerError(48, "External data is not offered here. (NOT_IMPLEMENTED)")
            name = str(part.get_param("name", header="content-disposition"))
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            parameters[name] = payload.decode()
        body = b""
    if parameters.get("decompress") == "1":
        raise ServerError(48, "Block compression is not offered here. (NOT_IMPLEMENTED)")
    body = decode_body(body, headers.get("Content-Encoding", ""))
    query = parameters.get("query", "").encode()
    return query + b"\n" + body if query and body else query or body


def read_body(headers: Message, stream: BufferedIOBase) -> bytes:
    """The body of a request, in one piece or in chunks."""
    if headers.get("Transfer-Encoding", "").lower() != "chunked":
        return stream.read(int(headers.get("Content-Length", 0)))
    body = bytearray()
    while size := int(stream.readline().split(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    while stream.readline().strip():  # trailers
        pass
    return bytes(body)


class Engine:
    """The embedded engine behind the interface: each request is a context of its own, as on a server."""

    def __init__(self, path: str, access: access_control.Access | None = None) -> None:
        self.access = access
        self._path = path
        self._base = self._connect()  # keeps the engine open between requests
        self.version = self._base.query("SELECT version()", "TabSeparated").bytes().decode().strip()
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, tuple[Any, set[str]]] = OrderedDict()
        self._busy: set[str] = set()
        self._busy_lock = threading.Lock()
        self._is_stale = False
        self._spool = Path(f"{path}.spool")
        self._spool.mkdir(exist_ok=True)

    def _connect(self) -> Any:
        import chdb

        connect: Callable[[str], Any] = chdb.connect
        if self.access is None:
            return connect(self._path)
        config = access_control.write(self.access, Path(f"{self._path}.access"))
        return connect(f"{self._path}?config-file={config}")

    def _change_access(self, statement: str, user: str) -> Answer:
        """Carry out a statement about access: the engine is opened anew, since it reads its users then."""
        assert self.access is not None
        self.access.change(statement, user)
        self._is_stale = True
        return Answer()

    def _reopen(self) -> None:
        for connection, _ in self._sessions.values():
            connection.close()
        self._sessions.clear()
        self._base.close()
        self._base = self._connect()
        self._is_stale = False

    def run(self, statement: bytes, parameters: Mapping[str, str], user: str = "default") -> Answer:
        """Run one statement with the URL's parameters.

        Raises:
            ServerError: as the engine says.
        """
        session = parameters.get("session_id", "")
        with self._busy_lock:
            if session in self._busy:
                raise ServerError(373, f"Session {session} is locked by a concurrent client. (SESSION_IS_LOCKED)")
            self._busy |= {session} - {""}
        try:
            with self._lock:
                if self.access is not None:
                    text = statement[:100_000].decode(errors="replace")
                    if self.access.is_meant(text):
                        return self._change_access(text, user)
                    self.access.check(text, user)
                    if "system.row_policies" in text:
                        statement = self.access.told(statement.decode()).encode()
                    if self._is_stale:
                        self._reopen()
                with self._context(session, parameters, user) as context:
                    return self._run(context, statement, parameters)
        except access_control.RefusedError as error:
            raise ServerError(error.code, str(error)) from error
        except RuntimeError as error:
            found = re.match(r"Code: (\d+)\. DB::Exception: ", str(error))
            code = int(found[1]) if found else 1001
            raise ServerError(code, str(error)[found.end() if found else 0 :]) from error
        finally:
            self._busy.discard(session)

    @contextmanager
    def _context(self, session: str, parameters: Mapping[str, str], user: str) -> Iterator[Any]:
        """A connection with the request's settings and database; a session's one lives on, its request settings not."""
        connection, earlier = self._sessions.pop(session, (None, set()))
        connection = connection or self._connect()
        settings = {
            name: value
            for name, value in parameters.items()
            if name not in TRANSPORT_PARAMETERS and not name.startswith("param_")
        }
        try:
            if database := parameters.get("database"):
                connection.query(f"USE `{database}`", "TabSeparated")
            own = {**SERVER_SETTINGS, **self._of_user(connection, user)}
            connection.query(f"SET {_assignments(own)}", "TabSeparated")
            assignments = [_assignments(settings)] if settings else []
            assignments += [f"{name} = DEFAULT" for name in earlier - settings.keys()]
            if assignments:
                connection.query(f"SET {', '.join(assignments)}", "TabSeparated")
            yield connection
        finally:
            if session:
                self._sessions[session] = (connection, set(settings))
                if len(self._sessions) > SESSIONS_KEPT:
                    self._sessions.popitem(last=False)[1][0].close()
            else:
                connection.close()

    def _of_user(self, connection: Any, user: str) -> dict[str, str]:
        """Take the user's roles; returns the settings of its profile."""
        if self.access is None:
            return {}
        connection.query(self.access.enabled(user), "TabSeparated")
        return self.access.users[user].settings

    def _run(self, connection: Any, statement: bytes, parameters: Mapping[str, str]) -> Answer:
        values = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
        answer_format = parameters.get("default_format", "TabSeparated")
        insert = _INSERT_WITH_DATA.match(statement)
        if insert:
            # The engine takes a statement as text; inserted data, which may be binary, reaches it as a file.
            with tempfile.NamedTemporaryFile(dir=self._spool) as data:
                data.write(memoryview(statement)[insert.end() :])
                data.flush()
                settings = (insert["settings"] or b"").decode()
                result = connection.query(
                    f"INSERT INTO {insert['into'].decode()} FROM INFILE {_quote(data.name)} "
                    f"{settings} FORMAT {insert['format'].decode()}",
                    "TabSeparated",
                )
            return Answer(summary=_summary(result))
        text = statement.decode()
        if _SECOND_STATEMENT.match(text):
            raise ServerError(62, "Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)")
        result = connection.query(text, answer_format, params=values)
        if not _GIVES_ROWS.match(statement):
            return Answer(summary=_summary(result))
        if named := _NAMED_FORMAT.search(statement):
            answer_format = named[1].decode()
        return Answer(result.bytes() or b"", answer_format, _summary(result))


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _assignments(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {_quote(value)}" for name, value in settings.items())


def _summary(result: Any) -> dict[str, str]:
    """The X-ClickHouse-Summary header's content."""
    counts = {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "total_rows_to_read": 0,
        "result_rows": result.rows_read(),
        "result_bytes": result.bytes_read(),
        "elapsed_ns": int(result.elapsed() * 1e9),
    }
    return {name: str(value) for name, value in counts.items()}


class HttpHandler(BaseHTTPRequestHandler):
    """Reads requests of ClickHouse's HTTP interface, whose statements `serve` answers."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write: in two, the second waits 40 ms for the client's delayed ACK

    def do_GET(self) -> None:
        self.serve(b"")

    def do_POST(self) -> None:
        self.serve(read_body(self.headers, self.rfile))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Nothing: a test's output is for its failure."""

    def serve(self, body: bytes) -> None:
        raise NotImplementedError


class _Handler(HttpHandler):
    server: _Server

    def serve(self, body: bytes) -> None:
        url = urlsplit(self.path)
        if url.path == "/ping":
            return self._answer(200, b"Ok.\n", {})
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        query_id = parameters.get("query_id") or str(uuid.uuid4())
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Timezone": "UTC"}
        headers["X-ClickHouse-Server-Display-Name"] = "test"
        fault = None
        statement = b""
        status = 0
        answer = Answer()
        try:
            user = self._authenticate(parameters)
            statement = read_statement(self.headers, body, parameters)
            if not statement.strip():
                return self._answer(200, b"Ok.\n", headers)
            fault = self.server.fault_for(statement)
            if fault and fault.kind == "drop_before":
                return self._drop()
            if fault and fault.kind == "unavailable":
                status = 503
                return self._answer(status, b"upstream connect error\n", {})
            if fault and fault.kind == "exception":
                raise ServerError(fault.code, "Asked for by the test.")
            answer = self.server.engine.run(statement, parameters, user)
            if fault and fault.kind == "drop_after":
                return self._drop()
            status = 200
            headers["X-ClickHouse-Summary"] = json.dumps(answer.summary)
            if answer.format:
                headers["X-ClickHouse-Format"] = answer.format
            return self._answer(status, answer.body, headers, cut=fault is not None and fault.kind == "cut")
        except ServerError as error:
            status = HTTP_STATUS.get(error.code, 500)
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            version = f"(version {self.server.engine.version} (official build))"
            return self._answer(status, f"Code: {error.code}. DB::Exception: {error} {version}\n".encode(), headers)
        finally:
            if statement.strip():
                self.server.record(statement, parameters, status, int(answer.summary.get("written_rows", 0)))

    def _authenticate(self, parameters: Mapping[str, str]) -> str:
        user = self.headers.get("X-ClickHouse-User") or parameters.get("user") or "default"
        password = self.headers.get("X-ClickHouse-Key") or parameters.get("password") or ""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            with suppress(binascii.Error, UnicodeDecodeError):
                user, _, password = base64.b64decode(token).decode().partition(":")
        if password != self.server.password_of(user):
            raise ServerError(
                516,
                f"{user}: Authentication failed: password is incorrect, or there is no user with such name. "
                "(AUTHENTICATION_FAILED)",
            )
        return user

    def _drop(self) -> None:
        self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._drop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, engine: Engine, password: str) -> None:
        self.engine = engine
        self.password = password
        self._faults: list[Fault] = []
        self._statements: list[Statement] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may leave
            super().handle_error(request, client_address)

    def password_of(self, user: str) -> str | None:
        """None if there is no such user."""
        if self.engine.access is None:
            return self.password if user == "default" else None
        known = self.engine.access.users.get(user)
        return known.password if known else None

    def hang_up(self) -> None:
        """Close what is open, as the kernel does for a server that died."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def fault_for(self, statement: bytes) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if not fault.times or not re.search(fault.match.encode(), statement[:10_000], re.IGNORECASE):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def record(self, statement: bytes, parameters: Mapping[str, str], status: int, written_rows: int) -> None:
        insert = _INSERT_WITH_DATA.match(statement)
        text = statement[: insert.end()] if insert else statement
        settings = {k: v for k, v in parameters.items() if k not in TRANSPORT_PARAMETERS and not k.startswith("param_")}
        seen = Statement(
            text[:500].decode(errors="replace").strip(), parameters.get("database", ""), settings, status, written_rows
        )
        with self._lock:
            self._statements.append(seen)

    def control(self, order: dict[str, Any]) -> object:
        """Carry out one order of the test; see ClickHouseHttp for what they are."""
        with self._lock:
            match order["do"]:
                case "fault":
                    self._faults.append(Fault(**order["fault"]))
                case "reset":
                    self._faults.clear()
                    self._statements.clear()
                case "statements":
                    return [asdict(statement) for statement in self._statements]
                case unknown:
                    raise ValueError(unknown)
        return None


def main() -> None:
    """Serve until standard input ends, which is when whoever started this is gone; it carries the test's orders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder of the engine")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--password", default="")
    parser.add_argument("--access", choices=["lenient", "strict"], help="users, roles, rights and row policies")
    arguments = parser.parse_args()
    os.environ["TZ"] = "UTC"  # before the engine is loaded: its zone is the process's

    access = access_control.Access(arguments.password, lenient=arguments.access == "lenient")
    engine = Engine(arguments.path, access if arguments.access else None)
    # Bound but never listening: the port stays this process's own, and refuses, while the server is down.
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", arguments.port))
    port = reserved.getsockname()[1]
    server = _Server(port, engine, arguments.password)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    print(json.dumps({"port": port}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        reply: object = None
        if order["do"] == "down":
            server.shutdown()
            server.server_close()
            server.hang_up()
        elif order["do"] == "up":
            server = _Server(port, engine, arguments.password)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        else:
            reply = server.control(order)
        print(json.dumps(reply), flush=True)
    os._exit(0)  # without the engine's own farewell, which takes its time: what was committed is on disk


class ClickHouseHttp:
    """The server as a test sees it: a context manager that starts the process and ends it.

    With `access`, it has users, roles, rights and row policies, made by ClickHouse's statements as `default`: `lenient`
    lets users without a policy read a table that has some, as a server does by default, `strict` does not.

    Attributes:
        port: on 127.0.0.1; the same after `kill` and `start`.
        password: of the only user, `default`.
        path: folder of the engine; a temporary one unless given.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        password: str = "secret",
        port: int = 0,
        access: Literal["", "lenient", "strict"] = "",
    ) -> None:
        self.password = password
        self.access = access
        self.port = port
        self._folder = tempfile.TemporaryDirectory(prefix="clickhouse-http-")
        self.path = path or Path(self._folder.name, "engine")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the process; it is ready when this returns."""
        command = [
            sys.executable,
            "-m",
            "tests.support.clickhouse_http",
            "--path",
            str(self.path),
            "--port",
            str(self.port),
        ]
        self._process = subprocess.Popen(
            [*command, "--password", self.password, *(["--access", self.access] if self.access else [])],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._reply()["port"]

    def kill(self) -> None:
        """End the process at once, as kill -9 does."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def url(self, database: str = "", user: str = "default", password: str | None = None) -> str:
        """What OPTIINFRA_CLICKHOUSE_URL takes."""
        return f"http://{user}:{self.password if password is None else password}@127.0.0.1:{self.port}/{database}"

    def fault(
        self, kind: FaultKind, *, match: str = r"^\s*INSERT", times: int = 1, skip: int = 0, code: int = 0
    ) -> None:
        """Let statements that `match` finds go wrong: the next `times`, after `skip` good ones.

        drop_before: the connection closes, nothing was done. drop_after: it was done, the connection closes without an
        answer. cut: it was done, the connection closes in the middle of the answer.
        unavailable: HTTP 503, nothing was done. exception: ClickHouse's error `code`, nothing was done.
        """
        self._order("fault", fault=asdict(Fault(kind, match, times, skip, code)))

    def reset(self) -> None:
        """Forget faults and statements."""
        self._order("reset")

    def statements(self) -> list[Statement]:
        """What was asked since the last `reset`, in order of completion."""
        return [Statement(**statement) for statement in self._order("statements")]

    @contextmanager
    def down(self) -> Iterator[None]:
        """Meanwhile open connections are closed and new ones refused."""
        self._order("down")
        try:
            yield
        finally:
            self._order("up")

    def _order(self, do: str, **order: object) -> Any:
        assert self._process, "not started"
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> Any:
        assert self._process, "not started"
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the test server ended with status {self._process.wait()}")
        return json.loads(line)


if __name__ == "__main__":
    main()
