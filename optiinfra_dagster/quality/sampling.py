"""The sample of a window's interactions that is judged: of each application some of every model's, by salted hashes.

The interactions of one model of an application are a stratum. Those of its strata with the smallest hashes are chosen:
one of each stratum first, so that a model with little traffic is not without a verdict for days, and the rest in
proportion to the square roots of the strata's sizes. What people read are the figures of each model, so each needs
interactions of its own; the root is between equal samples, which are best for those, and proportional ones, which are
best for the application as a whole. For two models with 90 and 10 % of the traffic the variance of the whole is 12 %
above the least that can be had, that of the small model's own mean less than half of what proportional samples give.

Where there are more models than the sample has interactions, all of them have the same chance to be among those of
which one is judged, another one in every window. Within a stratum each interaction has the same chance, the number of
chosen ones by that of all: both stand in the row of the sample.

The hash depends on customer, window, application and interaction id alone, so the same interactions are chosen in any
order of reading, after a restart, and when a window is materialized again; ids that begin anew with each window are
not the same ones each time. A larger sample holds the smaller one.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.model.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.quality.interactions import Interaction

SALT = "optiinfra interactions 2"  # another one would choose other interactions
MAX_STRATA = 1000  # applications with their models: nobody has as many at work in a quarter of an hour


class _Entry(NamedTuple):
    """An interaction in its stratum's heap, whose top is the one to give up first: that of the largest hash."""

    minus_hash: int
    interaction_id: str


@dataclass(slots=True)
class _Stratum:
    """The interactions of a model of an application that may be chosen."""

    heap: list[_Entry] = field(default_factory=list)
    kept: dict[str, Interaction] = field(default_factory=dict)

    def shrink(self, size: int) -> None:
        while len(self.heap) > size:
            del self.kept[heapq.heappop(self.heap).interaction_id]

    def chosen(self) -> list[Interaction]:
        """What is kept, smallest hash first."""
        return [self.kept[entry.interaction_id] for entry in sorted(self.heap, reverse=True)]


@dataclass(slots=True)
class Tokens:
    """The tokens of the interactions that tell theirs, of prompts and of responses: both, or the one is not counted."""

    counted: int = 0
    input: int = 0
    output: int = 0


class Sample:
    """The `size` interactions of each application that are judged of a window, kept while all are read once.

    Of an application with m models at most (size + 1)² / 4 + m interactions are kept meanwhile: a stratum can be given
    no more than what is left when each other one has its first.

    An id that a model's interactions have twice counts once among the chosen, and twice in the population: to know
    every id that went by would take memory without bound.
    """

    def __init__(self, customer_id: str, window: datetime, size: int) -> None:
        if size < 1:
            raise ValueError(f"a sample of {size}")
        self._size = size
        self._hash = blake2b(f"{SALT}\0{customer_id}\0{int(window.timestamp())}\0".encode(), digest_size=16)
        self._population: Counter[tuple[str, str]] = Counter()
        self._tokens: dict[tuple[str, str], Tokens] = defaultdict(Tokens)
        self._strata: dict[str, dict[str, _Stratum]] = {}  # by application and model

    def add(self, interaction: Interaction) -> None:
        """Consider one interaction.

        Raises:
            ConfigError: there are more applications and models than anybody has, so a field must hold something else.
        """
        application_id, interaction_id = interaction.application_id, interaction.interaction_id
        model = interaction.model_name
        stratum = self._strata.get(application_id, {}).get(model) or self._new_stratum(application_id, model)
        self._population[application_id, model] += 1
        if interaction.prompt_tokens is not None and interaction.response_tokens is not None:
            tokens = self._tokens[application_id, model]
            tokens.counted += 1
            tokens.input += interaction.prompt_tokens
            tokens.output += interaction.response_tokens
        heap, kept = stratum.heap, stratum.kept
        minus_hash = -self._score(application_id, interaction_id)
        is_full = len(heap) >= self._most(application_id)
        if is_full and minus_hash < heap[0].minus_hash:  # as of nearly all
            return
        if interaction_id in kept:
            kept[interaction_id] = min(kept[interaction_id], interaction, key=_content)
            return
        entry = _Entry(minus_hash, interaction_id)
        if not is_full:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            del kept[heapq.heapreplace(heap, entry).interaction_id]
        else:
            return
        kept[interaction_id] = interaction

    def _new_stratum(self, application_id: str, model: str) -> _Stratum:
        if len(self._population) >= MAX_STRATA:
            models = len({model for _, model in self._population})
            raise ConfigError(
                f"The interactions of one window name {len(self._strata)} applications and {models} models, more "
                f"than {MAX_STRATA} together. Write the name of the application into their application_id "
                "(service.name in OpenTelemetry) and that of the model into model (gen_ai.request.model), "
                "and no id of a user or a request."
            )
        strata = self._strata.setdefault(application_id, {})
        strata[model] = _Stratum()
        for stratum in strata.values():
            stratum.shrink(self._most(application_id))
        return strata[model]

    def _most(self, application_id: str) -> int:
        """The most that any stratum of an application can be given."""
        return max(1, self._size - len(self._strata[application_id]) + 1)

    def _score(self, application_id: str, of: str) -> int:
        hashed = self._hash.copy()
        # With the length, so that no two pairs are the same text.
        hashed.update(f"{len(application_id)}:{application_id}{of}".encode())
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
        return tuple(sorted(self._strata))

    def population(self, application_id: str, model_name: str | None = None) -> int:
        """The number of interactions of an application, or of one model of it."""
        if model_name is not None:
            return self._population[application_id, model_name]
        return sum(count for (application, _), count in self._population.items() if application == application_id)

    def chosen(self, application_id: str) -> tuple[Interaction, ...]:
        """The chosen interactions of an application.

        One of each model comes first, so what a budget leaves of them is a smaller sample of the same kind.
        """
        strata = self._strata.get(application_id, {})
        of_model = {model: stratum.chosen() for model, stratum in strata.items()}
        given: Counter[str] = Counter()
        found = []
        for model in self._turns(application_id, of_model):
            found.append(of_model[model][given[model]])
            given[model] += 1
            if len(found) == self._size:
                break
        return tuple(found)

    def _turns(self, application_id: str, of_model: Mapping[str, list[Interaction]]) -> Iterator[str]:
        """The models in the order in which each is given one interaction more, which no size of a sample changes.

        After one each, the next goes where the divisor method of Sainte-Laguë gives a seat for the roots of the
        populations: to the largest population / (2 * given + 1)².
        """
        models = sorted(of_model, key=lambda model: self._score(application_id, f"model {model}"))
        yield from models
        queue = [
            (-self._population[application_id, model] / 9, place, 1)
            for place, model in enumerate(models) if len(of_model[model]) > 1
        ]  # fmt: skip
        heapq.heapify(queue)
        while queue:
            _, place, given = heapq.heappop(queue)
            model = models[place]
            yield model
            if given + 1 < len(of_model[model]):
                next_turn = -self._population[application_id, model] / (2 * given + 3) ** 2
                heapq.heappush(queue, (next_turn, place, given + 1))


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
