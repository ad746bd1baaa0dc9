"""One call counts once: doubles within a window and across files, whatever tells that they are one."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.errors import CloudError
from optiinfra_dagster.quality.doubles import Doubles
from optiinfra_dagster.quality.interactions import Interaction, Skip, SkippedCall
from tests.support.judging import W, interaction

if TYPE_CHECKING:
    from collections.abc import Sequence

Record = Interaction | SkippedCall


def counted(records: Sequence[Record]) -> list[Record]:
    """What counts of some records, by the second reading where one is needed."""
    doubles = Doubles()
    found = [one for one in records if doubles.is_first(one)]
    if not doubles.is_settled:
        found = [told for one in records if (told := doubles.settled(one)) is not None]
        doubles.check()
    return found


def skipped(n: int, kind: Skip = Skip.STEP, **changes: Any) -> SkippedCall:
    fields: dict[str, Any] = {"interaction_id": f"i-{n}", "application_id": "bot", "model_name": "gpt-4o-mini",
                              "timestamp": W + timedelta(seconds=n)}  # fmt: skip
    return SkippedCall(kind, **{**fields, **changes})


def test_equal_records_count_once_and_need_no_second_reading() -> None:
    doubles = Doubles()
    assert [doubles.is_first(one) for one in [interaction(1), interaction(2), interaction(1)]] == [True, True, False]
    assert doubles.is_settled


@pytest.mark.parametrize(
    "other",
    [
        replace(interaction(1), interaction_id="span-2", other_ids=("i-1",)),  # the outer one names the inner one
        replace(interaction(1), interaction_id="span-2", other_ids=("chatcmpl-7",)),  # both name the API's id
        replace(interaction(1), interaction_id="chatcmpl-7", prompt="another wording"),
        replace(interaction(1), timestamp=W + timedelta(seconds=9)),  # its end instead of its start, the same prompt
        replace(interaction(1), response="The warranty is two years, and longer for tools."),  # told again, complete
        skipped(1),
    ],
    ids=["outer", "response-id", "other-application's-own", "end", "updated", "step"],
)
def test_records_of_one_call_count_once_in_either_order(other: Record) -> None:
    one = interaction(1, other_ids=("chatcmpl-7",))
    assert len(counted([one, other])) == 1
    assert counted([one, other]) == counted([other, one])


def test_the_richer_record_counts() -> None:
    poor = interaction(1, context=None)
    rich = interaction(1, prompt_tokens=5, response_tokens=6)
    longer = interaction(1, prompt_tokens=5, response_tokens=6, response="It is two years, from the day of delivery.")
    assert counted([poor, rich, longer, rich, poor]) == [longer]
    assert counted([skipped(1, Skip.FAILED), poor]) == [poor]


def test_what_only_a_third_record_joins_is_one_call() -> None:
    first, second = interaction(1), replace(interaction(1), interaction_id="s2")
    both = replace(interaction(1), interaction_id="s3", other_ids=("i-1", "s2"))
    assert len(counted([first, second])) == 2
    for records in ([first, second, both], [both, first, second], [second, both, first]):
        assert len(counted(records)) == 1


def test_numbers_that_begin_anew_are_different_calls_with_ids_of_their_own() -> None:
    """Two processes of an application count from 1: the same number at another time, of another prompt."""
    first = interaction(7, interaction_id="7", timestamp=W + timedelta(seconds=1))
    second = interaction(8, interaction_id="7", timestamp=W + timedelta(seconds=2, microseconds=5))
    elsewhere = replace(second, application_id="shop")
    for records in ([first, second, elsewhere, first], [second, first, elsewhere, second]):
        found = counted(records)
        assert {(one.application_id, one.interaction_id) for one in found} == {
            ("bot", "7@10:15:01.000000"),
            ("bot", "7@10:15:02.000005"),
            ("shop", "7"),
        }


def test_a_log_that_changes_between_the_readings_is_an_error() -> None:
    doubles = Doubles()
    for one in (interaction(1, context=None), interaction(1), interaction(2)):
        doubles.is_first(one)
    assert not doubles.is_settled
    assert [doubles.settled(one) for one in (interaction(1), interaction(3))] == [interaction(1), None]
    with pytest.raises(CloudError, match="changed while it was read"):
        doubles.check()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.randoms())
def test_each_call_counts_once_in_any_order(calls: list[int], chance: random.Random) -> None:
    """Each call is told of by up to four kinds of records, any number of times."""

    def told(call: int) -> Record:
        ids = [f"i-{call}", f"outer-{call}", f"chatcmpl-{call}"]
        kind = chance.randrange(4)
        if kind == 3:
            return skipped(call, interaction_id=ids[0], other_ids=tuple(ids[1:]))
        text = "x" * chance.randrange(3)
        return interaction(call, interaction_id=ids[kind], other_ids=tuple(ids[:kind] + ids[kind + 1 :]),
                           response=f"R{text}", context=None)  # fmt: skip

    records = [told(call) for call in calls]
    found = counted(records)
    assert len(found) == len(set(calls))
    shuffled = list(records)
    chance.shuffle(shuffled)
    assert sorted(map(repr, counted(shuffled))) == sorted(map(repr, found))
    for one in found:
        assert isinstance(one, Interaction) or not any(
            isinstance(other, Interaction) and one.interaction_id in (other.interaction_id, *other.other_ids)
            for other in records
        )


@pytest.mark.long
def test_a_hundred_thousand_calls_take_little_memory() -> None:
    doubles = Doubles()
    base = interaction(1)
    tracemalloc.start()
    for n in range(100_000):
        doubles.is_first(replace(base, interaction_id=f"{n:032x}-{n:016x}", other_ids=(f"chatcmpl-{n}",)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20
