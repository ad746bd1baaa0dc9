"""The cost readers' SQL over worlds drawn at random and by hand, against plain Python; computed once for all tests."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import io
import json
import random
import shutil
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from optiinfra_dagster.cli import output, read
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.storage import migrations, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import read_sql
from optiinfra_dagster.storage.writer import Writer
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.samples import resource, select

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from optiinfra_dagster.model.cost import Charge

Q = timedelta(minutes=15)
D = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOW = TODAY + timedelta(hours=1)  # the window that readers are computed for; nothing of it has to be over
READERS = ("summary", "trends", "by_service", "by_resource", "waste")
CUSTOMER = "random"

Row = dict[str, Any]


def day_of(n: int) -> date:
    """The day that many days ago."""
    return (TODAY - n * D).date()


# --- A world drawn at random -----------------------------------------------------------------------------------------


class World:
    """Bills and estimates of two accounts in two currencies; which days were read is drawn too."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311
        self.estimates: list[SliceResult] = []
        self.charges: list[Charge] = []
        self.read: dict[str, list[date]] = {"one": [], "two": []}
        self.rows: list[Row] = []  # everything that was said, counted or not
        ago = sorted({0, 1, 2, 29, 30, 31, *rng.sample(range(3, 170), 12)})
        for n in ago:
            for account, currency in (("one", "USD"), ("two", "EUR")):
                if n and rng.random() < 0.6:
                    self.read[account].append(day_of(n))
                    for service in rng.sample(["EC2", "S3", "Tax"], rng.randrange(4)):
                        for name in rng.sample(["i-1", "i-2", ""], rng.randrange(1, 3)):
                            amount = Decimal(rng.randrange(-(10**6), 10**8)) / 10**4 + Decimal("1e-18")
                            self.charges.append(
                                charge(
                                    day_of(n), amount, service, account, currency=currency, resource_id=name,
                                    is_final=n > 30,
                                )
                            )  # fmt: skip
                self._estimated(rng, TODAY - n * D, account, currency)
        for one in self.charges:
            self._say("billed", one.start, one.billing_account_id, one.currency, one.service_name, one.resource_id,
                      one.amount, final=one.is_final)  # fmt: skip

    def _estimated(self, rng: random.Random, midnight: datetime, account: str, currency: str) -> None:
        for n in (0, 1, 3, 95):
            amounts = {name: f"{rng.randrange(10**6)}e-7" for name in rng.sample(["i-1", "i-2", "i-3"], 2)}
            window = midnight + n * Q
            if window <= NOW:
                one = estimates(f"{CUSTOMER}", window, amounts, provider=account, account=account, currency=currency)
                self.estimates.append(one)
                for name, amount in amounts.items():
                    self._say("estimated", window, account, currency, "EC2", name, Decimal(amount))

    def _say(self, kind: str, start: datetime, account: str, currency: str, service: str, name: str,
             amount: Decimal, *, final: bool = False) -> None:  # fmt: skip
        self.rows.append(
            {
                "kind": kind, "start": start, "day": start.date(), "account": account, "currency": currency,
                "service": service, "resource": name, "amount": amount, "final": final,
            }
        )  # fmt: skip

    @property
    def counted(self) -> list[Row]:
        """What costs are: the bill of a day that was read, else its estimates."""
        return [row for row in self.rows if (row["kind"] == "billed") == (row["day"] in self.read[row["account"]])]

    def publish(self, clickhouse: ClickHouse) -> None:
        publish_estimates(clickhouse, *self.estimates)
        for account, days in self.read.items():
            its = [one for one in self.charges if one.billing_account_id == account]
            publish_bill(
                clickhouse, days, its, customer=CUSTOMER, provider=account, read=[account],
                names={"i-1": "web", "i-2": "db"},
            )  # fmt: skip


