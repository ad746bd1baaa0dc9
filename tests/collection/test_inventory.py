"""Inventories of the four clouds, from the wire to the readers: whole, cut, changed, and without anybody's secrets."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.automation.jobs import READERS_JOB, collection_job
from optiinfra_dagster.collection.plan import Context
from optiinfra_dagster.collection.run import collect_slices
from optiinfra_dagster.lab.aws import kind as aws_answers
from optiinfra_dagster.lab.azure import kind as azure_answers
from optiinfra_dagster.lab.control import DEMO_WORLD
from optiinfra_dagster.lab.gcp import kind as gcp_answers
from optiinfra_dagster.lab.vultr import kind as vultr_answers
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.azure.services import kind_of
from optiinfra_dagster.providers.registry import FAMILIES_OF, PROVIDERS, load_customers
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.schema import RESOURCE
from optiinfra_dagster.storage.sql import read_sql
from optiinfra_dagster.storage.writer import Writer
from tests.support.engines import copy_dagster
from tests.support.leaks import places_of
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab

W = windows.WINDOW
SUBSCRIPTION = "c0000000-0000-4000-8000-000000000003"
Fleet = dict[str, Any]


@dataclass(frozen=True)
class Cloud:
    """One cloud of small worlds: an account of the world, the way into it, and what its kinds are called."""

    provider: str
    region: str
    holder: str  # of accounts, in the world
    account: dict[str, Any]  # in the world, without its fleets
    way_in: dict[str, Any]  # in the customers file, without its endpoint
    service: str  # as faults name it
    listing: str
    machine: dict[str, Any]
    disk: dict[str, Any]
    balancer: dict[str, Any]
    pages_of: int
    missing: str  # what the ledger names when the listing of machines is cut
    resized: tuple[dict[str, Any], dict[str, Any]]
    stopped: dict[str, Any]
    tags: tuple[Any, Any]
    states: tuple[str, str, str]  # running, stopped, a new disk: as `resource/changes` tells them
    sizes: tuple[str, str]
    told_tags: tuple[str, str]

    def fleet(self, of: dict[str, Any], name: str, **more: Any) -> Fleet:
        """`more` like resources of a kind."""
        return {"region": self.region, "name": name, **of, **more}

    def world(self, *fleets: Fleet) -> dict[str, Any]:
        """A world in which one account runs `fleets`; Vultr lets the tests call as often as they like."""
        mine = {self.holder: [{**self.account, "fleets": list(fleets)}]}
        limits = {"limit": 10**6} if self.provider == "vultr" else {}
        return {"secrets": {"ACME_KEY": "acme-key"}, self.provider: {**mine, **limits}}


CLOUDS = {
    cloud.provider: cloud
    for cloud in (
        Cloud(
            provider="aws", region="us-east-1", holder="accounts",
            account={"id": "111111111111", "regions": ["us-east-1"]},
            way_in={"account_id": "111111111111", "role_arn": "arn:aws:iam::111111111111:role/r",
                    "regions": ["us-east-1"]},
            service="ec2", listing="DescribeInstances", pages_of=1000, missing="111111111111/us-east-1 ec2:instance: ",
            machine={"kind": "ec2:instance", "type": "m6i.large", "volumes": 0},
            disk={"kind": "ebs:volume"}, balancer={"kind": "elbv2:network"},
            resized=({"type": "m6i.large"}, {"type": "m6i.2xlarge"}), stopped={"state": "stopped"},
            tags=({"env": "dev"}, {"env": "prod"}), states=("running", "stopped", "available"),
            sizes=("2 vCPU, m6i.large", "8 vCPU, m6i.2xlarge"),
            told_tags=('{"Name":"tag","env":"dev"}', '{"Name":"tag","env":"prod"}'),
        ),
        Cloud(
            provider="gcp", region="us-central1", holder="projects",
            account={"id": "acme-prod"}, way_in={"project_id": "acme-prod"},
            service="cloudasset", listing="ListAssets", pages_of=1000, missing="acme-prod: ",
            machine={"kind": "gcp:instance", "type": "e2-standard-2", "disks": 0},
            disk={"kind": "gcp:disk"}, balancer={"kind": "gcp:forwarding_rule"},
            resized=({"type": "e2-standard-2"}, {"type": "e2-standard-8"}), stopped={"state": "TERMINATED"},
            tags=({"env": "dev"}, {"env": "prod"}),
            states=("running (RUNNING)", "stopped (TERMINATED)", "available (READY)"),
            sizes=("2 vCPU, e2-standard-2", "8 vCPU, e2-standard-8"),
            told_tags=('{"env":"dev"}', '{"env":"prod"}'),
        ),
        Cloud(
            provider="azure", region="westeurope", holder="subscriptions",
            account={"id": SUBSCRIPTION}, way_in={"subscription_id": SUBSCRIPTION},
            service="resourcegraph", listing="Resources", pages_of=1000, missing=f"{SUBSCRIPTION}: ",
            machine={"kind": "azure:vm", "type": "Standard_D2s_v5", "disks": 0},
            disk={"kind": "azure:disk"}, balancer={"kind": "azure:load_balancer"},
            resized=({"type": "Standard_D2s_v5"}, {"type": "Standard_D8s_v5"}), stopped={"state": "deallocated"},
            tags=({"env": "dev"}, {"env": "prod"}),
            states=("running", "stopped (deallocated)", "available (Unattached)"),
            sizes=("2 vCPU, Standard_D2s_v5", "8 vCPU, Standard_D8s_v5"),
            told_tags=('{"env":"dev"}', '{"env":"prod"}'),
        ),
        Cloud(
            provider="vultr", region="ewr", holder="accounts",
            account={"name": "acme", "keys": ["acme-key"]}, way_in={"api_key": {"env": "ACME_KEY"}},
            service="vultr", listing="list-instances", pages_of=500, missing="ACME_KEY vultr:instance: ",
            machine={"kind": "vultr:instance", "plan": "vc2-2c-4gb"},
            disk={"kind": "vultr:block", "attached": False}, balancer={"kind": "vultr:load_balancer"},
            resized=({"plan": "vc2-2c-4gb"}, {"plan": "vc2-8c-32gb", "vcpus": 8}), stopped={"state": "stopped"},
            tags=(["dev"], ["prod"]), states=("running", "stopped", "available (active)"),
            sizes=("2 vCPU, vc2-2c-4gb", "8 vCPU, vc2-8c-32gb"),
            told_tags=('{"dev":""}', '{"prod":""}'),
        ),
    )
}  # fmt: skip

every_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)


def often_on(*often: str) -> pytest.MarkDecorator:
    """As `every_cloud`, but those that are not named only in the long tests."""
    of = [
        pytest.param(cloud, id=name, marks=[] if name in often else pytest.mark.long) for name, cloud in CLOUDS.items()
    ]
    return pytest.mark.parametrize("cloud", of)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients' waits between attempts pass at once."""
    waited: list[float] = []
    clock = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + sum(waited), sleep=waited.append)
    for module in ("gcp.client", "azure.transport", "http"):
        monkeypatch.setattr(f"optiinfra_dagster.providers.{module}.time", clock)
    for name in ("RETRY_SECONDS", "PAUSE_SECONDS"):
        monkeypatch.setattr(f"optiinfra_dagster.providers.vultr.client.{name}", 0.001)


