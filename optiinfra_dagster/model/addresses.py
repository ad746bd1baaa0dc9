"""Addresses of mailboxes, as they are written in settings and in the customers file."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}")


def mail_address(text: str) -> str:
    """The address of a mailbox, without a name or brackets.

    Raises:
        ValueError: it is none, or holds what could end a header.
    """
    if not _ADDRESS.fullmatch(text):
        raise ValueError("it is not the address of a mailbox, such as ops@example.com")
    return text
