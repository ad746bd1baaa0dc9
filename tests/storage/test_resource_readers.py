"""Every reader of inventories over random worlds, all columns, against plain Python."""
# ruff: noqa: S608, S311 - the statements and the dice are the test's own

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.metrics import Series
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.rows import performance_rows, resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.conftest import LONG
from tests.support.samples import CPU, EARLY, resource, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Q, DAY = windows.WINDOW, timedelta(days=1)
NOW = windows.floor(datetime.now(UTC)) - timedelta(hours=1)
TODAY = NOW.replace(hour=0, minute=0)
WORLDS = range(3 if LONG else 1)
OWNERS = [(customer, provider) for customer in ("acme", "globex", "initech") for provider in ("aws", "gcp")]

Owner = tuple[str, str]
Row = dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """An inventory that was published."""

    window: datetime
    complete: bool
    resources: Sequence[Resource]
    scope: dict[str, list[str]] = field(default_factory=dict)

    def looked(self, at: Resource) -> bool:
        """False if it is known that the inventory did not look where something is."""
        regions = self.scope.get(at.account_id)
        return not self.scope or (regions is not None and (not regions or at.region in regions))


@dataclass
class World:
    """Inventories by customer and provider, the newest last, and the uptime that clouds measured."""

    inventories: dict[Owner, list[Listed]] = field(default_factory=dict)
    uptime: dict[tuple[Owner, str, str], dict[datetime, float]] = field(default_factory=dict)

    def newest(self, owner: Owner, since: datetime) -> Listed | None:
        """The newest inventory, if it is not older than `since`."""
        found = [one for one in self.inventories[owner] if since < one.window <= NOW]
        return found[-1] if found else None


STATUSES = ("running", "running", "running", "stopped", "available", "in_use", "error", "terminated", "unknown")
SCOPES: tuple[dict[str, list[str]], ...] = (
    {}, {"111": [], "222": []}, {"222": []}, {"111": ["us-east-1"], "222": ["us-east-1", "eu-west-1"]},
)  # fmt: skip
TYPES = ("compute", "volume", "database", "snapshot", "kubernetes", "address")


def thing(dice: random.Random, name: str) -> Resource:
    """A resource in some state."""
    status = dice.choice(STATUSES)
    made_at = dice.choice([None, None, TODAY - timedelta(days=dice.randint(1, 120), minutes=dice.randint(0, 900))])
    return resource(
        name,
        account_id=dice.choice(["111", "222"]),
        region=dice.choice(["us-east-1", "eu-west-1"]),
        kind=dice.choice(["ec2:instance", "rds:db"]),
        instance_uid=dice.choice(["", "", "a", "a", "b"]),
        resource_name=dice.choice([name.upper(), name.upper(), "Umbenannt ü"]),
        resource_type=ResourceType(dice.choice(TYPES)),
        status=Status(status),
        cloud_status=dice.choice([status, "ACTIVE"]),
        created_at=made_at,
        capacity=dice.choice([None, 2.0, 8.0]),
        unit=dice.choice(["vCPU", "GiB"]),
        tags=dice.choice([{}, {"env": "dev"}, {"env": "prod", "a": "'"}]),
        metadata=dice.choice([{}, {"instance_type": "m6i.large"}, {"plan": "p", "zone": "z1"}, {"class": "db.t3"}]),
    )


def random_world(seed: int, moments: Iterable[datetime]) -> World:
    """A world in which things come, go, change and are replaced, and some inventories are missing or partial."""
    dice, world = random.Random(seed), World()
    moments = sorted(set(moments))
    for owner in OWNERS:
        there = {name: thing(dice, name) for name in ("m-1", "m-2", "m-3")}
        listed = []
        for window in moments:
            for name in ("m-1", "m-2", "m-3", "m-4"):
                if dice.random() < 0.25:
                    there[name] = thing(dice, name)
                elif dice.random() < 0.1:
                    there.pop(name, None)
                elif name in there and dice.random() < 0.3:
                    there[name] = replace(there[name], status=Status(dice.choice(STATUSES)))
            if dice.random() < 0.85:
                complete = dice.random() < 0.7
                shown = [one for one in there.values() if complete or dice.random() < 0.6]
                listed.append(Listed(window, complete, shown, dice.choice(SCOPES)))
        world.inventories[owner] = listed
    return world


