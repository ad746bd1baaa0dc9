"""The URL of a ClickHouse server, which may name several replicas: https://user:password@h1:8443,h2:8443/database."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from optiinfra_dagster.model.hosts import has_control_character

PORTS = {"http": 8123, "https": 8443}


class Host(NamedTuple):
    """Where a replica listens; `shown` is as it is written."""

    name: str
    port: int
    shown: str


class ServerUrl(NamedTuple):
    """The parts of the URL. The password is never to be shown, the `place` may be."""

    scheme: str
    hosts: tuple[Host, ...]
    user: str
    password: str
    database: str  # empty where none is named

    @property
    def place(self) -> str:
        """The URL without user, password and database."""
        return f"{self.scheme}://{','.join(host.shown for host in self.hosts)}"


def read_server_url(url: str) -> ServerUrl:
    """Read a URL of the scheme http or https.

    Raises:
        ValueError: it is none; the message repeats no part of it.
    """
    if has_control_character(url):
        raise ValueError("it holds a control character")
    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
        names = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        ports = [PORTS.get(parts.scheme, 0) if one.port is None else one.port for one in names]
        hosts = tuple(
            Host(one.hostname or "", port, one.netloc.lower()) for one, port in zip(names, ports, strict=True)
        )
    except ValueError:
        raise ValueError("it is not a URL") from None
    if not all(host.name for host in hosts):
        raise ValueError("it names no host")
    if "," in parts.netloc.rpartition("@")[0].partition("@")[2]:
        raise ValueError("it holds several @: user and password stand before the first host only, with %40 for an @")
    if 0 in ports:
        raise ValueError("it names port 0")
    return ServerUrl(
        parts.scheme,
        tuple(dict.fromkeys(hosts)),
        unquote(user or "default"),
        unquote(password or ""),
        unquote(parts.path.strip("/")),
    )
