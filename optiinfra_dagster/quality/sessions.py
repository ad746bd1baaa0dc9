"""What was said before in a conversation, for the interactions of a window that belong to one.

Known is what was read for the window: a conversation that began before it begins here with its first turn in it.
"""

from __future__ import annotations

import heapq
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.quality.interactions import Interaction

LAST_TURNS = 4  # that are shown to the judge
MOST_TURNS = 20_000  # that are kept of a window, about 25 MB
_SHOWN = 600  # characters of a turn's prompt, its end, and of its response, its beginning
_QUOTED = 60  # characters of a response that tell that a prompt holds it


class _Turn(NamedTuple):
    timestamp: datetime
    interaction_id: str
    prompt: str
    response: str


class Sessions:
    """The turns of the conversations of a window, kept while all interactions are read once.

    Where there are more than `most_turns`, whole conversations are given up, those with the largest hashes: which ones
    does not depend on the order of reading.
    """

    def __init__(self, most_turns: int = MOST_TURNS) -> None:
        self._most = most_turns
        self._count = 0
        self._turns: dict[bytes, list[_Turn]] = {}
        self._largest: list[tuple[int, bytes]] = []  # a heap with the largest hash on top
        self._given_up: bytes | None = None  # the smallest hash of a conversation that was given up

    def add(self, interaction: Interaction) -> None:
        """Keep a turn, if it is one of a conversation."""
        if not interaction.session_id:
            return
        session = _hash(interaction)
        if self._given_up is not None and session >= self._given_up:
            return
        if session not in self._turns:
            self._turns[session] = []
            heapq.heappush(self._largest, (-int.from_bytes(session), session))
        self._turns[session].append(
            _Turn(
                interaction.timestamp,
                interaction.interaction_id,
                interaction.prompt[-_SHOWN:],
                interaction.response[:_SHOWN],
            )
        )
        self._count += 1
        while self._count > self._most:
            _, self._given_up = heapq.heappop(self._largest)
            self._count -= len(self._turns.pop(self._given_up))

    def before(self, interaction: Interaction) -> tuple[str, ...]:
        """The last turns before an interaction, oldest first; none where its own prompt holds what was said before."""
        if not interaction.session_id:
            return ()
        this = (interaction.timestamp, interaction.interaction_id)
        turns = {turn[:2]: turn for turn in sorted(self._turns.get(_hash(interaction), ())) if turn[:2] < this}
        last = list(turns.values())[-LAST_TURNS:]
        if any(turn.response[:_QUOTED] in interaction.prompt for turn in last):
            return ()
        return tuple(f"user: {turn.prompt}\nassistant: {turn.response}" for turn in last)


def _hash(interaction: Interaction) -> bytes:
    name = f"{len(interaction.application_id)}:{interaction.application_id}{interaction.session_id}"
    return blake2b(name.encode("utf-8", "replace"), digest_size=16).digest()
