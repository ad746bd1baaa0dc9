"""`optiinfra mcp` as clients meet it: a real process, over standard input and output and over a real socket."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from optiinfra_dagster.assistant.access import Tokens
from optiinfra_dagster.assistant.transports import http_app
from tests.assistant.conftest import TOKENS, World, make_world, write_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAIN = (sys.executable, "-c", "from optiinfra_dagster.cli.main import main; main()", "mcp")


@dataclass
class Served:
    """A server over HTTP, in a process of its own."""

    world: World
    url: str
    client: httpx.Client  # one for all requests by hand: each new one reads all certificates

    def post(self, token: str | None, **headers: str) -> httpx.Response:
        """A question by hand, as a client of the handshake's era asks it."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "readers", "arguments": {}}}
        told = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18", **headers}
        if token is not None:
            told["authorization"] = f"Bearer {token}"
        return self.client.post(self.url, json=body, headers=told)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world without readers' slices."""
    return make_world(tmp_path_factory.mktemp("served") / "home")


@pytest.fixture(scope="module")
def served(small: World) -> Iterator[Served]:
    command = [*MAIN, "--serve", "0"]
    with subprocess.Popen(command, env=small.env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = next((found[0] for line in process.stderr if (found := re.search(r"http://\S+", line))), None)
        try:
            assert url, "it did not start"
            with httpx.Client(timeout=60) as client:
                yield Served(small, url, client)
        finally:
            process.terminate()


def ended(world: World, *arguments: str, **env: str) -> tuple[int, str]:
    """How the command ends that nobody talks to, and what it says."""
    done = subprocess.run(
        [*MAIN, *arguments], env={**world.env, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=100,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


def over_http(url: str, token: str, ask: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        http = create_mcp_http_client(headers={"Authorization": f"Bearer {token}"})
        async with http, Client(streamable_http_client(url, http_client=http)) as client:
            return await ask(client)

    return anyio.run(run)


async def rows_of_beta(client: Client) -> Any:
    listed = await client.list_tools()
    found = await client.call_tool("performance_metrics", {"customer": "beta"})
    return len(listed.tools), found.is_error, found.structured_content or found.content[0].text  # type: ignore[union-attr]


def test_a_desktop_client_over_standard_input_and_output(small: World) -> None:
    env = {**small.env, "OPTIINFRA_MCP_TOKEN": TOKENS["both"]}
    server = StdioServerParameters(command=MAIN[0], args=list(MAIN[1:]), env=env)

    async def run() -> Any:
        async with Client(server) as client:
            return await rows_of_beta(client), await client.call_tool("performance_metrics", {"customer": "acme"})

    (count, is_error, beta), acme = anyio.run(run)
    assert (count, is_error) == (47, False)
    assert beta["rows"] == small.printed("performance", "metrics", "beta")
    assert json.loads(acme.content[0].text) == acme.structured_content
    assert acme.structured_content["rows"] == small.printed("performance", "metrics")


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        ([], {}, 2, "Nobody is let in without a token: name --customer, or set OPTIINFRA_MCP_TOKEN."),
        ([], {"OPTIINFRA_MCP_TOKEN": "x" * 40}, 1, "is no token of the file that OPTIINFRA_MCP_TOKENS names"),
        (["--customer", "acme"], {"OPTIINFRA_MCP_TOKEN": "x" * 40}, 2, "leave out one"),
        (["--customer", "acmee"], {}, 2, "did you mean 'acme'?"),
        (["--customer", "acme", "--serve", "0"], {}, 2, "with --serve, name customers by token"),
        (["--serve", "0"], {"OPTIINFRA_MCP_TOKENS": ""}, 1, "set OPTIINFRA_MCP_TOKENS to its path"),
        (["--serve", "0"], {"OPTIINFRA_MCP_TOKENS": "/nowhere.yaml"}, 1, "the file of tokens cannot be read"),
        (["--serve", "0"], {"OPTIINFRA_CUSTOMERS": "/nowhere.yaml"}, 1, "there is no such file"),
    ],
    ids=str,
)
def test_whoever_may_not_ask_is_refused_at_the_start(
    small: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    env: dict[str, str], code: int, said: str,
) -> None:  # fmt: skip
    from optiinfra_dagster.cli import main

    for name, value in {**small.env, **env}.items():
        if name.startswith(("OPTIINFRA_", "DAGSTER_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["optiinfra", "mcp", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    told = capfd.readouterr()
    assert (stopped.value.code, told.out) == (code, "")
    assert said in told.err
    assert "x" * 40 not in told.err
    assert "Traceback" not in told.err


def test_status_is_of_the_tokens_customers_alone(small: World) -> None:
    found = small.ask("status")
    (acme,) = found["customers"]
    failing = next(item for item in acme["items"] if item["item"] == "failing customers")
    assert failing["state"] == "red"
    assert "acme gcp performance" in {part["of"] for part in failing["details"]}
    text = json.dumps(found)
    assert "beta" not in text
    assert str(small.spine.home) not in text
    assert "/run/secrets" not in text
    assert [one["customer"] for one in small.ask("status", of=("acme", "beta"))["customers"]] == ["acme", "beta"]
    assert [one["customer"] for one in small.ask("status", {"customer": "beta"}, of=("acme", "beta"))["customers"]] == [
        "beta"
    ]


def test_ctrl_c_ends_without_a_word(small: World) -> None:
    """A process without a terminal's shell may have been started with SIGINT ignored, which this one undoes."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + MAIN[2]
    command = [MAIN[0], "-c", code, "mcp", "--serve", "0"]
    with subprocess.Popen(command, env=small.env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "MCP is at" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stderr.read()) == (130, "")


def test_no_other_command_loads_the_sdk() -> None:
    code = "import sys, optiinfra_dagster.cli.main; print({'mcp', 'uvicorn', 'anyio'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_a_client_over_http_sees_the_customers_of_its_token(served: Served) -> None:
    count, is_error, found = over_http(served.url, TOKENS["both"], rows_of_beta)
    assert (count, is_error) == (47, False)
    assert {row["customer_id"] for row in found["rows"]} == {"beta"}
    assert over_http(served.url, TOKENS["acme"], rows_of_beta)[1:] == (True, "There is no customer 'beta'.")


def test_without_a_token_that_is_known_nothing_is_told(served: Served) -> None:
    asked = [("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/"), ("GET", "/nowhere")]
    for token in (None, "", "nobody", TOKENS["acme"][:-1], TOKENS["acme"] + "a", "ä" * 20):
        headers = {b"authorization": f"Bearer {token}".rstrip().encode("latin-1")} if token is not None else {}
        for method, path in asked:
            answer = served.client.request(method, served.url.removesuffix("/mcp") + path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json() == {"error": "Send a token that is known here: Authorization: Bearer TOKEN."}


def test_a_token_is_taken_in_the_header_alone(served: Served) -> None:
    assert served.post(TOKENS["acme"]).status_code == 200
    assert served.post(None).status_code == 401
    for url in (f"{served.url}?token={TOKENS['acme']}", f"{served.url}?access_token={TOKENS['acme']}"):
        assert served.client.post(url, json={}, headers={"cookie": f"token={TOKENS['acme']}"}).status_code == 401
    assert (
        served.client.post(served.url, json={}, headers={"authorization": f"Basic {TOKENS['acme']}"}).status_code == 401
    )


def test_a_page_of_another_site_is_refused_even_with_a_token(served: Served) -> None:
    assert served.post(TOKENS["acme"], origin="https://evil.example").status_code == 403
    assert served.post(TOKENS["acme"], host="evil.example").status_code == 421


def test_questions_that_make_no_sense_are_refused(served: Served) -> None:
    headers = {
        "authorization": f"Bearer {TOKENS['acme']}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
    }
    for body in (b"", b"[]", b"{", b"\xff" * 10, b"[" * 100_000, json.dumps({"jsonrpc": "2.0"}).encode()):
        answer = served.client.post(served.url, content=body, headers=headers)
        assert 400 <= answer.status_code < 500
        assert "Traceback" not in answer.text
    large = served.client.post(
        served.url, content=b" " * (2 << 20), headers={**headers, "content-type": "application/json"}
    )
    assert large.status_code == 413
    assert served.post(TOKENS["acme"]).status_code == 200


def test_a_token_that_was_taken_out_is_refused_at_once(small: World) -> None:
    """And while the file is wrong nobody is let in."""
    spine, said = small.spine, list[str]()
    path = spine.home / "own-tokens.yaml"
    tokens_of = spine.home / "tokens.yaml"
    path.write_bytes(tokens_of.read_bytes())
    tokens = Tokens(path, said.append)
    app = http_app(spine.clickhouse, spine.settings, tokens, said.append, "127.0.0.1")

    async def status(token: str) -> int:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:
            return (await client.get("/nowhere", headers={"authorization": f"bearer {token}"})).status_code

    assert [anyio.run(status, TOKENS[name]) for name in ("acme", "beta")] == [404, 404]
    write_tokens(spine, beta=["beta"])
    tokens_of.replace(path)
    write_tokens(spine, acme=["acme"], beta=["beta"], both=["acme", "beta"])
    assert [anyio.run(status, TOKENS[name]) for name in ("acme", "beta")] == [401, 404]
    path.write_text("tokens: 7")
    assert [anyio.run(status, TOKENS[name]) for name in ("acme", "beta")] == [401, 401]
    (line,) = said
    assert line.startswith("error: nobody is let in: ")
    path.unlink()
    assert anyio.run(status, TOKENS["beta"]) == 401


def test_a_port_that_is_taken_is_said(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from optiinfra_dagster.assistant.transports import serve_http
    from optiinfra_dagster.model.errors import ConfigError

    tokens = Tokens(small.spine.home / "tokens.yaml", print)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        said = rf"127.0.0.1:{port} cannot be listened on: Address already in use. Choose another --serve"
        with pytest.raises(ConfigError, match=said):
            serve_http(small.spine.clickhouse, small.spine.settings, tokens, print, "127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"no.such.host.invalid:0 cannot be listened on"):
        serve_http(small.spine.clickhouse, small.spine.settings, tokens, print, "no.such.host.invalid", 0)
