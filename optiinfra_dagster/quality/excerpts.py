"""An excerpt of a text that is too long to show whole: the parts that speak of what other texts speak of.

A long context is cut into chunks, and those are kept that share words with the answer, rare words before common ones.
So a fact that the answer uses is shown wherever it stands. The same texts always give the same excerpt.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MARK = "\n[... {count} characters left out here by the judge's program ...]\n"
"""Stands in an excerpt where something is missing."""

CHUNK = 600  # characters at most: some sentences, so that a fact comes with what is said around it
_MARK_ROOM = len(MARK) + 10  # for the count
_PLENTY = 3  # chunks of one word, before others that only share more common words get their turn

_WORD = re.compile(r"\w+")
# Scripts that are written without spaces: their words are pairs of characters.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_JOINERS = {"\u200d", "\ufe0e", "\ufe0f"}  # zero-width joiner and variation selectors: they belong to what is before


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is shown of a text, with marks for what is missing, and the characters that were left out."""

    text: str
    left_out: int = 0


def choose(text: str, limit: int, wanted: Iterable[str] = ()) -> Excerpt:
    """At most `limit` characters of a text, marks included: those that share most with the `wanted` texts.

    Beginning and end are always part of it, and fill it where nothing is shared.
    """
    if len(text) <= limit:
        return Excerpt(text)
    bounds = list(pairwise(_cuts(text, min(CHUNK, max(1, limit // 4)))))
    room = limit - _MARK_ROOM
    chosen: set[int] = set()
    for n in chain([0, len(bounds) - 1], _by_worth(text, bounds, wanted), _from_both_ends(len(bounds))):
        begin, end = bounds[n]
        # A chunk beside a chosen one needs no mark of its own.
        taken = end - begin + (0 if {n - 1, n + 1} & chosen else _MARK_ROOM)
        if n not in chosen and taken <= room:
            chosen.add(n)
            room -= taken
    return _shown(text, [bounds[n] for n in sorted(chosen)])


def _shown(text: str, spans: Sequence[tuple[int, int]]) -> Excerpt:
    shown: list[str] = []
    at = left_out = 0
    for begin, end in [*spans, (len(text), len(text))]:
        if begin > at:
            shown.append(MARK.format(count=begin - at))
            left_out += begin - at
        shown.append(text[begin:end])
        at = end
    return Excerpt("".join(shown), left_out)


def _cuts(text: str, longest: int) -> Iterator[int]:
    """The places where chunks begin and end: after a paragraph, line, sentence or word, as late as may be."""
    at = 0
    while len(text) - at > longest:
        yield at
        least, most = at + longest // 2, at + longest
        for stop in ("\n\n", "\n", ". ", "\u3002", " "):
            found = text.rfind(stop, least, most)
            if found >= 0:
                at = found + len(stop)
                break
        else:
            at = _before_joined(text, at + 1, most)
    yield at
    yield len(text)


def _before_joined(text: str, least: int, cut: int) -> int:
    """A cut moved forward so that no accent or part of an emoji is torn from its character."""
    while cut > least and (text[cut] in _JOINERS or text[cut - 1] == "\u200d" or unicodedata.combining(text[cut]) != 0):
        cut -= 1
    return cut


def _words(text: str) -> Iterator[str]:
    if text.isascii():
        yield from _WORD.findall(text)
        return
    for word in _WORD.findall(text):
        runs = _UNSPACED.findall(word)
        if not runs:
            yield word
        for run in runs:
            yield from (run[n : n + 2] for n in range(max(1, len(run) - 1)))


def _by_worth(text: str, bounds: Sequence[tuple[int, int]], wanted: Iterable[str]) -> Iterator[int]:
    """Chunks by what they share with the wanted texts: for each word, rarest first, its best chunks; then all others.

    A word that stands in few chunks weighs more, by the logarithm of the inverse share (Spaerck Jones, 1972).
    """
    words = {word for one in wanted for word in _words(one.lower())}
    if not words:
        return
    chunks_of: dict[str, list[int]] = defaultdict(list)
    for n, (begin, end) in enumerate(bounds):
        for word in words.intersection(_words(text[begin:end].lower())):
            chunks_of[word].append(n)
    worth = _worth(chunks_of, len(bounds))
    rare_first = sorted(chunks_of, key=lambda word: (len(chunks_of[word]), word))
    best_of = {word: sorted(chunks_of[word], key=lambda n: (-worth[n], n))[:_PLENTY] for word in rare_first}
    for turn in range(_PLENTY):
        yield from (best_of[word][turn] for word in rare_first if turn < len(best_of[word]))
    yield from sorted(worth, key=lambda n: (-worth[n], n))


def _worth(chunks_of: Mapping[str, Sequence[int]], count: int) -> Mapping[int, float]:
    worth: dict[int, float] = defaultdict(float)
    for word in sorted(chunks_of):  # in an order of their own, since sums of floats depend on it
        for n in chunks_of[word]:
            worth[n] += math.log(count / len(chunks_of[word])) + 1e-9
    return worth


def _from_both_ends(count: int) -> Iterator[int]:
    for n in range((count + 1) // 2):
        yield n
        yield count - 1 - n
