"""The slice protocol, on both transports: what readers see is always one whole published attempt."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.slices import MergeLatePoints, PublishedWindows, SliceResult, SliceStatus
from optiinfra_dagster.storage import deletes, schema
from optiinfra_dagster.storage import ledger as ledger_queries
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.writer import FlushResult, Writer
from tests.support.samples import (  # fmt: skip
    BORDER,
    EARLY,
    LATE,
    W,
    age,
    batches,
    collected,
    failed,
    ledger,
    points,
    raw,
    seen_values,
    select,
    view,
    windows_from,
)

if TYPE_CHECKING:
    from tests.support.clickhouse_http import ClickHouseHttp, FaultKind


@pytest.fixture
def writer(clickhouse: ClickHouse) -> Writer:
    return Writer(clickhouse, schema.PERFORMANCE, run_id="run")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """The clock that batch numbers are taken from."""
    clock = mock.Mock(return_value=1_000)
    monkeypatch.setattr(ledger_queries.next_batch, "__defaults__", (clock,))
    return clock


def test_published_rows_are_seen_as_they_were_given(writer: Writer, clickhouse: ClickHouse) -> None:
    flushed = writer.flush([collected(values=[1.5, 2.5])])

    minute = timedelta(minutes=1)
    assert view(clickhouse) == [
        ("acme", "aws", W, "i-1", W, 1.5, EARLY),
        ("acme", "aws", W, "i-1", W + minute, 2.5, EARLY),
    ]
    assert flushed.rows_written == 2
    [row] = ledger(clickhouse)
    assert (row["status"], row["rows"], row["run_id"], [row["batch"]]) == ("ok", 2, "run", batches(clickhouse))


def test_an_identical_attempt_writes_nothing(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(collected_at=EARLY)])
    before = (view(clickhouse), batches(clickhouse), ledger(clickhouse))

    flushed = writer.flush([collected(collected_at=LATE)])

    assert (view(clickhouse), batches(clickhouse), ledger(clickhouse)) == before
    assert (flushed.rows_written, flushed.entries, len(flushed.unchanged)) == (0, [], 1)


def test_a_changed_attempt_replaces_the_slice(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(values=[1, 2])])
    writer.flush([collected(values=[1, 3])])

    assert seen_values(clickhouse) == [1, 3]
    assert len(raw(clickhouse)) == 2


def test_vanished_rows_are_gone_from_view_and_table(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(names=["i-1", "i-2", "i-3"])])
    writer.flush([collected(names=["i-2"])])

    assert {row[3] for row in view(clickhouse)} == {"i-2"}
    assert raw(clickhouse) == view(clickhouse)


@pytest.mark.parametrize("rows", [None, schema.PERFORMANCE.schema.empty_table()], ids=["none", "empty"])
def test_an_empty_slice_is_published(writer: Writer, clickhouse: ClickHouse, rows: None) -> None:
    writer.flush([collected()])
    writer.flush([collected(rows=rows)])

    assert view(clickhouse) == raw(clickhouse) == []
    assert [(row["status"], row["rows"]) for row in ledger(clickhouse)] == [("ok", 2), ("ok", 0)]


@pytest.mark.parametrize(
    "status", [SliceStatus.FAILED, SliceStatus.NOT_DUE, SliceStatus.BUDGET, SliceStatus.NOT_CONFIGURED]
)
def test_an_attempt_that_gave_nothing_hides_nothing(
    writer: Writer, clickhouse: ClickHouse, status: SliceStatus
) -> None:
    writer.flush([collected()])
    before = view(clickhouse)

    writer.flush([failed(status=status, permanent=True)])

    assert view(clickhouse) == before == raw(clickhouse)
    assert ledger(clickhouse)[-1]["status"] == status
    assert ledger(clickhouse)[-1]["error"] == "no answer"


def test_an_identical_attempt_after_a_failed_one_still_writes_nothing(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected()])
    writer.flush([failed()])

    assert writer.flush([collected(collected_at=LATE)]).rows_written == 0
    assert {row[-1] for row in view(clickhouse)} == {EARLY}


def test_a_partial_attempt_never_replaces_a_whole_one(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(names=["i-1", "i-2"])])
    before = view(clickhouse)

    writer.flush([collected(names=["i-1"], status=SliceStatus.PARTIAL, error="us-west-2 was refused")])

    assert view(clickhouse) == before == raw(clickhouse)
    assert (ledger(clickhouse)[-1]["status"], ledger(clickhouse)[-1]["error"]) == ("failed", "us-west-2 was refused")


def test_a_whole_attempt_heals_a_partial_one(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(names=["i-1"], status=SliceStatus.PARTIAL, error="us-west-2 was refused")])
    assert {row[3] for row in view(clickhouse)} == {"i-1"}

    writer.flush([collected(names=["i-1", "i-2"])])

    assert {row[3] for row in view(clickhouse)} == {"i-1", "i-2"}
    assert raw(clickhouse) == view(clickhouse)


def test_a_whole_attempt_with_the_rows_of_the_partial_one_says_that_they_are_whole(
    writer: Writer, clickhouse: ClickHouse
) -> None:
    writer.flush([collected(status=SliceStatus.PARTIAL, error="throttled")])
    writer.flush([collected()])

    assert [row["status"] for row in ledger(clickhouse)] == ["partial", "ok"]
    assert len(raw(clickhouse)) == 2


@pytest.mark.parametrize(("second", "left"), [(["i-1", "i-2", "i-3"], 3), (["i-1"], 2)], ids=["more", "less"])
def test_of_partial_attempts_the_fuller_one_stays(
    writer: Writer, clickhouse: ClickHouse, second: list[str], left: int
) -> None:
    writer.flush([collected(names=["i-1", "i-2"], status=SliceStatus.PARTIAL, error="throttled")])
    writer.flush([collected(names=second, status=SliceStatus.PARTIAL, error="throttled")])

    assert len({row[3] for row in view(clickhouse)}) == left


def test_a_correction_changes_the_points_it_brings_and_keeps_the_others(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(names=["i-1", "gone"], values=[1, 2])])

    flushed = writer.flush([collected(names=["i-1"], values=[1, 9, 4], mode=MergeLatePoints(), collected_at=LATE)])

    assert [row[3:6:2] for row in view(clickhouse)] == [("gone", 1), ("gone", 2), ("i-1", 1), ("i-1", 9), ("i-1", 4)]
    assert raw(clickhouse) == view(clickhouse)
    assert (flushed.corrected, flushed.reread, flushed.rows_written) == (2, 3, 5)


@pytest.mark.parametrize("rows", [None, schema.PERFORMANCE.schema.empty_table()], ids=["none", "empty"])
def test_a_correction_without_points_takes_none_away(writer: Writer, clickhouse: ClickHouse, rows: None) -> None:
    writer.flush([collected()])
    before = view(clickhouse)

    flushed = writer.flush([collected(rows=rows, mode=MergeLatePoints())])

    assert view(clickhouse) == before
    assert (flushed.corrected, flushed.entries) == (0, [])


def test_a_correction_that_corrects_nothing_writes_nothing(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(names=["i-1", "gone"])])
    before = (view(clickhouse), batches(clickhouse), ledger(clickhouse))

    same = writer.flush([collected(names=["i-1", "gone"], mode=MergeLatePoints(), collected_at=LATE)])
    part = writer.flush([collected(names=["i-1"], mode=MergeLatePoints(), collected_at=LATE)])

    assert (view(clickhouse), batches(clickhouse), ledger(clickhouse)) == before
    assert [(f.corrected, f.rows_written) for f in (same, part)] == [(0, 0)] * 2
    assert same.reread == 2 * part.reread > 0


def test_a_correction_of_a_window_never_collected_is_dropped(writer: Writer, clickhouse: ClickHouse) -> None:
    flushed = writer.flush([collected(mode=MergeLatePoints())])

    assert (view(clickhouse), ledger(clickhouse)) == ([], [])
    assert (flushed.corrected, flushed.reread) == (0, 0)


def test_a_correction_of_a_partial_slice_leaves_it_partial(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(values=[1], status=SliceStatus.PARTIAL, error="throttled")])
    writer.flush([collected(values=[1, 2], mode=MergeLatePoints())])

    assert seen_values(clickhouse) == [1, 2]
    assert ledger(clickhouse)[-1]["status"] == "partial"


def test_api_calls_of_an_unchanged_attempt_are_kept(writer: Writer, clickhouse: ClickHouse) -> None:
    span = windows_from(W, 3)
    writer.flush([collected(span=span, api_calls=5, api_cost_usd=Decimal("0.01"))])
    writer.flush([collected(span=span, api_calls=7, api_cost_usd=Decimal("0.02"))])

    [sums] = select(clickhouse, "SELECT sum(api_calls) AS calls, sum(api_cost_usd) AS usd FROM metric_batches")
    assert sums == {"calls": 12, "usd": Decimal("0.03")}
    assert len(batches(clickhouse)) == 1
    assert len(view(clickhouse)) == 6


def test_a_flush_across_a_months_border_publishes_both_months(writer: Writer, clickhouse: ClickHouse) -> None:
    span = windows_from(BORDER - 2 * windows.WINDOW, 4)
    writer.flush([collected(span=span, values=[1])])
    writer.flush([collected(span=span, values=[2])])

    assert {row[2]: row[5] for row in view(clickhouse)} == dict.fromkeys(span, 2)
    assert raw(clickhouse) == view(clickhouse)
    assert [row["rows"] for row in ledger(clickhouse)] == [1] * 8


def test_slices_of_one_flush_are_each_their_own(writer: Writer, clickhouse: ClickHouse) -> None:
    span = windows_from(W, 8)
    names = [f"customer-{i}" for i in range(6)]
    writer.flush([collected(name, span, values=[i]) for i, name in enumerate(names)])
    # A second provider, a shrinking, a growing, a failing and an unchanged customer; two windows of one.
    flushed = writer.flush(
        [
            collected("customer-0", span, values=[5], provider="gcp"),
            collected("customer-1", span, rows=None),
            collected("customer-2", span, values=[2, 7]),
            failed("customer-3", span),
            collected("customer-4", span, values=[4]),
            collected("customer-5", span[2:4], values=[8]),
        ]
    )

    assert {name: seen_values(clickhouse, name) for name in names} == {
        "customer-0": [0, 5] * 8,
        "customer-1": [],
        "customer-2": [2, 7] * 8,
        "customer-3": [3] * 8,
        "customer-4": [4] * 8,
        "customer-5": [5, 5, 8, 8, 5, 5, 5, 5],
    }
    assert raw(clickhouse) == view(clickhouse)
    assert flushed.rows_written == 8 + 16 + 2


def test_a_flush_is_one_insert_of_one_part_and_one_ledger_block(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(f"customer-{i:02}", windows_from(W, 30), values=range(10)) for i in range(20)])

    for table, rows in (("metric_batches", 600), ("performance_metrics", 6000)):
        found = select(clickhouse, f"SELECT count() AS rows, uniqExact(_part) AS parts FROM {table}")  # noqa: S608 - the names above
        assert found == [{"rows": rows, "parts": 1}]


def test_many_slices_are_replaced_in_one_flush(writer: Writer, clickhouse: ClickHouse) -> None:
    # So many that naming each in the delete would pass the server's limit on the length of a statement.
    span = windows_from(W, 2_000)
    for value in (1, 2, 3):
        writer.flush([collected(f"customer-{i}", span, values=[value]) for i in range(3)])
        age(clickhouse, timedelta(days=2))

    [found] = select(clickhouse, "SELECT count() AS rows, sum(metric_value) AS total FROM performance_metrics")
    assert found == {"rows": 12_000, "total": 6_000 * (2 + 3)}


def test_slices_scattered_over_batches_are_replaced_in_one_flush(
    writer: Writer, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletes, "STRETCHES_PER_DELETE", 3)
    span = windows_from(W, 16)
    for i in range(4):
        writer.flush([collected("acme", span[i::4], values=[i]), collected("o'brien", span[i::4], values=[i])])
    for value in (8, 9):
        age(clickhouse, timedelta(days=2))
        writer.flush([collected("acme", span, values=[value])])

    assert seen_values(clickhouse) == [9] * 16
    assert len(batches(clickhouse)) == 2 + 4  # those of the other customer
    assert seen_values(clickhouse, "o'brien") == [0, 1, 2, 3] * 4
    assert raw(clickhouse) == view(clickhouse)


def test_customers_named_like_sql_are_only_names(writer: Writer, clickhouse: ClickHouse) -> None:
    odd = "x') OR 1=1 --\\"
    writer.flush([collected(odd), collected("acme")])
    writer.flush([collected(odd, values=[7])])

    assert seen_values(clickhouse) == [1, 2]
    assert {(row[0], row[5]) for row in raw(clickhouse)} == {("acme", 1), ("acme", 2), (odd, 7)}


def test_batches_grow_although_the_clock_goes_backwards(
    writer: Writer, clickhouse: ClickHouse, clock: mock.Mock
) -> None:
    for time, values in ((5_000, [1, 2, 3]), (4_000, [4]), (3_000, [5, 6])):
        clock.return_value = time
        writer.flush([collected(values=values)])
        assert seen_values(clickhouse) == values

    assert raw(clickhouse) == view(clickhouse)
    written = [row["batch"] for row in ledger(clickhouse)]
    assert written == sorted(set(written))


def test_a_clock_that_stands_still_does_not_take_up_what_a_killed_attempt_left(
    writer: Writer, clickhouse: ClickHouse, clock: mock.Mock
) -> None:
    writer.flush([collected(values=[1])])
    with pytest.raises(InterruptedError):
        _interrupted(clickhouse, "inserted").flush([collected(values=[2])])

    writer.flush([collected(values=[3])])

    assert seen_values(clickhouse) == [3]
    assert raw(clickhouse) == view(clickhouse)


def test_identical_rows_are_written_again_after_they_were_deleted(writer: Writer, clickhouse: ClickHouse) -> None:
    # The engine drops a block that it has seen before, unless its token is new.
    for values in ([1, 2], [3], [1, 2], [3]):
        writer.flush([collected(values=values)])
        assert seen_values(clickhouse) == values
    assert len(raw(clickhouse)) == 1


def test_a_window_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without time zone"):
        SliceResult("acme", "aws", [W.replace(tzinfo=None)], SliceStatus.OK)


def test_windows_of_any_zone_are_the_same_instants(
    writer: Writer, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoned = W.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    writer.flush([collected(span=[zoned])])

    assert {row[2] for row in view(clickhouse)} == {W}
    assert writer.flush([collected(span=[W])]).rows_written == 0


def test_rows_outside_the_slices_are_refused(writer: Writer, clickhouse: ClickHouse) -> None:
    later = W + windows.WINDOW
    for rows in (points("acme", [later]), points("other", [W])):
        with pytest.raises(ValueError, match="none of the windows"):
            writer.flush([collected(rows=rows)])
    assert (raw(clickhouse), ledger(clickhouse)) == ([], [])


def test_a_slice_twice_in_a_flush_is_refused(writer: Writer, clickhouse: ClickHouse) -> None:
    with pytest.raises(ValueError, match="twice"):
        writer.flush([collected(), collected(mode=MergeLatePoints())])
    assert (raw(clickhouse), ledger(clickhouse)) == ([], [])


def test_nothing_to_write_is_nothing(writer: Writer, clickhouse: ClickHouse) -> None:
    assert writer.flush([]) == writer.flush([failed(span=[])]) == FlushResult()
    assert ledger(clickhouse) == []


def test_rows_that_did_not_arrive_publish_nothing(writer: Writer, clickhouse: ClickHouse) -> None:
    writer.flush([collected(values=[1])])
    before = (view(clickhouse), ledger(clickhouse))
    with clickhouse.session() as client:
        # A table whose rows expire as they are written.
        client.command("ALTER TABLE performance_metrics ADD CONSTRAINT c CHECK metric_value < 100")
    try:
        with pytest.raises(StorageError, match="ClickHouse at"):
            writer.flush([collected(values=[2, 200])])
        assert (view(clickhouse), ledger(clickhouse)) == before
    finally:
        with clickhouse.session() as client:
            client.command("ALTER TABLE performance_metrics DROP CONSTRAINT c")

    writer.flush([collected(values=[2, 200])])
    assert seen_values(clickhouse) == [2, 200]
    assert raw(clickhouse) == view(clickhouse)


def test_rows_that_got_lost_publish_nothing(clickhouse: ClickHouse) -> None:
    def lose_one(step: str) -> None:
        if step == "inserted":
            with clickhouse.session() as client:
                client.command("DELETE FROM performance_metrics WHERE metric_value = 3")

    Writer(clickhouse, schema.PERFORMANCE).flush([collected(values=[1])])
    with pytest.raises(StorageError, match=r"3 rows were sent for acme aws .*Z, 2 arrived\. Nothing was published"):
        Writer(clickhouse, schema.PERFORMANCE, steps=lose_one).flush([collected(values=[2, 3, 4])])

    assert seen_values(clickhouse) == [1]
    assert len(ledger(clickhouse)) == 1


NOW = windows.floor(datetime.now(UTC))  # the rows of readers expire after days
READER = "resource_by_type"
SELECT = """
SELECT 'acme' AS customer_id, 'aws' AS provider, 'compute' AS resource_type, toString(number) AS kind, 1 AS resources,
    1 AS running, 0 AS stopped, 0 AS other, 1 AS regions, NULL AS capacity, '' AS unit,
    {window:DateTime('UTC')} AS as_of, true AS complete
