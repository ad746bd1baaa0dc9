"""What an application used of its models in a window: requests of every kind, tokens, time, cost as logged.

Every call counts, judged or not: interactions, steps that only call tools, embeddings, and calls that failed. Figures
of windows add up to those of a day, percentiles too, since latencies are kept as counts of bins: each is a twelfth of
an octave wide, so that the middle of one is at most 3 % from what is in it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from math import floor, log2
from typing import TYPE_CHECKING

from optiinfra_dagster.model.quality import ApplicationRow
from optiinfra_dagster.quality.interactions import Interaction, Skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from optiinfra_dagster.config.token_prices import TokenPrice
    from optiinfra_dagster.quality.interactions import SkippedCall

BINS_PER_OCTAVE = 12


@dataclass(slots=True)
class _ModelUsage:
    """The sums of one model of an application. Times are whole microseconds, so that their order changes nothing."""

    names: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    refusals: int = 0
    with_tokens: int = 0
    input: int = 0
    output: int = 0
    with_latency: int = 0
    latency_us: int = 0
    bins: Counter[int] = field(default_factory=Counter)
    with_cost: int = 0
    usd: Decimal = Decimal(0)


class Usage:
    """The usage of a window, by application and model; each call is added once."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], _ModelUsage] = {}

    def add(self, item: Interaction | SkippedCall) -> None:
        """Count a call."""
        used = self._used.get((item.application_id, item.model_name))
        if used is None:
            used = self._used[item.application_id, item.model_name] = _ModelUsage()
        if isinstance(item, Interaction):
            used.kinds["interactions"] += 1
            used.refusals += item.is_refusal
        else:
            used.kinds[item.kind.value] += 1
        if item.application_name:
            used.names.add(item.application_name)
        # An embedding has no response: its tokens are those of what is embedded.
        response = 0 if not isinstance(item, Interaction) and item.kind is Skip.EMBEDDING else None
        output = item.response_tokens if item.response_tokens is not None else response
        if item.prompt_tokens is not None and output is not None:
            used.with_tokens += 1
            used.input += item.prompt_tokens
            used.output += output
        if item.latency_ms is not None and item.latency_ms >= 0 and used_in_full(item):
            micros = round(item.latency_ms * 1000)
            used.with_latency += 1
            used.latency_us += micros
            used.bins[bin_of(micros)] += 1
        if item.cost_usd is not None:
            used.with_cost += 1
            used.usd += item.cost_usd

    def rows(self, window: datetime, prices: Mapping[str, TokenPrice]) -> Iterator[ApplicationRow]:
        """A row of each application and model, with the customer's prices at this time."""
        for (application_id, model), used in sorted(self._used.items()):
            price = prices.get(model)
            details = {
                "requests": used.kinds.total(),
                "interactions": used.kinds["interactions"],
                "steps": used.kinds[Skip.STEP.value],
                "embeddings": used.kinds[Skip.EMBEDDING.value],
                "failed": used.kinds[Skip.FAILED.value],
                "refusals": used.refusals,
                "requests_with_tokens": used.with_tokens,
                "input_tokens": used.input,
                "output_tokens": used.output,
                "requests_with_latency": used.with_latency,
                "latency_us": used.latency_us,
                "latency_bins": {str(number): count for number, count in sorted(used.bins.items())},
                "requests_with_cost": used.with_cost,
                "logged_usd": f"{used.usd:f}" if used.with_cost else None,
                "input_usd_per_million": None if price is None else f"{price.input_usd_per_million:f}",
                "output_usd_per_million": None if price is None else f"{price.output_usd_per_million:f}",
            }
            yield ApplicationRow("usage", window, application_id, min(used.names, default=""), model, details=details)


def used_in_full(item: Interaction | SkippedCall) -> bool:
    """True for a call that did not fail: how long a failure took is no latency of answers."""
    return isinstance(item, Interaction) or item.kind is not Skip.FAILED


def bin_of(micros: int) -> int:
    """The bin of a latency: bin k holds 2^(k/12) to 2^((k+1)/12) microseconds, and 0 is in the first."""
    return floor(BINS_PER_OCTAVE * log2(max(micros, 1)))