def enter(spine: Spine, cloud: Cloud, lab: CloudLab) -> None:
    """Write the customers file with one customer, who has an account in the lab."""
    account = {**cloud.way_in, "endpoint_url": lab.url}
    customers = [{"id": "acme", "name": "Acme", cloud.provider: [account]}]
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))


def collect(spine: Spine, provider: str, window: datetime, *, late: timedelta = timedelta(minutes=6)) -> None:
    """Take the inventory of a window like the asset does, `late` after its end."""
    customers = [c for c in load_customers(spine.settings.customers_path) if c.collects(provider, "resource")]
    moment = window + W + late
    writer = Writer(spine.clickhouse, RESOURCE, run_id="test")
    context = Context(PROVIDERS[provider], spine.clickhouse, spine.settings, lambda: moment)
    for lot in collect_slices(context, "resource", customers, [window]):
        writer.flush(lot)


def changes(spine: Spine, window: datetime) -> list[tuple[str, str, str, str]]:
    """What `resource/changes` tells of a window: name, change, before, after."""
    write_select(spine.clickhouse, "resource_changes", read_sql("readers/resource_changes"), [window])
    rows = spine.query("SELECT * FROM resource_changes_current WHERE window_start = {w:DateTime('UTC')}", w=window)
    return sorted((row["resource_name"], row["change"], row["before"], row["after"]) for row in rows)


