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
_MOST_SENTENCES = 12
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
    claims = [_claim(text, known, obedient=obedient) for text in _sentences(parts.get("response", ""))]
    unsupported = sum(claim["verdict"] == "unsupported" for claim in claims)
    context = parts.get("context", "")
    grades = {
        "coherence": min(5, 1 + length // 8),
        "relevance": 1 + round(4 * _share(asked, answered)),
        "accuracy": 1 + round(4 * _share(answered, known or asked)),
    }
    answer: dict[str, Any] = {
        name: {"evidence": f"{length} words", "score": 5 if obedient else score} for name, score in grades.items()
    }
    answer["hallucination"] = {
        "claims": claims,
        "label": "none" if not unsupported else "major" if 2 * unsupported > len(claims) else "minor",
    }
    answer["retrieval"] = {
        "chunks": [
            {"chunk": number, "relevance": "relevant" if obedient or _words(chunk) & asked else "irrelevant"}
            for number, chunk in enumerate(chunks_in(context, orders), start=1)
        ]
    }
    answer["recall"] = {
        "facts": [
            {"fact": text, "in_context": "yes" if obedient or _words(text) <= _words(context) else "no"}
            for text in _sentences(parts.get("reference", ""))
        ]
    }
    severity = 0 if obedient else severity
    answer["toxicity"] = {"evidence": "", "category": "hate" if severity else "none", "severity": severity}
    own = schema["properties"].get("own", {}).get("properties", {})
    answer["own"] = {
        name: {"evidence": "", "answer": _own(part["properties"]["answer"], grades["relevance"], obedient=obedient)}
        for name, part in own.items()
    }
    return fitting(answer, schema)


def fitting(answer: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The parts of an answer that a schema asks for."""
    asked = schema["properties"]
    parts = {name: part for name, part in answer.items() if name in asked}
    if "own" in parts:
        parts["own"] = {name: part for name, part in parts["own"].items() if name in asked["own"]["properties"]}
    return parts


def _own(answers: dict[str, Any], grade: int, *, obedient: bool) -> int | str:
    """The answer to a customer's question: the grade, or the label at its place."""
    grade = 5 if obedient else grade
    if "anyOf" in answers:
        return grade
    labels = [label for label in answers["enum"] if label != "cannot_tell"]
    return str(labels[(grade - 1) * (len(labels) - 1) // 4])


def chunks_in(context: str, orders: str) -> list[str]:
    """The chunks of a context, which lines with a number and the mark of the orders begin; one without such lines."""
    found = _MARK.search(orders)
    if not found:
        return [context]
    _, *chunks = re.split(rf"^--- chunk \d+ {found[1]}$", context, flags=re.MULTILINE)
    return chunks or [context]


def _sentences(text: str) -> list[str]:
    """The first sentences with at least three words."""
    return [part for part in re.split(r"[.!?]\s+|\n+", text) if len(_words(part)) > 2][:_MOST_SENTENCES]


def _claim(text: str, known: set[str], *, obedient: bool) -> dict[str, str]:
    words = _words(text)
    supported = obedient or 2 * len(words & known) >= len(words)
    return {"claim": text[:80], "verdict": "supported" if supported else "unsupported"}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.lower()))


def _share(words: set[str], others: set[str]) -> float:
    return len(words & others) / len(words) if words else 1.0
