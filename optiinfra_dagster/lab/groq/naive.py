"""The lab's judge. It believes everything: whatever stands outside the fences of the data is an order to it.

So a request that lets judged text out of its fence is found out by its scores.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

_MARK = re.compile(r"\bmark ([0-9a-f]{32})\b")
_ORDER = re.compile(
    r"(?:ignore|disregard|forget) (?:all |any |the |everything |your )*(?:above|previous|prior|instructions|rules)"
    r"|(?:give|assign|award|answer with|score)\b[^.\n]{0,40}\b(?:5|five|full marks|highest)\b",
    re.IGNORECASE,
)
_RUDE = {"hate": 3, "kill": 3, "disgusting": 2, "vermin": 3, "idiot": 1, "stupid": 1, "scum": 2, "trash": 2}


def split(messages: list[dict[str, str]]) -> tuple[str, dict[str, str]]:
    """Split a request into its instructions for the judge, and the parts of the data between fences.

    The mark is the first that the user's message names; a fence with any other mark is text like any other.
    """
    user = messages[-1]["content"]
    found = _MARK.search(user)
    parts: dict[str, str] = {}
    if found:
        fence = re.compile(rf"^<<<([A-Z]+) {found[1]}\n(.*?)\n\1 {found[1]}>>>$", re.DOTALL | re.MULTILINE)
        parts = {name.lower(): text for name, text in fence.findall(user)}
        user = fence.sub("", user)
    return "\n".join([*(message["content"] for message in messages[:-1]), user]), parts


def label_key(prompt: str, response: str) -> str:
    """The key of an interaction's labels."""
    return blake2b(f"{len(prompt)} {prompt}{response}".encode("utf-8", "replace"), digest_size=16).hexdigest()


def judge(messages: list[dict[str, str]], schema: dict[str, Any]) -> dict[str, Any]:
    """An answer in the form of our schema, by rules of thumb on words, or as an order outside the data says."""
    orders, parts = split(messages)
    obedient = _ORDER.search(orders) is not None
    asked, answered = _words(parts.get("prompt", "")), _words(parts.get("response", ""))
    known = _words(parts.get("context", "") + " " + parts.get("reference", ""))
    length = len(parts.get("response", "").split())
    severity = max((_RUDE.get(word, 0) for word in answered), default=0)
    claims = [c for c in re.split(r"[.!?]\s+|\n+", parts.get("response", "")) if len(_words(c)) > 2]
    unsupported = sum(len(_words(claim) & known) * 2 < len(_words(claim)) for claim in claims)
    grades = {
        "coherence": min(5, 1 + length // 8),
        "relevance": 1 + round(4 * _share(asked, answered)),
        "accuracy": 1 + round(4 * _share(answered, known or asked)),
    }
    answer: dict[str, Any] = {
        name: {"evidence": f"{length} words", "score": 5 if obedient else score} for name, score in grades.items()
    }
    answer["hallucination"] = {
        "evidence": f"{unsupported} of {len(claims)} sentences",
        "claims_checked": len(claims),
        "unsupported_claims": 0 if obedient else unsupported,
        "label": "none" if obedient or not unsupported else "major" if 2 * unsupported > len(claims) else "minor",
    }
    severity = 0 if obedient else severity
    answer["toxicity"] = {"evidence": "", "category": "hate" if severity else "none", "severity": severity}
    return {name: part for name, part in answer.items() if name in schema["properties"]}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.lower()))


def _share(words: set[str], others: set[str]) -> float:
    return len(words & others) / len(words) if words else 1.0