# --- The whole world ------------------------------------------------------------------------------------------------


def demo(start_lab: StartLab, spine: Spine) -> CloudLab:
    """The lab of the demo world, and its customers in the spine."""
    shutil.copy(DEMO_WORLD.with_name("demo_customers.yaml"), spine.settings.customers_path)
    return start_lab(DEMO_WORLD)


def truth(lab: CloudLab) -> dict[str, dict[str, str]]:
    """Kind by resource id, of everything that a cloud of the lab runs, by provider."""
    return {
        "aws": {one.arn: one.kind for one in lab.resources()},
        "gcp": {one.full_name: one.kind for p in lab.gcp.estate.projects for one in lab.gcp.estate.assets(p)},
        "azure": {row["id"].lower(): kind_of(row) for row in lab.azure.estate.resources()},
        "vultr": {one.id: one.kind for one in lab.vultr.resources()},
    }


# The types that a look at any cloud of the demo shows; the others are beside them where a cloud has them.
USUAL = {"compute", "volume", "database", "load_balancer", "network", "kubernetes"}


def test_the_demo_world_comes_out_whole_on_every_cloud(start_lab: StartLab, spine: Spine) -> None:
    lab, window = demo(start_lab, spine), newest_window()
    for provider in FAMILIES_OF:
        collect(spine, provider, window)
    assert {row["outcome"] for rows in spine.ledger("resource").values() for row in rows} == {"ok"}
    rows = spine.view("resource_metrics")
    wanted = truth(lab)
    assert wanted.keys() == FAMILIES_OF.keys()
    for provider, resources in wanted.items():
        mine = [row for row in rows if row["provider"] == provider]
        assert Counter(row["kind"] for row in mine) == Counter(resources.values())
        assert {row["resource_id"]: row["kind"] for row in mine} == resources
        assert {row["resource_type"] for row in mine} >= USUAL
        assert len(mine) == len(resources)


# --- A cut listing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "cloud"),
    [
        # On AWS a page takes as long to list as on the three others together.
        pytest.param(action, cloud, id=f"{action}-{name}", marks=[] if name in often else pytest.mark.long)
        for action, often in (("unavailable", {"vultr"}), ("deny", {"gcp", "azure"}))
        for name, cloud in CLOUDS.items()
    ],
)
def test_a_cut_listing_is_no_deletion_and_the_next_whole_one_no_creation(
    start_lab: StartLab, spine: Spine, cloud: Cloud, action: str
) -> None:
    """Machines fill more than a page. One balancer is truly deleted while the listing is cut, and one disk is new.

    Another was made long before, and nobody saw it.
    """
    whole, cut, healed = (newest_window() - n * W for n in (2, 1, 0))
    many = cloud.fleet(cloud.machine, "many-{n}", count=cloud.pages_of + 20)
    lab = start_lab(cloud.world(many, cloud.fleet(cloud.balancer, "gone")))
    disks = [cloud.fleet(cloud.disk, "fresh", created=f"{cut:%Y-%m-%dT%H:%M:%SZ}"), cloud.fleet(cloud.disk, "old")]
    now_lab = start_lab(cloud.world(many, *disks))
    enter(spine, cloud, lab)
    collect(spine, cloud.provider, whole)
    assert spine.last("resource", "acme", whole)["outcome"] == "ok"
    assert changes(spine, whole) == []  # nothing to compare with

    enter(spine, cloud, now_lab)
    now_lab.control.add_faults(
        {"action": action, "service": cloud.service, "operation": cloud.listing, "page": 2}
    )  # fmt: skip
    collect(spine, cloud.provider, cut)
    row = spine.last("resource", "acme", cut)
    assert row["outcome"] == "partial"
    assert row["rows"] >= cloud.pages_of
    assert row["permanent"] == (action == "deny")
    assert row["error"].startswith(cloud.missing)
    assert "listed before" in row["error"]
    assert changes(spine, cut) == []

    now_lab.control.clear_faults()
    collect(spine, cloud.provider, healed)
    assert spine.last("resource", "acme", healed)["outcome"] == "ok"
    assert [(name, change) for name, change, *_ in changes(spine, healed)] == [
        ("fresh", "created"),
        ("gone", "deleted"),
        ("old", "listed"),
    ]
    assert changes(spine, cut) == []  # computed again, it is the same


