"""Calls side by side: the threads of one collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")


def side_by_side(work: Callable[[Thing], None], items: Sequence[Thing], *, most: int, name: str) -> None:
    """Do the work for all items, `most` at a time; for a single one without a further thread.

    `name` begins the names of the threads. An error of the work ends it, once what has begun is done.
    """
    if len(items) <= 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(min(most, len(items)), thread_name_prefix=name) as pool:
        list(pool.map(work, items))