FROM numbers(4)
"""


def of_reader(clickhouse: ClickHouse) -> list[tuple[str, int, int]]:
    """What is seen of the reader's slices: status and rows by the ledger, and the rows by the view."""
    found = select(
        clickhouse,
        f"SELECT (SELECT count() FROM {READER}_current) AS seen, toString(status) AS outcome, rows FROM metric_batches "  # noqa: S608
        f"WHERE dataset = '{READER}' ORDER BY batch, window_start",
    )
    return [(row["outcome"], row["rows"], row["seen"]) for row in found]


@pytest.mark.parametrize("lost", ["kind = '3'", "1"])
def test_rows_of_a_reader_that_got_lost_publish_nothing(clickhouse: ClickHouse, lost: str) -> None:
    def lose(step: str) -> None:
        if step == "inserted":
            with clickhouse.session() as client:
                batch = f"batch = (SELECT max(batch) FROM {READER})"  # noqa: S608
                client.command(f"DELETE FROM {READER} WHERE {batch} AND {lost}")  # noqa: S608

    assert write_select(clickhouse, READER, SELECT, [NOW]) == {NOW: 4}
    arrived = 0 if lost == "1" else 3
    first = NOW - windows.WINDOW
    message = rf"{READER}: 4 rows were written for {first:%Y-%m-%dT%H:%MZ}, {arrived} arrived\. Nothing was published"
    with pytest.raises(StorageError, match=message):
        write_select(clickhouse, READER, SELECT, [first, NOW], steps=lose)
    assert of_reader(clickhouse) == [("ok", 4, 4)]

    write_select(clickhouse, READER, SELECT, [NOW])
    assert of_reader(clickhouse) == [("ok", 4, 4)] * 2
    assert write_select(clickhouse, READER, f"SELECT * FROM ({SELECT}) WHERE 0", [NOW]) == {NOW: 0}  # noqa: S608


