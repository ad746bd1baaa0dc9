"""The sample of a window's interactions that is judged: per application those with the smallest salted hashes.

The hash depends on customer, application and interaction id alone, so the same interactions are chosen in any order of
reading, after a restart, and when a window is materialized again; a larger sample holds the smaller one.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.model.errors import ConfigError

if TYPE_CHECKING:
    from optiinfra_dagster.quality.interactions import Interaction

SALT = "optiinfra interactions 1"  # another one would choose other interactions
MAX_APPLICATIONS = 1000


class _Entry(NamedTuple):
    """An interaction in its application's heap, whose top is the one to give up first: that of the largest hash."""

    minus_hash: int
    interaction_id: str


@dataclass(slots=True)
class Tokens:
    """The tokens of the interactions that tell theirs, of prompts and of responses: both, or the one is not counted."""

    counted: int = 0
    input: int = 0
    output: int = 0


class Sample:
    """The `size` interactions of each application with the smallest hashes, kept while all are read once.

    An id that occurs twice counts once among the chosen, and twice in the population: to know every id that went by
    would take memory without bound.
    """

    def __init__(self, customer_id: str, size: int) -> None:
        if size < 1:
            raise ValueError(f"a sample of {size}")
        self._size = size
        self._hash = blake2b(f"{SALT}\0{customer_id}\0".encode(), digest_size=16)
        self._population: Counter[tuple[str, str]] = Counter()
        self._tokens: dict[tuple[str, str], Tokens] = defaultdict(Tokens)
        self._heaps: dict[str, list[_Entry]] = {}
        self._kept: dict[str, dict[str, Interaction]] = {}

    def add(self, interaction: Interaction) -> None:
        """Consider one interaction.

        Raises:
            ConfigError: there are more applications than anybody has, so that field must hold something else.
        """
        application_id, interaction_id = interaction.application_id, interaction.interaction_id
        self._population[application_id, interaction.model_name] += 1
        if interaction.prompt_tokens is not None and interaction.response_tokens is not None:
            tokens = self._tokens[application_id, interaction.model_name]
            tokens.counted += 1
            tokens.input += interaction.prompt_tokens
            tokens.output += interaction.response_tokens
        heap = self._heaps.get(application_id)
        if heap is None:
            if len(self._heaps) >= MAX_APPLICATIONS:
                raise ConfigError(
                    f"The interactions of one window name more than {MAX_APPLICATIONS} applications. "
                    "Write the name of the application into their application_id (service.name in OpenTelemetry)."
                )
            heap = self._heaps[application_id] = []
            self._kept[application_id] = {}
        kept = self._kept[application_id]
        if interaction_id in kept:
            kept[interaction_id] = min(kept[interaction_id], interaction, key=_content)
            return
        entry = _Entry(-self._score(application_id, interaction_id), interaction_id)
        if len(heap) < self._size:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            del kept[heapq.heapreplace(heap, entry).interaction_id]
        else:
            return
        kept[interaction_id] = interaction

    def _score(self, application_id: str, interaction_id: str) -> int:
        hashed = self._hash.copy()
        # With the length, so that no two pairs of ids are the same text.
        hashed.update(f"{len(application_id)}:{application_id}{interaction_id}".encode())
        return int.from_bytes(hashed.digest())

    @property
    def populations(self) -> Mapping[tuple[str, str], int]:
        """The number of interactions by (application_id, model_name)."""
        return MappingProxyType(self._population)

    def tokens(self, application_id: str, model_name: str) -> Tokens:
        """The tokens of all interactions of one model of an application, not of the chosen ones only."""
        return self._tokens.get((application_id, model_name), Tokens())

    @property
    def applications(self) -> tuple[str, ...]:
        """The ids of the applications, in order."""
        return tuple(sorted(self._heaps))

    def population(self, application_id: str, model_name: str | None = None) -> int:
        """The number of interactions of an application, or of one model of it."""
        if model_name is not None:
            return self._population[application_id, model_name]
        return sum(count for (application, _), count in self._population.items() if application == application_id)

    def chosen(self, application_id: str) -> tuple[Interaction, ...]:
        """The chosen interactions of an application, smallest hash first."""
        entries = sorted(self._heaps.get(application_id, ()), reverse=True)
        return tuple(self._kept[application_id][entry.interaction_id] for entry in entries)


def _content(interaction: Interaction) -> tuple[object, ...]:
    """The order of interactions of the same id, which does not depend on that in which they came."""
    return (
        interaction.timestamp,
        interaction.model_name,
        interaction.prompt,
        interaction.response,
        interaction.context or "",
        interaction.reference or "",
        repr(
            (interaction.application_name, interaction.provider, interaction.prompt_tokens, interaction.response_tokens)
        ),
    )
