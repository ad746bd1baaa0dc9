"""What `optiinfra explain` says of a row: where it comes from, what it lacks, and whether anybody changed it."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import io
import json
import re
import sys
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.cli import main
from optiinfra_dagster.cli.explained_text import print_explanation
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import OptiInfraError, UsageError
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.explanation import checksums, reader_inputs
from optiinfra_dagster.storage.explanation.explain import AmbiguousError
from optiinfra_dagster.storage.explanation.model import Recomputation
from optiinfra_dagster.storage.sql import read_sql, readers
from tests.cli import explained_world
from tests.cli.explained_world import BILLED, DAY, FIRST, HOUR, LAST, SECOND, SECRET, THIRD, World, layer, today

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

SUMMARY: dict[str, Any] = {"provider": "aws", "from_": windows.key(LAST), "where": ["metric_name=cpu_utilization"]}
HOURLY: dict[str, Any] = {"provider": "aws", "from_": windows.key(HOUR), "resource_id": "i-1"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = explained_world.make(tmp_path_factory.mktemp("explained") / "home")
    with world.spine.clickhouse.session():
        yield world


# --- Every reader ----------------------------------------------------------------------------------------------------


# One in five tries the same code as all of them, and costs a fifth; the rest is tried on request.
EXPLAINED = [pytest.param(*key, marks=[pytest.mark.long] if n % 5 else []) for n, key in enumerate(readers())]


@pytest.mark.parametrize(("family", "name"), EXPLAINED)
def test_every_reader_is_explained(world: World, family: str, name: str) -> None:
    is_billed_day = (family, name) in {("cost", "daily"), ("cost", "days")}
    at = BILLED if is_billed_day else windows.floor_to(readers()[family, name].length, LAST)
    found = world.explain(family, name, from_=windows.key(at), row=1)
    assert found.origin.file == f"sql/readers/{family}_{name}.sql"
    assert found.own is not None
    assert found.own.rows >= 1
    assert found.beneath
    with world.spine.clickhouse.session() as client:
        # That it can be run as it is printed is tried of one of each kind: to analyse the longest takes 2 CPU-s.
        can_run = "DESCRIBE TABLE ({})" if name in {"summary", "by_service"} else "EXPLAIN AST {}"
        client.query(can_run.format(found.origin.computed_by))
        assert client.query(f"SELECT count() FROM ({found.origin.read_by})").result_rows == [(1,)]
    json.dumps(found.as_dict())
    out = io.StringIO()
    print_explanation(found, "text", out)
    assert out.getvalue().startswith(f"acme: {family} {name}\n")


# Slices of which a reader asks the ledger when they were tried, and not the rows.
_ROLLUP_OF_TODAY = {"cost/days"}  # whether it is new, of those that read the day's costs
ONLY_IN_THE_LEDGER = {
    ("application", "alarms"): {"application"},
    ("performance", "trends"): {"performance"},
    **{
        ("cost", name): _ROLLUP_OF_TODAY for name in ("allocation", "by_resource", "by_service", "waste")
    },
}  # fmt: skip


def _expanded(client: Client, sql: str) -> str:
    """A SELECT with the definitions of the views in it behind it."""
    rows = client.query(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
    ).result_rows
    known = dict(map(tuple, rows))
    text, done = sql, set[str]()
    while names := {name for name in known if re.search(rf"\b(?:FROM|JOIN)\s+(?:\w+\.)?{name}\b", text)} - done:
        done |= names
        text += "".join(known[name] for name in names)
    return text


@pytest.mark.parametrize(("family", "name"), list(readers()))
def test_what_a_reader_says_it_reads_is_what_its_select_reads(world: World, family: str, name: str) -> None:
    with world.spine.clickhouse.session() as client:
        text = _expanded(client, re.sub("--.*", "", read_sql(f"readers/{family}_{name}")))
    tables = {reader.table: f"{key[0]}/{key[1]}" for key, reader in readers().items()}
    said = {one.what for one in reader_inputs.reads(family, name)}
    named = set(re.findall(r"dataset\s*=\s*'(\w+)'", text))
    for listed in re.findall(r"dataset IN \(([^)]*)\)", text):
        named |= set(re.findall(r"'(\w+)'", listed))
    beside = {
        table
        for table in (
            "prices", "machine_sizes", "coverage", "allocation_rules", "cost_restated", "application_golden",
            "application_interactions",
        )
        if re.search(rf"\bFROM (?:\S+\.)?{table}\b", text)
    }  # fmt: skip
    found = {tables.get(one, one) for one in named} - ONLY_IN_THE_LEDGER.get((family, name), set())
    assert found | beside == said


# --- Values ----------------------------------------------------------------------------------------------------------


def test_a_rows_slice_is_the_readers(world: World) -> None:
    found = world.explain("performance", "summary", **SUMMARY)
    batch, rows, run = world.value(
        "SELECT batch, rows, run_id FROM metric_batches WHERE dataset = 'performance_summary' "
        f"AND window_start = fromUnixTimestamp({int(LAST.timestamp())})"
    )
    assert found.own is not None
    assert (found.own.batch, found.own.rows, found.own.run_id) == (batch, rows, run)
    assert (found.own.run_id, found.own.begin, found.own.status) == ("run-of-readers", LAST, "ok")
    assert found.row["metric_name"] == "cpu_utilization"
    assert found.row["points"] == 4


def test_of_an_hour_each_window_is_told(world: World) -> None:
    """Two are complete, one is partial, and one was never tried."""
    found = world.explain("performance", "hourly", **HOURLY)
    beneath = layer(found, "performance").of
    assert (beneath.begin, beneath.end, beneath.provider) == (HOUR, HOUR + timedelta(hours=1), "aws")
    assert [(one.begin, one.slices, one.state, one.rows) for one in beneath.ranges] == [
        (FIRST, 1, "complete", 4), (SECOND, 1, "partial", 4), (THIRD, 1, "missing", 0), (LAST, 1, "complete", 4),
    ]  # fmt: skip
    assert found.complete is False
    said = " ".join(found.reasons)
    assert f"1 of 4 slices is partial ({windows.key(SECOND)}): eu-west-1 did not answer" in said
    assert f"1 of 4 slices is never tried ({windows.key(THIRD)})" in said


def test_a_day_reaches_through_the_hours_to_what_was_collected(world: World) -> None:
    found = world.explain("performance", "daily", provider="aws", from_=windows.key(today()), resource_id="i-1")
    assert [(one.of.name, one.of.depth) for one in found.beneath] == [("performance/hourly", 1), ("performance", 2)]
    beneath = layer(found, "performance").of
    assert beneath.begin == today()
    assert beneath.counts["complete"] == 2
    assert beneath.counts["before the first"] == (FIRST - today()) // windows.WINDOW
    assert layer(found, "performance/hourly").of.counts["complete"] >= 1


def test_what_is_complete_says_so(world: World) -> None:
    found = world.explain("resource", "inventory", row=1, from_=windows.key(LAST))
    assert layer(found, "resource").of.counts == {"complete": 1}
    assert (found.complete, found.unaltered, found.reasons) == (True, True, [])


def test_calls_and_their_price_are_those_of_the_ledger(world: World) -> None:
    found = world.explain("performance", "hourly", "globex", **HOURLY)
    calls, usd = world.value(
        "SELECT sum(api_calls), sum(api_cost_usd) FROM metric_batches WHERE dataset = 'performance' "
        f"AND customer_id = 'globex' AND window_start >= fromUnixTimestamp({int(HOUR.timestamp())})"
    )
    assert (found.calls.calls, found.calls.usd) == (calls, usd) == (7, Decimal("0.00006"))
    assert found.as_dict()["calls"] == {"calls": 7, "usd": "0.000060000"}


def test_calls_that_nobody_counted_are_not_zero(world: World) -> None:
    found = world.explain("resource", "inventory", row=1, from_=windows.key(LAST))
    assert (found.calls.calls, found.calls.usd) == (None, None)
    assert "calls not metered" in _text(world, "resource", "inventory")


def test_what_is_not_collected_of_the_metric_is_told(world: World) -> None:
    found = world.explain("performance", "by_resource", row=1, from_=windows.key(LAST), resource_id="i-1")
    ((gap),) = found.gaps
    assert (gap.metric_name, gap.resource_id, gap.state) == ("cpu_utilization", "i-1", "no_permission")
    assert gap.until is None
    assert any("cpu_utilization of i-1 on aws was not collected (no_permission)" in one for one in found.reasons)


# --- What came after -------------------------------------------------------------------------------------------------


def test_what_was_published_since_is_told(world: World) -> None:
    found = world.explain("performance", "hourly", "globex", **HOURLY)
    changed = [one.start for one in layer(found, "performance").of.slices if one.changed_since]
    assert changed == [FIRST]
    assert any("1 slice was published after this row was" in one for one in found.reasons)


def test_nothing_changed_where_nothing_came_after(world: World) -> None:
    found = world.explain("performance", "hourly", **HOURLY)
    assert not any(one.changed_since for one in layer(found, "performance").of.slices)


def test_a_failed_attempt_since_is_told(world: World) -> None:
    found = world.explain("performance", "summary", "globex", **SUMMARY)
    ((failed),) = found.failed_since
    assert (failed.dataset, failed.provider, failed.slices, failed.status) == ("performance", "aws", 1, "failed")
    assert (failed.first, failed.newer) == (LAST, False)
    assert failed.error == "refused: password=*** is wrong"


def test_a_restated_day_is_told_with_before_and_after(world: World) -> None:
    found = world.explain("cost", "daily", "globex", from_=windows.key(BILLED), to=windows.key(BILLED + DAY), row=1)
    assert found.row["amount"] == 5
    ((restated),) = found.restated_since
    assert restated.charge_day == BILLED.date()
    assert (restated.before, restated.after) == (Decimal(5), Decimal(7))
    assert "The bill changed 1 amount of these days after this row was computed." in found.reasons
    before = world.explain("cost", "daily", from_=windows.key(BILLED), to=windows.key(BILLED + DAY), row=1)
    assert (before.restated_since, before.complete) == ([], True)


def test_computing_again_says_what_is_different(world: World) -> None:
    assert world.explain("performance", "hourly", recompute=True, **HOURLY).recomputed == Recomputation(
        found=True, differs={}
    )
    again = world.explain("performance", "hourly", "globex", recompute=True, **HOURLY).recomputed
    assert again is not None
    assert again.found
    assert again.differs["maximum"] == (2.0, 9.0)


# --- Checksums -------------------------------------------------------------------------------------------------------


def test_the_stored_rows_match_the_ledger(world: World) -> None:
    checked = layer(world.explain("performance", "hourly", **HOURLY), "performance").checked
    assert checked is not None
    assert (checked.slices, checked.of, checked.verdicts) == (3, 3, {checksums.MATCHES: 3})


def test_a_checksum_is_what_its_statement_gives(world: World) -> None:
    found = world.explain("performance", "hourly", **HOURLY)
    for checksum, rows in ((found.checksum, 2), (layer(found, "performance").checksum, 12)):
        assert checksum is not None
        assert checksum.rows == rows
        assert world.value(checksum.sql) == (checksum.rows, checksum.value)


def test_a_row_that_is_changed_by_hand_does_not_match(world: World) -> None:
    before = world.explain("performance", "hourly", "initech", **HOURLY)
    world.command(
        "ALTER TABLE performance_metrics UPDATE metric_value = 77 WHERE customer_id = 'initech' "
        f"AND resource_id = 'i-1' AND timestamp = fromUnixTimestamp({int(LAST.timestamp())}) "
        "SETTINGS mutations_sync = 2"
    )
    found = world.explain("performance", "hourly", "initech", **HOURLY)
    checked = layer(found, "performance").checked
    assert checked is not None
    assert checked.verdicts == {checksums.MATCHES: 2, checksums.DIFFERS: 1}
    assert checked.differing == (LAST,)
    assert (before.unaltered, found.unaltered) == (True, False)
    assert "are not those that were published" in found.reasons[0]
    assert layer(before, "performance").checksum != layer(found, "performance").checksum
    world.command(
        "DELETE FROM performance_metrics WHERE customer_id = 'initech' "
        f"AND window_start = fromUnixTimestamp({int(FIRST.timestamp())})"
    )
    again = layer(world.explain("performance", "hourly", "initech", **HOURLY), "performance").checked
    assert again is not None
    assert again.differing == (FIRST, LAST)


def test_rows_of_a_reader_are_counted_again(world: World) -> None:
    """The ledger has no hash of them."""
    of = {"provider": "aws", "from_": windows.key(LAST), "resource_id": "i-1"}
    assert world.explain("performance", "by_resource", "globex", **of, row=1).unaltered is True
    its = f"window_start = fromUnixTimestamp({int(LAST.timestamp())}) AND customer_id = 'globex'"
    world.command(f"INSERT INTO performance_by_resource SELECT * FROM performance_by_resource WHERE {its}")
    more = world.explain("performance", "by_resource", "globex", **of, row=1)
    assert (more.unaltered, more.own and more.own.counted) == (False, checksums.MORE)
    assert "more rows of the row's own slice than were published: somebody added some." in more.reasons[0]
    world.command(f"DELETE FROM performance_by_resource WHERE {its}")
    fewer = world.explain("performance", "by_resource", **of, row=1)
    assert (fewer.unaltered, fewer.own and fewer.own.counted) == (None, checksums.FEWER)
    assert any("fewer rows than were published" in one for one in fewer.reasons)


def test_a_readers_row_that_is_changed_by_hand_differs_when_it_is_computed_again(world: World) -> None:
    world.command(
        "ALTER TABLE resource_inventory UPDATE region = 'mars' WHERE customer_id = 'initech' AND resource_id = 'i-2' "
        "SETTINGS mutations_sync = 2"
    )
    found = world.explain(
        "resource", "inventory", "initech", from_=windows.key(LAST), resource_id="i-2", recompute=True
    )
    assert found.unaltered is None
    assert found.reasons == [
        "Computed again now, the row differs in region: nothing was published since, somebody changed it."
    ]


# --- Rows that are not a reader's ------------------------------------------------------------------------------------


def test_a_point_is_explained_by_the_slice_it_was_collected_in(world: World) -> None:
    found = world.explain("performance", "metrics", from_=windows.key(SECOND), to=windows.key(THIRD), row=1)
    assert found.own is not None
    assert (found.own.dataset, found.own.begin, found.own.status, found.own.rows) == (
        "performance",
        SECOND,
        "partial",
        4,
    )
    assert found.own.content_hash != 0
    assert (found.complete, found.unaltered) == (False, True)


def test_a_charge_is_explained_by_its_bill_and_an_estimate_by_its_window(world: World) -> None:
    bill = world.explain("cost", "metrics", "globex", from_=windows.key(BILLED), to=windows.key(BILLED + DAY), row=1)
    assert bill.own is not None
    assert (bill.own.dataset, bill.own.begin, bill.row["amount"]) == ("cost_billed", BILLED, 7)
    estimate = world.explain("cost", "metrics", "globex", from_=windows.key(LAST), row=1)
    assert estimate.own is not None
    assert (estimate.own.dataset, estimate.own.begin) == ("cost", LAST)


def test_a_restatement_is_explained_by_the_day_of_the_bill(world: World) -> None:
    found = world.explain("cost", "restatements", "globex")
    assert (found.row["before"], found.row["after"]) == (5, 7)
    assert world.value(f"SELECT count() FROM ({found.origin.read_by})") == (1,)
    at = found.as_dict()["row"]["seen_at"]
    assert world.explain("cost", "restatements", "globex", where=[f"seen_at={at}"]).row == found.row
    assert found.own is not None
    assert (found.own.dataset, found.own.begin) == ("cost_billed", BILLED)


def test_a_line_of_a_timeline_is_explained_by_the_reader_it_names(world: World) -> None:
    found = world.explain("resource", "timeline", "globex", resource_id="i-1", where=["reader=performance/daily"])
    assert found.own is not None
    assert (found.own.dataset, found.own.begin) == ("performance_daily", today())
    gap = world.explain("resource", "timeline", "globex", resource_id="i-1", where=["reader=coverage"])
    assert gap.own is None
    assert (gap.complete, len(gap.reasons)) == (None, 1)


@pytest.mark.parametrize(("reader", "row"), [("metrics", 2), ("daily", 1), ("daily", 2)])
def test_of_rows_with_one_key_each_is_told_by_its_own_select(world: World, reader: str, row: int) -> None:
    """A charge and a credit of one service: what is computed again is compared with the right one of them."""
    of = {"from_": windows.key(BILLED), "to": windows.key(BILLED + DAY)}
    found = world.explain("cost", reader, "initech", row=row, recompute=True, **of)
    assert world.value(f"SELECT count(), any(amount) FROM ({found.origin.read_by})") == (1, found.row["amount"])
    assert found.recomputed is None or found.recomputed == Recomputation(found=True, differs={})


def test_the_day_that_goes_on_is_not_complete_without_its_windows(world: World) -> None:
    found = world.explain("cost", "by_service", from_=windows.key(LAST), row=1)
    missing = [one.start for one in layer(found, "cost").of.slices if one.state == "missing"]
    assert missing == [SECOND, THIRD]
    if LAST.hour != 23:  # of a day that is over the share of it that is known is told
        said = " ".join(found.reasons)
        assert f"2 of {len(layer(found, 'cost').of.slices):,} slices are never tried" in said
        if FIRST.hour:  # else the day begins with it
            assert f"cost, aws: nothing was collected before {windows.key(FIRST)}" in said


# --- Which row -------------------------------------------------------------------------------------------------------


def test_more_than_one_row_asks_for_a_narrower_filter(world: World) -> None:
    with pytest.raises(AmbiguousError) as raised:
        world.explain("performance", "metrics", from_=windows.key(HOUR))
    assert raised.value.total == 12
    assert len(raised.value.rows) == 10
    lines = str(raised.value).splitlines()
    assert lines[0] == "12 rows are left, and one is explained. Add --where column=value, or --row:"
    assert lines[1].startswith("  --row 1  timestamp=")
    assert lines[-1] == "  ... and 2 more"
    assert world.explain("performance", "metrics", from_=windows.key(HOUR), row=10).row == raised.value.rows[9]


def test_filters_compare_by_the_columns_type(world: World) -> None:
    of = {"from_": windows.key(HOUR), "resource_id": "i-1"}
    where = [f"timestamp={windows.key(LAST)}", "metric_value=1", "metric_name=cpu_utilization"]
    found = world.explain("performance", "metrics", where=where, **of)
    assert (found.row["timestamp"], found.row["metric_value"]) == (LAST, 1.0)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("metric_nam=x", "there is no column 'metric_nam' (did you mean 'metric_name'?)"),
        ("metric_name", "is no filter: write column=value"),
        ("metric_value=high", "metric_value is compared with a number."),
        ("timestamp=yesterday", "is not a time: write it as 2026-11-21T10:15Z."),
    ],
)
def test_a_wrong_filter_is_refused(world: World, where: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        world.explain("performance", "metrics", where=[where], row=1)


def test_no_row_is_explained_by_why_there_is_none(world: World) -> None:
    with pytest.raises(OptiInfraError, match="no row has metric_name=nothing"):
        world.explain("performance", "metrics", from_=windows.key(HOUR), where=["metric_name=nothing"])
    with pytest.raises(OptiInfraError, match="there is no row 99, only 12 rows"):
        world.explain("performance", "metrics", from_=windows.key(HOUR), row=99)
    with pytest.raises(OptiInfraError, match="nothing is known of i-9"):
        world.explain("performance", "metrics", resource_id="i-9")
    with pytest.raises(OptiInfraError, match="No performance was collected yet"):
        world.explain("performance", "metrics", provider="vultr")
    with pytest.raises(UsageError, match=r"no reader 'sumary' of cost \(did you mean 'summary'\?"):
        world.explain("cost", "sumary")


# --- What is printed -------------------------------------------------------------------------------------------------


def _text(world: World, family: str, reader: str, format_: str = "text", **more: Any) -> str:
    out = io.StringIO()
    options: dict[str, Any] = {"row": 1, "from_": windows.key(LAST)} | more
    print_explanation(world.explain(family, reader, **options), format_, out)
    return out.getvalue()


@pytest.mark.parametrize("format_", ["text", "json"])
def test_no_secret_of_an_error_is_printed(world: World, format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLAINED_KEY", "did not answer")  # the customers file names it as a secret
    for reader in ("hourly", "summary"):
        text = _text(world, "performance", reader, format_, from_=windows.key(HOUR), customer="globex")
        assert SECRET not in text
        assert "did not answer" not in text
        assert "***" in text


def test_the_json_has_the_same_keys_always(world: World) -> None:
    found = json.loads(_text(world, "performance", "hourly", "json", **HOURLY))
    assert sorted(found) == sorted([
        "customer", "family", "reader", "explained_at", "as_of", "row", "origin", "own", "beneath", "beside", "calls",
        "days", "gaps", "gaps_left_out", "restated_since", "restated_left_out", "restated_before", "failed_since",
        "checksum", "recomputed", "complete", "unaltered", "reasons",
    ])  # fmt: skip
    (of_points,) = (one for one in found["beneath"] if one["name"] == "performance")
    assert sorted(of_points) == sorted([
        "depth", "name", "dataset", "table", "is_reader", "provider", "begin", "end", "slices", "counts", "rows",
        "changed_since", "ranges", "ranges_left_out", "calls", "checked", "checksum",
    ])  # fmt: skip
    assert sorted(of_points["ranges"][0]) == sorted([
        "begin", "end", "state", "slices", "rows", "content_hash", "first_batch", "last_batch", "first_published",
        "last_published", "changed_since", "failed_since", "error",
    ])  # fmt: skip
    assert found["own"]["begin"] == f"{HOUR:%Y-%m-%dT%H:%M:%SZ}"
    assert isinstance(found["own"]["batch"], str)


def test_the_text_says_the_verdict_first_and_the_select_last(world: World) -> None:
    text = _text(world, "performance", "hourly", **HOURLY)
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert titles[:4] == [
        "acme: performance hourly", "May it be trusted?", "Where it comes from", "What it was computed from",
    ]  # fmt: skip
    assert "  complete: not complete" in text
    assert f"toDateTime('{HOUR:%Y-%m-%d %H:%M:%S}', 'UTC')" in text.partition("The SELECT of ")[2]


def test_the_command_ends_with_2_where_a_row_must_be_chosen(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And with 0 where one is explained; the answer is on standard output, all else on standard error."""
    monkeypatch.setattr(ClickHouse, "of", lambda *_, **__: world.spine.clickhouse)
    for name, value in world.spine.env.items():
        monkeypatch.setenv(name, value)
    given = ["explain", "performance", "metrics", "--customer", "acme", "--from", windows.key(HOUR)]

    monkeypatch.setattr(sys, "argv", ["optiinfra", *given])
    with pytest.raises(SystemExit) as ended:
        main.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("error: 12 rows are left, and one is explained.")

    monkeypatch.setattr(sys, "argv", ["optiinfra", *given, "--row", "2", "--format", "json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    assert json.loads(out)["row"]["customer_id"] == "acme"
