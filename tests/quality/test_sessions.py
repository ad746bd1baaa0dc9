"""What was said before in a conversation, whatever the order in which a window's interactions are read."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.groq import naive
from optiinfra_dagster.quality.rubric import Question, key_of
from optiinfra_dagster.quality.sessions import LAST_TURNS, Sessions
from tests.support.judging import W, interaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from optiinfra_dagster.quality.interactions import Interaction


def turn(session: str, n: int, prompt: str = "", response: str = "", application: str = "bot") -> Interaction:
    return interaction(
        n,
        interaction_id=f"{session}-{n}",
        application_id=application,
        session_id=session,
        timestamp=W + timedelta(seconds=n),
        prompt=prompt or f"Question {n} of {session}?",
        response=response or f"Answer {n} of {session}.",
    )


def sessions_of(turns: Iterable[Interaction], most: int = 1000) -> Sessions:
    sessions = Sessions(most)
    for one in turns:
        sessions.add(one)
    return sessions


def test_the_last_turns_before_it_come_oldest_first_in_any_order_of_reading() -> None:
    turns = [turn(session, n) for session in ("a", "b") for n in range(8)]
    expected = tuple(f"user: Question {n} of a?\nassistant: Answer {n} of a." for n in range(5 - LAST_TURNS, 5))
    for seed in range(5):
        random.Random(seed).shuffle(turns)  # noqa: S311 - orders of reading
        found = sessions_of([*turns, *turns]).before(turn("a", 5))
        assert found == expected
    assert sessions_of(turns).before(turn("a", 0)) == ()


def test_a_conversation_is_one_of_its_application() -> None:
    kept = sessions_of([turn("a", 0), turn("", 1), turn("a", 2, application="other")])
    assert len(kept.before(turn("a", 9))) == 1
    assert kept.before(turn("", 9)) == ()
    assert kept.before(turn("b", 9)) == ()


def test_what_the_record_holds_itself_is_not_added() -> None:
    kept = sessions_of([turn("a", 0)])
    history = "user: Question 0 of a?\n\nassistant: Answer 0 of a.\n\nuser: And then?"
    assert kept.before(turn("a", 1, prompt=history)) == ()
    assert len(kept.before(turn("a", 1, prompt="And then?"))) == 1


def test_memory_is_bounded_and_whole_conversations_are_given_up_the_same_in_any_order() -> None:
    turns = [turn(f"s{n % 40}", n) for n in range(400)]
    found = []
    for seed in range(4):
        random.Random(seed).shuffle(turns)  # noqa: S311 - orders of reading
        kept = sessions_of(turns, 95)
        assert sum(map(len, kept._turns.values())) == 90
        found.append({f"s{n}": kept.before(turn(f"s{n}", 1000)) for n in range(40)})
    assert found[0] == found[1] == found[2] == found[3]
    assert sorted(len(before) for before in found[0].values()) == [0] * 31 + [LAST_TURNS] * 9


def test_earlier_turns_are_a_part_of_the_question_and_of_its_key() -> None:
    one = turn("a", 1, prompt="And of the other one?")
    told = replace(one, earlier=sessions_of([turn("a", 0)]).before(one))
    assert "EARLIER" not in Question.about(one).user
    parts = naive.split(Question.about(told).messages)[1]
    assert parts["earlier"] == "user: Question 0 of a?\nassistant: Answer 0 of a."
    assert key_of("acme", "v", one) != key_of("acme", "v", told)