def publish(clickhouse: ClickHouse, world: World) -> None:
    """Publish a world, alone."""
    with clickhouse.session() as client:
        names = ("resource_metrics", "performance_metrics", "performance_hourly", "performance_daily", "metric_batches")
        for table in names + tuple(reader.table for key, reader in readers().items() if key[0] == "resource"):
            client.command(f"TRUNCATE TABLE {table}")
    lot = []
    for (customer, provider), listed in world.inventories.items():
        for one in listed:
            rows = resource_rows(customer, provider, one.window, one.resources, EARLY)
            status = SliceStatus.OK if one.complete else SliceStatus.PARTIAL
            lot.append(SliceResult(customer, provider, [one.window], status, rows=rows, scope=one.scope))
    Writer(clickhouse, schema.RESOURCE).flush(lot)
    measured = []
    for ((customer, provider), name, uid), points in world.uptime.items():
        metric = replace(CPU, name="uptime", metric_type="uptime", period=300)
        seconds = [int(at.timestamp()) for at in points]
        machine = resource(name, instance_uid=uid)
        series = [Series(machine, metric, "average", seconds, list(points.values()))]
        rows = performance_rows(customer, provider, series, EARLY)
        measured.append(
            SliceResult(customer, provider, sorted({windows.floor(at) for at in points}), SliceStatus.OK, rows=rows)
        )
    Writer(clickhouse, schema.PERFORMANCE).flush(measured)
    for name, length in (("hourly", timedelta(hours=1)), ("daily", DAY)):
        if slices := sorted({windows.floor_to(length, at) for points in world.uptime.values() for at in points}):
            compute(clickhouse, readers()["performance", name], slices)


def read(clickhouse: ClickHouse, name: str, window: datetime) -> list[Row]:
    """What the reader publishes for a window, without the window's own column."""
    reader = readers()["resource", name]
    compute(clickhouse, reader, [window])
    return shown(clickhouse, name, window)


def shown(clickhouse: ClickHouse, name: str, window: datetime) -> list[Row]:
    """What was published of a window."""
    reader = readers()["resource", name]
    return select(
        clickhouse,
        f"SELECT * EXCEPT (window_start) FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}}",
        at=window,
    )


def same(found: Sequence[Row], expected: Sequence[Row]) -> None:
    """Equal in every column, whatever the order; shares but for rounding."""

    def key(row: Row) -> str:
        return json.dumps({k: v for k, v in row.items() if not isinstance(v, float)}, default=str, sort_keys=True)

    of_found, of_expected = ({key(row): row for row in rows} for rows in (found, expected))
    assert len(of_found) == len(found)
    assert of_found.keys() - of_expected.keys() == of_expected.keys() - of_found.keys() == set()
    for name, row in of_expected.items():
        assert of_found[name] == {k: pytest.approx(v, rel=1e-9) if isinstance(v, float) else v for k, v in row.items()}


# --- The newest inventory ---------------------------------------------------------------------------------------------

UP = {"running", "available", "in_use"}


def counted(group: Sequence[Resource]) -> dict[str, Any]:
    capacities = [one.capacity for one in group if one.capacity is not None]
    return {
        "resources": len(group),
        "running": sum(one.status in UP for one in group),
        "stopped": sum(one.status == "stopped" for one in group),
        "capacity": sum(capacities) if capacities else None,
        "kinds": len({one.kind for one in group}),
        "regions": len({one.region for one in group}),
    }


COUNTS = {  # reader: what its rows are of, and the figures of each
    "summary": (("resource_type", "region", "status", "unit"), ("resources", "capacity")),
    "by_type": (("resource_type", "kind", "unit"), ("resources", "running", "stopped", "capacity", "regions")),
    "by_account": (("account_id", "resource_type"), ("resources", "running", "kinds", "regions")),
}


def counts(world: World, name: str) -> Iterator[Row]:
    """What the readers that count say."""
    of, figures = COUNTS[name]
    for owner in world.inventories:
        if (newest := world.newest(owner, NOW - DAY)) is None:
            continue
        groups: dict[tuple[str, ...], list[Resource]] = defaultdict(list)
        for one in newest.resources:
            if one.status != "terminated":
                groups[tuple(str(getattr(one, fact)) for fact in of)].append(one)
        for facts, group in groups.items():
            row: Row = {
                "customer_id": owner[0],
                "provider": owner[1],
                "as_of": newest.window,
                "complete": newest.complete,
            }
            row |= dict(zip(of, facts, strict=True)) | {figure: counted(group)[figure] for figure in figures}
            if name == "by_type":
                row["other"] = row["resources"] - row["running"] - row["stopped"]
            yield row


