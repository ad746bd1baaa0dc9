"""The memory of the cost family: when bills were imported, the price lists, and restatements of published days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.model.cost import Price
from optiinfra_dagster.model.months import first_of_month_before
from optiinfra_dagster.storage import arrow, schema
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.cost_rows import FROM_INVENTORY, FROM_LINE, IMPORT_MARKER, LEFT_OUT, left_out_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.model.cost import LeftOut
    from optiinfra_dagster.model.slices import MergeBilledAccounts, SliceKey
    from optiinfra_dagster.storage.ledger import PublishedBatch

# --- Imports of bills ------------------------------------------------------------------------------------------------

_IMPORTS_LAST = timedelta(days=90)  # as the table keeps them
_MOST_PROBLEMS = 10  # of one reading, as many as a slice tells
_IMPORTS = pa.schema(
    [
        ("customer_id", pa.string()),
        ("provider", pa.string()),
        ("billing_account_id", pa.string()),
        ("attempted_at", schema.TIME),
        ("done", pa.bool_()),
        ("problems", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True)
class BillImports:
    """The last import of an account's bill that ended well, and the last attempt at one; None for never.

    `problems` are those of the last attempt that ended.
    """

    done: datetime | None = None
    attempted: datetime | None = None
    problems: tuple[str, ...] = ()

    def due(self, now: datetime, cadence: timedelta, pause: timedelta) -> bool:
        """True when it is time to import it again."""
        due_at = self.due_at(cadence, pause)
        return due_at is None or now >= due_at

    def due_at(self, cadence: timedelta, pause: timedelta) -> datetime | None:
        """When it is time to import it again; after a failure, not at once. None for at once."""
        failed = self.attempted if self.attempted != self.done else None
        times = [*([failed + min(pause, cadence)] if failed else []), *([self.done + cadence] if self.done else [])]
        return max(times, default=None)


def bill_imports(
    client: Client, provider: str, customers: Sequence[str], at: datetime
) -> dict[tuple[str, str], BillImports]:
    """The last imports, by customer and billing account; an account without any in 90 days is not in the answer."""
    rows = client.query(
        """
        SELECT customer_id, billing_account_id, maxIf(toUnixTimestamp(attempted_at), done),
            max(toUnixTimestamp(attempted_at)),
            argMaxIf(problems, (attempted_at, length(problems)), done OR notEmpty(problems))
        FROM cost_readings
        WHERE provider = {provider:String} AND customer_id IN {customers:Array(String)}
            AND attempted_at >= fromUnixTimestamp({since:UInt32})
        GROUP BY customer_id, billing_account_id
        """,
        parameters={
            "provider": provider,
            "customers": list(customers),
            "since": int((at - _IMPORTS_LAST).timestamp()),
        },
    ).result_rows
    return {
        (customer, account): BillImports(
            datetime.fromtimestamp(done, UTC) if done else None,
            datetime.fromtimestamp(attempted, UTC),
            tuple(problems),
        )
        for customer, account, done, attempted, problems in rows
    }


def record_imports(
    client: Client, customer_id: str, provider: str, accounts: Iterable[str], at: datetime, *, done: bool
) -> None:
    """Record the import of some accounts' bills that begins at a time or, with `done`, began then and ended well."""
    _record(client, customer_id, provider, dict.fromkeys(accounts, ()), at, done=done)


def record_problems(
    client: Client, customer_id: str, provider: str, problems: Mapping[str, Sequence[str]], at: datetime
) -> None:
    """Record what was wrong with the imports that began at a time, by account."""
    _record(client, customer_id, provider, problems, at, done=False)


def _record(
    client: Client,
    customer_id: str,
    provider: str,
    problems: Mapping[str, Sequence[str]],
    at: datetime,
    *,
    done: bool,
) -> None:
    rows = [
        {
            "customer_id": customer_id,
            "provider": provider,
            "billing_account_id": account,
            "attempted_at": at,
            "done": done,
            "problems": texts[:_MOST_PROBLEMS],
        }
        for account, texts in problems.items()
    ]
    if rows:
        client.insert_arrow("cost_readings", pa.Table.from_pylist(rows, schema=_IMPORTS))


