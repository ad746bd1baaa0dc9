"""A small world for what draws pictures: two clouds and currencies, waste, changes, answers, gaps, and bad names."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from datetime import UTC, date, datetime, timedelta
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage import reader_writer, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.storage.test_application_readers import interaction, sample
from tests.storage.test_application_readers import publish as publish_answers
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.engines import made_once
from tests.support.samples import points, resource
from tests.support.spine import ACCOUNTS, Spine

WINDOW = windows.floor(datetime.now(UTC)) - timedelta(hours=1)
TODAY = WINDOW.date()
D = timedelta(days=1)

# Names that anybody may give in a cloud: a script, an attribute, Matplotlib's formulas, other letters.
SCRIPT = "</text></svg><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"
FORMULA = "cost_$x^{$"
LETTERS = "機械-καρδιά | `a`"
NAMES = (SCRIPT, FORMULA, LETTERS)


CUSTOMERS = "customers:\n" + "".join(
    f"  - {{id: {name}, name: '{name.title()} & Söhne', aws: [{{account_id: '{account}'}}]}}\n"
    for name, account in ACCOUNTS.items()
)


@cache
def filled() -> Spine:
    """The world, with a customers file, made once in a test run: filling it takes 15 CPU-s. It is to be read only."""

    def make(home: Path) -> None:
        spine = Spine.at(home)
        spine.settings.customers_path.write_text(CUSTOMERS)
        clickhouse = ClickHouse(spine.settings.clickhouse_url.get_secret_value())
        with clickhouse.session():
            fill(clickhouse)

    # A process that began in another window has a world of its own.
    made = made_once(f"pictured-{windows.key(WINDOW).replace(':', '')}", make)
    folder = Path(tempfile.mkdtemp(prefix="optiinfra-pictured-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(made, folder / "home", symlinks=True)
    return Spine.at(folder / "home")


def fill(clickhouse: ClickHouse, window: datetime = WINDOW) -> None:
    """Publish the world's rows of acme, and compute every reader; of globex, one collection that failed."""
    today = window.date()
    _bills(clickhouse, window, [today - n * D for n in (31, *range(11, 1, -1))])
    of_volume = {"kind": "ebs:volume", "resource_type": ResourceType.VOLUME, "status": Status.AVAILABLE}
    volumes = [
        resource(f"vol-{n}", account_id="payer", resource_name=name, **of_volume) for n, name in enumerate(NAMES)
    ]
    machine = resource("i-1")
    for at, found in ((window - windows.WINDOW, volumes), (window, [*volumes, machine])):
        rows = resource_rows("acme", "aws", at, found, at, PROVIDERS["aws"].kinds)
        Writer(clickhouse, schema.RESOURCE).flush([SliceResult("acme", "aws", [at], SliceStatus.OK, rows=rows)])
    covered = [
        Coverage("i-1", ResourceType.COMPUTE, "cpu_utilization", CoverageState.COLLECTED),
        Coverage("i-1", ResourceType.COMPUTE, "memory_utilization", CoverageState.AGENT_MISSING, f"no agent {SCRIPT}"),
    ]
    measured = points("acme", [window], values=[10.0, 30.0])
    Writer(clickhouse, schema.PERFORMANCE).flush(
        [SliceResult("acme", "aws", [window], SliceStatus.OK, rows=measured, coverage=covered)]
    )
    for customer in ("acme", "globex"):
        refused = SliceResult(customer, "azure", [window], SliceStatus.FAILED, error=f"403 of {SCRIPT}")
        Writer(clickhouse, schema.RESOURCE).flush([refused])
    publish_answers(
        clickhouse,
        [row for n in range(4) for row in interaction(n, {"accuracy": "good"}, window, model_name=SCRIPT)]
        + [sample(40, window, model_name=SCRIPT)],
    )
    every = readers()
    for key in TopologicalSorter({key: reader.computed_from for key, reader in every.items()}).static_order():
        reader_writer.compute(clickhouse, every[key], [windows.floor_to(every[key].length, window)])


def _bills(clickhouse: ClickHouse, window: datetime, days: list[date]) -> None:
    """Dollars on AWS, whose two newest days are arriving, and euros on Azure; estimates of today, one day unknown."""
    known = {f"vol-{n}": resource(f"vol-{n}") for n in range(len(NAMES))}
    publish_bill(
        clickhouse,
        days,
        [
            charge(day, amount, service, resource_id=name)
            for day in days
            for amount, service, name in (("2.50", SCRIPT, "vol-0"), ("1.25", "EBS", "vol-1"), ("-0.5", "EBS", "i-1"))
        ],
        resources=known,
        arriving=days[-2:],
    )
    publish_bill(
        clickhouse,
        days,
        [charge(day, "7", "Virtual Machines", "sub-1", currency="EUR") for day in days],
        provider="azure",
        read=["sub-1"],
    )
    publish_estimates(
        clickhouse,
        estimates("acme", window, {"vol-1": "0.02", "i-1": "0.04"}),
        estimates("acme", window - D, {"vol-1": "0.02", "i-1": "0.04"}),
    )