def changed(world: World) -> Iterator[Row]:
    """What `resource/changes` tells of NOW."""
    for (customer, provider), listed in world.inventories.items():
        week = [one for one in listed if one.complete and NOW - 7 * DAY < one.window <= NOW]
        if len(week) < 2 or week[-1].window != NOW:
            continue
        before, after = ({one.resource_id: one for one in inventory.resources} for inventory in week[-2:])
        for resource_id in before.keys() | after.keys():
            for what, of, old, new in _changes(before.get(resource_id), after.get(resource_id), *week[-2:]):
                yield {
                    "customer_id": customer, "provider": provider, "resource_id": resource_id, "change": what,
                    "instance_uid": of.instance_uid, "resource_name": of.resource_name,
                    "resource_type": str(of.resource_type), "region": of.region, "before": old, "after": new,
                    "previous_window": week[-2].window,
                }  # fmt: skip


def _changes(
    old: Resource | None, new: Resource | None, before: Listed, after: Listed
) -> Iterator[tuple[str, Resource, str, str]]:
    was_there = old is not None and old.status != "terminated"
    another = old is None or (new and old.instance_uid and new.instance_uid and old.instance_uid != new.instance_uid)
    if new is None or another:
        if old is not None and was_there:
            yield "deleted" if new is not None or after.looked(old) else "not_listed", old, state(old), ""
        if new is not None:
            made = new.created_at
            is_old = made is not None and made < before.window - DAY
            if not before.looked(new):
                is_old = made is None or made < before.window
            yield "listed" if is_old and old is None else "created", new, "", state(new)
    elif old is not None:
        facts: dict[str, Callable[[Resource], list[str]]] = {
            "status": lambda r: [state(r)],
            "resized": sizes,
            "retagged": lambda r: [tags(r)],
            "moved": place,
            "renamed": lambda r: [r.resource_name],
        }
        if new.resource_type == "snapshot":
            del facts["resized"]
        if new.status == "terminated":
            facts = {"status": facts["status"]} if was_there else {}
        for what, fact in facts.items():
            pairs = list(zip(fact(old), fact(new), strict=True))
            if any(before and after and before != after for before, after in pairs):
                between = ", " if what == "resized" else " "
                shown, becomes = (between.join(filter(None, side)) for side in zip(*pairs, strict=True))
                yield what, new, shown, becomes


def state(one: Resource) -> str:
    return str(one.status) if one.status == one.cloud_status else f"{one.status} ({one.cloud_status})"


def sizes(one: Resource) -> list[str]:
    parts = [f"{one.capacity:g} {one.unit}" if one.capacity is not None else ""]
    return parts + [str(one.metadata.get(name, "")) for name in ("instance_type", "class", "plan")]


