"""Small data by hand, and what a place holds of it, in plain Python values."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.metrics import Metric, Series
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage.clickhouse import ClickHouse, fetch
from optiinfra_dagster.storage.rows import performance_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

# Far from a month's border, recent enough for every table's TTL.
_LAST_MONTH = (datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)).replace(
    day=1
)
W = _LAST_MONTH + timedelta(days=14, hours=10)
BORDER = _LAST_MONTH  # the first window of a month

EARLY, LATE = W + timedelta(hours=1), W + timedelta(hours=2)  # two times of collection

CPU = Metric(
    provider="aws", kind="ec2:instance", name="cpu_utilization", metric_type="cpu", unit="percent",
    namespace="AWS/EC2", api_metric="CPUUtilization", statistics=("Average",), period=300, dimension="InstanceId",
)  # fmt: skip


def resource(name: str, *, region: str = "us-east-1", **changes: Any) -> Resource:
    facts: dict[str, Any] = {
        "account_id": "123456789012", "region": region, "kind": "ec2:instance", "resource_id": name,
        "resource_name": name.upper(), "resource_type": ResourceType.COMPUTE, "status": Status.RUNNING,
        "cloud_status": "running",
    }  # fmt: skip
    return Resource(**facts | changes)


def points(
    customer: str,
    span: Sequence[datetime],
    *,
    values: Sequence[float] = (1.0, 2.0),
    names: Sequence[str] = ("i-1",),
    collected_at: datetime = EARLY,
    provider: str = "aws",
) -> pa.Table:
    """One point of each value, a minute apart from the window's start, of each named resource and window."""
    series = [
        Series(
            resource(name),
            CPU,
            "average",
            [int(window.timestamp()) + 60 * i for window in span for i in range(len(values))],
            [value for _ in span for value in values],
        )
        for name in names
    ]
    return performance_rows(customer, provider, series, collected_at)


def collected(customer: str = "acme", span: Sequence[datetime] = (W,), **changes: Any) -> SliceResult:
    """An attempt that gave `points`; `status`, `error` and the like are those of `SliceResult`."""
    of_points = {name: changes.pop(name) for name in ("values", "names", "collected_at") if name in changes}
    provider = changes.pop("provider", "aws")
    rows = changes.pop("rows", points(customer, span, provider=provider, **of_points))
    return SliceResult(customer, provider, list(span), changes.pop("status", SliceStatus.OK), rows=rows, **changes)


def failed(customer: str = "acme", span: Sequence[datetime] = (W,), **changes: Any) -> SliceResult:
    """An attempt that gave nothing."""
    return SliceResult(
        customer, "aws", list(span), changes.pop("status", SliceStatus.FAILED), error="no answer", **changes
    )


def select(clickhouse: ClickHouse, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of a SELECT."""
    with clickhouse.session() as client:
        rows: list[dict[str, Any]] = fetch(client, sql, parameters).to_pylist()
    return rows


Row = tuple[Any, ...]
NOT_SUPERSEDED = (
    "(customer_id, provider, window_start, batch) NOT IN (SELECT customer_id, provider, window_start, batch "
    "FROM published_versions WHERE isNotNull(until))"
)
_CONTENT = "customer_id, provider, window_start, resource_id, timestamp, metric_value, collected_at"


def view(clickhouse: ClickHouse, customer: str | None = None) -> list[Row]:
    """What readers see of the performance table, in order."""
    where = "WHERE customer_id = {customer:String}" if customer else ""
    rows = select(
        clickhouse, f"SELECT {_CONTENT} FROM performance_metrics_current {where} ORDER BY ALL", customer=customer or ""
    )
    return [tuple(row.values()) for row in rows]


def raw(clickhouse: ClickHouse) -> list[Row]:
    """What the performance table holds, published or not, but for what was superseded; without the batches' numbers."""
    rows = select(
        clickhouse,
        f"SELECT {_CONTENT} FROM performance_metrics WHERE {NOT_SUPERSEDED} ORDER BY ALL",
    )
    return [tuple(row.values()) for row in rows]


def batches(clickhouse: ClickHouse) -> list[int]:
    """The batches that the performance table holds rows of."""
    return [row["batch"] for row in select(clickhouse, "SELECT DISTINCT batch FROM performance_metrics ORDER BY batch")]


def ledger(clickhouse: ClickHouse) -> list[dict[str, Any]]:
    """The ledger, oldest attempt first."""
    return select(
        clickhouse,
        "SELECT customer_id, window_start, batch, rows, toString(status) AS status, error, api_calls, run_id "
        "FROM metric_batches ORDER BY published_at, batch, customer_id, window_start",
    )


def seen_values(clickhouse: ClickHouse, customer: str = "acme") -> list[float]:
    """The values that readers see of a customer, in order of resource and time."""
    return [row[5] for row in sorted(view(clickhouse, customer), key=lambda row: (row[3], row[4]))]


def windows_from(first: datetime, count: int) -> list[datetime]:
    """So many windows from `first` on."""
    return windows.span(first, first + (count - 1) * windows.WINDOW)


def age(clickhouse: ClickHouse, by: timedelta) -> None:
    """Make everything that was published so much older."""
    with clickhouse.session() as client:
        client.command(
            "ALTER TABLE metric_batches UPDATE "
            "published_at = fromUnixTimestamp64Milli(toUnixTimestamp64Milli(published_at) - {ms:Int64}, 'UTC') WHERE 1",
            parameters={"ms": int(by.total_seconds() * 1000)},
            settings={"mutations_sync": 2},
        )
