"""HTTP clients of services that have no SDK of their own: connections, and answers with an end."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import httpx

from optiinfra_dagster.model.hosts import is_loopback

if TYPE_CHECKING:
    import ssl

LARGEST_ANSWER = 64 * 2**20  # bytes; 500 instances of Vultr are 0.6 MB


@cache
def certificates() -> ssl.SSLContext:
    """The certificates to trust: reading them takes 20 ms CPU, so once for all clients."""
    return httpx.create_ssl_context()


def open_client(host: str, limits: httpx.Limits | None = None, *, proxies: bool = True) -> httpx.Client:
    """A client for JSON of one host, with nothing sent yet.

    The proxies of the environment stand between, unless `proxies` is false or the host is this machine: no proxy shall
    see a credential on its way to this same machine.
    """
    return httpx.Client(
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20) if limits is None else limits,
        headers={"Accept": "application/json", "User-Agent": "optiinfra"},
        verify=certificates(),
        trust_env=proxies and not is_loopback(host),
    )


def read_whole(answer: httpx.Response, deadline: float) -> bytes:
    """The body of a streamed answer; `deadline` is a time of `time.monotonic`.

    Raises:
        httpx.ReadTimeout: it did not end in time, or is larger than any answer that makes sense.
    """
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if time.monotonic() > deadline or len(body) > LARGEST_ANSWER:
            raise httpx.ReadTimeout("the answer does not end")
    return bytes(body)