@often_on("vultr")  # and AWS in test_faults
def test_a_cut_listing_is_completed_within_its_window(start_lab: StartLab, spine: Spine, cloud: Cloud) -> None:
    many = cloud.fleet(cloud.machine, "many-{n}", count=cloud.pages_of + 20)
    lab, window = start_lab(cloud.world(many)), newest_window()
    enter(spine, cloud, lab)
    collect(spine, cloud.provider, window - W)
    lab.control.add_faults({"action": "unavailable", "service": cloud.service, "operation": cloud.listing, "page": 2})
    collect(spine, cloud.provider, window)
    assert spine.last("resource", "acme", window)["outcome"] == "partial"
    lab.control.clear_faults()
    collect(spine, cloud.provider, window, late=timedelta(minutes=8))
    assert spine.last("resource", "acme", window)["outcome"] == "ok"
    assert changes(spine, window) == []


# --- What changed ---------------------------------------------------------------------------------------------------


@every_cloud
def test_changes_are_told_with_before_and_after(start_lab: StartLab, spine: Spine, cloud: Cloud) -> None:
    def machine(name: str, **more: Any) -> Fleet:
        return cloud.fleet(cloud.machine, name, **more)

    (small, large), (dev, prod) = cloud.resized, cloud.tags
    old = [machine("keep"), machine("stop"), machine("grow", **small), machine("tag", tags=dev), machine("gone")]
    new = [machine("keep"), machine("stop", **cloud.stopped), machine("grow", **large), machine("tag", tags=prod)]
    window = newest_window()
    fresh = cloud.fleet(cloud.disk, "fresh", created=f"{window - W:%Y-%m-%dT%H:%M:%SZ}")
    for fleets, at in ((old, window - W), ([*new, fresh], window)):
        enter(spine, cloud, start_lab(cloud.world(*fleets)))
        collect(spine, cloud.provider, at)
    running, stopped, available = cloud.states
    assert changes(spine, window) == [
        ("fresh", "created", "", available),
        ("gone", "deleted", running, ""),
        ("grow", "resized", *cloud.sizes),
        ("stop", "status", running, stopped),
        ("tag", "retagged", *cloud.told_tags),
    ]


@pytest.mark.parametrize("kind", ["gcp:snapshot", "gcp:image", "gcp:machine_image", "vultr:snapshot"])
def test_a_copy_that_grows_by_itself_is_not_resized(start_lab: StartLab, spine: Spine, kind: str) -> None:
    """What a snapshot holds moves with the others of its chain, without anybody's doing."""
    cloud, window = CLOUDS[kind.partition(":")[0]], newest_window()
    for gib, at in ((40, window - W), (41, window)):
        copy = {"kind": kind, "region": cloud.region, "name": "nightly", "size": gib}
        enter(spine, cloud, start_lab(cloud.world(copy)))
        collect(spine, cloud.provider, at)
    held = spine.query("SELECT DISTINCT capacity FROM resource_metrics_current WHERE resource_type = 'snapshot'")
    assert len(held) == 2
    assert changes(spine, window) == []


# A second account of each cloud: in the world, and in the customers file.
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "aws": (
        {"id": "222222222222", "regions": ["us-east-1"]},
        {"account_id": "222222222222", "role_arn": "arn:aws:iam::222222222222:role/r", "regions": ["us-east-1"]},
    ),
    "gcp": ({"id": "acme-dev"}, {"project_id": "acme-dev"}),
    "azure": (
        {"id": "d0000000-0000-4000-8000-00000000000d"},
        {"subscription_id": "D0000000-0000-4000-8000-00000000000D"},
    ),
    "vultr": ({"name": "other", "keys": ["other-key"]}, {"api_key": {"env": "OTHER_KEY"}}),
}


