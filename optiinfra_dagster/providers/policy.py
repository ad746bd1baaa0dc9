"""What a customer is handed so that an account may be read, and no more than that: the cloud's own policy or commands.

It is made of the provider's `permissions`, which come from its kinds: what is listed anew is in the next policy.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The text that the cloud takes, such as an IAM policy as JSON, and what is to be known or done beside it."""

    text: str
    notes: tuple[str, ...] = ()


def needed(families: Collection[str]) -> frozenset[str]:
    """The families whose permissions a credential needs: metrics and estimates are of what the inventory lists."""
    return frozenset(families) | ({"resource"} if {"performance", "cost"} & set(families) else set())


def fixed_prefix(location: str) -> str:
    """The part of a location before its first placeholder: `s3://acme-logs/{provider}/` gives `s3://acme-logs/`."""
    return location.partition("{")[0]
