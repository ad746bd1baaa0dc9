"""A storm over four clouds at once: what is throttled, refused, cut or hangs ends in time, and costs nobody else."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from botocore.config import Config

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.automation.jobs import collection_job
from optiinfra_dagster.collection import pool
from optiinfra_dagster.lab.server import Response
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import Cause, StorageError
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.providers.aws import sdk as aws
from optiinfra_dagster.providers.azure import transport as azure
from optiinfra_dagster.providers.http import Patience
from optiinfra_dagster.providers.registry import FAMILIES_OF
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.lab.server import Handler, Request
    from tests.collection.conftest import StartLab

FAMILIES = ("resource", "performance")
HEALTHY = ["acme", "globex"]
STORMY: dict[str, list[dict[str, Any]]] = {
    "flaky": [{"action": "throttle", "probability": 0.3}],
    "refused": [{"action": "throttle", "mode": "529"}],
    "broken": [{"action": "unavailable"}],
    "cut": [{"action": "disconnect", "service": "monitoring"}],  # gRPC; over HTTP the answers end half-way
    "stuck": [{"action": "delay", "seconds": 8, "operation": operation} for operation in
              ("GetMetricData", "ListTimeSeries", "getBatch", "get-database-usage", "get-instance-bandwidth")],
}  # fmt: skip
THROTTLED = r"(?i)throttl|rate.?limit|rate exceeded"
CAUSES = {
    "flaky": THROTTLED,
    "refused": THROTTLED,
    "broken": r"(?i)unavailable",
    "cut": r"no answer|ResponseParserError|ChunkedEncodingError|Socket closed|IncompleteRead|RemoteProtocolError",
    "stuck": r"took too long|Timeout|DEADLINE_EXCEEDED|did not answer|not answered",
}
UNFINISHED = {"partial", "failed"}
OUTCOMES = {**dict.fromkeys(STORMY, UNFINISHED), "flaky": {"ok", *UNFINISHED}}
CUSTOMERS = [*HEALTHY, *STORMY]
SILENCE = 6  # seconds after which a call is given up; long enough for an answer on a machine with other work
BOUND = 12.0  # seconds in which one customer's calls begin, in place of minutes


@pytest.fixture
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds of the four clouds' collections, of their calls, and of the waits between these."""
    providers = "optiinfra_dagster.providers"
    for name in (
        *("aws.inventory.SENDING_SECONDS", "aws.metrics.SENDING_SECONDS", "azure.inventory._SECONDS"),
        *("azure.metrics._SECONDS", "gcp.client._TOTAL_S", "gcp.metrics._TOTAL_S"),
        *("vultr.client.TOTAL_SECONDS", "vultr.metrics.TOTAL_SECONDS"),
    ):
        monkeypatch.setattr(f"{providers}.{name}", BOUND)
    # Clients and connections of earlier tests have longer ones.
    for name in ("aws.client._SDKS", "aws.client._ACCOUNTS", "azure.client._PRINCIPALS", "vultr.client._LINES"):
        monkeypatch.setattr(f"{providers}.{name}", {})
    monkeypatch.setattr(aws, "_CONFIG", aws._CONFIG.merge(Config(read_timeout=SILENCE)))
    monkeypatch.setitem(azure.PATIENCE, "read_timeout", SILENCE)
    monkeypatch.setitem(azure.PATIENCE, "retry_backoff_max", 0.1)
    monkeypatch.setattr(f"{providers}.gcp.client._TIMEOUT_S", (SILENCE, SILENCE))
    monkeypatch.setattr(f"{providers}.gcp.monitoring._CALL_S", SILENCE)
    patience = Patience(first_wait=0.05, longest_wait=0.1, total=0.2)
    for module in ("client", "monitoring"):
        policy = {Cause.THROTTLED: patience, Cause.UNAVAILABLE: patience}
        monkeypatch.setattr(f"{providers}.gcp.{module}._PATIENCE", policy)
    monkeypatch.setattr(f"{providers}.vultr.client.REQUEST_SECONDS", SILENCE)
    for name in ("RETRY_SECONDS", "PAUSE_SECONDS"):
        monkeypatch.setattr(f"{providers}.vultr.client.{name}", 0.01)


