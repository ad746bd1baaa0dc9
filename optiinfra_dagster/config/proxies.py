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

    Where there is no proxy, nothing is written.
    """
    of_all = _value(environ, "all_proxy")
    of_https = _value(environ, "https_proxy") or (of_all if of_all.startswith("http") else "")
    if of_https:
        environ["https_proxy"] = of_https
    if not (of_https or of_all or _value(environ, "http_proxy") or _value(environ, "grpc_proxy")):
        return
    named = _value(environ, "no_proxy")
    if named.strip() == "*":  # which means every host, and only by itself
        return
    hosts = [host for part in named.split(",") if (host := part.strip())]
    spared = ",".join([*hosts, *(host for host in SPARED if host not in hosts)])
    environ["no_proxy"] = environ["NO_PROXY"] = spared


def _value(environ: MutableMapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""
