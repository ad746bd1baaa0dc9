"""A DAGSTER_HOME and a database that commit d6ef9c9 wrote are taken over: the same rows, the same partition status.

`d6ef9c9.tar.xz` is what `optiinfra run` of that commit left after one window of the demo, without its TTLs, so that its
rows stay; `d6ef9c9.json` has, by table and view, the columns of that time, the rows, and a hash that no order changes.
"""

from __future__ import annotations

import json
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import reader_writer, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.explanation import checksums, slices
from optiinfra_dagster.storage.sql import readers
from tests.support.engines import keep_rows_of_any_date

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
BEFORE: Mapping[str, Any] = json.loads((HERE / "d6ef9c9.json").read_text())

# Columns that a migration changed on purpose: 014 made silence a state of its own, 025 the values of rollups single
# precision, and dropped what lines through points were made of.
_ROLLUPS = {"values", "mean_time", "time_squares", "value_squares", "products"}
CHANGED = {
    "coverage": {"state"}, "coverage_current": {"state"},
    "performance_hourly": _ROLLUPS, "performance_hourly_current": _ROLLUPS,
    "performance_daily": _ROLLUPS, "performance_daily_current": _ROLLUPS,
}  # fmt: skip

# Since then.
NEW_ASSETS = {
    "application/agreement", "application/alarms", "application/answers", "application/days", "application/feedback",
    "application/rag", "application/rubrics", "application/unit_cost", "application/usage", "cost/allocation",
    "cost/commitments", "cost/daily", "cost/days", "cost/invoices", "cost/outlook", "cost/rightsizing",
    "performance/anomalies", "resource/by_account", "resource/days", "resource/uptime",
}  # fmt: skip