def recently_left_out(
    client: Client, customers: Sequence[str], today: date
) -> dict[tuple[str, str], dict[str, list[LeftOut]]]:
    """What was left out of bills since the month before, by customer and provider, then by the source.

    A bill of which nothing was left out is in it as well; one that was not read is not.
    """
    table = fetch(
        client,
        """
        SELECT customer_id, provider, billing_account_id, billing_period, cost_type, sub_account_id, charge_description,
            amount, currency
        FROM cost_metrics_current
        WHERE customer_id IN {customers:Array(String)} AND cost_kind = 'billed'
            AND cost_type IN ('reading', 'left_out') AND window_start >= toDateTime({since:Date}, 'UTC')
        """,
        {"customers": list(customers), "since": first_of_month_before(today)},
    )
    found: dict[tuple[str, str], dict[str, list[LeftOut]]] = {}
    for customer, provider in arrow.owners(table):
        rows = arrow.of_slice(table, customer, provider)
        of_source: dict[str, list[LeftOut]] = {source_id: [] for source_id in rows["billing_account_id"].to_pylist()}
        for part in left_out_in(rows):
            of_source[part.billing_account_id].append(part)
        found[customer, provider] = of_source
    return found


# --- Price lists ------------------------------------------------------------------------------------------------------

PRICES_LAST = timedelta(days=1)

_PRICES = pa.schema(
    [
        ("provider", pa.string()),
        ("region", pa.string()),
        ("key", pa.string()),
        ("valid_from", schema.TIME),
        ("hourly", schema.AMOUNT),
        ("currency", pa.string()),
        ("listed_in", pa.string()),
        ("description", pa.string()),
        ("checked_at", schema.TIME),
    ]
)


@dataclass(frozen=True, slots=True)
class KnownPrice:
    """A price, since when it holds as far as is known, and when the cloud's price list was last asked for its key."""

    price: Price
    valid_from: datetime
    checked_at: datetime


def prices(client: Client, provider: str, at: datetime, currency: str = "") -> dict[tuple[str, str], KnownPrice]:
    """The price that held at a time, by region and key; for a time before all that is known, the oldest.

    Of prices in several currencies it is the one in `currency`, else that in USD, else the newest.
    """
    rows = fetch(
        client,
        """
        SELECT region, key,
            best.1 AS currency, best.2 AS checked_at, best.3 AS valid_from, best.4 AS hourly, best.5 AS description
        FROM
        (
            SELECT
                region,
                key,
                argMax(
                    (c.currency, c.checked_at, c.held.2, c.held.3, c.held.4),
                    (multiIf({currency:String} = '', 0, c.currency = {currency:String}, 2, c.currency = 'USD', 1, 0),
                        c.held.1, c.checked_at)) AS best
            FROM
            (
                SELECT
                    region,
                    key,
                    currency,
                    max(p.checked_at) AS checked_at,
                    argMax(
                        (if(p.valid_from <= fromUnixTimestamp({at:UInt32}), 1, -1) * toUnixTimestamp(p.valid_from),
                            p.valid_from, p.hourly, p.description),
                        (if(p.valid_from <= fromUnixTimestamp({at:UInt32}), 1, -1) * toUnixTimestamp(p.valid_from),
                            p.checked_at)) AS held
                FROM prices AS p
                WHERE provider = {provider:String}
                GROUP BY region, key, currency
            ) AS c
            GROUP BY region, key
        )
        """,
        {"provider": provider, "at": int(at.timestamp()), "currency": currency},
    ).to_pylist()
    return {
        (row["region"], row["key"]): KnownPrice(
            Price(row["region"], row["key"], row["hourly"], row["currency"], row["description"]),
            row["valid_from"],
            row["checked_at"],
        )
        for row in rows
    }


def keep_prices(client: Client, provider: str, listed: Sequence[Price], at: datetime) -> None:
    """Record the prices of a price list as it is now; a price that did not change keeps its valid_from."""
    known = {currency: prices(client, provider, at, currency) for currency in {price.currency for price in listed}}
    rows = []
    for price in listed:
        old = known[price.currency].get((price.region, price.key))
        same = old is not None and (old.price.hourly, old.price.currency) == (price.hourly, price.currency)
        rows.append(
            {
                "provider": provider,
                "region": price.region,
                "key": price.key,
                "valid_from": old.valid_from if old is not None and same else at,
                "hourly": price.hourly,
                "currency": price.currency,
                "listed_in": price.currency,
                "description": price.description,
                "checked_at": at,
            }
        )
    if rows:
        client.insert_arrow("prices", pa.Table.from_pylist(rows, schema=_PRICES))


