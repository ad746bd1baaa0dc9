"""Checks of hosts: which are this machine itself (loopback), and which hold the host's keys in a cloud (link-local).

Loopback hosts alone may be called over plain http, and no proxy stands on the way. Link-local ones are never called
because somebody wrote them down: what they answer is the credentials of this host.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

_METADATA_NAMES = {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
# Those that are not link-local: of AWS instances and EKS pods by IPv6, and Azure's WireServer.
_METADATA_ADDRESSES = {"fd00:ec2::254", "fd00:ec2::23", "168.63.129.16"}


def is_loopback(host: str | None) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_link_local(host: str | None) -> bool:
    """True for 169.254.0.0/16 and fe80::/10, however written, and for other names of what clouds have there."""
    name = (host or "").strip("[]").rstrip(".").lower()
    if name in _METADATA_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:  # as a resolver reads it: 2852039166, 0xa9fea9fe and 169.254.43518 are 169.254.169.254
            address = ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_link_local or str(address) in _METADATA_ADDRESSES


def is_plain_loopback(url: str | None) -> bool:
    """True for a plain http URL of this machine, to which no real credential is shown."""
    if not url:
        return False
    parts = urlsplit(url)
    return parts.scheme == "http" and is_loopback(parts.hostname)


def has_control_character(url: str) -> bool:
    """True for a URL that is not read as it is written: urlsplit drops line breaks and tabs without a word."""
    return re.search(r"[\x00-\x1f\x7f]", url) is not None


def safe_url_fault(url: str) -> str | None:
    """What is wrong with a URL that a message is sent to, or None: it must be https, or plain http of this machine."""
    if not url.isascii() or re.search(r"[\x00-\x20\x7f]", url):
        return "holds a space or a control character, or a letter beyond ASCII"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if not host or not (parts.scheme == "https" or is_plain_loopback(url)):
        return "is not an https URL"
    if port == 0:
        return "names port 0"
    if "@" in parts.netloc:
        return "holds a user name or password, which is not sent"
    if parts.fragment:
        return "has a # part, which is never sent"
    return "is of a link-local host, which answers with the keys of this host" if is_link_local(host) else None