def periods_of(day: date) -> list[str]:
    """The periods that a reader of `NOW` counts a day in."""
    today, ago = TODAY.date(), (TODAY.date() - day).days
    return [
        name
        for name, is_in in (
            ("today", ago == 0),
            ("yesterday", ago == 1),
            ("last_30_days", 1 <= ago <= 30),
            ("month_to_date", (day.year, day.month) == (today.year, today.month)),
        )
        if is_in
    ]


def totals(rows: Sequence[Row]) -> Row:
    """Of rows that count, what a reader says."""
    billed = sum((row["amount"] for row in rows if row["kind"] == "billed"), Decimal(0))
    estimated = sum((row["amount"] for row in rows if row["kind"] == "estimated"), Decimal(0))
    both = abs(billed) + abs(estimated)
    return {
        "amount": billed + estimated,
        "billed": billed,
        "estimated": estimated,
        "estimated_share": pytest.approx(float(abs(estimated) / both)) if both else None,
        "provisional": sum((r["amount"] for r in rows if r["kind"] == "billed" and not r["final"]), Decimal(0)),
    }


def days_of(rows: Sequence[Row]) -> float:
    """How many days a cost is known of."""
    found = 0.0
    for day in {row["day"] for row in rows}:
        its = [row for row in rows if row["day"] == day]
        found += 1 if any(row["kind"] == "billed" for row in its) else len({row["start"] for row in its}) / 96
    return found