@every_cloud
def test_what_is_no_longer_looked_at_is_not_listed_and_comes_back_as_listed(
    start_lab: StartLab, spine: Spine, cloud: Cloud
) -> None:
    """An account is taken out of the customers file and put back; one thing of it is truly new then."""
    out, back = newest_window() - W, newest_window()
    stays, left = cloud.fleet(cloud.machine, "stays"), cloud.fleet(cloud.machine, "left")
    gone = cloud.fleet(cloud.machine, "gone")
    fresh = cloud.fleet(cloud.disk, "fresh", created=f"{out:%Y-%m-%dT%H:%M:%SZ}")
    facts, way_in = OTHERS[cloud.provider]

    def world(mine: list[Fleet], others: list[Fleet]) -> dict[str, Any]:
        whole = cloud.world(*mine)
        whole["secrets"]["OTHER_KEY"] = "other-key"
        whole[cloud.provider][cloud.holder].append({**facts, "fleets": others})
        return whole

    def look(at: datetime, of: dict[str, Any], *accounts: dict[str, Any]) -> list[tuple[str, str]]:
        url = start_lab(of).url
        mine = [{**account, "endpoint_url": url} for account in accounts]
        customers = [{"id": "acme", "name": "Acme", cloud.provider: mine}]
        spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))
        collect(spine, cloud.provider, at)
        assert spine.last("resource", "acme", at)["outcome"] == "ok"
        return [(name, change) for name, change, *_ in changes(spine, at)]

    look(out - W, world([stays, gone], [left]), cloud.way_in, way_in)
    assert look(out, world([stays], [left]), cloud.way_in) == [("gone", "deleted"), ("left", "not_listed")]
    found = look(back, world([stays], [left, fresh]), cloud.way_in, way_in)
    assert found == [("fresh", "created"), ("left", "listed")]


def test_a_region_that_is_no_longer_listed_is_not_deleted(start_lab: StartLab, spine: Spine) -> None:
    """Named in the customers file no more, or disabled in the account."""
    cloud, window = CLOUDS["aws"], newest_window()
    far = {**cloud.fleet(cloud.machine, "far"), "region": "eu-west-1"}
    near = cloud.fleet(cloud.machine, "near")

    def look(at: datetime, enabled: list[str], regions: list[str] | None) -> list[tuple[str, str]]:
        world = cloud.world(near, *([far] if "eu-west-1" in enabled else []))
        world["aws"]["accounts"][0]["regions"] = enabled
        account = {**cloud.way_in, "regions": regions, "endpoint_url": start_lab(world).url}
        customers = [{"id": "acme", "name": "Acme", "aws": [account]}]
        spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))
        collect(spine, "aws", at)
        assert spine.last("resource", "acme", at)["outcome"] == "ok"
        return [(name, change) for name, change, *_ in changes(spine, at)]

    both = ["us-east-1", "eu-west-1"]
    look(window - 3 * W, both, both)
    assert look(window - 2 * W, both, ["us-east-1"]) == [("far", "not_listed")]
    assert look(window - W, both, None) == [("far", "listed")]
    assert look(window, ["us-east-1"], None) == [("far", "not_listed")]


# --- Secrets --------------------------------------------------------------------------------------------------------

PLANTED = {
    "aws": aws_answers.PLANTED,
    "gcp": gcp_answers.SECRET,
    "azure": azure_answers.PLANTED,
    "vultr": vultr_answers.PLANTED,
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What a DAGSTER_HOME holds: Dagster's instance, the embedded ClickHouse, the customers file."""
    return tmp_path


def run_jobs(spine: Spine, home: Path, window: datetime, *jobs: str, **scope: Any) -> None:
    """Run jobs on an instance in `home`, logging to the console as well."""
    overrides = {"clickhouse": spine.clickhouse, "io_manager": ClickHouseIOManager(spine.clickhouse)}
    defs = build_defs(spine.settings, overrides)
    with dg.DagsterInstance.local_temp(copy_dagster(home)) as instance:
        for job in jobs:
            config = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
            config |= {} if job == READERS_JOB else {"resources": {"scope": {"config": scope}}}
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance, partition_key=windows.key(window), run_config=config, raise_on_error=False
            )
            assert result.success, job


