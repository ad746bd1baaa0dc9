"""Excerpts of long texts: what the answer speaks of is shown, in order, with true marks, and always the same."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.quality import excerpts
from optiinfra_dagster.quality.excerpts import choose

LIMIT = 32_000
_MARKS = re.compile(re.escape(excerpts.MARK).replace(r"\{count\}", r"(\d+)"))


def filler(size: int) -> str:
    """Paragraphs of a handbook that all speak of the same things, in the words of the answer too."""
    parts = (
        f"Section {n}. The support team answers questions about the order, the delivery and the return of products. "
        f"A customer who asks about the warranty of a product is told the number {n * 7919 % 10007}.\n\n"
        for n in range(size // 190)
    )
    return "".join(parts)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.77, 0.99])
def test_a_fact_that_the_answer_uses_is_shown_wherever_it_stands(share: float) -> None:
    text = filler(500_000)
    at = text.index("\n\n", int(len(text) * share)) + 2
    fact = "The Zephyrine kettle has a warranty of 41 months, counted from the delivery."
    text = f"{text[:at]}{fact}\n\n{text[at:]}"
    found = choose(text, LIMIT, ["The warranty of the Zephyrine kettle is 41 months.", "How long is the warranty?"])
    assert fact in found.text
    assert len(found.text) <= LIMIT


def test_facts_of_several_claims_are_all_shown() -> None:
    text = filler(500_000)
    facts = [f"Model {name} weighs {n + 3} kilograms." for n, name in enumerate(["Arvo", "Belu", "Cirro", "Dunta"])]
    paragraphs = text.split("\n\n")
    for n, fact in enumerate(facts):
        paragraphs.insert(len(paragraphs) * (n + 1) // 5, fact)
    answer = "The Arvo weighs 3, the Belu 4, the Cirro 5 and the Dunta 6 kilograms, says the support team."
    found = choose("\n\n".join(paragraphs), LIMIT, [answer]).text
    places = [found.find(fact) for fact in facts]
    assert -1 not in places
    assert places == sorted(places)  # in the order of the text


def test_scripts_without_spaces_are_compared_too() -> None:
    text = "".join(
        f"第{n}章。お客様からの質問に対して担当者が回答します。商品の返品と配送について説明します。"
        for n in range(12_000)
    )
    half = text.index("。", len(text) // 2) + 1
    fact = "琥珀色の湯沸かし器の保証期間は四十一か月です。"
    found = choose(text[:half] + fact + text[half:], LIMIT, ["湯沸かし器の保証期間は四十一か月です。"])
    assert fact in found.text


def test_a_short_text_is_whole() -> None:
    assert choose("a" * LIMIT, LIMIT, ["a"]) == excerpts.Excerpt("a" * LIMIT)


def test_without_anything_in_common_beginning_and_end_are_shown() -> None:
    text = "".join(f"{n:06d} " for n in range(20_000))
    found = choose(text, 16_000)
    assert found.text.startswith(text[:7000])
    assert found.text.endswith(text[-7000:])


letters = st.sampled_from("ab é\u0301\u200d👩🏽\ufe0f\n.。保証\ud83d 0")
words = st.lists(letters, max_size=400).map("".join)


@given(text=words, wanted=st.lists(words, max_size=3), limit=st.integers(400, 2000), times=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_an_excerpt_keeps_order_and_its_marks_say_what_is_missing(
    text: str, wanted: list[str], limit: int, times: int
) -> None:
    whole = text * times
    found = choose(whole, limit, wanted)
    assert len(found.text) <= limit
    assert found == choose(whole, limit, wanted)
    pieces = _MARKS.split(found.text)
    shown, gaps = pieces[::2], [int(count) for count in pieces[1::2]]
    assert sum(gaps) == found.left_out
    assert sum(map(len, shown)) + found.left_out == len(whole)
    at = 0
    for piece, gap in zip(shown, [*gaps, 0], strict=True):
        assert whole[at : at + len(piece)] == piece
        at += len(piece) + gap


def test_no_accent_is_torn_from_its_letter() -> None:
    text = "e\u0301" * 50_000
    found = choose(text, 16_000, ["e"])
    for piece in _MARKS.split(found.text)[::2]:
        assert not piece or not unicodedata.combining(piece[0])


def test_a_megabyte_takes_little_time() -> None:
    """Measured: 35 to 50 ms of CPU; the bound only keeps a square of the length out."""
    text, answer = filler(1_000_000), filler(16_000)
    began = time.process_time()
    choose(text, LIMIT, [answer, answer])
    assert time.process_time() - began < 1.0