def grouped(rows: Sequence[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of `names` and by each period that they are in."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        for period in periods_of(row["day"]):
            groups[(*(row[name] for name in names), period)].append(row)
    return groups


SEEDS = [1, 2, 3]
NAMES = ("amount", "billed", "estimated", "estimated_share", "provisional")


@pytest.fixture(scope="module")
def place(migrated_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    folder = tmp_path_factory.mktemp("costs") / "clickhouse"
    shutil.copytree(migrated_folder, folder, symlinks=True)
    return ClickHouse(f"chdb://{folder}")


def compute(clickhouse: ClickHouse, *readers: str, window: datetime = NOW) -> dict[str, list[Row]]:
    """What readers publish for a window."""
    found = {}
    for reader in readers or READERS:
        table = f"cost_{reader}"
        write_select(clickhouse, table, read_sql(f"readers/{table}"), [window])
        sql = f"SELECT * FROM {table}_current WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL"
        found[reader] = select(clickhouse, sql, at=window)
    return found


@pytest.fixture(scope="module", params=SEEDS)
def drawn(
    request: pytest.FixtureRequest, migrated_folder: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[World, dict[str, list[Row]]]:
    """A world, and what the readers say of it."""
    folder = tmp_path_factory.mktemp("drawn") / "clickhouse"
    shutil.copytree(migrated_folder, folder, symlinks=True)
    clickhouse = ClickHouse(f"chdb://{folder}")
    with clickhouse.session():
        world = World(request.param)
        world.publish(clickhouse)
        return world, compute(clickhouse, "summary", "trends", "by_service", "by_resource")


Drawn = tuple[World, dict[str, list[Row]]]


def test_the_summary_counts_every_period_once_and_says_what_is_estimated(drawn: Drawn) -> None:
    world, found = drawn
    truth = grouped(world.counted, "account", "currency")
    assert {(r["provider"], r["currency"], r["period"]) for r in found["summary"]} == truth.keys()
    for row in found["summary"]:
        rows = truth[row["provider"], row["currency"], row["period"]]
        assert {name: row[name] for name in NAMES} == totals(rows)
        assert row["days"] == pytest.approx(days_of(rows))
        ends = {r["start"] + (D if r["kind"] == "billed" else Q) for r in rows}
        assert (row["as_of"], row["sub_account_id"]) == (max(ends), row["provider"])


def test_services_and_resources_add_up_to_the_summary(drawn: Drawn) -> None:
    world, found = drawn
    for reader, names in (("by_service", ("service",)), ("by_resource", ("resource",))):
        truth = grouped(world.counted, "account", "currency", *names)
        column = {"service": "service_name", "resource": "resource_id"}[names[0]]
        said = {(r["provider"], r["currency"], r[column], r["period"]): r for r in found[reader]}
        assert len(said) == len(found[reader])
        assert said.keys() == truth.keys()
        for key, row in said.items():
            assert {name: row[name] for name in NAMES} == totals(truth[key])
        for row in found["summary"]:
            its = [r for key, r in said.items() if (key[0], key[-1]) == (row["provider"], row["period"])]
            assert sum(r["amount"] for r in its) == row["amount"]


def test_resources_are_named_and_what_names_none_is_told_apart(drawn: Drawn) -> None:
    _, found = drawn
    for row in found["by_resource"]:
        if not row["resource_id"]:
            assert (row["resource_name"], row["matched"], row["cost_type"]) == ("", False, "other")
        else:
            assert row["matched"]
            assert row["resource_name"] in {row["resource_id"].upper(), "web", "db"}
        assert row["services"]


def test_trends_are_the_sums_of_their_days_and_compare_whole_periods_only(drawn: Drawn) -> None:
    world, found = drawn
    today = TODAY.date()
    first = today.replace(day=1)
    for _ in range(5):
        first = (first - D).replace(day=1)
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in world.counted:
        day: date = row["day"]
        week, this_week = day - day.weekday() * D, today - today.weekday() * D
        starts = [("month", day.replace(day=1))] if day >= first else []
        starts += [("week", week)] if week >= this_week - 8 * 7 * D else []
        starts += [("day", day)] if (today - day).days <= 30 else []
        for period, start in starts:
            groups[row["account"], period, start].append(row)
    assert {(r["provider"], r["period"], r["period_start"]) for r in found["trends"]} == groups.keys()
    said = {(r["provider"], r["period"], r["period_start"]): r for r in found["trends"]}
    for (account, period, start), row in said.items():
        its = groups[account, period, start]
        assert {name: row[name] for name in NAMES} == totals(its)
        assert row["days"] == pytest.approx(days_of(its))
        end = {"day": start + D, "week": start + 7 * D, "month": (start + 32 * D).replace(day=1)}[period]
        complete = end <= today and days_of(its) >= 0.95 * (end - start).days
        assert row["complete"] == complete
        before = said.get(
            (account, period, {"day": start - D, "week": start - 7 * D, "month": (start - D).replace(day=1)}[period])
        )
        if complete and before and before["complete"]:
            assert row["change"] == row["amount"] - before["amount"]
            percent = 100 * row["change"] / abs(before["amount"]) if before["amount"] else None
            assert row["change_percent"] == (None if percent is None else pytest.approx(float(percent)))
        else:
            assert (row["change"], row["change_percent"]) == (None, None)


# --- By hand ---------------------------------------------------------------------------------------------------------


def test_whole_months_are_compared(place: ClickHouse) -> None:
    last = TODAY.replace(day=1) - D
    months = [(last - D * 40).replace(day=1), last.replace(day=1)]
    with place.session():
        days = [m.date() + n * D for m in months for n in range(31) if (m + n * D).month == m.month]
        between = [d for d in (months[0].date() + n * D for n in range(62)) if d < TODAY.replace(day=1).date()]
        days = sorted({*days, *between})
        publish_bill(place, days, [charge(day, "2" if day >= months[1].date() else "1") for day in days],
                     customer="months")  # fmt: skip
        rows = [r for r in compute(place, "trends")["trends"] if r["customer_id"] == "months"]
    newest = next(r for r in rows if (r["period"], r["period_start"]) == ("month", months[1].date()))
    assert newest["complete"]
    assert newest["amount"] == 2 * last.day
    start_before = (months[1] - D).replace(day=1).date()
    before = next(r for r in rows if (r["period"], r["period_start"]) == ("month", start_before))
    assert newest["change"] == newest["amount"] - before["amount"]


def inventoried(clickhouse: ClickHouse, found: Sequence[Resource], window: datetime = NOW, **changes: Any) -> None:
    rows = resource_rows("wasteful", "aws", window, found, window, KINDS)
    status = changes.pop("status", SliceStatus.OK)
    Writer(clickhouse, schema.RESOURCE).flush([SliceResult("wasteful", "aws", [window], status, rows=rows, **changes)])


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="ebs:volume", resource_type=ResourceType.VOLUME, attachable=True),
        Kind(name="elbv2:application", resource_type=ResourceType.LOAD_BALANCER, silent_when_idle=True),
    )
}


def volume(name: str, attached_to: str = "", **changes: Any) -> Resource:
    status = Status.IN_USE if attached_to else Status.AVAILABLE
    facts: dict[str, Any] = {
        "kind": "ebs:volume", "resource_type": ResourceType.VOLUME, "status": status, "capacity": 100.0, "unit": "GiB",
        "metadata": {"attached_to": attached_to},
    }  # fmt: skip
    return resource(f"arn:aws:ec2:us-east-1:1:volume/{name}", **facts | changes)


def machine(name: str, status: Status = Status.RUNNING, **changes: Any) -> Resource:
    return resource(f"arn:aws:ec2:us-east-1:1:instance/{name}", resource_name=name, status=status, **changes)


def balancer(name: str, kind: str = "elbv2:application") -> Resource:
    return resource(f"lb/{name}", kind=kind, resource_type=ResourceType.LOAD_BALANCER)


RESOURCES = [
    volume("v-loose"),
    volume("v-free-of-charge"),
    volume("v-parked", "i-stopped"),
    volume("v-shared", "i-stopped,i-idle"),
    volume("v-used", "i-busy"),
    volume("v-elsewhere", "i-stopped", region="eu-west-1"),
    volume("fs-1", kind="efs:filesystem", metadata={}),
    machine("i-stopped", Status.STOPPED),
    machine("i-stopped-billed", Status.STOPPED),
    machine("i-idle"),
    machine("i-busy"),
    machine("i-spiky"),
    machine("i-young"),
    machine("i-unknown"),
    balancer("quiet"),
    balancer("used"),
    balancer("silent"),
    balancer("unknown"),
    balancer("gap", kind="azure:load_balancer"),
]


def daily(name: str, metric: str, mean: float, highest: float, days: Sequence[int] = range(1, 8)) -> list[Row]:
    """The rollups of whole days, that many days ago."""
    kind = "load_balancer" if name.startswith("lb/") else "compute"
    return [
        {
            "window_start": TODAY - n * D, "batch": 1, "customer_id": "wasteful", "provider": "aws",
            "resource_id": name, "resource_type": kind, "metric_name": metric, "statistic": "average", "n": 288,
            "expected": 288, "total": 288 * mean, "maximum": highest,
        }
        for n in days
    ]  # fmt: skip


ARN = "arn:aws:ec2:us-east-1:1:instance/"
PERFORMANCE = [
    *daily(f"{ARN}i-idle", "cpu_utilization", 1.5, 19.9),
    *daily(f"{ARN}i-busy", "cpu_utilization", 40, 90),
    *daily(f"{ARN}i-spiky", "cpu_utilization", 2, 20),
    *daily(f"{ARN}i-young", "cpu_utilization", 1, 2, range(1, 7)),
    *daily("lb/quiet", "request_rate", 0, 0),
    *daily("lb/used", "request_rate", 0, 0),
    *daily("lb/used", "network_total", 0.1, 1),
]


@pytest.fixture(scope="module")
def waste(place: ClickHouse) -> dict[str, Row]:
    """What the reader says of `RESOURCES`, by the end of their ids."""
    week = [NOW - n * Q for n in range(7 * 96)]
    with place.session() as client:
        inventoried(place, [machine("i-gone", Status.STOPPED)], NOW - Q)
        inventoried(place, RESOURCES)
        client.insert_arrow("performance_daily", pa.Table.from_pylist(PERFORMANCE))
        ledger = [["performance_daily", "", "", TODAY - n * D, 1, "ok"] for n in range(8)]
        ledger += [["performance", "wasteful", "aws", window, 1, "ok"] for window in week]
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        client.insert("metric_batches", ledger, column_names=names)
        coverage = [
            ["wasteful", "aws", "lb/silent", "load_balancer", "request_rate", "no_points",
             "the cloud returned no points", NOW - 8 * D, 1],
            ["wasteful", "aws", "lb/gap", "load_balancer", "request_rate", "no_points",
             "the cloud returned no points", NOW - 8 * D, 1],
            ["wasteful", "aws", "lb/unknown", "load_balancer", "request_rate", "no_permission", "", NOW - 8 * D, 1],
        ]  # fmt: skip
        names = ["customer_id", "provider", "resource_id", "resource_type", "metric_name", "state", "reason", "since",
                 "version"]  # fmt: skip
        client.insert("coverage", coverage, column_names=names)
        unpriced = {f"{ARN}i-stopped", f"{ARN}i-stopped-billed", "arn:aws:ec2:us-east-1:1:volume/v-free-of-charge"}
        prices = {r.resource_id: "0.25" for r in RESOURCES if r.resource_id not in unpriced}
        publish_estimates(place, estimates("wasteful", NOW, prices, account="123456789012"))
        days = [day_of(n) for n in range(1, 4)]
        bills = [charge(day, amount, account="123456789012", resource_id=name)
                 for name in (f"{ARN}i-stopped-billed", f"{ARN}i-idle")
                 for day, amount in zip(days, ("24", "48", "30"), strict=True)]  # fmt: skip
        publish_bill(place, days, bills, customer="wasteful", read=["123456789012"])
        rows = [r for r in compute(place, "waste")["waste"] if r["customer_id"] == "wasteful"]
    assert len({r["resource_id"] for r in rows}) == len(rows)
    return {r["resource_id"].rsplit("/", 1)[-1]: r for r in rows}


def test_what_is_of_no_use_is_told_and_nothing_else(waste: dict[str, Row]) -> None:
    assert {name: row["reason"] for name, row in waste.items()} == {
        "v-loose": "unattached",
        "v-free-of-charge": "unattached",
        "v-parked": "machine_stopped",
        "i-stopped-billed": "stopped",
        "i-idle": "idle",
        "quiet": "idle",
        "silent": "idle",
    }


@pytest.mark.parametrize(
    ("name", "amount", "from_"),
    [
        ("v-loose", "730", "estimated"),  # 0.25 a window
        ("v-free-of-charge", None, "unknown"),
        ("i-stopped-billed", "730", "billed"),  # the cheapest day, 24
        ("i-idle", "1034.166666666666666666", "billed"),  # the mean of three days, 34
    ],
)
def test_waste_is_told_with_what_it_costs_in_730_hours(
    waste: dict[str, Row], name: str, amount: str | None, from_: str
) -> None:
    row = waste[name]
    assert (row["monthly_amount"], row["amount_from"]) == (None if amount is None else Decimal(amount), from_)
    assert row["currency"] == ("" if amount is None else "USD")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("v-loose", ["attached to nothing", "100 GiB", "list price of 1 x"]),
        ("v-parked", ["attached to i-stopped, stopped"]),
        ("v-free-of-charge", ["neither bill nor price list"]),
        ("i-idle", ["CPU 1.5 % on average", "19.9 %", "7 days", "100 %", f"billed on 3 days to {day_of(1)}"]),
        ("quiet", ["no request and no byte", "100 % are known"]),
        ("silent", ["no request and no byte in 7 days", "no points"]),
    ],
)
def test_waste_is_told_with_its_evidence(waste: dict[str, Row], name: str, parts: list[str]) -> None:
    for part in parts:
        assert part in waste[name]["evidence"]
    assert (waste[name]["as_of"], waste[name]["complete"]) == (NOW, True)


