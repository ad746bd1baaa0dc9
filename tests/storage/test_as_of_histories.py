"""Every source as of any time is what it was read as then, or a refusal: drawn histories of each family.

In them slices are collected again, corrected, partial, failed and repaired, bills change, readers are computed again,
what was superseded is cleared away, and another customer is erased.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.config.retention import Retention
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import LostError
from optiinfra_dagster.model.slices import MergeLatePoints, SliceResult, SliceStatus
from optiinfra_dagster.storage import arrow, erasure, schema, superseded_batches
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.readers import columns
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from tests.conftest import LONG
from tests.storage.test_application_readers import sample
from tests.storage.test_as_of import NEWEST, World, all_sources, made, opened
from tests.storage.test_superseded_batches import only_of
from tests.support.bills import charge, estimates, publish_bill
from tests.support.samples import collected, failed, resource

if TYPE_CHECKING:
    from optiinfra_dagster.storage.sql import Reader
    from tests.support.spine import Spine

FAMILIES = ("resource", "performance", "cost", "application")
SOURCES = {key: source for key, source in all_sources().items() if not source.view.startswith("(")}
BILLED_DAY = (NEWEST - timedelta(days=20)).date()
FROM = f"{NEWEST - timedelta(days=25):%Y-%m-%dT%H:%MZ}"


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Spine:
    """The place of all histories, each of which leaves it empty."""
    return made(tmp_path_factory.mktemp("histories"))


STEPS = st.one_of(
    st.tuples(
        st.just("collect"),
        st.sampled_from(["acme", "acme", "hooli"]),
        st.integers(0, 3),
        st.sampled_from([SliceStatus.OK, SliceStatus.PARTIAL, SliceStatus.FAILED]),
        st.integers(0, 1),
    ),
    st.tuples(st.just("correct"), st.integers(10, 12)),
    st.tuples(st.just("bill"), st.integers(1, 3)),
    st.tuples(st.just("compute"), st.integers(0, 99), st.integers(0, 2)),
    st.tuples(st.just("clear"), st.integers(0, 40)),
    st.tuples(st.just("erase")),
)


def attempt(family: str, customer: str, count: int, status: SliceStatus, window: datetime) -> SliceResult:
    """An attempt at a window that found so many things."""
    if status is SliceStatus.FAILED:
        return failed(customer, [window])
    names = [f"{customer}-{n}" for n in range(count)]
    rows: Any = None
    if family == "performance" and count:
        return collected(customer, [window], status=status, values=range(count))
    if family == "resource" and count:
        rows = resource_rows(customer, "aws", window, [resource(name) for name in names], window)
    if family == "cost" and count:
        rows = estimates(customer, window, dict.fromkeys(names, f"{count}.5")).rows
    if family == "application" and count:
        found = [sample(n + 1, window, customer_id=customer, model_name=f"m-{n}") for n in range(count)]
        rows = arrow.conform(schema.APPLICATION, pa.Table.from_pylist(found, schema.APPLICATION.schema))
    return SliceResult(customer, "aws", [window], status, rows=rows)


def computed(world: World, reader: Reader, count: int) -> None:
    """A slice of a reader with so many rows of acme, and one of hooli; all else in them is a default value."""
    with world.spine.clickhouse.session() as client:
        kinds = columns(client, reader.table)
    values = {
        name: f"defaultValueOfTypeName('{kind.replace(chr(39), chr(92) + chr(39))}')"
        for name, kind in kinds.items()
        if name not in {"window_start", "batch"}
    }
    if "provider" in values:
        values["provider"] = "'aws'"
    selects = []
    for customer, rows in (("acme", count), ("hooli", 1)):
        listed = ", ".join(
            f"{value} AS `{name}`" for name, value in (values | {"customer_id": f"'{customer}'"}).items()
        )
        selects.append(f"SELECT {listed} FROM numbers({rows})")  # noqa: S608 - the test's own
    window = windows.floor_to(reader.length, NEWEST)
    write_select(world.spine.clickhouse, reader.table, " UNION ALL ".join(selects), [window])


def take(world: World, family: str, step: tuple[Any, ...]) -> None:
    """Have a step of a history happen."""
    dataset = schema.DATASETS[family]
    match step:
        case "collect", customer, count, status, back:
            window = NEWEST - back * windows.WINDOW
            world.writer(dataset).flush([attempt(family, customer, count, status, window)])
        case "correct", value if family == "performance":
            world.writer(dataset).flush([collected(span=[NEWEST], values=[value], mode=MergeLatePoints())])
        case "bill", amount if family == "cost":
            publish_bill(world.spine.clickhouse, [BILLED_DAY], [charge(BILLED_DAY, str(amount))])
        case "compute", number, count:
            of_family = [reader for key, reader in readers().items() if key[0] == family]
            computed(world, of_family[number % len(of_family)], count)
        case "clear", keep:
            with world.spine.clickhouse.session() as client:
                superseded_batches.clear(client, Retention(timedelta(hours=keep), {}), datetime.now(UTC))
        case ("erase",):
            with world.spine.clickhouse.session() as client:
                erasure.erase(client, "hooli")
        case _:
            pass


def told(world: World, key: tuple[str, str], time: str | None = None) -> Any:
    """What a source tells: of bills, of the days that they are of."""
    more: dict[str, Any] = {"from_": FROM} if key[0] == "cost" and not SOURCES[key].reader else {}
    return world.read(*key, as_of=time, **more).rows


@pytest.mark.timeout(3000 if LONG else 500)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_source_as_of_any_time_of_drawn_histories(spine: Spine, family: str) -> None:
    keys = [key for key in SOURCES if key[0] == family]
    some = st.lists(st.sampled_from(keys), min_size=2, max_size=3, unique=True)

    @settings(max_examples=8 if LONG else 2, deadline=None)
    @given(
        steps=st.lists(st.tuples(STEPS, st.integers(1, 30)), min_size=3, max_size=10 if LONG else 5),
        asked=st.just(keys) if LONG else some,
    )
    def drawn(steps: list[tuple[Any, int]], asked: list[tuple[str, str]]) -> None:
        have_history(spine, family, steps, asked)

    drawn()


# Of each family: a bill or a correction, something that is replaced, a partial repair, and a clearing that takes some.
HISTORY: list[tuple[Any, int]] = [
    (("collect", "acme", 2, SliceStatus.PARTIAL, 0), 2),
    (("collect", "hooli", 1, SliceStatus.OK, 0), 1),
    (("compute", 3, 1), 1),
    (("bill", 1), 1),
    (("collect", "acme", 3, SliceStatus.OK, 0), 3),
    (("correct", 11), 1),
    (("bill", 2), 1),
    (("compute", 3, 2), 26),
    (("erase",), 1),
    (("clear", 28), 1),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_source_as_of_any_time_of_one_history(spine: Spine, family: str) -> None:
    reader = [key for key in SOURCES if key[0] == family and SOURCES[key].reader][3]
    own = [key for key in SOURCES if key[0] == family and not SOURCES[key].reader]
    have_history(spine, family, HISTORY, [*own, reader])


def have_history(spine: Spine, family: str, steps: list[tuple[Any, int]], asked: list[tuple[str, str]]) -> None:
    """Have a history, and read sources as of each time in it: as they were read then, or refused by an oldest time."""
    tables = [reader.table for key, reader in readers().items() if key[0] == family]
    bills = ["cost_billed"] if family == "cost" else []
    answers: list[tuple[datetime, dict[tuple[str, str], Any]]] = []
    with opened(spine) as world, spine.clickhouse.session() as client:
        only_of(client, family, *bills, *tables)
        for step, hours in steps:
            take(world, family, step)
            answers.append((world.mark(timedelta(hours=hours)), {key: told(world, key) for key in asked}))
        for marked, then in answers:
            for key, rows in then.items():
                try:
                    again = told(world, key, world.at(marked))
                except LostError as refused:
                    oldest = re.findall(r"The oldest time is (\S+);", str(refused))
                else:
                    assert again == rows, (key, steps)
                    continue
                assert [one for one in oldest if datetime.fromisoformat(one) > marked - world.moved], key
                told(world, key, *oldest)