_BILLS_LAST = timedelta(days=70)  # as long is a currency taken from a bill


def billed_currencies(client: Client, provider: str, customer_id: str, at: datetime) -> dict[str, str]:
    """The currency that each account's newest charges are in, by account; one without charges in 70 days is not in it.

    The account "" stands for any other, and has the newest currency of them all.
    """
    rows = client.query(
        """
        SELECT sub_account_id, argMax(currency, (window_start, abs(amount))) AS newest, max(window_start) AS day
        FROM cost_metrics_current
        WHERE provider = {provider:String} AND customer_id = {customer:String} AND cost_kind = 'billed'
            AND window_start >= fromUnixTimestamp({since:UInt32}) AND window_start <= fromUnixTimestamp({at:UInt32})
            AND cost_type != {marker:String} AND currency != '' AND amount != 0
        GROUP BY sub_account_id
        ORDER BY day, sub_account_id
        """,
        parameters={
            "provider": provider,
            "customer": customer_id,
            "marker": IMPORT_MARKER,
            "at": int(at.timestamp()),
            "since": int((at - _BILLS_LAST).timestamp()),
        },
    ).result_rows
    return {"": rows[-1][1], **{account: currency for account, currency, _ in rows}} if rows else {}


# --- Restatements ----------------------------------------------------------------------------------------------------

_OF_SERVICE = ("billing_account_id", "sub_account_id", "service_name", "currency")
_RESTATED = pa.schema(
    [
        ("customer_id", pa.string()),
        ("provider", pa.string()),
        ("charge_day", pa.date32()),
        *((name, pa.string()) for name in _OF_SERVICE),
        ("previous_batch", pa.uint64()),
        ("before", schema.AMOUNT),
        ("after", schema.AMOUNT),
        ("seen_at", schema.TIME),
    ]
)


def merge_accounts(rows: pa.Table, old: pa.Table, mode: MergeBilledAccounts) -> pa.Table:
    """Newly read days, completed by what is published of them, `old`.

    Rows of billing accounts and statements that were not read stay. A row with the values that are published keeps when
    it was first seen and when it last changed; a row with other values keeps the former. A row whose tags are the
    inventory's keeps those that it first had: the resource may be gone, or have others by now.
    """
    not_read = old.filter(pc.invert(_replaced(old, mode)))
    before = {
        key: (amounts, first, last, tags)
        for key, amounts, first, last, tags in zip(
            _keys(old),
            _tuples(old, _VALUE_COLUMNS),
            old["first_seen"].to_pylist(),
            old["last_changed"].to_pylist(),
            _tuples(old, ("tags", "tags_from")),
            strict=True,
        )
    }
    first_seen, last_changed, tags, tags_from = [], [], [], []
    for key, amounts, now, new_tags in zip(
        _keys(rows),
        _tuples(rows, _VALUE_COLUMNS),
        rows["collected_at"].to_pylist(),
        _tuples(rows, ("tags", "tags_from")),
        strict=True,
    ):
        old_amounts, first, last, old_tags = before.get(key, (None, now, now, new_tags))
        first_seen.append(first)
        last_changed.append(last if old_amounts == amounts else now)
        tagged = old_tags if old_tags[1] == FROM_INVENTORY and new_tags[1] != FROM_LINE else new_tags
        tags.append(tagged[0])
        tags_from.append(tagged[1])
    for name, values in (
        ("first_seen", pa.array(first_seen, schema.TIME)),
        ("last_changed", pa.array(last_changed, schema.TIME)),
        ("tags", pa.array(tags, pa.string())),
        ("tags_from", pa.array(tags_from, pa.string()).dictionary_encode()),
    ):
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    return arrow.concat(schema.BILLED, [rows, not_read])


