"""Facts about language models: what tokens cost, at Groq where no other price is set, and who made a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

# USD per million tokens, input and output, as of 2026-07: https://console.groq.com/docs/models. Cached input costs
# half, which is left out, so the amounts are at most too high. A model that is not listed here costs an unknown amount.
PRICES: Mapping[str, tuple[Decimal, Decimal]] = {
    "openai/gpt-oss-120b": (Decimal("0.15"), Decimal("0.60")),
    "openai/gpt-oss-20b": (Decimal("0.075"), Decimal("0.30")),
    "openai/gpt-oss-safeguard-20b": (Decimal("0.075"), Decimal("0.30")),
}
_CENT = Decimal("0.000000001")  # of the columns that hold money

# Words in model names that tell who made the model. A distilled model has two makers.
FAMILIES: Mapping[str, frozenset[str]] = {
    "openai": frozenset({"openai", "gpt", "chatgpt", "o1", "o3", "o4", "davinci"}),
    "anthropic": frozenset({"anthropic", "claude"}),
    "google": frozenset({"google", "gemini", "gemma", "palm"}),
    "meta": frozenset({"meta", "llama"}),
    "mistral": frozenset({"mistral", "mistralai", "mixtral", "ministral", "codestral", "magistral", "pixtral"}),
    "alibaba": frozenset({"alibaba", "qwen", "qwq"}),
    "deepseek": frozenset({"deepseek"}),
    "moonshot": frozenset({"moonshotai", "kimi"}),
    "amazon": frozenset({"nova", "titan"}),
    "cohere": frozenset({"cohere", "command"}),
    "microsoft": frozenset({"phi"}),
    "xai": frozenset({"xai", "grok"}),
}


def families(model: str) -> frozenset[str]:
    """The makers of a model, by the words of its name: `us.meta.llama3-3-70b` is meta's."""
    words = {re.sub(r"(?<=\D\D)\d.*$", "", word) for word in re.split(r"[^a-z0-9]+", model.lower())}
    return frozenset(family for family, names in FAMILIES.items() if names & words)


def same_family(judge: str, judged: str) -> bool:
    """True if a judge may prefer the judged model because they were made by the same people."""
    return bool(families(judge) & families(judged))


def price_of(model: str) -> tuple[Decimal, Decimal] | None:
    """What a model costs at Groq, in USD per million tokens of input and output; None where that is not known."""
    return PRICES.get(model)


def usd(price: tuple[Decimal, Decimal] | None, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
    """The cost of tokens in USD; None where the price is not known."""
    if price is None:
        return None
    return ((prompt_tokens * price[0] + completion_tokens * price[1]) / 1_000_000).quantize(_CENT)