@pytest.mark.long
@pytest.mark.timeout(400)  # nine runs of Dagster jobs on a machine with other work
def test_no_secret_is_in_tables_logs_events_or_metadata(
    start_lab: StartLab,
    free_spine: Spine,
    home: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The clouds plant them in every answer, customers enter with them, and some of it goes wrong the second time."""
    spine = free_spine
    caplog.set_level(logging.INFO)
    lab, window = demo(start_lab, spine), newest_window()
    collections = [*map(collection_job, FAMILIES_OF)]
    run_jobs(spine, home, window, *collections, READERS_JOB)
    lab.control.add_faults(
        {"action": "unknown_key", "account": "111111111111"},
        {"action": "unavailable", "account": "333333333333"},
        {"action": "unknown_key", "account": "acme-prod"},
        {"action": "unknown_key", "account": "a0000000-0000-4000-8000-000000000001"},
        {"action": "unknown_key", "account": "acme"},
    )
    run_jobs(spine, home, window, *collections, refresh=True)
    refused = {row["provider"] for row in spine.ledger("resource")["acme"] if row["outcome"] == "failed"}
    assert refused == FAMILIES_OF.keys()

    secrets = [*PLANTED.values(), *lab.world.secrets.values()]
    assert len(set(secrets)) == len(PLANTED) + 8
    there = ["edge-1", "vultr_collection", "dagster/row_count", "ACME_VULTR_KEY"]
    found = places_of([*secrets, *there], home, spine)
    # The search finds what is there: in tables, in Dagster's databases, in a file, on the console.
    assert "resource_metrics.resource_name" in found["edge-1"]
    assert "runs.db:runs" in found["vultr_collection"]
    assert any(place.endswith(".db:event_logs") for place in found["dagster/row_count"])
    assert found["ACME_VULTR_KEY"] >= {"customers.yaml", "metric_batches.error"}
    out, err = capfd.readouterr()
    console = out + err + caplog.text
    assert "acme vultr: " in console

    assert {secret: found[secret] for secret in secrets} == {secret: set() for secret in secrets}
    assert [secret for secret in secrets if secret in console] == []


def leaking(to_resource: Callable[..., Any]) -> Callable[..., Any]:
    """A reader of items that puts the whole item into the metadata."""

    def read(item: Any, *place: Any) -> Any:
        resource = to_resource(item, *place)
        return resource and replace(resource, metadata={**resource.metadata, "all": json.dumps(item, default=str)})

    return read


@often_on("azure")  # what finds nothing in the long test before
def test_the_search_finds_a_leak_of_each_cloud(
    start_lab: StartLab, spine: Spine, home: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands planted in the simulated answers truly reaches the provider's folder, and would be found outside."""
    module = importlib.import_module(f"optiinfra_dagster.providers.{cloud.provider}.inventory")
    if hasattr(module, "LISTINGS"):
        listings = [replace(one, to_resource=leaking(one.to_resource)) for one in module.LISTINGS]
        monkeypatch.setattr(module, "LISTINGS", listings)
    elif hasattr(module, "BY_ASSET_TYPE"):
        kinds = {name: replace(kind, read=leaking(kind.read)) for name, kind in module.BY_ASSET_TYPE.items()}
        monkeypatch.setattr(module, "BY_ASSET_TYPE", kinds)
    else:  # Azure gives the columns that the query names and no others
        read = module.to_resources
        monkeypatch.setattr(
            module, "QUERY", module.QUERY.replace("| project ", "| project leak = properties.osProfile, ")
        )
        monkeypatch.setattr(
            module, "to_resources", lambda row: [leaking(lambda _row, one=one: one)(row) for one in read(row)]
        )
    lab, window = start_lab(cloud.world(cloud.fleet(cloud.machine, "web"))), newest_window()
    enter(spine, cloud, lab)
    collect(spine, cloud.provider, window)
    secret = PLANTED[cloud.provider]
    assert "resource_metrics.metadata" in places_of([secret], home, spine)[secret]


# --- The past -------------------------------------------------------------------------------------------------------


@every_cloud
def test_a_past_window_is_a_gap_and_nobody_is_called(start_lab: StartLab, spine: Spine, cloud: Cloud) -> None:
    lab = start_lab(cloud.world(cloud.fleet(cloud.machine, "web")))
    past = newest_window() - 8 * W
    enter(spine, cloud, lab)
    collect(spine, cloud.provider, past, late=timedelta(hours=2))
    assert spine.ledger("resource") == {}
    assert lab.control.calls().count() == 0
