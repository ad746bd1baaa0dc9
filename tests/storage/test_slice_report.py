"""What a run's materialization shows of its customers: who failed comes first, and what is known of their metrics."""

from __future__ import annotations

from datetime import timedelta

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage.slice_report import MOST_CUSTOMERS, Report
from optiinfra_dagster.storage.writer import FlushResult
from tests.support.spine import newest_window

WINDOW = newest_window()


def slice_of(customer: str, status: SliceStatus = SliceStatus.OK, states: str = "", age: int = 0) -> SliceResult:
    covered = [
        Coverage(f"i-{n}", ResourceType.COMPUTE, "cpu_utilization", CoverageState(state))
        for n, state in enumerate(states.split())
    ]
    failed = status is not SliceStatus.OK
    window = WINDOW - timedelta(minutes=15 * age)
    return SliceResult(
        customer, "aws", [window], status, error="denied" if failed else "", coverage=covered or None
    )  # fmt: skip


def shown(*slices: SliceResult) -> dict[str, object]:
    report = Report()
    report.add(slices, FlushResult())
    return report.metadata(detailed=True)


def listed(metadata: dict[str, object]) -> list[str]:
    return [str(one.data["customer"]) for one in metadata["customers"].records]  # type: ignore[attr-defined]


def test_who_failed_comes_first_and_is_named_in_a_line() -> None:
    found = shown(
        slice_of("acme"), slice_of("globex", SliceStatus.PARTIAL), slice_of("initech", SliceStatus.FAILED),
        slice_of("hooli", SliceStatus.NOT_DUE),
    )  # fmt: skip
    assert listed(found) == ["initech", "globex", "acme", "hooli"]
    assert (found["customers_failed"], found["customers_incomplete"]) == ("initech", "globex")


def test_where_nobody_failed_that_is_said() -> None:
    found = shown(slice_of("acme"))
    assert (found["customers_failed"], found["customers_incomplete"]) == ("none", "none")


def test_of_many_customers_those_that_failed_are_shown_and_the_others_counted() -> None:
    names = [f"c{n:03d}" for n in range(200)]
    found = shown(*(slice_of(name, SliceStatus.FAILED if name > "c186" else SliceStatus.OK) for name in names))
    table = listed(found)
    assert len(table) == MOST_CUSTOMERS == 100
    assert table[:14] == [*names[187:], "c000"]
    assert found["customers_not_listed"] == 100
    assert str(found["customers_failed"]).endswith("c198 and 1 more")


def test_coverage_is_a_table_with_bars_of_what_is_known_the_least_known_first() -> None:
    found = shown(
        slice_of("acme", states="collected collected no_points not_offered"),
        slice_of("globex", states="collected agent_missing agent_missing no_permission"),
    )
    text = found["coverage"].value  # type: ignore[attr-defined]
    assert text == (
        "Of each customer's metrics, those that are known; why the others are not.\n\n"
        "| customer | known |  | of | agent missing | no permission | not offered |\n"
        "|---|--:|---|--:|--:|--:|--:|\n"
        "| globex | 1 | ███ | 4 | 2 | 1 | 0 |\n"
        "| acme | 3 | █████████ | 4 | 0 | 0 | 1 |"
    )


def test_coverage_is_that_of_the_newest_window_and_absent_where_there_is_none() -> None:
    found = shown(slice_of("acme", states="collected"), slice_of("acme", states="error error", age=1))
    assert "| acme | 1 | ████████████ | 1 |" in found["coverage"].value  # type: ignore[attr-defined]
    assert "coverage" not in shown(slice_of("acme"))