def test_a_slice_of_a_reader_whose_rows_expire_at_once_is_published(clickhouse: ClickHouse) -> None:
    """As when a backfill of long ago computes readers that are kept for days."""
    long_ago = NOW - timedelta(days=100)

    def keep(days: int) -> None:
        with clickhouse.session() as client:
            client.command(f"ALTER TABLE {READER} MODIFY TTL window_start + INTERVAL {days} DAY")

    def merge(step: str) -> None:
        if step == "inserted":
            with clickhouse.session() as client:
                client.command(f"OPTIMIZE TABLE {READER} FINAL")

    keep(90)
    try:
        assert write_select(clickhouse, READER, SELECT, [long_ago, NOW], steps=merge) == {long_ago: 0, NOW: 4}
    finally:
        keep(20_000)
    assert of_reader(clickhouse) == [("ok", 0, 4), ("ok", 4, 4)]


def test_a_reader_whose_table_feeds_views_is_published(clickhouse: ClickHouse) -> None:
    """ClickHouse counts the rows that a view wrote among those of the INSERT."""
    with clickhouse.session() as client:
        client.command(
            f"CREATE MATERIALIZED VIEW fed ENGINE = MergeTree ORDER BY kind AS SELECT kind FROM {READER}"  # noqa: S608
        )
    try:
        assert write_select(clickhouse, READER, SELECT, [NOW]) == {NOW: 4}
    finally:
        with clickhouse.session() as client:
            client.command("DROP VIEW fed SYNC")


