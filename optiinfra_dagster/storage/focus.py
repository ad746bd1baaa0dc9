"""What was billed as FOCUS has it, from the views of sql/schema/020_focus.sql to files, by the engine's own formats."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.storage import as_of, as_of_views, readers, text_expressions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

VERSIONS: Mapping[str, str] = {"1.2": "focus", "1.3": "focus_1_3", "1.4": "focus_1_4"}
"""The view of each version of FOCUS."""

FORMATS: Mapping[str, str] = {"csv": "CSVWithNames", "parquet": "Parquet"}
"""The engine's name of each format, by the ending of its files."""

# Null is nothing between commas, which no text is: the views have null for it. Times are as FOCUS writes them. Few rows
# at once, in the order of the table: 2 M rows take 8 CPU-s and 0.3 GB beside the engine's own 0.4, and as much to sort.
_SETTINGS: Mapping[str, Any] = {
    "date_time_output_format": "iso",
    "format_csv_null_representation": "",
    "max_block_size": 8192,
    "max_threads": 1,
    "output_format_parquet_row_group_size": 50_000,
}
_CHUNK = 1 << 20
_PATTERN = set("*?{}")  # the engine takes a path with one of these for several files

_WHERE = (
    "x_CustomerId = {customer:String} AND x_ChargeDay >= {first:Date} AND x_ChargeDay < {end:Date} "
    "AND (empty({provider:String}) OR x_Provider = {provider:String})"
)


@dataclass(frozen=True, slots=True)
class ChargeFilter:
    """Which charges are exported: a customer's, of days from `first` to before `end`; `provider` "" is every cloud.

    With `as_of`, those that were known at that time.
    """

    customer: str
    first: date
    end: date
    provider: str = ""
    as_of: datetime | None = None

    def of(self, view: str) -> str:
        """The text for a FROM that gives a view's rows: as they are known now, or were at the time."""
        return as_of_views.call(view) if self.as_of else view

    @property
    def parameters(self) -> dict[str, Any]:
        """As the statements here name them."""
        return {
            "customer": self.customer,
            "first": self.first.isoformat(),
            "end": self.end.isoformat(),
            "provider": self.provider,
            "as_of": as_of_views.text(self.as_of or as_of_views.EVER),
        }


@dataclass(frozen=True, slots=True)
class Account:
    """An account of which a bill was read, and on how many of the days it is settled."""

    provider: str
    account_id: str
    days: int


@dataclass(frozen=True, slots=True)
class Charges:
    """The number of charges that a source has; `as_billed` of them have no effective cost but what was billed.

    `commits` is true where it charges for commitments, or for more than a day at once: there the two differ.
    """

    provider: str
    source_id: str
    count: int
    as_billed: int
    commits: bool


def accounts(client: Client, wanted: ChargeFilter) -> list[Account]:
    """The accounts of which a bill has settled on one of the days, or was read and has not."""
    rows = client.query(
        "SELECT provider, sub_account_id, uniqExactIf(toDate(window_start, 'UTC'), is_settled) "  # noqa: S608 - the code's own names
        f"FROM {wanted.of('cost_metrics_current')} "
        "WHERE customer_id = {customer:String} AND cost_type = 'reading' "
        "AND window_start >= toDateTime({first:Date}, 'UTC') AND window_start < toDateTime({end:Date}, 'UTC') "
        "AND (empty({provider:String}) OR provider = {provider:String}) "
        "GROUP BY provider, sub_account_id ORDER BY provider, sub_account_id",
        parameters=wanted.parameters,
    ).result_rows
    return [Account(*row) for row in rows]


def charges(client: Client, wanted: ChargeFilter) -> list[Charges]:
    """The charges of each source."""
    rows = client.query(
        "SELECT x_Provider, x_SourceId, count(), "  # noqa: S608 - the condition is the code's own
        "countIf(has(splitByChar(' ', x_AssumedCosts), 'EffectiveCost')), "
        "countIf(ChargeCategory = 'Purchase' OR isNotNull(CommitmentDiscountId) "
        "OR ChargePeriodEnd > ChargePeriodStart + INTERVAL 1 DAY) > 0 "
        f"FROM {wanted.of('focus')} WHERE {_WHERE} GROUP BY x_Provider, x_SourceId ORDER BY x_Provider, x_SourceId",
        parameters=wanted.parameters,
    ).result_rows
    return [Charges(*row) for row in rows]


def write(client: Client, wanted: ChargeFilter, version: str, path: Path, *, embedded: bool) -> None:
    """Write the charges to a file, which is there once it is whole; its ending names the format.

    An engine inside this process writes it itself, a server sends it: neither is ever held in memory as a whole.

    Raises:
        LostError: of what was known at the time that is asked for, rows are gone.
    """
    ending = path.suffix.removeprefix(".")
    rows = f"SELECT * FROM {wanted.of(VERSIONS[version])} WHERE {_WHERE}"  # noqa: S608 - names are the code's own
    part = path.with_name(f".focus-{secrets.token_hex(4)}.{ending}")
    try:
        if embedded:
            if _PATTERN & set(str(part)):
                raise ConfigError(f"--out {path}: the engine cannot write to a folder whose name has * ? {{ or }}.")
            client.command(
                f"INSERT INTO FUNCTION file({{path:String}}, {FORMATS[ending]}) {rows}",
                parameters={**wanted.parameters, "path": str(part)},
                settings=dict(_SETTINGS),
            )
        else:
            settings, format_, head = dict(_SETTINGS), FORMATS[ending], b""
            if not text_expressions.takes_settings(client):
                settings = {}
                if ending == "csv":
                    types = readers.columns(client, VERSIONS[version])
                    line = text_expressions.csv_line(types.items(), by_default=True)
                    rows = rows.replace("SELECT *", f"SELECT {line}", 1)
                    format_, head = text_expressions.FORMAT, ",".join(f'"{name}"' for name in types).encode() + b"\n"
            stream: Any = client.raw_stream(rows, wanted.parameters, settings=settings, fmt=format_)
            with stream, part.open("wb") as file:
                file.write(head)
                while chunk := stream.read(_CHUNK):
                    file.write(chunk)
        refuse_lost(client, wanted)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def refuse_lost(client: Client, wanted: ChargeFilter) -> None:
    """Raise unless every charge that was known at the time that is asked for is still stored.

    To be called after they were read: rows only go, so what is whole now was whole then.

    Raises:
        LostError: rows are gone. It names the oldest time as of which they can be exported.
    """
    begin, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (wanted.first, wanted.end))
    filter_ = readers.RowFilter("cost", wanted.customer, wanted.provider, begin, end, as_of=wanted.as_of)
    as_of.refuse_lost_bills(client, filter_, "What was billed")


def days_of(wanted: ChargeFilter, today: date) -> int:
    """The number of the days that are over."""
    return max(0, (min(wanted.end, today) - wanted.first) // timedelta(days=1))
