"""Rows of Python values are inserted as they are, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.inserts import insert_rows

if TYPE_CHECKING:
    from tests.support.clickhouse_http import ClickHouseHttp, FaultKind

TABLE = (
    "CREATE OR REPLACE TABLE values_of_rows (at DateTime64(3, 'UTC'), second DateTime('UTC'), "
    "text LowCardinality(String), big UInt64, money Nullable(Decimal(18, 9)), yes Bool, score Nullable(Float64), "
    "many Array(Decimal(9, 6)), names Array(String)) ENGINE = MergeTree ORDER BY at"
)
COLUMNS = ("at", "second", "text", "big", "money", "yes", "score", "many", "names")
AT = datetime(2026, 11, 30, 3, 4, 5, 678000, UTC)
ROW = (AT, AT, 'a\n"b"\t\'ü\\ 🙂', 2**64 - 1, Decimal("0.000000001"), True, 0.1, [Decimal("0.5")], ["x", ""])


def test_values_are_kept_as_they_are(clickhouse: ClickHouse) -> None:
    zoned = AT.astimezone(timezone(timedelta(hours=5, minutes=45)))
    nothing: tuple[Any, ...] = (zoned + timedelta(seconds=1), zoned, "", 0, None, False, None, [], [])
    of_enum: tuple[Any, ...] = (
        AT + timedelta(seconds=2),
        AT,
        next(iter(Failure)),
        1,
        Decimal(12345),
        False,
        float(1),
        [],
        [],
    )
    with clickhouse.session() as client:
        client.command(TABLE)
        insert_rows(client, "values_of_rows", COLUMNS, [ROW, nothing, of_enum])
        found = client.query("SELECT * FROM values_of_rows ORDER BY at", tz_mode="aware").result_rows
        client.command("DROP TABLE values_of_rows SYNC")
    whole = AT.replace(microsecond=0)
    assert found[0] == (AT, whole, *ROW[2:])
    assert found[1] == (AT + timedelta(seconds=1), whole, *nothing[2:])
    assert found[2][2:6] == (next(iter(Failure)).value, 1, Decimal(12345), False)


def test_a_time_without_a_zone_is_refused(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client, pytest.raises(TypeError, match="cannot be inserted"):
        insert_rows(client, "judge_dialects", ["found_at"], [[AT.replace(tzinfo=None)]])


@pytest.mark.parametrize(("kind", "rows"), [("drop_after", 1), ("drop_before", 0), ("unavailable", 0)])
def test_rows_are_sent_once(http_url: str, clickhouse_http: ClickHouseHttp, kind: FaultKind, rows: int) -> None:
    columns = ["found_at", "base_url", "model", "dialect"]
    clickhouse_http.fault(kind)
    with pytest.raises(StorageError), ClickHouse(http_url).session() as client:
        insert_rows(client, "judge_dialects", columns, [[AT, "http://judge", "m", "{}"]])
    with ClickHouse(http_url).session() as client:
        assert client.command("SELECT count() FROM judge_dialects") == rows