def test_a_reader_computed_twice_at_once_on_a_server_is_not_taken_for_lost(http_url: str) -> None:
    clickhouse, other = ClickHouse(http_url), ClickHouse(http_url)
    between = {"inserted": lambda: write_select(other, READER, SELECT, [NOW])}

    def steps(name: str) -> None:
        between.pop(name, dict)()

    write_select(clickhouse, READER, SELECT, [NOW], steps=steps)
    assert {(status, seen) for status, _, seen in of_reader(clickhouse)} == {("ok", 4)}


def _interrupted(clickhouse: ClickHouse, at: str) -> Writer:
    def stop(step: str) -> None:
        if step == at:
            raise InterruptedError

    return Writer(clickhouse, schema.PERFORMANCE, steps=stop)


@pytest.mark.parametrize(
    "again",
    [
        collected(values=[1, 2], collected_at=LATE),
        PublishedWindows("acme", "aws", [W]),
        collected(values=[1], mode=MergeLatePoints()),
        collected(values=[5, 6, 7]),
    ],
    ids=["unchanged", "already published", "correction", "changed"],
)
def test_what_an_interrupted_attempt_left_is_swept_by_the_next(
    writer: Writer, clickhouse: ClickHouse, again: SliceResult | PublishedWindows
) -> None:
    writer.flush([collected(values=[1, 2]), collected("other")])
    with pytest.raises(InterruptedError):
        _interrupted(clickhouse, "verified").flush([collected(values=[9]), collected("other", values=[9])])
    assert len(raw(clickhouse)) == 6

    writer.flush([again])

    replaces = isinstance(again, SliceResult) and again.rows is not None and again.rows.num_rows == 3
    assert seen_values(clickhouse) == ([5, 6, 7] if replaces else [1, 2])
    assert [row for row in raw(clickhouse) if row[0] == "acme"] == view(clickhouse, "acme")
    assert seen_values(clickhouse, "other") == [1, 2]


