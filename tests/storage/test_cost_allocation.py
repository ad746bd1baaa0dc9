"""The reader cost/allocation over worlds drawn at random and by hand, against plain Python."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.allocation import FixedShares, SharedCosts
from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.providers.registry import CUSTOMERS_FILE
from optiinfra_dagster.storage import allocation
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.conftest import LONG
from tests.storage.test_cost_readers import TODAY, D, Q, compute, day_of, periods_of
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.engines import copy_migrated
from tests.support.samples import resource, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.model.slices import SliceResult

Row = dict[str, Any]
NONE = {"(untagged)", "(no resource)", "(empty)", "(no account)", "(no region)", "(no service)"}
KEYS = ("team", "Team", "nobody.has this")
ZERO = Decimal(0)


def customer(name: str, allocate_by: Sequence[str] = KEYS, shared: SharedCosts | None = None) -> Customer:
    """A customer of the file."""
    fields = {"id": name, "name": name, "allocate_by": tuple(allocate_by), "shared_costs": shared}
    return CUSTOMERS_FILE.customer_type.model_validate(fields)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    folder = tmp_path_factory.mktemp("allocation") / "clickhouse"
    copy_migrated(folder)
    clickhouse = ClickHouse(f"chdb://{folder}")
    with clickhouse.session():
        yield clickhouse


# --- Worlds drawn at random ------------------------------------------------------------------------------------------


class World:
    """Two clouds' bills and estimates of resources, some tagged by their lines, some by the inventory, some gone."""

    def __init__(self, name: str, seed: int, shared: SharedCosts | None) -> None:
        self.customer = customer(name, shared=shared)
        self.shared = shared
        rng = random.Random(seed)  # noqa: S311
        self.rows: list[Row] = []
        self.tags = {
            f"r-{n}": rng.choice([{}, {"team": "a"}, {"team": "b"}, {"team": ""}, {"Team": "a", "team": "ü\"'\\"}])
            for n in range(6)
        }
        gone = set(rng.sample(sorted(self.tags), 2))
        self.estimates: list[SliceResult] = []
        self.bills: list[Any] = []
        for provider, currency in (("aws", "USD"), ("gcp", rng.choice(["USD", "EUR"]))):
            read, arriving, charges = [], set(), []
            for n in sorted({1, 2, 3, 30, 31, *rng.sample(range(4, 10), 3), rng.choice([35, 39])}):
                if rng.random() < 0.3:
                    self._estimated(rng, provider, currency, n)
                    if rng.random() < 0.5:
                        continue
                read.append(day_of(n))
                if n < 3 and rng.random() < 0.5:
                    arriving.add(day_of(n))
                charges += [self._charge(rng, currency, n) for _ in range(rng.randrange(8))]
            listed = {name: resource(name, tags=tags) for name, tags in self.tags.items() if name not in gone}
            self.bills.append((provider, read, charges, arriving, listed))
            for one in charges:
                kind = "arriving" if one.day in arriving else "billed"
                self._say(provider, kind, one.day, one, gone)
            settled = set(read) - arriving
            self.rows = [
                r for r in self.rows
                if (r["provider"], r["kind"]) != (provider, "estimated") or r["day"] not in settled
            ]  # fmt: skip

    @staticmethod
    def _charge(rng: random.Random, currency: str, n: int) -> Any:
        service, category = rng.choice([("EC2", "Usage"), ("S3", "Usage"), ("Support", "Usage"), ("Tax", "Tax")])
        amount = Decimal(rng.randrange(-(10**5), 10**7)) / 10**4 + Decimal("1e-18")
        own = rng.choice(["", "", '{"team":"line"}', '{"other":"x","team":7}', '{"team":null}'])
        return charge(
            day_of(n), amount, service, "payer", sub_account_id=rng.choice(["one", "two"]), currency=currency,
            category=Category(category), resource_id=rng.choice(["", *(f"r-{k}" for k in range(6))]),
            description=rng.choice(["", "", "Data transfer", "Network Internet Egress"]),
            region_id=rng.choice(["", "eu"]), tags=own, effective_cost=rng.choice([amount, amount + 1, None]),
            list_cost=rng.choice([amount * 2, None]),
        )  # fmt: skip

    def _estimated(self, rng: random.Random, provider: str, currency: str, n: int) -> None:
        names = rng.sample(sorted(self.tags), 2)
        for index, name in enumerate(names):
            window, amount = TODAY - n * D + index * Q, f"{rng.randrange(1, 10**6)}e-7"
            found = estimates(self.customer.id, window, {name: amount}, provider=provider, account="one",
                              currency=currency, region="eu", tags=self.tags[name])  # fmt: skip
            self.estimates.append(found)
            self.rows.append(
                {
                    "provider": provider, "kind": "estimated", "day": day_of(n), "account": "one", "region": "eu",
                    "service": "EC2", "resource": name, "currency": currency, "amount": Decimal(amount),
                    "effective": Decimal(amount), "listed": Decimal(amount), "category": "Usage", "description": "",
                    "tags": self.tags[name], "known": True, "until": window + Q,
                }
            )  # fmt: skip

    def _say(self, provider: str, kind: str, day: date, one: Any, gone: set[str]) -> None:
        own = json.loads(one.tags or "{}")
        known = bool(one.resource_id) and one.resource_id not in gone
        estimated = {
            r["resource"]: r["tags"] for r in self.rows
            if (r["provider"], r["kind"], r["day"], r["account"]) == (provider, "estimated", day, one.sub_account_id)
        }  # fmt: skip
        tags = own or (self.tags[one.resource_id] if known else estimated.get(one.resource_id, {}))
        self.rows.append(
            {
                "provider": provider, "kind": kind, "day": day, "account": one.sub_account_id, "region": one.region_id,
                "service": one.service_name, "resource": one.resource_id, "currency": one.currency,
                "amount": one.amount, "effective": one.effective_cost, "listed": one.list_cost,
                "category": str(one.category), "description": one.description, "tags": tags, "known": known,
                "until": one.start + D,
            }
        )  # fmt: skip

    def publish(self, clickhouse: ClickHouse) -> None:
        with clickhouse.session() as client:
            allocation.record(client, [self.customer])
        publish_estimates(clickhouse, *self.estimates)
        for provider, read, charges, arriving, listed in self.bills:
            publish_bill(
                clickhouse, read, charges, customer=self.customer.id, provider=provider, arriving=arriving,
                covers=["one", "two"], resources=listed,
            )  # fmt: skip

    def places(self, row: Row) -> list[tuple[str, str]]:
        """The dimensions and values that a line counts in."""
        tags = row["tags"]
        if not tags and row["resource"] and not row["known"]:
            tags = self._last_tags(row)

        def of_key(key: str) -> str:
            if key not in tags:
                return "(untagged)" if row["resource"] else "(no resource)"
            return "(empty)" if tags[key] in {"", None} else str(tags[key])

        return [
            ("provider", row["provider"]),
            ("account", row["account"]),
            ("region", row["region"] or "(no region)"),
            ("service", row["service"]),
            *((f"tag:{key}", of_key(key)) for key in KEYS),
        ]

    def _last_tags(self, row: Row) -> Row:
        names = ("provider", "account", "resource")
        found: dict[Any, Row] = {}
        sums: dict[Any, Decimal] = defaultdict(lambda: ZERO)
        first = min((TODAY - 30 * D).date(), TODAY.date().replace(day=1))
        for other in self.rows:
            if all(other[n] == row[n] for n in names) and other["tags"] and other["day"] >= first:
                text = json.dumps(other["tags"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
                line = (
                    other["day"], text, other["kind"], other["currency"], other["service"], other["region"],
                    other["category"], bool(other["description"]),
                )  # fmt: skip
                found[line] = other["tags"]
                sums[line] += 0 if other["kind"] == "arriving" else other["amount"]
        newest = max(found, key=lambda line: (line[0], abs(sums[line]), line[1]), default=None)
        return found[newest] if newest else {}

    def is_shared(self, row: Row) -> bool:
        shared = self.shared
        return shared is not None and (
            row["service"] in shared.services
            or row["category"] in shared.categories
            or ("data_transfer" in shared.usage and row["description"] != "")
        )

    def expected(self) -> dict[tuple[str, ...], Row]:
        """What the reader is to say, by dimension, value, currency and period."""
        groups: dict[tuple[str, str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            for period in set(periods_of(row["day"])) - {"today"}:
                for dimension, value in self.places(row):
                    groups[dimension, row["currency"], period][value].append(row)
        return {
            (dimension, value, currency, period): said
            for (dimension, currency, period), values in groups.items()
            for value, said in self._said(dimension, values).items()
        }

    def _said(self, dimension: str, values: dict[str, list[Row]]) -> dict[str, Row]:
        by: str | FixedShares = self.shared.by if self.shared else ""
        bearers: set[str] = set()
        if isinstance(by, FixedShares):
            if dimension not in (by.key, f"tag:{by.key}"):
                by = ""
            elif any(self.is_shared(r) and r["kind"] != "arriving" for rows in values.values() for r in rows):
                bearers = {value for value, _ in by.parts}
        values = {**{value: [] for value in bearers}, **values}

        def added(rows: Sequence[Row], name: str = "amount") -> Decimal:
            return sum((r[name] for r in rows), ZERO)

        counted = {value: [r for r in rows if r["kind"] != "arriving"] for value, rows in values.items()}
        amounts = {value: added(rows) for value, rows in counted.items()}
        common = {value: added([r for r in rows if self.is_shared(r)]) for value, rows in counted.items()}
        shared = spread(amounts, common, by)
        total = sum(amounts.values())
        everything = [row for rows in values.values() for row in rows]
        return {
            value: {
                "billed": added([r for r in rows if r["kind"] == "billed"]),
                "estimated": added([r for r in rows if r["kind"] == "estimated"]),
                "arriving": added([r for r in rows if r["kind"] == "arriving"]),
                "amount": amounts[value] if counted[value] or value in bearers else None,
                **{
                    name: added(counted[value], name)
                    if (counted[value] or value in bearers) and None not in [r[name] for r in counted[value]]
                    else None
                    for name in ("effective", "listed")
                },
                "share": pytest.approx(float(amounts[value] / total))
                if total and (counted[value] or value in bearers)
                else None,
                "shared": shared[value],
                "resources": len({r["resource"] for r in rows} - {""}),
                "as_of": max(r["until"] for r in rows or everything),
            }
            for value, rows in values.items()
        }


def spread(amounts: dict[str, Decimal], common: dict[str, Decimal], by: str | FixedShares) -> dict[str, Decimal | None]:
    """What is added to each amount where the costs in common are spread, in units of the last digit."""
    if not by:
        return dict.fromkeys(amounts)
    units = {value: int((amounts[value] - common[value]).scaleb(18)) for value in amounts}
    weights = {
        value: 0 if own <= 0 else own if by == "proportional" else int(value not in NONE)
        for value, own in units.items()
    }
    if isinstance(by, FixedShares):
        weights = {value: int(dict(by.parts).get(value, ZERO).scaleb(18)) for value in amounts}
    shared, whole = {v: int(c.scaleb(18)) for v, c in common.items()}, sum(weights.values())
    if not whole:
        return dict.fromkeys(amounts, ZERO)
    every = sum(shared.values())
    parts = {value: abs(every) * weight // whole * (1 if every > 0 else -1) for value, weight in weights.items()}
    biggest = min(weights, key=lambda value: (-weights[value], value))
    parts[biggest] += every - sum(parts.values())
    return {value: Decimal(parts[value] - shared[value]).scaleb(-18) for value in amounts}


RULES = [
    None,
    SharedCosts(services=("Support",), categories=("Tax",)),
    SharedCosts(categories=("Tax",), by="even"),
    SharedCosts.model_validate(
        {"services": ["Support"], "categories": ["Tax"], "by": {"team": {"a": 0.7, "none": 0.3}}}
    ),
    SharedCosts(services=("Support",), usage=("data_transfer",)),
    SharedCosts.model_validate({"categories": ["Tax"], "by": {"region": {"eu": 0.125, "us": 0.875}}}),
]


SEEDS = range(15 if LONG else len(RULES))
Case = Callable[[ClickHouse], None]
CASES: list[tuple[Customer | None, Case]] = []


def case(of: Customer | None) -> Callable[[Case], Case]:
    """What publishes the rows that a test is of, of a customer of its own; all are computed at once."""

    def add(publish: Case) -> Case:
        CASES.append((of, publish))
        return publish

    return add


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [World(f"random-{seed}", seed, RULES[seed % len(RULES)]) for seed in SEEDS]


@pytest.fixture(scope="module")
def computed(place: ClickHouse, worlds: list[World]) -> dict[str, list[Row]]:
    """What the readers say of the worlds that are drawn and of those by hand."""
    with place.session() as client:
        allocation.record(client, [of for of, _ in CASES if of])
    for world in worlds:
        world.publish(place)
    for _, publish in CASES:
        publish(place)
    return compute(place, "summary", "allocation")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_column_is_what_plain_python_says(worlds: list[World], computed: dict[str, list[Row]], seed: int) -> None:
    world, found = worlds[seed], computed
    said = {
        (r["dimension"], r["value"], r["currency"], r["period"]): r
        for r in found["allocation"]
        if r["customer_id"] == world.customer.id
    }
    expected = world.expected()
    assert said.keys() == expected.keys()
    identity = ("window_start", "customer_id", "dimension", "value", "currency", "period")
    for key, row in said.items():
        assert {name: value for name, value in row.items() if name not in identity} == expected[key], key
    sums: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    for row in found["summary"]:
        if row["customer_id"] == world.customer.id and row["period"] != "today":
            for name in ("amount", "arriving"):
                sums[row["currency"], row["period"]][name] += row[name] or 0
    for (currency, period), amounts in sums.items():
        for dimension in ("provider", "account", "region", "service", *(f"tag:{key}" for key in KEYS)):
            its = [r for k, r in said.items() if (k[0], *k[2:]) == (dimension, currency, period)]
            for name, amount in amounts.items():
                assert sum((r[name] or 0 for r in its), ZERO) == amount
            assert sum((r["shared"] or 0 for r in its), ZERO) == 0
            shares = [r["share"] for r in its if r["share"] is not None]
            assert not shares or sum(shares) == pytest.approx(1)


# --- By hand ---------------------------------------------------------------------------------------------------------


def allocated(computed: dict[str, list[Row]], name: str, period: str = "last_30_days") -> dict[tuple[str, str], Row]:
    """What the reader says of a customer's period."""
    rows = computed["allocation"]
    return {(r["dimension"], r["value"]): r for r in rows if (r["customer_id"], r["period"]) == (name, period)}


@case(customer("shares", ["team"], SharedCosts(services=("Support",), categories=("Tax",))))
def publish_shares(place: ClickHouse) -> None:
    bills = [
        charge(day_of(2), "60", resource_id="i-1", tags='{"team":"a"}'),
        charge(day_of(2), "30", resource_id="i-2", tags='{"team":"b"}'),
        charge(day_of(2), "10", resource_id="i-3"),
        charge(day_of(2), "7", "Support"),
        charge(day_of(2), "13", "Tax", category=Category.TAX),
    ]
    publish_bill(place, [day_of(2)], bills, customer="shares")


def test_tax_and_support_are_borne_by_the_teams_in_a_column_of_its_own(computed: dict[str, list[Row]]) -> None:
    said = {value: row for (dimension, value), row in allocated(computed, "shares").items() if dimension == "tag:team"}
    assert {value: (row["amount"], row["shared"], row["share"]) for value, row in said.items()} == {
        "a": (60, 12, pytest.approx(0.5)), "b": (30, 6, pytest.approx(0.25)),
        "(untagged)": (10, 2, pytest.approx(1 / 12)), "(no resource)": (20, -20, pytest.approx(1 / 6)),
    }  # fmt: skip


@case(
    customer(
        "fixed",
        ["team"],
        SharedCosts.model_validate({"services": ["Support"], "by": {"team": {"web": 0.6, "data": 0.3, "new": 0.1}}}),
    )
)
def publish_fixed(place: ClickHouse) -> None:
    bills = [
        charge(day_of(2), "60", resource_id="i-1", tags='{"team":"web"}'),
        charge(day_of(2), "30", resource_id="i-2", tags='{"team":"data"}'),
        charge(day_of(2), "10", resource_id="i-3"),
        charge(day_of(2), "0.000000000000000007", "Support"),
    ]
    publish_bill(place, [day_of(2)], bills, customer="fixed")


def test_support_is_borne_in_fixed_shares_also_by_a_team_that_costs_nothing(computed: dict[str, list[Row]]) -> None:
    found = allocated(computed, "fixed")
    said = {value: row for (dimension, value), row in found.items() if dimension == "tag:team"}
    assert {value: (row["amount"], int(row["shared"].scaleb(18))) for value, row in said.items()} == {
        "web": (60, 5), "data": (30, 2), "new": (0, 0), "(untagged)": (10, 0),
        "(no resource)": (Decimal("7e-18"), -7),
    }  # fmt: skip
    assert {row["shared"] for (dimension, _), row in found.items() if dimension != "tag:team"} == {None}


@case(customer("moving", ["team"], SharedCosts(usage=("data_transfer",))))
def publish_moving(place: ClickHouse) -> None:
    told = [
        ("EC2", "Data transfer"), ("Compute Engine", "Network Internet Data Transfer Out from Americas to Americas"),
        ("Compute Engine", "Network Inter Zone Egress"), ("Bandwidth", ""), ("AWS Data Transfer", ""),
        ("Vultr", "Bandwidth beyond the quota"),
    ]  # fmt: skip
    of_web, of_data = (
        {"resource_id": "i-1", "tags": '{"team":"web"}'},
        {"resource_id": "i-2", "tags": '{"team":"data"}'},
    )
    bills = [
        charge(day_of(2), "60", **of_web), charge(day_of(2), "20", **of_data),
        charge(day_of(2), "20", description="Storage PD Capacity", **of_data),
        *(charge(day_of(2), "5", service, description=words, **of_web) for service, words in told),
    ]  # fmt: skip
    publish_bill(place, [day_of(2)], bills, customer="moving")


def test_what_moving_data_costs_is_shared_whichever_cloud_tells_it(computed: dict[str, list[Row]]) -> None:
    said = {value: row for (dimension, value), row in allocated(computed, "moving").items() if dimension == "tag:team"}
    assert {value: (row["amount"], row["shared"]) for value, row in said.items()} == {
        "web": (90, -12), "data": (40, 12),
    }  # fmt: skip


@case(customer("leavers", ["team"]))
def publish_leavers(place: ClickHouse) -> None:
    midnight = TODAY - 5 * D
    publish_estimates(place, *(
        estimates("leavers", midnight + n * Q, {"i-gone": "1", "i-bare": "1"}, tags={"team": team})
        for n, team in ((0, "first"), (1, "last"))
    ))  # fmt: skip
    bills = [charge(day_of(n), "10", resource_id=name) for n in (3, 4) for name in ("i-gone", "i-bare", "i-new")]
    publish_bill(place, [day_of(3), day_of(4)], bills, customer="leavers", resources={"i-bare": resource("i-bare")})


def test_a_resource_that_is_gone_has_its_last_tags_and_one_that_lost_them_has_none(
    computed: dict[str, list[Row]],
) -> None:
    said = allocated(computed, "leavers")
    assert {value: row["amount"] for (dimension, value), row in said.items() if dimension == "tag:team"} == {
        "last": 24, "(untagged)": 40,
    }  # fmt: skip


@case(customer("many", ["job"], SharedCosts(categories=("Tax",), by="even")))
def publish_many(place: ClickHouse) -> None:
    bills = [charge(day_of(2), str(n), resource_id=f"i-{n}", tags=f'{{"job":"{n:05}"}}') for n in range(1, 10_001)]
    bills += [charge(day_of(2), "0.01", resource_id="i-0"), charge(day_of(2), "20000", category=Category.TAX)]
    publish_bill(place, [day_of(2)], bills, customer="many")


def test_of_ten_thousand_values_a_thousand_are_named(computed: dict[str, list[Row]]) -> None:
    rows = [r for (dimension, _), r in allocated(computed, "many").items() if dimension == "tag:job"]
    said = {r["value"]: r for r in rows}
    assert len(rows) == 1001
    assert said.keys() - {"(others)", "(untagged)", "(no resource)"} == {f"{n:05}" for n in range(9_003, 10_001)}
    rest = said["(others)"]
    assert (rest["amount"], rest["resources"], rest["shared"]) == (sum(range(1, 9_003)), 9_002, 2 * 9_002)
    assert (said["(untagged)"]["amount"], said["(untagged)"]["shared"]) == (Decimal("0.01"), 0)
    assert sum(r["amount"] for r in rows) == sum(range(10_001)) + Decimal("20000.01")


@case(customer("typo", ["Team"]))
def publish_typo(place: ClickHouse) -> None:
    publish_bill(place, [day_of(1)], [charge(day_of(1), "5", resource_id="i-1", tags='{"team":"a"}')], customer="typo")


def test_a_key_that_nobody_has_is_all_untagged(computed: dict[str, list[Row]]) -> None:
    said = allocated(computed, "typo", "yesterday")
    assert {value: row["share"] for (dimension, value), row in said.items() if dimension == "tag:Team"} == {
        "(untagged)": 1,
    }  # fmt: skip


@case(None)
def publish_plain(place: ClickHouse) -> None:
    publish_bill(place, [day_of(1), day_of(3)], [charge(day_of(3), "5"), charge(day_of(1), "2")], customer="plain")


def test_a_customer_without_a_rule_has_the_dimensions_that_need_none(computed: dict[str, list[Row]]) -> None:
    """It was added three days ago: what is known of it is all there is."""
    said = allocated(computed, "plain")
    assert {key: (row["amount"], row["shared"]) for key, row in said.items()} == {
        ("provider", "aws"): (7, None), ("account", "payer"): (7, None), ("region", "(no region)"): (7, None),
        ("service", "EC2"): (7, None),
    }  # fmt: skip


def test_what_the_customers_file_says_is_recorded_where_it_changed(place: ClickHouse) -> None:
    tax = SharedCosts(categories=("Tax",), by="even")
    files: list[list[Customer]] = [
        [customer("x", ["team"]), customer("y", [])],
        [customer("x", ["team"]), customer("y", [])],
        [customer("x", ["team", "it's"], tax), customer("y", [], tax)],
        [customer("x", []), customer("y", [], tax)],
    ]
    with place.session() as client:
        said = [allocation.record(client, of) for of in files]
    assert said == [["x"], [], ["x", "y"], ["x"]]
    rows = select(place, "SELECT * FROM allocation_rules_current WHERE customer_id IN ('x', 'y') ORDER BY customer_id")
    assert [tuple(row.values())[1:] for row in rows] == [
        ([], [], [], [], "", "", [], []),
        ([], [], ["Tax"], [], "even", "", [], []),
    ]
