"""`cost rightsizing` over worlds drawn at random, against plain Python, and over single machines by hand."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.model.sizes import Offer, SizeStep
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import reader_writer, schema, sizes
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.engines import kept_open
from tests.support.samples import resource, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.storage.clickhouse import ClickHouse

Q, D = timedelta(minutes=15), timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOW = TODAY + timedelta(hours=1)
GIB = 2**30
DAYS = 14
READER = readers()["cost", "rightsizing"]

Row = dict[str, Any]


# --- What is known of the machines ------------------------------------------------------------------------------------


def machine(name: str, **changes: Any) -> Resource:
    facts = {"metadata": {"instance_type": "m6i.xlarge"}}
    return resource(name, **facts | changes)


def offer(of: Resource, **changes: Any) -> Offer:
    """A machine of 4 vCPUs and 16 GiB for 200 USD, and of half of it for 100."""
    facts: Row = {
        "type": "m6i.xlarge", "vcpus": 4.0, "memory_gib": 16.0, "smaller": of, "smaller_type": "m6i.large",
        "smaller_vcpus": 2.0, "memory_share": 0.5,
    }  # fmt: skip
    prices: Row = {"monthly": Decimal(200), "smaller_monthly": Decimal(100), "currency": "USD"}
    prices |= {name: changes.pop(name) for name in tuple(prices) if name in changes}
    return Offer(SizeStep(of, **facts | changes), **prices)


def days(
    name: str, metric: str, values: Sequence[float], customer: str, *, n: int = 288, statistic: str = "average",
    ago: Iterable[int] = range(1, DAYS + 1), kind: str = "compute", uid: str = "",
) -> list[Row]:  # fmt: skip
    """Rollups of whole days, so many days ago; each has `n` of 288 points, and the values."""
    return [
        {
            "window_start": TODAY - day * D, "batch": 1, "customer_id": customer, "provider": "aws",
            "resource_id": name, "resource_type": kind, "metric_name": metric, "statistic": statistic, "n": n,
            "instance_uid": uid, "expected": 288, "total": sum(values), "minimum": min(values), "maximum": max(values),
            "values": sorted(values),
        }
        for day in ago
    ]  # fmt: skip


def inventoried(
    clickhouse: ClickHouse, customer: str, found: Sequence[Resource], window: datetime = NOW,
    status: SliceStatus = SliceStatus.OK,
) -> None:  # fmt: skip
    rows = resource_rows(customer, "aws", window, found, window)
    Writer(clickhouse, schema.RESOURCE).flush([SliceResult(customer, "aws", [window], status, rows=rows)])


def sized(clickhouse: ClickHouse, customer: str, *offers: Offer, window: datetime = NOW) -> None:
    with clickhouse.session() as client:
        sizes.keep(client, customer, "aws", window, offers, window + 16 * timedelta(minutes=1))


def measured(clickhouse: ClickHouse, rows: Sequence[Row]) -> None:
    with clickhouse.session() as client:
        if rows:
            client.insert_arrow("performance_daily", pa.Table.from_pylist(list(rows)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """The tables, with every day of rollups published."""
    clickhouse = kept_open(tmp_path_factory.mktemp("sizes") / "clickhouse")
    with clickhouse.session() as client:
        ledger = [["performance_daily", "", "", TODAY - n * D, 1, "ok"] for n in range(20)]
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        client.insert("metric_batches", ledger, column_names=names)
    return clickhouse


def computed(clickhouse: ClickHouse, customer: str, window: datetime = NOW) -> dict[str, Row]:
    """What the reader says of a customer, by resource."""
    with clickhouse.session():
        reader_writer.compute(clickhouse, READER, [window])
        rows = select(
            clickhouse,
            f"SELECT * FROM {READER.view} WHERE window_start = {{at:DateTime('UTC')}} "  # noqa: S608
            "AND customer_id = {customer:String}",
            at=window,
            customer=customer,
        )
    assert len({row["resource_id"] for row in rows}) == len(rows)
    return {row["resource_id"]: row for row in rows}


# --- Against plain Python ---------------------------------------------------------------------------------------------


def quantile(values: Sequence[float], level: float) -> float:
    """The exact quantile, interpolated between both neighbours."""
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class World:
    """Machines drawn at random: of sizes known or not, measured whole, in part or not, resized, priced or not."""

    def __init__(self, seed: int, customer: str) -> None:
        rng = random.Random(seed)  # noqa: S311
        self.customer = customer
        self.before: list[Resource] = []  # as they were five days ago
        self.resources: list[Resource] = []
        self.offers: list[Offer] = []
        self.rollups: list[Row] = []
        self.expected: dict[str, Row] = {}
        for n in range(60):
            self._draw(rng, f"i-{n}")

    def _draw(self, rng: random.Random, name: str) -> None:
        status = rng.choice([Status.RUNNING] * 6 + [Status.AVAILABLE, Status.STOPPED, Status.UNKNOWN])
        was = rng.choice([None, "m6i.xlarge", "m6i.xlarge", "m6i.xlarge", "m6i.2xlarge"])
        one = machine(name, status=status)
        vcpus, memory = rng.choice([4.0, 8.0]), rng.choice([16.0, 64.0, None])
        smaller = rng.random() < 0.9
        share = rng.choice([0.5, 2 / 3, None])
        own = rng.choice([Decimal(200)] * 8 + [None])
        other = rng.choice([Decimal(100)] * 8 + [Decimal(200), None]) if own is not None else None
        offered = offer(
            one, vcpus=vcpus, memory_gib=memory, smaller=one if smaller else None,
            smaller_type="m6i.large" if smaller else "", smaller_vcpus=vcpus / 2 if smaller else None,
            memory_share=share if smaller else None, why_not="" if smaller else "it is the smallest",
            monthly=own, smaller_monthly=other if smaller else None, note=rng.choice(["", "a note"]),
        )  # fmt: skip
        figures: dict[str, tuple[float, list[float]]] = {}
        for metric in ("cpu_utilization", "memory_utilization", "memory_free"):
            ago = rng.choice([range(1, 15)] * 4 + [range(1, 14), range(1, 8), range(0)])
            n = rng.choice([288, 288, 270, 200])
            top = {"cpu_utilization": 50, "memory_utilization": 70}.get(metric, 12 * GIB)
            low = rng.random() * top / 2
            every: list[float] = []
            for day in ago:
                values = [low + rng.random() * rng.choice([0.3, 0.6]) * top for _ in range(20)]
                if metric == "cpu_utilization" and rng.random() < 0.1:
                    values[0] = 100.0
                every += values
                self.rollups += days(name, metric, values, self.customer, n=n, ago=[day])
            if every:
                figures[metric] = (len(ago) * min(1, n / 288) / DAYS, every)
        # Outside of the 14 days, and of another statistic.
        self.rollups += days(name, "cpu_utilization", [100.0], self.customer, ago=[0, 15, 16])
        self.rollups += days(name, "cpu_utilization", [100.0], self.customer, statistic="maximum")
        if was:
            self.before.append(machine(name, metadata={"instance_type": was}))
        self.resources.append(one)
        self.offers.append(offered)
        self.expected[name] = self._judged(one, offered, was not in {None, "m6i.xlarge"}, figures)

    def _judged(
        self,
        one: Resource,
        offered: Offer,
        resized: bool,
        figures: dict[str, tuple[float, list[float]]],
    ) -> Row:
        size = offered.sized
        cpu_known, cpu = figures.get("cpu_utilization", (0, [0.0]))
        used_known, used = figures.get("memory_utilization", (0, [0.0]))
        free_known, free = figures.get("memory_free", (0, [0.0]))
        memory_known, p95, most = used_known, quantile(used, 0.95), max(used)
        if not (used_known >= 0.9 or used_known >= free_known or size.memory_gib is None):
            whole = size.memory_gib * GIB
            memory_known = free_known
            p95 = max(0, 100 * (1 - quantile(free, 0.05) / whole))
            most = max(0, 100 * (1 - min(free) / whole))
        cpu_p95, cpu_most = quantile(cpu, 0.95), max(cpu)
        judged = memory_known >= 0.9 and size.memory_share is not None and not resized
        times = 1 / size.memory_share if size.memory_share else 0
        if one.status not in {Status.RUNNING, Status.AVAILABLE}:
            verdict = "unknown"
        elif not size.smaller_type:
            verdict = "no_smaller_type"
        elif resized or cpu_known < 0.9:
            verdict = "unknown"
        elif (
            cpu_p95 * 2 > 70
            or (judged and p95 * times > 80)
            or (memory_known and most * times > (95 if judged else 100))
        ):
            verdict = "keep"
        elif offered.monthly is None or offered.smaller_monthly is None:
            verdict = "unknown"
        else:
            verdict = "smaller" if offered.smaller_monthly < offered.monthly else "keep"
        yes = verdict == "smaller"
        told = cpu_known >= 0.9 and not resized
        told_memory = memory_known >= 0.9 and not resized
        return {
            "verdict": verdict,
            "type": size.type,
            "vcpus": size.vcpus,
            "memory_gib": size.memory_gib,
            "cpu_known": cpu_known,
            "cpu_p95": cpu_p95 if told else None,
            "cpu_highest": cpu_most if told else None,
            "memory_known": memory_known,
            "memory_p95": p95 if told_memory else None,
            "memory_highest": most if told_memory else None,
            "suggested_type": size.smaller_type if yes else "",
            "suggested_vcpus": size.smaller_vcpus if yes else None,
            "suggested_memory_gib": size.memory_gib * size.memory_share
            if yes and size.memory_gib and size.memory_share
            else None,
            "cpu_p95_then": cpu_p95 * 2 if yes else None,
            "cpu_highest_then": cpu_most * 2 if yes else None,
            "memory_p95_then": p95 * times if yes and judged else None,
            "monthly_amount": offered.monthly,
            "suggested_amount": offered.smaller_monthly if yes else None,
            "saving": offered.monthly - offered.smaller_monthly
            if yes and offered.monthly is not None and offered.smaller_monthly is not None
            else None,
            "basis": "" if not yes else "CPU and memory" if judged else "CPU only",
            "risk": "" if not yes else "high" if cpu_most * 2 > 100 else "low" if judged else "medium",
        }


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_world_drawn_at_random_is_judged_as_plain_python_does(place: ClickHouse, seed: int) -> None:
    world = World(seed, f"random-{seed}")
    with place.session():
        inventoried(place, world.customer, world.before, TODAY - 5 * D)
        inventoried(place, world.customer, world.resources)
        sized(place, world.customer, *world.offers)
        measured(place, world.rollups)
        found = computed(place, world.customer)
    assert found.keys() == world.expected.keys()
    for name, expected in world.expected.items():
        close = {
            key: pytest.approx(value, rel=1e-6, abs=1e-6) if isinstance(value, float) else value  # rollups keep Float32
            for key, value in expected.items()
        }
        assert {key: found[name][key] for key in expected} == close, name
    assert {row["verdict"] for row in found.values()} == {"smaller", "keep", "no_smaller_type", "unknown"}


# --- By hand ----------------------------------------------------------------------------------------------------------

QUIET = [10.0] * 19 + [30.0]  # a p95 of 11
CUSTOMER = "by-hand"


def of_days(name: str, *, cpu: Sequence[float] = QUIET, memory: Sequence[float] = (), **more: Any) -> list[Row]:
    rows = days(name, "cpu_utilization", cpu, CUSTOMER, **more)
    return rows + (days(name, "memory_utilization", memory, CUSTOMER, **more) if memory else [])


@pytest.fixture(scope="module")
def found(place: ClickHouse) -> dict[str, Row]:
    """What the reader says of machines that are alike but for one thing each."""
    named = (
        "plain", "both", "spiky", "busy", "full", "peak", "young", "stopped", "resized", "resized-today", "came-back",
        "unpriced", "unlisted", "dear", "smallest", "untyped", "gaps", "part-yes", "part-no", "snapshot", "free",
        "free-unknown", "old-size", "database", "alone", "replaced", "switched", "terminated",
    )  # fmt: skip
    resources = {name: machine(name) for name in named}
    resources["stopped"] = machine("stopped", status=Status.STOPPED)
    database = {"kind": "rds:db", "resource_type": ResourceType.DATABASE, "status": Status.AVAILABLE}
    resources["database"] = machine("database", metadata={"class": "db.r6g.xlarge"}, **database)
    other = {"metadata": {"instance_type": "m6i.2xlarge"}}
    resources["replaced"] = machine("replaced", instance_uid="b", created_at=TODAY - 4 * D)
    resources["switched"] = machine("switched", instance_uid="a", created_at=TODAY - 40 * D)
    resources["terminated"] = machine("terminated", status=Status.TERMINATED)
    before = [
        machine("resized", **other),
        machine("replaced", instance_uid="a", **other),
        *(machine(name) for name in named if name not in {"resized", "young", "database", "replaced"}),
    ]
    offers = {name: offer(one) for name, one in resources.items() if name not in {"untyped", "old-size"}}
    offers["unpriced"] = offer(resources["unpriced"], monthly=None, smaller_monthly=None, currency="")
    offers["unlisted"] = offer(resources["unlisted"], smaller_monthly=None)
    offers["dear"] = offer(resources["dear"], smaller_monthly=Decimal(200))
    offers["smallest"] = offer(
        resources["smallest"], smaller=None, smaller_type="", smaller_vcpus=None, memory_share=None,
        smaller_monthly=None, why_not="it is the smallest type of its family",
    )  # fmt: skip
    offers["free-unknown"] = offer(resources["free-unknown"], memory_gib=None)
    offers["plain"] = offer(resources["plain"], note="its local disks are smaller, too")
    rollups = [
        *of_days("replaced", uid="a"), *of_days("replaced", ago=range(1, 4), uid="b"), *of_days("terminated"),
        *of_days("switched", ago=range(3, 15)), *of_days("switched", ago=range(1, 3), uid="a"),
        *of_days("plain"), *of_days("both", memory=[35.0]), *of_days("spiky", cpu=[10.0] * 39 + [60.0]),
        *of_days("busy", cpu=[36.0]), *of_days("full", memory=[41.0]), *of_days("peak", memory=[20.0] * 39 + [48.0]),
        *of_days("young", ago=range(1, 13)), *of_days("stopped"), *of_days("resized"), *of_days("resized-today"),
        *of_days("came-back"), *of_days("unpriced"), *of_days("unlisted"), *of_days("dear"), *of_days("smallest"),
        *of_days("untyped"), *of_days("gaps", n=250), *of_days("old-size"), *of_days("database", kind="database"),
        *of_days("part-yes"), *days("part-yes", "memory_utilization", [10.0], CUSTOMER, ago=range(1, 5)),
        *of_days("part-no"), *days("part-no", "memory_utilization", [51.0], CUSTOMER, ago=[3]),
        *of_days("snapshot", statistic="snapshot"),
        *of_days("free"), *days("free", "memory_free", [12.0 * GIB] * 20, CUSTOMER),
        *of_days("free-unknown"), *days("free-unknown", "memory_free", [12.0 * GIB], CUSTOMER),
    ]  # fmt: skip
    with place.session():
        inventoried(place, CUSTOMER, before, TODAY - 8 * D)
        inventoried(place, CUSTOMER, [machine("came-back", **other)], TODAY - 4 * D)
        inventoried(place, CUSTOMER, [machine("resized-today", **other)], TODAY)
        inventoried(place, CUSTOMER, [*resources.values()], status=SliceStatus.PARTIAL)
        sized(place, CUSTOMER, *offers.values())
        sized(place, CUSTOMER, offer(resources["old-size"]), window=NOW - 2 * D)
        sized(place, "somebody-else", offer(machine("untyped")))
        measured(place, rollups)
        return computed(place, CUSTOMER)


@pytest.mark.parametrize(
    ("name", "basis", "risk"),
    [
        ("plain", "CPU only", "medium"),
        ("switched", "CPU only", "medium"),  # the days without a uid are its own
        ("both", "CPU and memory", "low"),
        ("spiky", "CPU only", "high"),  # its highest 5 minutes were 60 % of twice as many vCPUs
        ("part-yes", "CPU only", "medium"),  # memory that is known in part says no yes
        ("snapshot", "CPU only", "medium"),
        ("free", "CPU and memory", "low"),
        ("free-unknown", "CPU only", "medium"),  # bytes that are free are of an unknown whole
        ("database", "CPU only", "medium"),
    ],
)
def test_what_fits_is_suggested_with_what_it_rests_on(found: dict[str, Row], name: str, basis: str, risk: str) -> None:
    row = found[name]
    assert (row["verdict"], row["basis"], row["risk"]) == ("smaller", basis, risk)
    assert (row["suggested_type"], row["saving"], row["suggested_amount"]) == ("m6i.large", 100, 100)
    assert ("CPU only" in row["reason"]) == (basis == "CPU only")
    assert (row["as_of"], row["complete"]) == (NOW, False)


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("busy", "keep", "the p95 of CPU would be 72 % of m6i.large"),
        ("full", "keep", "the p95 of memory would be 82 % of m6i.large"),
        ("peak", "keep", "its memory would have been 96 % of m6i.large"),
        ("part-no", "keep", "its memory would have been 102 % of m6i.large"),
        ("dear", "keep", "m6i.large costs no less"),
        ("young", "unknown", "85 % of the CPU of 14 days is known, and 90 % are needed"),
        ("gaps", "unknown", "86 % of the CPU of 14 days is known, and 90 % are needed"),
        ("replaced", "unknown", "21 % of the CPU of 14 days is known, and 90 % are needed"),
        ("alone", "unknown", "0 % of the CPU of 14 days is known, and 90 % are needed"),
        ("stopped", "unknown", "it is not known to run: its status is stopped"),
        ("resized", "unknown", "its type has changed in the 14 days"),
        ("resized-today", "unknown", "its type has changed in the 14 days"),
        ("came-back", "unknown", "its type has changed in the 14 days"),
        ("unpriced", "unknown", "its own list price is not known"),
        ("unlisted", "unknown", "the price list has no price of m6i.large there"),
        ("smallest", "no_smaller_type", "it is the smallest type of its family"),
    ],
)
def test_what_does_not_fit_or_is_not_known_suggests_nothing_and_says_why(
    found: dict[str, Row], name: str, verdict: str, reason: str
) -> None:
    row = found[name]
    assert (row["verdict"], row["reason"]) == (verdict, reason)
    nothing = {"suggested_type": "", "saving": None, "suggested_amount": None, "suggested_vcpus": None, "risk": "",
               "basis": "", "cpu_p95_then": None, "cpu_highest_then": None, "suggested_memory_gib": None}  # fmt: skip
    assert {key: row[key] for key in nothing} == nothing


@pytest.mark.parametrize("name", ["young", "gaps", "alone", "resized", "came-back"])
def test_figures_of_too_little_or_of_another_type_are_not_told(found: dict[str, Row], name: str) -> None:
    assert (found[name]["cpu_p95"], found[name]["cpu_highest"]) == (None, None)


def test_of_what_no_type_is_known_nothing_is_said(found: dict[str, Row]) -> None:
    assert found.keys().isdisjoint({"untyped", "old-size"})


def test_of_what_is_terminated_nothing_is_said(found: dict[str, Row]) -> None:
    assert "terminated" not in found


def test_the_reason_has_the_figures(found: dict[str, Row]) -> None:
    assert found["both"]["reason"] == (
        "CPU of 4 vCPUs: p95 11 %, at most 30 %; of 2: 22 % and 60 %; memory: p95 35 %, then 70 %"
    )
    assert found["plain"]["reason"].endswith(
        "whether the memory suffices is not known; its local disks are smaller, too"
    )
    assert found["free"]["memory_p95"] == pytest.approx(25)


# --- What is recorded of sizes ----------------------------------------------------------------------------------------


def test_sizes_are_written_once_a_day_and_when_they_change(place: ClickHouse) -> None:
    one = machine("i-1")

    def recorded() -> list[tuple[Any, ...]]:
        rows = select(
            place,
            "SELECT window_start, type, smaller_monthly FROM machine_sizes FINAL WHERE customer_id = 'recorded' "
            "ORDER BY window_start",
        )
        return [tuple(row.values()) for row in rows]

    with place.session():
        for n in range(100):
            sized(place, "recorded", offer(one), window=TODAY - 2 * D + n * Q)
        assert recorded() == [(TODAY - 2 * D, "m6i.xlarge", 100), (TODAY - D, "m6i.xlarge", 100)]
        cheaper = offer(one, smaller_monthly=Decimal("90.5"))
        sized(place, "recorded", cheaper, window=TODAY - D + 5 * Q)
        sized(place, "recorded", cheaper, window=TODAY - D + 5 * Q)
        assert recorded()[2:] == [(TODAY - D + 5 * Q, "m6i.xlarge", Decimal("90.5"))]