def test_what_was_listed_before_an_upgrade_does_not_lose_its_waste(tmp_path: Path) -> None:
    """Rows of before the facts were written have those of the kinds that were known then."""
    files = migrations.load()
    clickhouse = ClickHouse(f"chdb://{tmp_path / 'clickhouse'}")
    resources = [volume("v-loose"), volume("fs-1", kind="efs:filesystem", metadata={}), balancer("silent"),
             balancer("gap", kind="azure:load_balancer")]  # fmt: skip
    rows = resource_rows("wasteful", "aws", NOW, resources, NOW).drop_columns(["attachable", "silent_when_idle"])
    with clickhouse.session(migrated=False) as client:
        migrations.migrate(client, files[:14], alone=True)
        client.insert_arrow("resource_metrics", rows.append_column("batch", pa.array([1] * len(rows), pa.uint64())))
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        ledger = [["performance", "wasteful", "aws", NOW - n * Q, 1, "ok"] for n in range(7 * 96)]
        client.insert("metric_batches", [["resource", "wasteful", "aws", NOW, 1, "ok"], *ledger], column_names=names)
        silent = [["wasteful", "aws", f"lb/{name}", "load_balancer", "request_rate", "no_points",
                   "the cloud returned no points", NOW - 8 * D, 1] for name in ("silent", "gap")]  # fmt: skip
        names = ["customer_id", "provider", "resource_id", "resource_type", "metric_name", "state", "reason", "since",
                 "version"]  # fmt: skip
        client.insert("coverage", silent, column_names=names)
    with clickhouse.session():
        wasted = {row["resource_name"]: row["reason"] for row in compute(clickhouse, "waste")["waste"]}
        assert select(clickhouse, "SELECT count() AS n FROM resource_metrics_current WHERE attachable") == [{"n": 1}]
    assert {name.rsplit("/", 1)[-1].lower(): reason for name, reason in wasted.items()} == {
        "v-loose": "unattached", "silent": "idle",
    }  # fmt: skip


