"""Trying a call again, on a clock of the test's own."""

from __future__ import annotations

import pytest

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.providers.paging import PageGuard

POLICY = {
    Cause.UNAVAILABLE: Patience(1.0, attempts=4, jitter=(1.0, 1.0)),
    Cause.THROTTLED: Patience(2.0, longest_wait=10.0, total=20.0, jitter=(1.0, 1.0)),
}


class Clock:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    return clock


class Calls:
    """Fails as it is told, then succeeds."""

    def __init__(self, *failures: CloudError) -> None:
        self.failures, self.made = list(failures), 0

    def __call__(self) -> str:
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def failure(cause: Cause, retry_after: float | None = None) -> CloudError:
    return CloudError(cause, cause.value, retry_after)


def test_waits_double_and_the_answer_comes_through(clock: Clock) -> None:
    calls = Calls(*[failure(Cause.UNAVAILABLE)] * 3)
    assert retrying(POLICY, sleep=clock.sleep)(calls) == "answer"
    assert clock.slept == [1.0, 2.0, 4.0]


def test_after_the_last_attempt_the_error_stands(clock: Clock) -> None:
    calls = Calls(*[failure(Cause.UNAVAILABLE)] * 9)
    with pytest.raises(CloudError, match="unavailable"):
        retrying(POLICY, sleep=clock.sleep)(calls)
    assert calls.made == 4


def test_what_no_policy_names_is_not_tried_again(clock: Clock) -> None:
    calls = Calls(failure(Cause.AUTH))
    with pytest.raises(CloudError, match="auth"):
        retrying(POLICY, sleep=clock.sleep)(calls)
    assert calls.made == 1


def test_the_wait_that_the_cloud_names_counts_unless_it_is_too_long(clock: Clock) -> None:
    assert retrying(POLICY, sleep=clock.sleep)(Calls(failure(Cause.THROTTLED, 7.0))) == "answer"
    assert clock.slept == [7.0]
    with pytest.raises(CloudError):
        retrying(POLICY, sleep=clock.sleep)(Calls(failure(Cause.THROTTLED, 11.0)))


def test_no_wait_ends_after_the_deadline_or_the_total(clock: Clock) -> None:
    calls = Calls(*[failure(Cause.UNAVAILABLE)] * 9)
    with pytest.raises(CloudError):
        retrying(POLICY, deadline=clock.now + 4.0, sleep=clock.sleep)(calls)
    assert clock.slept == [1.0, 2.0]
    calls = Calls(*[failure(Cause.THROTTLED)] * 9)
    with pytest.raises(CloudError):
        retrying(POLICY, sleep=clock.sleep)(calls)
    assert sum(clock.slept[2:]) <= 20.0


def test_a_named_wait_may_be_longer_than_the_clients_own(clock: Clock) -> None:
    policy = {Cause.THROTTLED: Patience(1.0, longest_wait=2.0, longest_named_wait=60.0, jitter=(1.0, 1.0))}
    calls = Calls(*[failure(Cause.THROTTLED)] * 3, failure(Cause.THROTTLED, 59.0))
    assert retrying(policy, sleep=clock.sleep)(calls) == "answer"
    assert clock.slept == [1.0, 2.0, 2.0, 59.0]
    with pytest.raises(CloudError):
        retrying(policy, sleep=clock.sleep)(Calls(failure(Cause.THROTTLED, 61.0)))


def test_what_holds_back_all_callers_leaves_nothing_to_sleep(clock: Clock) -> None:
    failures = list[tuple[Cause, float]]()

    def hold_back(error: CloudError, wait: float) -> float:
        failures.append((error.cause, wait))
        return 0.0 if error.cause is Cause.THROTTLED else wait

    calls = Calls(failure(Cause.THROTTLED), failure(Cause.UNAVAILABLE), *[failure(Cause.THROTTLED, 11.0)])
    with pytest.raises(CloudError, match="throttled"):
        retrying(POLICY, sleep=clock.sleep, hold_back=hold_back)(calls)
    assert failures == [(Cause.THROTTLED, 2.0), (Cause.UNAVAILABLE, 1.0), (Cause.THROTTLED, 11.0)]
    assert clock.slept == [0.0, 1.0]


def test_a_call_that_is_held_back_elsewhere_still_has_a_last_attempt(clock: Clock) -> None:
    calls = Calls(*[failure(Cause.UNAVAILABLE)] * 9)
    with pytest.raises(CloudError):
        retrying(POLICY, sleep=clock.sleep, hold_back=lambda _error, _wait: 0.0)(calls)
    assert calls.made == 4


def test_each_cause_has_attempts_of_its_own(clock: Clock) -> None:
    calls = Calls(*[failure(Cause.UNAVAILABLE), failure(Cause.THROTTLED)] * 2)
    assert retrying(POLICY, sleep=clock.sleep)(calls) == "answer"
    assert calls.made == 5


def test_a_repeated_page_and_too_many_pages_are_refused() -> None:
    guard = PageGuard("list-things", most=2)
    guard.check("a")
    with pytest.raises(CloudError, match="list-things: the cloud repeats a page"):
        guard.check("a")
    guard.check("b")
    with pytest.raises(CloudError, match="more than 2 pages"):
        guard.check("c")
