"""The command `optiinfra mcp`: who is let in, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.assistant.access import Access, Tokens
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.model.hosts import is_loopback
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, ClickHouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from optiinfra_dagster.config.settings import Settings

PATIENCE_SECONDS = 20  # for an embedded engine that another process has
ANSWER_SECONDS = 60  # for a ClickHouse server; assistants give up after about as long


def serve(
    settings: Settings, say: Callable[[str], None], customers: tuple[str, ...], port: int | None, address: str
) -> None:
    """Serve over standard input and output, or, with a port, over HTTP; until the other side or a signal ends it.

    Raises:
        UsageError: nobody says which customers may be asked about, or two do.
        ConfigError: the customers file or that of tokens is wrong, or the port cannot be listened on.
    """
    if port is not None and customers:
        raise UsageError("--customer lets in whoever starts the server: with --serve, name customers by token.")
    clickhouse = ClickHouse.of(
        settings, lock_timeout=PATIENCE_SECONDS, linger=LINGER_SECONDS, answer_seconds=ANSWER_SECONDS
    )
    select(load_customers(settings.customers_path), customers)
    if port is not None:
        from optiinfra_dagster.assistant.transports import serve_http

        clickhouse.check_exists()

        tokens = _tokens(settings, say)
        if not is_loopback(address):
            say(f"warning: {address} is served without TLS: let a proxy with a certificate be all that reaches it.")
        serve_http(clickhouse, settings, tokens, say, address, port)
        return
    access = _of_starter(settings, say, customers)
    clickhouse.check_exists()
    from optiinfra_dagster.assistant.transports import serve_stdio

    serve_stdio(clickhouse, settings, access, say)


def _of_starter(settings: Settings, say: Callable[[str], None], customers: tuple[str, ...]) -> Access:
    """Whoever started this: by the customers that they name, or by their token."""
    if customers and settings.mcp_token:
        raise UsageError("--customer and OPTIINFRA_MCP_TOKEN both say whom to ask about: leave out one.")
    if customers:
        return Access("--customer", customers)
    if settings.mcp_token is None:
        raise UsageError("Nobody is let in without a token: name --customer, or set OPTIINFRA_MCP_TOKEN.")
    access = _tokens(settings, say).who(settings.mcp_token.get_secret_value().strip())
    if access is None:
        raise ConfigError("OPTIINFRA_MCP_TOKEN is no token of the file that OPTIINFRA_MCP_TOKENS names: correct it.")
    return access


def _tokens(settings: Settings, say: Callable[[str], None]) -> Tokens:
    if settings.mcp_tokens_path is None:
        raise ConfigError("There is no file of tokens: set OPTIINFRA_MCP_TOKENS to its path (docs/mcp.md).")
    tokens = Tokens(settings.mcp_tokens_path, say)
    known = {customer.id for customer in load_customers(settings.customers_path)}
    for grant in tokens.grants:
        for unknown in sorted(set(grant.customers) - known):
            say(f"warning: the token {grant.name} names {unknown}, which the customers file does not have.")
    return tokens
