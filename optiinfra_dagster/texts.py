"""Texts as every table can hold them."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text with `?` for half a surrogate pair, which JSON can hold and UTF-8 cannot. One costs a whole insert."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
