"""Loopback hosts, this machine itself: they alone may be called over plain http, and no proxy stands on the way."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str | None) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_plain_loopback(url: str | None) -> bool:
    """True for a plain http URL of this machine, to which no real credential is shown."""
    if not url:
        return False
    parts = urlsplit(url)
    return parts.scheme == "http" and is_loopback(parts.hostname)
