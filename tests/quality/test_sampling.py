"""Which interactions are chosen: the same ones whatever the order, the process, or the size of the sample."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.quality import sampling
from optiinfra_dagster.quality.interactions import Interaction
from optiinfra_dagster.quality.sampling import Sample

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def interaction(number: int, application: str = "shop", model: str = "a", prompt: str = "p") -> Interaction:
    moment = NOON + timedelta(seconds=number % 900)
    return Interaction(f"i{number}", application, application, model, moment, "aws", prompt, "r")


def chosen(items: list[Interaction], size: int, customer: str = "acme") -> dict[str, list[Interaction]]:
    sample = Sample(customer, size)
    for item in items:
        sample.add(item)
    return {application: list(sample.chosen(application)) for application in sample.applications}


INTERACTIONS = st.lists(
    st.builds(interaction, st.integers(0, 60), st.sampled_from(["shop", "desk"]), st.sampled_from(["a", "b"]),
              st.sampled_from(["p", "q"])),
    max_size=80,
)  # fmt: skip


@given(INTERACTIONS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_order_changes_nothing(items: list[Interaction], size: int, chance: object) -> None:
    shuffled = list(items)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert chosen(shuffled, size) == chosen(items, size)


@given(INTERACTIONS, st.integers(1, 12), st.integers(0, 12))
def test_larger_sample_holds_the_smaller_one(items: list[Interaction], size: int, more: int) -> None:
    small, large = chosen(items, size), chosen(items, size + more)
    for application, some in small.items():
        assert large[application][: len(some)] == some


@given(INTERACTIONS, st.integers(1, 12))
def test_sample_is_the_ids_with_the_smallest_hashes_each_once(items: list[Interaction], size: int) -> None:
    for application, some in chosen(items, size).items():
        ids = {item.interaction_id for item in items if item.application_id == application}
        scores = sorted(ids, key=lambda one: Sample("acme", 1)._score(application, one))
        assert [item.interaction_id for item in some] == scores[:size]


def test_populations_are_counted_by_application_and_model() -> None:
    sample = Sample("acme", 2)
    for number in range(10):
        sample.add(interaction(number, "shop" if number % 2 else "desk", "a" if number < 6 else "b"))
    assert sample.applications == ("desk", "shop")
    assert dict(sample.populations) == {("desk", "a"): 3, ("shop", "a"): 3, ("desk", "b"): 2, ("shop", "b"): 2}
    assert (sample.population("shop"), sample.population("shop", "a"), sample.population("none")) == (5, 3, 0)
    assert sample.chosen("none") == ()


def test_every_interaction_is_about_as_likely() -> None:
    times = [0] * 40
    for window in range(500):
        for item in chosen([replace(interaction(n), interaction_id=f"{window}-{n}") for n in range(40)], 4)["shop"]:
            times[int(item.interaction_id.partition("-")[2])] += 1
    assert sum(times) == 2000
    assert min(times) > 20
    assert max(times) < 85  # 50 expected, standard deviation 6.7


def test_customers_have_samples_of_their_own() -> None:
    items = [interaction(number) for number in range(200)]
    assert chosen(items, 5, "acme") != chosen(items, 5, "globex")


def test_another_process_chooses_the_same() -> None:
    program = (
        "from tests.quality.test_sampling import *;"
        "print([i.interaction_id for i in chosen([interaction(n) for n in range(300)], 5)['shop']])"
    )
    root = Path(__file__).resolve().parents[2]
    shown = subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True)
    here = [item.interaction_id for item in chosen([interaction(number) for number in range(300)], 5)["shop"]]
    assert shown.stdout.strip() == str(here)


def test_request_ids_in_place_of_applications_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_APPLICATIONS", 10)
    sample = Sample("acme", 1)
    for number in range(10):
        sample.add(interaction(number, f"request-{number}"))
    with pytest.raises(ConfigError, match="application_id"):
        sample.add(interaction(10, "request-10"))


def test_texts_of_what_was_not_chosen_are_let_go() -> None:
    sample = Sample("acme", 3)
    for number in range(1000):
        sample.add(interaction(number))
    assert sum(len(kept) for kept in sample._kept.values()) == 3
