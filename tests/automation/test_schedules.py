"""The schedule asks for the newest closed window, whatever is going."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optiinfra_dagster.assets import partitions
from optiinfra_dagster.assets.scope import Scope
from optiinfra_dagster.automation import schedules
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.config.shards import Shards
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.registry import load_customers
from tests.automation.conftest import queue_run, start_run
from tests.support.spine import ACCOUNTS

if TYPE_CHECKING:
    from tests.support.spine import Spine

TICK = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def stored_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """On SQLite: a schedule's context opens the instance anew."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as made:
        yield made


@pytest.fixture
def instance(stored_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """That instance without runs."""
    stored_instance.wipe()
    return stored_instance


@dg.asset(partitions_def=partitions.window_partitions(datetime(2026, 1, 1, tzinfo=UTC)))
def _asset() -> None: ...


def of_aws(settings: Settings) -> dg.ScheduleDefinition:
    return next(one for one in schedules.build(settings) if one.name == "aws_every_15_minutes")


def ask(instance: dg.DagsterInstance, settings: Settings, tick: datetime = TICK) -> dg.ScheduleExecutionData:
    schedule = of_aws(settings)
    jobs = [dg.define_asset_job("aws_collection")]
    repository = dg.Definitions([_asset], jobs=jobs, schedules=[schedule]).get_repository_def()
    return schedule.evaluate_tick(dg.build_schedule_context(instance, tick, repository_def=repository))


def test_a_tick_asks_for_the_newest_window_that_closed_the_lag_ago(instance: dg.DagsterInstance, spine: Spine) -> None:
    (request,) = ask(instance, spine.settings).run_requests or []
    assert request.partition_key == "2026-11-21T10:00Z"
    assert request.run_key == "aws:2026-11-21T10:00Z"


def test_a_tick_before_the_first_window_asks_for_none(instance: dg.DagsterInstance, spine: Spine) -> None:
    settings = spine.settings.model_copy(update={"partitions_start": datetime(2026, 11, 21, 10, 15, tzinfo=UTC)})
    early = ask(instance, settings)
    assert not early.run_requests
    assert early.skip_message == "The first window is 2026-11-21T10:15Z."
    (request,) = ask(instance, settings, TICK + windows.WINDOW).run_requests or []
    assert request.partition_key == "2026-11-21T10:15Z"


def test_a_tick_asks_for_every_shard_that_has_a_customer(instance: dg.DagsterInstance, spine: Spine) -> None:
    settings = spine.settings.model_copy(update={"shards": Shards(of_all=1, by_provider={"aws": 40})})
    requests = ask(instance, settings).run_requests or []
    asked = [request.run_config["resources"]["scope"]["config"]["shard"] for request in requests]
    customers = load_customers(settings.customers_path)
    of_shards = [[c.id for c in Scope(shard=shard).select(customers)] for shard in asked]
    assert all(of_shards)
    assert sorted(one for each in of_shards for one in each) == sorted(ACCOUNTS)
    assert len({request.run_key for request in requests}) == len(requests)
    assert {request.partition_key for request in requests} == {"2026-11-21T10:00Z"}
    assert [request.tags["optiinfra/in_turn"] for request in requests] == [f"aws:{shard}" for shard in asked]


def test_shards_of_a_provider_that_does_not_exist_are_refused(spine: Spine) -> None:
    settings = spine.settings.model_copy(update={"shards": Shards(by_provider={"awz": 2})})
    with pytest.raises(ConfigError, match=r"OPTIINFRA_SHARDS names 'awz', which is no provider \(did you mean 'aws'"):
        schedules.build(settings)


def test_a_tick_that_is_evaluated_late_asks_for_the_window_of_its_own_time(
    instance: dg.DagsterInstance, spine: Spine
) -> None:
    keys = [ask(instance, spine.settings, TICK + i * windows.WINDOW).run_requests[0].partition_key for i in range(3)]
    assert keys == ["2026-11-21T10:00Z", "2026-11-21T10:15Z", "2026-11-21T10:30Z"]


@given(lag=st.integers(0, 14), quarter=st.integers(0, 95))
def test_every_tick_of_the_cron_has_a_window_of_its_own_whatever_the_lag(lag: int, quarter: int) -> None:
    schedule = of_aws(Settings.model_validate({"OPTIINFRA_LAG_MINUTES": lag, "DAGSTER_HOME": "nowhere"}))
    minutes = [int(minute) for minute in str(schedule.cron_schedule).split()[0].split(",")]
    assert minutes == sorted(set(minutes))
    assert max(minutes) < 60
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    tick = midnight + timedelta(hours=quarter // 4, minutes=minutes[quarter % 4])
    newest = windows.newest_collectable(tick, timedelta(minutes=lag))
    assert newest == midnight + (quarter - 1) * windows.WINDOW
    assert newest + windows.WINDOW + timedelta(minutes=lag) <= tick


@pytest.mark.parametrize("tags", [{"dagster/schedule_name": "aws_every_15_minutes"}, {"dagster/backfill": "abc"}, {}])
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
def test_a_tick_asks_for_its_window_whatever_is_going(
    instance: dg.DagsterInstance, spine: Spine, status: dg.DagsterRunStatus, tags: dict[str, str]
) -> None:
    """Dagster's queue lets a schedule's runs wait for each other, and nothing else comes before them."""
    start_run(instance, "aws_collection", status=status, tags=tags)
    (request,) = ask(instance, spine.settings).run_requests or []
    assert request.tags["dagster/priority"] == "10"


def test_a_run_that_waited_until_its_inventory_cannot_be_taken_gives_its_place_to_the_newest(
    instance: dg.DagsterInstance, spine: Spine
) -> None:
    """Its window is in time until 30 minutes after its end; the tick is 5 minutes after an end."""
    waiting = {}
    for partition in ("2026-11-21T09:15Z", "2026-11-21T09:30Z", "2026-11-21T09:45Z"):
        tags = {"dagster/schedule_name": "aws_every_15_minutes", "dagster/partition": partition}
        waiting[partition] = queue_run(instance, "aws_collection", tags)
    ask(instance, spine.settings)
    status = {run.run_id: run.status.value for run in instance.get_runs()}
    assert {partition: status[run.run_id] for partition, run in waiting.items()} == {
        "2026-11-21T09:15Z": "CANCELED",
        "2026-11-21T09:30Z": "CANCELED",
        "2026-11-21T09:45Z": "QUEUED",
    }


def test_a_provider_that_no_customer_has_costs_no_run(instance: dg.DagsterInstance, spine: Spine) -> None:
    spine.write_customers("http://127.0.0.1:9", families=["application"])
    answer = ask(instance, spine.settings)
    assert not answer.run_requests
    assert answer.skip_message == "No customer has aws."


def test_a_bad_customers_file_is_a_tick_skipped_with_its_message(instance: dg.DagsterInstance, spine: Spine) -> None:
    spine.settings.customers_path.write_text("customers: [{id: UPPER}]")
    answer = ask(instance, spine.settings)
    assert not answer.run_requests
    assert "customers[0].id" in str(answer.skip_message)