WINDOW = "2026-11-29T07:15Z"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DAGSTER_HOME of that time, with its database in it."""
    home = tmp_path_factory.mktemp("home")
    with tarfile.open(HERE / "d6ef9c9.tar.xz") as archive:
        archive.extractall(home, filter="data")
    return home


@pytest.fixture(scope="module")
def clickhouse(home: Path) -> ClickHouse:
    """The database, migrated. What its new tables are given is of that time, too, and stays."""
    clickhouse = ClickHouse(f"chdb://{home}/clickhouse")
    with clickhouse.session() as client:
        keep_rows_of_any_date(client)
    return clickhouse


def test_every_table_and_view_has_the_rows_that_it_had(clickhouse: ClickHouse) -> None:
    expected, after = {}, {}
    with clickhouse.session() as client:
        for name, before in BEFORE.items():
            columns = ", ".join(f"`{column}`" for column in before["columns"] if column not in CHANGED.get(name, ()))
            sql = f"SELECT count(), toString(sum(cityHash64(toString(tuple({columns}))))) FROM {name}"  # noqa: S608
            rows, content = client.query(sql).result_rows[0]
            expected[name] = (before["rows"], before["hash"] if name not in CHANGED else content)
            after[name] = (rows, content)
    assert after == expected


def test_the_cost_readers_go_on_with_the_days_of_before(clickhouse: ClickHouse) -> None:
    """Their rollups are computed with the first window after the upgrade; amounts are those of then.

    The bills of older days are taken out of the ledger: each day is an INSERT of two rollups.
    """
    window = windows.from_key(WINDOW)
    with clickhouse.session() as client:
        client.command(
            "ALTER TABLE metric_batches DELETE WHERE dataset = 'cost_billed' "
            "AND window_start < {first:DateTime('UTC')} SETTINGS mutations_sync = 2",
            parameters={"first": window - timedelta(days=12)},
        )
        for name in ("daily", "days", "summary", "trends", "by_service", "by_resource"):
            reader = readers()["cost", name]
            reader_writer.compute(clickhouse, reader, [windows.floor_to(reader.length, window)])
        of_days = "SELECT provider, currency, toString(sum(amount)) FROM {} GROUP BY ALL ORDER BY ALL"
        costs = client.query(of_days.format("costs")).result_rows
        daily = client.query(of_days.format("cost_daily_current")).result_rows
        kinds = client.query("SELECT DISTINCT cost_kind FROM cost_daily_current ORDER BY cost_kind").result_rows
        summary = client.query("SELECT count(), countIf(isNull(amount)) FROM cost_summary_current").result_rows
    assert len(costs) >= 4
    assert daily == costs
    assert kinds == [("billed",), ("estimated",)]
    assert summary[0][0] > summary[0][1] == 0


def test_trends_go_on_with_the_rollups_of_before(clickhouse: ClickHouse) -> None:
    """Their points may be gone: what was rolled up is read as it is."""
    hour = windows.floor_to(timedelta(hours=1), windows.from_key(WINDOW))
    figures = "provider, resource_id, metric_name, statistic, days, n, mean, minimum, maximum, p95"
    with clickhouse.session() as client:
        # A total of a whole day counted in the hour that it came in, and counts on its day now.
        sql = f"SELECT {figures} FROM {{}} WHERE statistic != 'daily_average' ORDER BY ALL"  # noqa: S608
        before = client.query(sql.format("performance_trends")).result_rows
        reader_writer.compute(clickhouse, readers()["performance", "trends"], [hour])
        after = client.query(sql.format("performance_trends_current")).result_rows
        whole = client.query("SELECT sum(length(values)), sum(n) FROM performance_daily_current").result_rows
    assert len(after) > 2000
    assert [row[:6] for row in after] == [row[:6] for row in before]
    for seen, was in zip(after, before, strict=True):
        assert seen[6:] == pytest.approx(was[6:], rel=1e-6), seen[:5]
    assert whole[0][0] == whole[0][1]


def test_facts_of_kinds_are_those_that_were_known_then(clickhouse: ClickHouse) -> None:
    """Rows of before these were written have those of the kinds that `cost waste` named."""
    with clickhouse.session() as client:
        rows = client.query(
            "SELECT DISTINCT kind, attachable, silent_when_idle FROM resource_metrics_current"
        ).result_rows
    facts = {kind: (attachable, silent) for kind, attachable, silent in rows}
    assert len(facts) == len(rows)
    disks = {"ebs:volume", "gcp:disk", "azure:disk", "vultr:block"}
    balancers = {"elb:classic", "elbv2:application", "elbv2:network", "elbv2:gateway", "gcp:forwarding_rule"}
    assert {kind for kind, (attachable, _) in facts.items() if attachable} == disks & facts.keys() != set()
    assert {kind for kind, (_, silent) in facts.items() if silent} == balancers & facts.keys() != set()


def test_silence_is_a_state_where_it_was_a_sentence(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        rows = client.query(
            "SELECT DISTINCT toString(state) FROM coverage_current WHERE reason = 'the cloud returned no points'"
        ).result_rows
    assert rows == [("no_points",)]


def test_what_was_published_then_is_never_said_to_be_changed(clickhouse: ClickHouse) -> None:
    """The ledger's hashes are of the columns of that time; where these cannot be told any more, nothing is said."""
    verdicts = {}
    at = windows.from_key(WINDOW)
    with clickhouse.session() as client:
        for name, dataset in schema.DATASETS.items():
            of = slices.slices_tried(client, name, ("acme", "aws"), at - timedelta(days=90), at + timedelta(days=1))
            published = [one for one in of["aws"] if one.batch]
            verdicts[name] = set(checksums.check(client, dataset, ("acme", "aws"), published).verdicts)
    assert verdicts == {
        "performance": {checksums.MATCHES},  # migration 023 added a column, which is empty
        "application": {checksums.MATCHES},
        "resource": {checksums.OTHER_VERSION},
        "cost": {checksums.OTHER_VERSION},
        "cost_billed": {checksums.OTHER_VERSION},
    }


def test_partitions_that_were_materialized_still_are(home: Path) -> None:
    defs = build_defs(Settings(dagster_home=home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        partitioned = [
            key for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) and asset.partitions_def
            for key in asset.keys
        ]  # fmt: skip
        status = {key.to_user_string(): instance.get_materialized_partitions(key) for key in partitioned}
    assert len(status) >= 35
    assert {name for name, keys in status.items() if WINDOW not in keys} == NEW_ASSETS