def tags(one: Resource) -> str:
    return json.dumps(one.tags, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def place(one: Resource) -> list[str]:
    return [one.region, str(one.metadata.get("zone", ""))]


@pytest.fixture
def chdb(chdb_url: str) -> Iterator[ClickHouse]:
    clickhouse = ClickHouse(chdb_url)
    with clickhouse.session():
        yield clickhouse


def test_readers_of_the_newest_inventory_and_changes_are_those_of_plain_python(chdb: ClickHouse) -> None:
    for seed in WORLDS:
        moments = [NOW - n * Q for n in (0, 1, 2, 3, 30, 95, 96, 97, 500, 700)]
        world = random_world(seed, moments)
        publish(chdb, world)
        for name in COUNTS:
            same(read(chdb, name, NOW), list(counts(world, name)))
        same(read(chdb, "changes", NOW), list(changed(world)))
        newest = {owner: world.newest(owner, NOW - DAY) for owner in world.inventories}
        wanted = {
            (*owner, one.resource_id, one.instance_uid, str(one.status), tags(one), listed.window, listed.complete)
            for owner, listed in newest.items()
            if listed is not None
            for one in listed.resources
        }
        assert wanted == {
            (
                r["customer_id"],
                r["provider"],
                r["resource_id"],
                r["instance_uid"],
                r["status"],
                r["tags"],
                r["as_of"],
                r["complete"],
            )
            for r in read(chdb, "inventory", NOW)
        }


# --- Days and uptime --------------------------------------------------------------------------------------------------

RUNS = {"compute", "database", "load_balancer", "kubernetes", "serverless"}

# Where and when something was listed, and as what.
Seen = dict[tuple[str, str, str, str], list[tuple[datetime, Resource]]]


def seen(world: World, first: datetime, end: datetime) -> Seen:
    """The listings of a time by customer, provider, id and uid; those without a uid are of the day's first."""
    found: Seen = defaultdict(list)
    for owner, listed in world.inventories.items():
        shown = [
            (one.window, thing)
            for one in listed
            for thing in one.resources
            if first <= one.window < end and str(thing.resource_type) in RUNS and thing.status != "terminated"
        ]
        for window, thing in shown:
            named = [
                other.instance_uid
                for at, other in shown
                if other.resource_id == thing.resource_id and other.instance_uid
                and windows.floor_to(DAY, at) == windows.floor_to(DAY, window)
            ]  # fmt: skip
            uid = thing.instance_uid or (named[0] if named else "")
            found[(*owner, thing.resource_id, uid)].append((window, thing))
    return found


def days_of(world: World, day: datetime) -> Iterator[Row]:
    """What `resource/days` says of a day."""
    for (customer, provider, resource_id, uid), listings in seen(world, day, day + DAY).items():
        last = listings[-1][1]
        yield {
            "customer_id": customer, "provider": provider, "resource_id": resource_id, "instance_uid": uid,
            "resource_name": last.resource_name, "resource_type": str(last.resource_type), "kind": last.kind,
            "region": last.region, "status": str(last.status), "created_at": last.created_at,
            "known": sum(one.status != "unknown" for _, one in listings),
            "up": sum(one.status in UP for _, one in listings),
            "stopped": sum(one.status == "stopped" for _, one in listings),
            "first_seen": listings[0][0], "last_seen": listings[-1][0],
        }  # fmt: skip


def lives(world: World) -> Seen:
    """The listings of 90 days by instance: days that tell no uid are of the first that is named."""
    found: Seen = defaultdict(list)
    by_day = seen(world, TODAY - 90 * DAY, TODAY)
    for (*of, uid), listings in by_day.items():
        found[(*of, uid or first_named(by_day, *of))] += listings  # type: ignore[index]
    return {key: sorted(listings, key=lambda one: one[0]) for key, listings in found.items()}


def first_named(by_day: Seen, *of: str) -> str:
    """The first uid of a customer's resource."""
    named = sorted((at, key[3]) for key, listings in by_day.items() if key[:3] == of and key[3] for at, _ in listings)
    return named[0][1] if named else ""


def checks(world: World, customer: str, provider: str, name: str) -> dict[str, dict[datetime, float]]:
    """What was measured of a resource, by uid: where there is none, the day's, else the first that is named."""
    first = first_named(seen(world, TODAY - 90 * DAY, TODAY), customer, provider, name)
    of_uid = {
        uid: its for (owner, one, uid), its in world.uptime.items() if (owner, one) == ((customer, provider), name)
    }
    found: dict[str, dict[datetime, float]] = defaultdict(dict)
    for uid, points in of_uid.items():
        for at, value in points.items():
            day = windows.floor_to(DAY, at)
            of_day = [one for one, its in of_uid.items() if one and any(windows.floor_to(DAY, t) == day for t in its)]
            found[uid or (of_day[0] if of_day else first)][at] = value
    return found


def up_for(world: World) -> Iterator[Row]:
    """What `resource/uptime` says of the days before TODAY."""
    parts: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for (customer, provider, resource_id, uid), listings in lives(world).items():
        last_seen, last = listings[-1]
        made = min(listings[0][0], windows.floor(last.created_at) if last.created_at else listings[0][0])
        complete = [
            one.window
            for one in world.inventories[customer, provider]
            if one.complete and TODAY - 7 * DAY <= one.window < TODAY
        ]
        gone = last_seen + Q if complete and last_seen < complete[-1] else TODAY
        for days in (30, 90):
            begin = TODAY - days * DAY
            within = [(at, one) for at, one in listings if at >= begin]
            measured = checks(world, customer, provider, resource_id).get(uid, {})
            if not within:
                continue
            of = (customer, provider, str(last.resource_type), days)
            parts[*of, resource_id, uid].append(
                {
                    "resource_name": last.resource_name, "kind": last.kind, "region": last.region,
                    "status": str(last.status),
                    "known": sum(one.status != "unknown" for _, one in within),
                    "up": sum(one.status in UP for _, one in within),
                    "stopped": sum(one.status == "stopped" for _, one in within),
                    "windows": (gone - max(begin, made)) // Q,
                    "checks": [value for at, value in measured.items() if begin <= at < TODAY],
                    "since": made, "last_seen": last_seen,
                }
            )  # fmt: skip
            parts[*of, "", ""].append(parts[*of, resource_id, uid][0])
    for (customer, provider, resource_type, days, resource_id, uid), group in parts.items():
        known, expected = sum(one["known"] for one in group), sum(one["windows"] for one in group)
        measures = [value for one in group for value in one["checks"]]
        facts = ("resource_name", "kind", "region", "status")
        yield {
            "customer_id": customer, "provider": provider, "resource_type": resource_type, "days": days,
            "resource_id": resource_id, "instance_uid": uid, "resources": len(group), "known_windows": known,
            "running": sum(one["up"] for one in group) / known if known else None,
            "stopped": sum(one["stopped"] for one in group) / known if known else None,
            "known": known / expected,
            "measured": sum(measures) / len(measures) / 100 if measures else None,
            "measured_known": min(1.0, len(measures) * 300 / 900 / expected),
            "since": min(one["since"] for one in group), "last_seen": max(one["last_seen"] for one in group),
            **{fact: group[0][fact] if resource_id else "" for fact in facts},
        }  # fmt: skip


def test_days_and_uptime_are_those_of_plain_python(chdb: ClickHouse) -> None:
    """With gaps, replacements, the switch to uids, and things that are gone."""
    for seed in WORLDS:
        dice = random.Random(seed)
        days = [*sorted(dice.sample(range(2, 60), 5)), 1]
        moments = [TODAY - day * DAY + dice.randrange(96) * Q for day in days for _ in range(4)]
        world = random_world(seed, [*moments, TODAY])
        if seed == 0:
            world.inventories["globex", "aws"] = [one for one in world.inventories["globex", "aws"] if not one.complete]
        for owner, name in ((("acme", "aws"), "m-1"), (("globex", "aws"), "m-2")):
            for at in moments[:9]:
                uid = "" if at < moments[4] else "a"
                of_window = {at + n * timedelta(minutes=5): dice.choice([0.0, 50.0, 100.0]) for n in range(3)}
                world.uptime.setdefault((owner, name, uid), {}).update(of_window)
        publish(chdb, world)
        listed = sorted({windows.floor_to(DAY, at) for at in moments})
        compute(chdb, readers()["resource", "days"], listed)
        for day in listed:
            same(shown(chdb, "days", day), list(days_of(world, day)))
        same(read(chdb, "uptime", TODAY), list(up_for(world)))


def test_days_that_lack_a_rollup_are_computed_with_the_next(chdb: ClickHouse) -> None:
    """As after an upgrade; and a day whose last inventory came after midnight is computed once more."""
    machine = resource("m")
    world = World({("acme", "aws"): [Listed(TODAY - n * DAY, complete=True, resources=[machine]) for n in (80, 9, 1)]})
    publish(chdb, world)
    reader = readers()["resource", "days"]
    assert sorted(compute(chdb, reader, [TODAY])) == [TODAY - n * DAY for n in (80, 9, 1, 0)]
    assert sorted(compute(chdb, reader, [TODAY])) == [TODAY]
    late = resource_rows("acme", "aws", TODAY - Q, [machine], EARLY)
    Writer(chdb, schema.RESOURCE).flush([SliceResult("acme", "aws", [TODAY - Q], SliceStatus.OK, rows=late)])
    assert sorted(compute(chdb, reader, [TODAY])) == [TODAY - DAY, TODAY]
    (row,) = read(chdb, "days", TODAY - DAY)
    assert (row["known"], row["last_seen"]) == (2, TODAY - Q)


def test_a_window_without_an_inventory_is_unknown_and_not_down(chdb: ClickHouse) -> None:
    of_day = [Listed(TODAY - DAY + n * Q, complete=True, resources=[resource("m")]) for n in range(0, 96, 2)]
    publish(chdb, World({("acme", "aws"): of_day}))
    compute(chdb, readers()["resource", "days"], [TODAY])
    for row in read(chdb, "uptime", TODAY):
        assert (row["running"], row["stopped"], row["measured"]) == (1.0, 0.0, None)
        assert row["known"] == 0.5
