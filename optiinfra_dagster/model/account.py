"""The type variable for a provider's account; the account models themselves are in config/accounts.py."""

from __future__ import annotations

from typing import TypeVar

AccountT = TypeVar("AccountT")