# --- `optiinfra read cost ...` ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    (home / "customers.yaml").write_text("customers:\n  - {id: told, name: T, vultr: [{api_key: {env: K}}]}\n")
    return Settings(dagster_home=home, customers_path=home / "customers.yaml")


def told(place: ClickHouse, settings: Settings, reader: str, **options: Any) -> list[Row]:
    """What is printed as JSON."""
    out = io.StringIO()
    query = read.Query("cost", reader, "told", **options)
    output.show(read.read_rows(place, settings, query).rows, "json", out)
    rows: list[Row] = json.loads(out.getvalue())
    return rows


def test_bills_estimates_and_restatements_are_read_with_money_as_text(place: ClickHouse, settings: Settings) -> None:
    yesterday = day_of(1)
    with place.session():
        for window in (TODAY - D, NOW):
            publish_estimates(place, estimates("told", window, {"i-1": "0.5"}, provider="vultr"))
        for amount in ("1e-9", "12.5"):
            publish_bill(place, [yesterday], [charge(yesterday, amount)], customer="told", provider="vultr")
        compute(place)
        [now] = told(place, settings, "metrics")
        since = told(place, settings, "metrics", from_=(TODAY - D).isoformat(), to=(NOW + Q).isoformat())
        [change] = told(place, settings, "restatements")
        summary = told(place, settings, "summary")
        day = [row for row in told(place, settings, "trends") if row["period_start"] == str(yesterday)]
    assert (now["cost_kind"], now["amount"]) == ("estimated", "0.500000000000000000")
    assert sorted((row["cost_kind"], row["amount"]) for row in since) == [
        ("billed", "12.500000000000000000"), ("estimated", "0.500000000000000000"),
    ]  # fmt: skip
    assert (change["charge_day"], change["before"], change["after"]) == (
        str(yesterday), "0.000000001000000000", "12.500000000000000000",
    )  # fmt: skip
    assert {row["period"]: row["amount"] for row in summary}["yesterday"] == "12.500000000000000000"
    assert "day" in {row["period"] for row in day}