def _replaced(old: pa.Table, mode: MergeBilledAccounts) -> pa.Array:
    """True for each row that what was read says anew."""
    accounts = arrow.plain(old["billing_account_id"])
    replaced = pc.is_in(accounts, pa.array(sorted(mode.accounts), pa.string()))
    for account, period in sorted(mode.statements):
        of_statement = pc.and_(pc.equal(accounts, account), pc.equal(old["billing_period"], pa.scalar(period)))
        replaced = pc.or_(replaced, of_statement)
    return replaced


def _keys(rows: pa.Table) -> list[tuple[Any, ...]]:
    """What identifies each row; tags do where they are the line's own."""
    own = pc.if_else(pc.equal(arrow.plain(rows["tags_from"]), FROM_LINE), arrow.plain(rows["tags"]), "")
    return _tuples(rows.set_column(rows.schema.get_field_index("tags"), "tags", own), schema.BILLED.key)


_VALUE_COLUMNS = (
    "amount", "effective_cost", "list_cost", "contracted_cost", "pricing_quantity", "consumed_quantity", "is_final",
    "is_settled", "metadata",
)  # fmt: skip


def note_restatements(
    client: Client, rows: pa.Table, old: pa.Table, before: Mapping[SliceKey, PublishedBatch], at: datetime
) -> int:
    """Record the restatements of published days, by service; to be called before the days are published again.

    `old` is what is published of the same days, `before` its batches. Returns how many sums change.
    """
    was, becomes = _sums(old), _sums(rows)
    batches = {(key.customer_id, key.provider, key.window.date()): known.batch for key, known in before.items()}
    changes: list[dict[str, Any]] = []
    for key in sorted(was.keys() | becomes.keys()):
        customer, provider, day, *service = key
        batch = batches.get((customer, provider, day))
        if batch is None or was.get(key) == becomes.get(key):
            continue
        changes.append(
            {
                "customer_id": customer,
                "provider": provider,
                "charge_day": day,
                **dict(zip(_OF_SERVICE, service, strict=True)),
                "previous_batch": batch,
                "before": was.get(key),
                "after": becomes.get(key),
                "seen_at": at,
            }
        )
    if not batches:
        return 0
    # An attempt that was killed, or read something else, may have noted changes of the same batches that did not come.
    named = ("customer_id", "provider", "charge_day", *_OF_SERVICE)
    rows_of = {(*(change[name] for name in named), change["previous_batch"]): change for change in changes}
    for noted in fetch(
        client,
        f"SELECT {', '.join(named)}, previous_batch FROM cost_restated FINAL "  # noqa: S608 - names are the code's own
        "WHERE customer_id IN {customers:Array(String)} AND previous_batch IN {batches:Array(UInt64)} "
        "AND charge_day >= {first:Date} AND charge_day <= {last:Date}",
        {
            "customers": sorted({customer for customer, _, _ in batches}),
            "batches": sorted(set(batches.values())),
            "first": min(day for *_, day in batches),
            "last": max(day for *_, day in batches),
        },
    ).to_pylist():
        place = noted["customer_id"], noted["provider"], noted["charge_day"]
        if batches.get(place) == noted["previous_batch"]:
            rows_of.setdefault(tuple(noted.values()), {**noted, "before": None, "after": None, "seen_at": at})
    if rows_of:
        client.insert_arrow("cost_restated", pa.Table.from_pylist([*rows_of.values()], schema=_RESTATED))
    return len(changes)


def _sums(rows: pa.Table) -> dict[tuple[Any, ...], Any]:
    """The sum of the charges by customer, provider, day and service."""
    types = arrow.plain(rows["cost_type"])
    charges = rows.filter(pc.invert(pc.is_in(types, pa.array([IMPORT_MARKER, LEFT_OUT]))))
    named = ("customer_id", "provider", "window_start", *_OF_SERVICE)
    plain = pa.table({name: arrow.plain(charges[name]) for name in (*named, "amount")})
    summed = plain.group_by(list(named)).aggregate([("amount", "sum")]).to_pylist()
    return {
        (row["customer_id"], row["provider"], row["window_start"].date(), *(row[name] for name in _OF_SERVICE)): row[
            "amount_sum"
        ]
        for row in summed
    }


def _tuples(rows: pa.Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(arrow.plain(rows[name]).to_pylist() for name in names), strict=True))
