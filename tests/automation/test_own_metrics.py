"""The metrics of the installation itself: what Prometheus reads of the ledger and of Dagster, and nothing made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from optiinfra_dagster.automation import own_metrics
from optiinfra_dagster.automation.alerting import incidents
from optiinfra_dagster.automation.alerting.incidents import Book, Incident
from optiinfra_dagster.automation.jobs import collection_job
from optiinfra_dagster.automation.own_metrics import OwnMetrics
from optiinfra_dagster.model import windows
from tests.automation.conftest import Ledger, queue_run, start_run
from tests.support.spine import LAG

if TYPE_CHECKING:
    from tests.support.spine import Spine

MIDNIGHT = windows.floor_to(timedelta(days=1), datetime.now(UTC))
NOON = MIDNIGHT + timedelta(hours=12, minutes=6)  # what is written today in the real world is of that day, too
NEWEST = windows.newest_collectable(NOON, LAG)
BEFORE = NEWEST - windows.WINDOW


class Scraped(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name and labels."""

    def __init__(self, text: str) -> None:
        super().__init__(
            {
                (sample.name.removeprefix("optiinfra_"), frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def of(self, name: str, **labels: str) -> float:
        return self[name, frozenset(labels.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self}


def scrape(spine: Spine, instance: dg.DagsterInstance | None = None, now: datetime = NOON, **more: Any) -> Scraped:
    registry = CollectorRegistry()
    registry.register(OwnMetrics(spine.settings, spine.clickhouse, instance=instance, clock=lambda: now, **more))
    return Scraped(generate_latest(registry).decode())


@pytest.fixture
def well(spine: Spine, ledger: Ledger) -> Spine:
    """A spine whose two newest windows are in."""
    for family in ("resource", "performance"):
        ledger.add(family, [BEFORE, NEWEST], at=NOON)
    return spine


def test_attempts_of_today_are_counted_by_outcome_whatever_their_window(spine: Spine, ledger: Ledger) -> None:
    ledger.add("performance", [BEFORE, NEWEST], at=NOON)
    ledger.add("performance", [NEWEST - timedelta(days=40)], at=MIDNIGHT)  # a backfill, paid today
    ledger.add("performance", [NEWEST], "failed", customers=["acme"], at=NOON)
    ledger.add("performance", [NEWEST], at=MIDNIGHT - timedelta(milliseconds=1))  # of yesterday
    ledger.add("performance_summary", [NEWEST], at=NOON)  # a reader is no slice of a customer
    found = scrape(spine)
    labels = {"provider": "aws", "family": "performance"}
    assert found.of("slice_attempts_total", **labels, outcome="ok") == 9
    assert found.of("slice_attempts_total", **labels, outcome="failed") == 1
    assert found.of("slice_attempts_total", **labels, outcome="partial") == 0
    assert found.of("collected_rows_total", **labels) == 9  # what failed gave none
    assert found.of("api_calls_total", **labels) == 10
    assert found.of("slice_attempts_total", provider="aws", family="resource", outcome="ok") == 0
    assert {key["family"] for key in map(dict, (labels for _, labels in found)) if "family" in key} == {
        "resource",
        "performance",
    }


def test_what_calls_cost_is_summed_exactly(spine: Spine, ledger: Ledger) -> None:
    ledger.add("performance", [NEWEST], at=NOON)
    with spine.clickhouse.session() as client:
        client.command("ALTER TABLE metric_batches UPDATE api_cost_usd = 0.1 WHERE 1 SETTINGS mutations_sync = 1")
    assert scrape(spine).of("api_cost_usd_total", provider="aws", family="performance") == 0.3


def test_the_newest_window_and_how_customers_stand(well: Spine, ledger: Ledger) -> None:
    later = NOON + windows.WINDOW
    newest = NEWEST + windows.WINDOW
    ledger.add("performance", [newest], customers=["acme"], at=later)
    ledger.add("performance", [newest], "failed", customers=["globex"], at=later)
    ledger.add("performance", [newest], "partial", customers=["initech"], at=later)
    found = scrape(well, now=later)
    labels = {"provider": "aws", "family": "performance"}
    assert found.of("newest_window_end_timestamp_seconds", **labels) == (newest + windows.WINDOW).timestamp()
    states = {state: found.of("newest_slices", **labels, state=state) for state in ("in", "failed", "partial")}
    assert states == {"in": 1, "failed": 1, "partial": 1}
    assert found.of("customers") == 3


def test_gaps_are_counted(well: Spine, ledger: Ledger) -> None:
    labels = {"provider": "aws", "family": "resource"}
    assert scrape(well).of("gap_windows", **labels) == 0
    ledger.add("resource", [NEWEST - 3 * windows.WINDOW], at=NOON, customers=["acme"])  # the window after it lacks
    ledger.add("resource", [NEWEST + 2 * windows.WINDOW], at=NOON)  # and the one before this lacks to all three
    later = NOON + 4 * windows.WINDOW
    ended = later - timedelta(minutes=well.settings.snapshot_grace_minutes)
    assert ended - windows.WINDOW > NEWEST + windows.WINDOW
    assert scrape(well, now=later).of("gap_windows", **labels) == 4
    each = scrape(well, now=later, by_customer=True)
    assert [each.of("gap_windows", **labels, customer=one) for one in ("acme", "globex", "initech")] == [2, 1, 1]
    assert each.of("gap_windows", provider="aws", family="performance", customer="acme") == 0


def test_nothing_published_is_no_time_and_no_zero(spine: Spine) -> None:
    found = scrape(spine)
    assert "newest_window_end_timestamp_seconds" not in found.names()
    assert found.of("newest_slices", provider="aws", family="resource", state="missing") == 3


def test_judging_of_today_is_added_up_and_an_unknown_price_is_no_zero(spine: Spine) -> None:
    columns = [
        "asked_at", "customer_id", "verdict_key", "answer", "prompt_tokens", "completion_tokens", "unanswered_tokens",
        "requests", "usd",
    ]  # fmt: skip
    rows: list[list[Any]] = [
        [MIDNIGHT, "acme", "1", "{}", 100, 20, 0, 1, "0.25"],
        [NOON, "globex", "2", "", 0, 0, 900, 3, None],
        [MIDNIGHT - timedelta(seconds=1), "acme", "3", "{}", 100, 20, 0, 1, "0.25"],
    ]
    with spine.clickhouse.session() as client:
        client.insert("application_verdicts", rows, column_names=columns)
    try:
        found = scrape(spine)
        each = scrape(spine, by_customer=True)
    finally:
        with spine.clickhouse.session() as client:
            client.command("TRUNCATE TABLE application_verdicts")
    names = ("tokens", "requests", "cost_usd", "unpriced_requests")
    assert [found.of(f"judge_{name}_total") for name in names] == [1020, 4, 0.25, 3]
    assert [each.of(f"judge_{name}_total", customer="acme") for name in names] == [120, 1, 0.25, 0]
    assert scrape(spine).of("judge_tokens_total") == 0  # it was read: nothing was judged


def test_series_are_as_many_with_more_customers_unless_asked_for(spine: Spine, ledger: Ledger) -> None:
    ledger.add("performance", [NEWEST], at=NOON)
    few, few_each = scrape(spine), scrape(spine, by_customer=True)
    assert few_each.of("api_calls_total", provider="aws", family="performance", customer="acme") == 1
    names = [f"customer{n}" for n in range(40)]
    spine.settings.customers_path.write_text(
        spine.settings.customers_path.read_text()
        + "".join(
            f"- {{id: {name}, name: {name}, families: [resource, performance], aws: [{{account_id: '{n:012}', "
            f"role_arn: 'arn:aws:iam::{n:012}:role/reader', regions: [us-east-1]}}]}}\n"
            for n, name in enumerate(names, start=7)
        )
    )
    ledger.add("performance", [NEWEST], customers=names, at=NOON)
    many = scrape(spine)
    assert many.of("customers") == 43
    assert many.of("slice_attempts_total", provider="aws", family="performance", outcome="ok") == 43
    assert many.keys() == few.keys()
    assert len(scrape(spine, by_customer=True)) > len(few_each) + 40


def test_the_cpu_of_a_run_is_counted_once_however_many_windows_it_had(
    spine: Spine, instance: dg.DagsterInstance
) -> None:
    partitions = dg.StaticPartitionsDefinition(["one", "two", "three"])

    @dg.asset(partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def resource():  # type: ignore[no-untyped-def] # noqa: ANN202 - Dagster cannot read a type that is a text
        return dg.MaterializeResult(metadata={"cpu_seconds": 7.5})

    @dg.asset(deps=[resource])
    def cost():  # type: ignore[no-untyped-def] # noqa: ANN202 - Dagster cannot read a type that is a text
        return dg.MaterializeResult(metadata={"cpu_seconds": 0.25})

    for selected, told in (([cost], 0.25), ([resource, cost], 7.75)):
        job = dg.define_asset_job(collection_job("aws"), dg.AssetSelection.assets(*selected))
        defs = dg.Definitions([resource, cost], jobs=[job])
        tags = {"dagster/asset_partition_range_start": "one", "dagster/asset_partition_range_end": "three"}
        defs.resolve_job_def(collection_job("aws")).execute_in_process(
            instance=instance, tags=tags if resource in selected else {}
        )
        found = scrape(spine, instance)
        assert found.of("last_run_cpu_seconds", job="aws_collection") == told
        assert ("last_run_cpu_seconds", frozenset({("job", "gcp_collection")})) not in found


def test_the_events_of_an_ended_run_are_read_once(
    spine: Spine, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(_: dg.DagsterInstance, run_id: str) -> float:
        asked.append(run_id)
        return 1.5

    monkeypatch.setattr(own_metrics, "_cpu_seconds", read)
    registry = CollectorRegistry()
    registry.register(OwnMetrics(spine.settings, spine.clickhouse, instance=instance, clock=lambda: NOON))
    runs = []
    for _ in range(2):
        run = start_run(instance, collection_job("aws"))
        instance.report_run_failed(run)
        runs.append(run.run_id)
        for _ in range(2):
            assert Scraped(generate_latest(registry).decode()).of("last_run_cpu_seconds", job="aws_collection") == 1.5
    assert asked == runs


def test_runs_and_incidents_are_those_of_dagster(spine: Spine, instance: dg.DagsterInstance) -> None:
    start_run(instance, collection_job("aws"))
    queue_run(instance, collection_job("aws"), {})
    over = Incident("gap", "acme", "aws", "cost", "", "lost", 1.0, [""], over=2.0)
    incidents.save(
        instance,
        Book(
            {
                name: [Incident("slice_failing", name, "aws", "cost", "", "it fails", 1.0, [""])]
                for name in ("acme", "globex")
            }
            | {over.key: [over]}
        ),
    )
    found = scrape(spine, instance)
    assert (found.of("runs", state="going"), found.of("runs", state="waiting")) == (1, 1)
    assert (found.of("incidents", kind="slice_failing"), found.of("incidents", kind="gap")) == (2, 0)
    assert found.of("unreached_sinks") == 0
    assert found.of("readable", part="dagster") == 1


def test_what_cannot_be_read_has_no_series_and_says_so(well: Spine) -> None:
    said: list[str] = []
    found = scrape(well, warn=said.append)  # without a DAGSTER_HOME
    assert (found.of("readable", part="dagster"), found.of("readable", part="ledger")) == (0, 1)
    assert {"runs", "incidents", "unreached_sinks"}.isdisjoint(found.names())
    well.settings.customers_path.write_text("customers: [")
    found = scrape(well, warn=said.append)
    assert (found.of("readable", part="customers_file"), found.of("readable", part="ledger")) == (0, 1)
    assert found.of("slice_attempts_total", provider="aws", family="resource", outcome="ok") == 6
    assert {"customers", "gap_windows", "newest_slices"}.isdisjoint(found.names())
    assert len(said) == 3
    assert all("\n" not in line for line in said)