def test_a_failed_attempt_sweeps_only_where_nobody_else_can_be_writing(clickhouse: ClickHouse, writer: Writer) -> None:
    with pytest.raises(InterruptedError):
        _interrupted(clickhouse, "inserted").flush([collected()])
    writer.flush([failed()])

    assert view(clickhouse) == []
    # On a server the rows may be another writer's, who is about to publish them.
    assert len(raw(clickhouse)) == (0 if clickhouse.embedded else 2)
    writer.flush([collected(values=[3])])
    assert seen_values(clickhouse) == [3]
    assert raw(clickhouse) == view(clickhouse)


def test_a_partial_slice_that_is_republished_over_rubbish_keeps_its_error(
    http_url: str,
) -> None:
    clickhouse = ClickHouse(http_url)
    writer = Writer(clickhouse, schema.PERFORMANCE)
    writer.flush([collected(status=SliceStatus.PARTIAL, error="throttled")])
    with pytest.raises(InterruptedError):
        _interrupted(clickhouse, "inserted").flush([collected(values=[3])])

    writer.flush([PublishedWindows("acme", "aws", [W])])

    assert raw(clickhouse) == view(clickhouse)
    assert seen_values(clickhouse) == [1, 2]
    assert [(row["status"], row["error"], row["rows"]) for row in ledger(clickhouse)] == [
        ("partial", "throttled", 2)
    ] * 2


