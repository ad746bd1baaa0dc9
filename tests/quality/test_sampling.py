"""Which interactions are chosen: the same ones whatever the order, the process, or the size of the sample."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
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


def chosen(
    items: list[Interaction], size: int, customer: str = "acme", window: datetime = NOON
) -> dict[str, list[Interaction]]:
    sample = Sample(customer, window, size)
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
def test_of_each_model_the_ids_with_the_smallest_hashes_are_chosen_each_once(
    items: list[Interaction], size: int
) -> None:
    for application, some in chosen(items, size).items():
        of_application = [item for item in items if item.application_id == application]
        models = {item.model_name for item in of_application}
        counts = {
            model: len({item.interaction_id for item in of_application if item.model_name == model}) for model in models
        }
        assert len(some) == min(size, sum(counts.values()))
        for model in models:
            ids = {item.interaction_id for item in of_application if item.model_name == model}
            ordered = sorted(ids, key=lambda one: Sample("acme", NOON, 1)._score(application, one))
            its = [item.interaction_id for item in some if item.model_name == model]
            assert its == ordered[: len(its)]
            assert its or size < len(models)


def test_a_model_with_little_traffic_is_never_without_a_sample() -> None:
    for window in range(50):
        items = [interaction(1000 * window + n, model="rare" if n % 50 == 7 else "usual") for n in range(100)]
        models = [one.model_name for one in chosen(items, 5, window=NOON + timedelta(minutes=15 * window))["shop"]]
        assert sorted(models) == ["rare", "usual", "usual", "usual", "usual"]


def sizes(populations: dict[str, int], size: int) -> dict[str, int]:
    """How many are chosen of each model."""
    items = [interaction(n, model=model) for model, count in populations.items() for n in range(count)]
    return dict(Counter(one.model_name for one in chosen(items, size)["shop"]))


@pytest.mark.parametrize(
    ("populations", "size", "given"),
    [
        ({"a": 900, "b": 100}, 40, {"a": 30, "b": 10}),  # roots 30 and 10
        ({"a": 4, "b": 4}, 5, {"a": 3, "b": 2}),
        ({"a": 2, "b": 900}, 40, {"a": 2, "b": 38}),
        ({"a": 1, "b": 2, "c": 3}, 40, {"a": 1, "b": 2, "c": 3}),
        ({"a": 400, "b": 100, "c": 100}, 8, {"a": 4, "b": 2, "c": 2}),
    ],
)
def test_after_one_each_a_model_is_given_by_the_root_of_its_traffic(
    populations: dict[str, int], size: int, given: dict[str, int]
) -> None:
    found = sizes(populations, size)
    assert sorted(found.values()) == sorted(given.values())
    assert found == given or len(set(populations.values())) < len(populations)


def test_where_models_are_more_than_the_sample_each_has_its_turn() -> None:
    times: Counter[str] = Counter()
    for window in range(400):
        items = [interaction(n, model=f"m{n % 8 if n < 40 else 0}") for n in range(100)]
        models = [one.model_name for one in chosen(items, 2, window=NOON + timedelta(minutes=15 * window))["shop"]]
        assert len(set(models)) == 2
        times.update(models)
    assert len(times) == 8
    assert 70 < min(times.values()) <= max(times.values()) < 132  # 100 expected, standard deviation 8.7


def test_ids_that_begin_anew_with_each_window_are_not_the_same_ones_each_time() -> None:
    items = [interaction(number) for number in range(40)]
    times: Counter[str] = Counter()
    for window in range(200):
        moment = NOON + timedelta(minutes=15 * window)
        times.update(one.interaction_id for one in chosen(items, 4, window=moment)["shop"])
    assert len(times) == 40
    assert max(times.values()) < 45  # 20 expected, standard deviation 4.2


def test_populations_are_counted_by_application_and_model() -> None:
    sample = Sample("acme", NOON, 2)
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


def test_request_ids_in_place_of_applications_or_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_STRATA", 10)
    requests = [f"request-{number}" for number in range(11)]
    of_applications = [interaction(n, application=request) for n, request in enumerate(requests)]
    of_models = [interaction(n, model=request) for n, request in enumerate(requests)]
    for items, told in ((of_applications, "10 applications and 1 models"), (of_models, "1 applications and 10 models")):
        sample = Sample("acme", NOON, 1)
        for item in items[:10] + items[9:10]:
            sample.add(item)
        with pytest.raises(ConfigError, match=rf"{told}.*application_id.*gen_ai\.request\.model"):
            sample.add(items[10])


def test_texts_of_what_was_not_chosen_are_let_go() -> None:
    sample = Sample("acme", NOON, 3)
    for number in range(1000):
        sample.add(interaction(number))
    assert sum(len(stratum.kept) for stratum in sample._strata["shop"].values()) == 3


def test_of_many_models_no_more_is_kept_than_the_sample_may_need() -> None:
    """Ten models of a sample of 20 could each be given 11; a heap of 20 for each would keep 200."""
    sample = Sample("acme", NOON, 20)
    for number in range(5000):
        sample.add(interaction(number, model=f"m{number % (1 + number // 500)}"))
    strata = sample._strata["shop"].values()
    assert [len(stratum.kept) for stratum in strata] == [11] * 10
    assert len(sample.chosen("shop")) == 20
