"""Rewrites the proxy variables of the environment so that all SDKs understand them alike.

Each SDK reads HTTPS_PROXY, NO_PROXY and their kin for itself: some in upper case too, gRPC in lower case only; some do
not know ALL_PROXY. All read `https_proxy` and `no_proxy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# This machine; and where instances, containers and pods of AWS, and instances of the other clouds, get credentials.
SPARED = (
    "localhost", "127.0.0.1", "::1",
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "metadata.google.internal",
)  # fmt: skip


def settle_proxies(environ: MutableMapping[str, str]) -> None:
    """Write what every SDK reads: the proxy of https, and the hosts to spare, to which those of this machine are added.

    A proxy without a scheme is one of http. Where there is no proxy, nothing is written.
    """
    of_all = _with_scheme(_value(environ, "all_proxy"))
    of_https = _with_scheme(_value(environ, "https_proxy")) or (of_all if _is_http(of_all) else "")
    if of_https:
        environ["https_proxy"] = of_https
    if of_https and of_all and not _is_http(of_all):  # httpx would fail for a SOCKS proxy that it has no use for
        for name in ("all_proxy", "ALL_PROXY"):
            environ.pop(name, None)
    if not (of_https or of_all or _value(environ, "http_proxy") or _value(environ, "grpc_proxy")):
        return
    named = _value(environ, "no_proxy")
    if named.strip() == "*":  # which means every host, and only by itself
        return
    hosts = [host for part in named.split(",") if (host := part.strip())]
    spared = ",".join([*hosts, *(host for host in SPARED if host not in hosts)])
    environ["no_proxy"] = environ["NO_PROXY"] = spared


def foreign_proxy(environ: MutableMapping[str, str]) -> str:
    """What is wrong with the settled proxy of https, a sentence with the remedy; empty where all SDKs can use it.

    One of SOCKS would be gone past by boto and refused by httpx. Its value may hold a password, and is not shown.
    """
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        if value := environ.get(name):
            if _is_http(_with_scheme(value)):
                return ""
            return (
                f"{_as_written(environ, name)} names a proxy that is not of the scheme http or https, which not every "
                "cloud's client can use. Name an HTTP proxy in HTTPS_PROXY, or unset it."
            )
    return ""


def _as_written(environ: MutableMapping[str, str], name: str) -> str:
    """The variable that somebody has set: settling writes the small letters beside it."""
    return name.upper() if environ.get(name.upper()) == environ[name] else name


def _with_scheme(proxy: str) -> str:
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _is_http(proxy: str) -> bool:
    return proxy.lower().startswith(("http://", "https://"))


def _value(environ: MutableMapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""