def opened(home: Path) -> Spine:
    """A spine whose engine stays open between the sessions of the jobs' threads: each opening takes 0.3 CPU-s."""
    spine = Spine.at(home)
    spine.clickhouse = ClickHouse(spine.settings.clickhouse_url.get_secret_value(), linger=60.0)
    return spine


def accounts(customer: str) -> dict[str, str]:
    """What the clouds call a customer's accounts."""
    number = CUSTOMERS.index(customer) + 1
    return {
        "aws": str(number) * 12,
        "gcp": f"{customer}-prod",
        "azure": f"{number:08d}-0000-4000-8000-000000000000",
        "vultr": customer,
    }


def world() -> dict[str, Any]:
    """The same small fleets for every customer on every cloud."""
    of = {customer: accounts(customer) for customer in CUSTOMERS}
    aws_fleets = [
        {"kind": "ec2:instance", "region": "us-east-1"},
        {"kind": "rds:db", "region": "us-east-1"},
    ]
    gcp_fleets = [
        {"kind": "gcp:instance", "region": "us-central1"},
        {"kind": "gcp:sql_instance", "region": "us-central1"},
    ]
    azure_fleets = [
        {"kind": "azure:vm", "region": "westeurope"},
        {"kind": "azure:postgresql", "region": "northeurope"},
    ]
    vultr_fleets = [{"kind": "vultr:instance", "count": 2}, {"kind": "vultr:database"}]
    return {
        "secrets": {f"{customer.upper()}_KEY": f"{customer}-key" for customer in CUSTOMERS},
        "aws": {
            "accounts": [{"id": one["aws"], "regions": ["us-east-1"], "fleets": aws_fleets} for one in of.values()]
        },
        "gcp": {"projects": [{"id": one["gcp"], "fleets": gcp_fleets} for one in of.values()]},
        "azure": {"subscriptions": [{"id": one["azure"], "fleets": azure_fleets} for one in of.values()]},
        "vultr": {
            "accounts": [{"name": one, "keys": [f"{one}-key"], "fleets": vultr_fleets} for one in of],
            "limit": 10**6,
        },
    }


def write_customers(spine: Spine, labs: dict[str, CloudLab]) -> None:
    """Every customer on all four clouds, in the lab that is named for it."""
    customers = []
    for customer in CUSTOMERS:
        lab, names = labs[customer], accounts(customer)
        assert lab.gcp.monitoring is not None
        at = {"endpoint_url": lab.url}
        customers.append(
            {
                "id": customer,
                "name": customer.title(),
                "families": list(FAMILIES),
                "aws": [{"account_id": names["aws"], "role_arn": f"arn:aws:iam::{names['aws']}:role/reader",
                         "regions": ["us-east-1"], **at}],
                "gcp": [{"project_id": names["gcp"], "monitoring_endpoint_url": lab.gcp.monitoring.url, **at}],
                "azure": [{"subscription_id": names["azure"], "metrics_endpoint_url": lab.url,
                           "tenant_id": f"{customer}.example", "client_id": names["azure"],
                           "client_secret": {"env": f"{customer.upper()}_KEY"}, **at}],
                "vultr": [{"api_key": {"env": f"{customer.upper()}_KEY"}, **at}],
            }
        )  # fmt: skip
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))


def collect_at_once(spine: Spine, window: datetime) -> None:
    """Collect the four clouds side by side, as their runs do."""

    def collect(provider: str) -> None:
        for family in FAMILIES:
            spine.collect(family, [window], provider=provider)

    with ThreadPoolExecutor(len(FAMILIES_OF)) as pool:
        list(pool.map(collect, FAMILIES_OF))