@pytest.mark.parametrize("step", ["inserted", "verified", "published"])
def test_two_writers_of_a_slice_at_once_leave_one_of_them_whole(http_url: str, step: str) -> None:
    """On a server a second writer may come between any two steps of the first."""
    clickhouse, other = ClickHouse(http_url), ClickHouse(http_url)
    between = {step: lambda: Writer(other, schema.PERFORMANCE).flush([collected(values=[7, 8, 9])])}

    def steps(name: str) -> None:
        between.pop(name, lambda: None)()

    Writer(clickhouse, schema.PERFORMANCE, steps=steps).flush([collected(values=[1, 2])])

    assert seen_values(clickhouse) == [7, 8, 9]
    Writer(clickhouse, schema.PERFORMANCE).flush([PublishedWindows("acme", "aws", [W])])
    assert seen_values(clickhouse) == [7, 8, 9]
    assert raw(clickhouse) == view(clickhouse)


@pytest.mark.parametrize("statement", ["INSERT INTO `?performance_metrics", "INSERT INTO `?metric_batches"])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_an_insert_whose_answer_got_lost_is_done_once(
    http_url: str, clickhouse_http: ClickHouseHttp, statement: str, kind: FaultKind
) -> None:
    """clickhouse-connect may send a statement again when the server closes the connection."""
    clickhouse = ClickHouse(http_url)
    writer = Writer(clickhouse, schema.PERFORMANCE)
    writer.flush([collected(values=[1, 1, 1])])
    clickhouse_http.fault(kind, match=statement)
    with suppress(StorageError):
        writer.flush([collected(values=[2, 2])])
    assert seen_values(clickhouse) in ([1, 1, 1], [2, 2])

    writer.flush([collected(values=[2, 2])])

    assert seen_values(clickhouse) == [2, 2]
    assert raw(clickhouse) == view(clickhouse)
    found = select(clickhouse, "SELECT count() AS n FROM metric_batches GROUP BY batch")
    assert {row["n"] for row in found} == {1}


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "unavailable", "exception"])
@pytest.mark.parametrize("statement", ["INSERT INTO", "count", "metric_batches", "DELETE"])
def test_a_server_that_fails_in_the_middle_leaves_the_slice_whole(
    http_url: str, clickhouse_http: ClickHouseHttp, statement: str, kind: FaultKind
) -> None:
    clickhouse = ClickHouse(http_url)
    writer = Writer(clickhouse, schema.PERFORMANCE)
    writer.flush([collected(values=[1, 1, 1])])
    clickhouse_http.fault(kind, match=statement, times=3, code=241)
    with suppress(StorageError):
        writer.flush([collected(values=[2, 2])])
    clickhouse_http.reset()
    assert seen_values(clickhouse) in ([1, 1, 1], [2, 2])

    writer.flush([collected(values=[2, 2])])

    assert seen_values(clickhouse) == [2, 2]
    assert raw(clickhouse) == view(clickhouse)
