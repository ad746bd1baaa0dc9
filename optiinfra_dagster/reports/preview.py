"""Previews of readers: a short table with bars of text, as Markdown, beside each materialization in Dagster's UI.

They are made in every run, so they take one small query and no Matplotlib, which costs a process 0.4 CPU-s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import markdown
from optiinfra_dagster.reports import words
from optiinfra_dagster.storage.sql import columns, reader_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.sql import Reader

ROWS = 10  # of each currency
BAR = 12  # characters of the longest


@dataclass(frozen=True, slots=True)
class Preview:
    """What is shown of a reader: names, an amount with its bar, and what is to be known beside it, all SQL.

    `of` are the columns of the reader that the expressions name; a reader without one has no preview. Amounts of money
    have a currency; others have none (`''`), a `heading` of their own, and bars of what a `whole` one is.
    """

    says: str
    of: str
    names: Mapping[str, str]
    amount: str
    beside: Mapping[str, str]
    where: str = "1"
    group: str = ""  # the newest come first, where rows are added up by time; else the dearest
    heading: str = "amount"
    currency: str = "v.currency"
    whole: float | None = None  # None: the largest amount of the currency
    order: str = "DESC NULLS LAST"
    decimals: int = 1  # of figures that are no money


_WHOSE = {"customer": "customer_id", "provider": "provider"}
_KINDS = {"billed": "billed", "estimated": "estimated", "arriving": "arriving"}
_STATE = {"complete": "complete", "as of": "as_of"}
_COST = "customer_id provider currency period amount billed estimated arriving"
# Customers and providers without a row of a day, of those that have one of some day.
_LACKING = "(max(count()) OVER (PARTITION BY v.currency) - count())"

PREVIEWS: Mapping[tuple[str, str], Preview] = {
    ("cost", "summary"): Preview(
        "Month to date, the dearest accounts",
        f"{_COST} sub_account_id days complete as_of",
        _WHOSE | {"account": "sub_account_id"},
        "amount",
        _KINDS | {"days known": "round(days, 1)"} | _STATE,
        "period = 'month_to_date'",
    ),
    ("cost", "by_service"): Preview(
        "Month to date, the dearest services",
        f"{_COST} service_name as_of",
        _WHOSE | {"service": "service_name"},
        "amount",
        _KINDS | {"as of": "as_of"},
        "period = 'month_to_date'",
    ),
    ("cost", "trends"): Preview(
        "The newest days, of all customers together",
        f"{_COST} period_start complete",
        {"day": "period_start"},
        "sumOrNull(amount)",
        {name: f"sum({column})" for name, column in _KINDS.items()}
        | {"unknown": f"countIf(isNull(amount)) + {_LACKING}", "complete": f"min(complete) AND {_LACKING} = 0"},
        "period = 'day'",
        "period_start",
    ),
    ("cost", "waste"): Preview(
        "What costs most a month and is of no use",
        "customer_id provider currency resource_name reason monthly_amount amount_from complete as_of",
        _WHOSE | {"resource": "resource_name", "reason": "reason"},
        "monthly_amount",
        {"from": "amount_from"} | _STATE,
    ),
    ("cost", "outlook"): Preview(
        "Forecast of the month, the dearest accounts",
        "customer_id provider currency sub_account_id scope month_to_date forecast low high is_unusual as_of",
        _WHOSE | {"account": "sub_account_id"},
        "forecast",
        {"low": "low", "high": "high", "to date": "month_to_date", "unusual": "is_unusual", "as of": "as_of"},
        "scope = 'account'",
    ),
    ("cost", "rightsizing"): Preview(
        "What would save most a month by list prices",
        "customer_id provider currency resource_name type suggested_type saving risk basis complete as_of",
        _WHOSE | {"resource": "resource_name", "type": "type", "suggested": "suggested_type"},
        "saving",
        {"risk": "risk", "basis": "basis"} | _STATE,
        "suggested_type != ''",
    ),
    ("cost", "allocation"): Preview(
        "Month to date, the dearest values of tags",
        "customer_id currency period dimension value amount billed estimated arriving share as_of",
        {"customer": "customer_id", "dimension": "dimension", "value": "value"},
        "amount",
        {"share": "concat(toString(round(100 * share)), ' %')"} | _KINDS | {"as of": "as_of"},
        "period = 'month_to_date' AND startsWith(dimension, 'tag:')",
    ),
    ("application", "quality"): Preview(
        "The answers of the day so far, the worst mean scores first",
        "customer_id provider application_id model_name metric_type period mean low high n population complete as_of",
        _WHOSE | {"application": "application_id", "model": "model_name", "score": "metric_type"},
        "mean",
        {"95 % from": "low", "to": "high", "judged": "n", "answers": "population"} | _STATE,
        "period = 'day'",
        heading="mean, 0 to 1",
        currency="''",
        whole=1.0,
        order="ASC NULLS LAST",
        decimals=2,
    ),
}


def of(reader: Reader) -> Callable[[Client, datetime], str] | None:
    """What makes the preview of a window of a reader; None where it has none."""
    shown = PREVIEWS.get((reader.family, reader.name))
    # Where a reader selects `*`, its table's columns stand in the schema, or in a file beside the readers.
    known = {*reader.columns, *columns().get(reader.table, ()), *reader_types().get(reader.table, ())}
    if shown is None or not known.issuperset(shown.of.split()):
        return None
    return partial(_preview, shown, reader.table)


def _preview(shown: Preview, table: str, client: Client, window: datetime) -> str:
    shown_columns = {**shown.names, shown.heading: shown.amount, **shown.beside}
    listed = ", ".join(f"{sql} AS c{n}" for n, sql in enumerate(shown_columns.values()))
    group = f"GROUP BY currency, {shown.group} " if shown.group else ""
    order = f"{shown.group} DESC" if shown.group else f"amount_of {shown.order}"
    order = ", ".join([order, *(f"c{n}" for n in range(len(shown.names)))])
    rows = client.query(
        # Of the table, which was just computed: through the view it takes 26 CPU-ms instead of 9.
        f"SELECT {shown.currency} AS currency_of, {shown.amount} AS amount_of, {listed} FROM {table} AS v "  # noqa: S608 - the code's own
        "WHERE window_start = fromUnixTimestamp({window:UInt32}) AND batch = "
        "(SELECT max(batch) FROM metric_batches WHERE dataset = {table:String} AND customer_id = '' "
        "AND window_start = fromUnixTimestamp({window:UInt32}) AND status = 'ok') "
        f"AND {shown.where} {group}"
        f"ORDER BY currency_of DESC, {order} LIMIT {ROWS} BY currency_of",
        parameters={"window": int(window.timestamp()), "table": table},
        settings={"max_threads": 1},
    ).result_rows
    head = f"{shown.says}; window {words.time(window)}"
    return f"{head}\n\n{_markdown(shown, list(shown_columns), rows)}" if rows else f"{head}: no rows"


def _markdown(shown: Preview, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; each currency's bars are as long as its amounts are beside its largest, or beside the whole."""
    largest: dict[str, Any] = {}
    for currency, amount, *_ in rows:
        if amount is not None:
            largest[currency] = shown.whole or max(largest.get(currency, amount), amount)
    at = headings.index(shown.heading) + 1
    has_currency = shown.currency != "''"
    lines = []
    for currency, amount, *cells in rows:
        texts = [_text(cell, shown.decimals) for cell in cells]
        of_currency = [_text(currency or words.NO_CURRENCY)] if has_currency else []
        lines.append([*texts[:at], _bar(amount, largest.get(currency)), *of_currency, *texts[at:]])
    of_currency = ["currency"] if has_currency else []
    return markdown.table([*headings[:at], " ", *of_currency, *headings[at:]], lines, right=[shown.heading])


def _bar(amount: Any, largest: Any) -> str:
    """A bar of text: nothing of what is not known, and of what is credited."""
    if amount is None or not largest or largest <= 0 or amount <= 0:
        return ""
    return markdown.bar(float(amount / largest), BAR)


def _text(value: Any, decimals: int = 1) -> str:
    """A value as Markdown shows it: a name is no link, no markup and no end of a cell."""
    if value is None:
        return words.UNKNOWN
    if isinstance(value, bool):
        return words.yes(value)
    if isinstance(value, Decimal):
        return words.money(value)
    if isinstance(value, int | float):
        return words.number(value, decimals)
    if isinstance(value, date):
        return words.time(value)
    return markdown.escaped(words.name(value))