def run_jobs(spine: Spine, window: datetime) -> None:
    """Run the jobs of the four clouds, one after the other, without cost and application."""
    overrides = {"clickhouse": spine.clickhouse, "io_manager": ClickHouseIOManager(spine.clickhouse)}
    defs = build_defs(spine.settings, overrides)
    with dg.DagsterInstance.local_temp(str(spine.home)) as instance:
        for provider in FAMILIES_OF:
            result = defs.resolve_job_def(collection_job(provider)).execute_in_process(
                instance=instance,
                partition_key=windows.key(window),
                asset_selection=[dg.AssetKey([provider, family]) for family in FAMILIES],
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            assert result.success


OF_THE_ATTEMPT = {"batch", "collected_at", "published_at"}
Rows = dict[tuple[str, str, str], list[str]]


def slices(spine: Spine, window: datetime) -> Rows:
    """What readers see of each slice of a window, cell by cell, but for when and by which attempt it came."""
    found: Rows = {(c, p, f): [] for c in CUSTOMERS for p in FAMILIES_OF for f in FAMILIES}
    for family in FAMILIES:
        for row in spine.view(f"{family}_metrics"):
            if row["window_start"] != window:
                continue
            cells = {name: value for name, value in row.items() if name not in OF_THE_ATTEMPT}
            found[row["customer_id"], row["provider"], family].append(repr(cells))
    return found


def coverage(spine: Spine) -> list[str]:
    """What is known of each metric now."""
    return [repr(row) for row in spine.view("coverage")]


def ledger(spine: Spine) -> list[dict[str, Any]]:
    """Every attempt at a slice."""
    return [row for family in FAMILIES for rows in spine.ledger(family).values() for row in rows]


def eventually(read: Callable[[], int], wanted: int) -> int:
    """What is read, once it is what is wanted, or after a while: the lab notes a call that hangs when it ends."""
    for _ in range(300):
        if read() == wanted:
            break
        time.sleep(0.1)  # the lab says nothing when it notes a call, so it is asked
    return read()


def half_way(handler: Handler) -> Handler:
    """Ends the connection in the middle of each answer of a cloud."""

    def answer(request: Request) -> Response | None:
        whole = handler(request)
        if whole is None or request.path.startswith("/lab/"):
            return whole
        length = str(len(whole.body))
        return Response(whole.status, whole.body[: len(whole.body) // 2], {**whole.headers, "Content-Length": length})

    return answer


@pytest.mark.timeout(400)  # half a minute of waiting for what hangs, and a machine with other work
@pytest.mark.parametrize("collect", [collect_at_once, pytest.param(run_jobs, marks=pytest.mark.long)])
def test_a_storm_over_four_clouds_ends_in_time_and_costs_no_healthy_customer(
    start_lab: StartLab, tmp_path: Path, short_bounds: None, collect: Callable[[Spine, datetime], None]
) -> None:
    """Each stormy customer's slices end with their cause, the others' come first, and the next run makes good."""
    window = newest_window()
    before, after = window - windows.WINDOW, window + windows.WINDOW
    # What the labs show does not change between the runs. One is for answers that end half-way.
    lab, cutting = (start_lab(world(), now=lambda: after) for _ in range(2))
    spine = opened(tmp_path / "storm")
    write_customers(spine, {**dict.fromkeys(CUSTOMERS, lab), "cut": cutting})
    for provider in FAMILIES_OF:  # so that metrics are asked for, whatever becomes of the inventory
        spine.collect("resource", [before], provider=provider, now=lambda: window)
    whole = cutting._server.handler
    cutting._server.handler = half_way(whole)
    for customer, faults in STORMY.items():
        control = (cutting if customer == "cut" else lab).control
        control.add_faults(*({**fault, "account": name} for name in accounts(customer).values() for fault in faults))

    collect(spine, window)

    rows = [row for row in ledger(spine) if row["window_start"] == window]
    of = {(row["customer_id"], row["provider"], row["dataset"]): row for row in rows}
    assert len(rows) == len(of) == len(CUSTOMERS) * len(FAMILIES_OF) * len(FAMILIES)
    for (customer, provider, family), row in of.items():
        calm = customer in HEALTHY or (customer, family) == ("stuck", "resource")
        assert row["outcome"] in ({"ok"} if calm else OUTCOMES[customer]), row
        assert not row["permanent"], row
        if row["outcome"] != "ok":
            account = f"{customer.upper()}_KEY" if provider == "vultr" else accounts(customer)[provider]
            assert account in row["error"], row
            assert re.search(CAUSES[customer], row["error"]), row
    for provider in FAMILIES_OF:
        last = of["stuck", provider, "performance"]["published_at"]
        assert all(of[customer, provider, "performance"]["published_at"] < last for customer in HEALTHY)
    in_storm = slices(spine, window)

    cutting._server.handler = whole
    for each in (lab, cutting):
        each.control.clear_faults()
    collect(spine, window)
    repaired, known = slices(spine, window), coverage(spine)
    calls = sum(row["api_calls"] for row in ledger(spine))
    assert eventually(lambda: sum(one.control.calls().count() for one in (lab, cutting)), calls) == calls

    quiet = opened(tmp_path / "calm")
    write_customers(quiet, dict.fromkeys(CUSTOMERS, lab))
    collect_at_once(quiet, window)
    assert {row["outcome"] for row in ledger(quiet)} == {"ok"}
    wanted = slices(quiet, window)
    assert all(wanted.values())
    assert [key for key in wanted if key[0] in HEALTHY and in_storm[key] != wanted[key]] == []
    assert [key for key in wanted if repaired[key] != wanted[key]] == []
    assert known == coverage(quiet)


# --- Places ---------------------------------------------------------------------------------------------------------


def test_customers_whose_cloud_hangs_do_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as many hang as have places, and come first; the others are published before any of them ends."""
    monkeypatch.setattr(pool, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(pool, "FLUSH_SECONDS", 0.01)
    over = threading.Event()

    def work(task: int) -> Iterator[SliceResult]:
        if task < 12:
            over.wait(60)
        yield SliceResult(f"customer-{task}", "aws", [newest_window()], SliceStatus.OK)

    ended: list[str] = []
    for lot in pool.in_flush_batches(work, list(range(112)), pool.SlotPool(4, 16)):
        ended += [slices.customer_id for slices in lot]
        if len(ended) == 100:
            over.set()
    assert sorted(ended[:100]) == sorted(f"customer-{n}" for n in range(12, 112))
    assert len(ended) == 112


def test_tasks_are_taken_as_they_are_needed_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task holds its customer's inventory: of a thousand customers, those of a few are in memory at once."""
    monkeypatch.setattr(pool, "TASKS_AHEAD", 10)
    taken_by: set[int] = set()
    alive: weakref.WeakSet[_Held] = weakref.WeakSet()
    most = 0

    def tasks() -> Iterator[_Held]:
        nonlocal most
        for number in range(300):
            taken_by.add(threading.get_ident())
            task = _Held(number)
            alive.add(task)
            most = max(most, len(alive))
            yield task

    def work(task: _Held) -> Iterator[SliceResult]:
        yield SliceResult(f"customer-{task.number}", "aws", [newest_window()], SliceStatus.OK)

    done = [slices.customer_id for lot in pool.in_flush_batches(work, tasks(), pool.SlotPool(4, 4)) for slices in lot]

    assert sorted(done) == sorted(f"customer-{n}" for n in range(300))
    assert taken_by == {threading.get_ident()}  # who may hold the engine
    assert most <= 10 + 4 + 2  # each thread, and the loop, may hold one that has ended


def test_what_fails_while_tasks_are_taken_ends_the_run() -> None:
    def tasks() -> Iterator[int]:
        yield 1
        raise StorageError("no inventory can be read")

    with pytest.raises(StorageError, match="no inventory"):
        list(pool.in_flush_batches(lambda _task: iter(()), tasks(), pool.SlotPool(2, 2)))


@dataclass(eq=False)
class _Held:
    number: int


def test_no_more_customers_are_worked_for_than_have_places() -> None:
    """Where slow ones may not give their places away, as in a long range."""
    at_work, most, lock, three = 0, 0, threading.Lock(), threading.Barrier(3)

    def work(task: int) -> Iterator[SliceResult]:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        if task < 3:
            three.wait(30)  # so that three are at work at once, however slow the machine is
        time.sleep(0.002)  # in which a fourth would begin, if it had a place
        with lock:
            at_work -= 1
        yield from ()

    assert list(pool.in_flush_batches(work, list(range(40)), pool.SlotPool(3, 3))) == []
    assert most == 3
