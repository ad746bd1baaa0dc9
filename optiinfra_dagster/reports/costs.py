"""Sections of money. Currencies are never added: each has its own plots and figures."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.reports import plots, words
from optiinfra_dagster.reports.section import AS_OF, MOST_BARS, Answer, Figure, Plot, Section, by, facts, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from optiinfra_dagster.reports.section import Column, Row

KINDS = ("billed", "estimated", "arriving")
_AMOUNTS: Sequence[Column] = [(kind, kind, words.money) for kind in ("amount", "effective", *KINDS)]


def summary(answer: Answer) -> Section:
    """What each account has cost, in each period."""
    every = [*answer.rows, *_unknown_periods(answer.rows)]
    section = Section(
        "summary",
        "Cost",
        "The bill where a day has settled, else estimates from list prices. What is arriving, the bill's words on days "
        "that have not settled, is no part of an amount.",
        facts([row for row in every if row["period"] != "today"]),  # which is never complete
    )
    names = {"month_to_date": "month to date", "last_30_days": "the 30 days to yesterday"}
    for currency, of_currency in by(every, "currency").items():
        for period, title in names.items():
            rows = [row for row in of_currency if row["period"] == period]
            if any(row["as_of"] for row in rows):  # the reader says something of the period
                section.figures.append(Figure(title, words.added(_amounts(rows), currency), _facts_of(rows)))
    section.tables.append(
        table(
            "By account",
            [{**row, "period": row["period"].replace("_", " ")} for row in every],
            [
                ("provider", "provider", words.name), ("account", "sub_account_id", words.name),
                ("period", "period", words.name), ("currency", "currency", words.name), *_AMOUNTS,
                ("days known", "days", words.number), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def by_day(answer: Answer) -> Section:
    """What each day has cost."""
    rows = [row for row in answer.rows if row["period"] == "day"]
    section = Section(
        "days",
        "Cost by day",
        "All providers together. A day with a question mark is not known of all accounts; the last is today so far.",
        f"as of {words.time(answer.at)}",
    )
    for currency, of_currency in by(rows, "currency").items():
        of_day = by(of_currency, "period_start")
        first, last = min(of_day), answer.at.date() if answer.at else max(of_day)
        providers = {row["provider"] for row in of_currency}
        columns = []
        day = first
        while day <= last:
            its = of_day.get(day, [])
            parts = {kind: float(sum((row[kind] for row in its), Decimal(0))) for kind in KINDS}
            columns.append((day, parts, _is_doubtful(its, providers, today=day == last)))
            day += timedelta(days=1)
        # Charges that only other currencies have are no part of this one, so a kind without any has no place in it.
        kinds = [kind for kind in KINDS if any(parts[kind] for _, parts, _ in columns)]
        shown = [(day, {kind: parts[kind] for kind in kinds}, doubtful) for day, parts, doubtful in columns]
        section.plots.append(Plot(f"Cost by day in {currency}", plots.days(shown, currency)))
    months = [row for row in answer.rows if row["period"] == "month"]
    section.tables.append(
        table(
            "By month",
            sorted(months, key=lambda row: (row["period_start"], row["provider"], row["currency"]), reverse=True),
            [
                ("month from", "period_start", words.time), ("provider", "provider", words.name),
                ("currency", "currency", words.name), *_AMOUNTS, ("days known", "days", words.number),
                ("complete", "complete", words.yes),
            ],
        )
    )  # fmt: skip
    return section


def by_service(answer: Answer) -> Section:
    """What each service has cost in 30 days."""
    rows = [row for row in answer.rows if row["period"] == "last_30_days"]
    section = Section("services", "Cost by service", "In the 30 days to yesterday.", facts(rows))
    for currency, of_currency in by(rows, "currency").items():
        labels = [(f"{words.name(row['service_name'])} ({row['provider']})", row) for row in of_currency]
        section.plots.append(Plot(f"Cost by service in {currency}", plots.bars(_stacked(labels, currency), currency)))
    section.tables.append(
        table(
            "Dearest services",
            rows,
            [
                ("provider", "provider", words.name), ("service", "service_name", words.name),
                ("account", "sub_account_id", words.name), ("currency", "currency", words.name), *_AMOUNTS,
                ("resources", "resources", words.number), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def outlook(answer: Answer) -> Section:
    """What the month will cost by its end, and what is unusual."""
    section = Section(
        "outlook",
        "The month's outlook",
        "A point is the forecast of the whole month, the line its interval, the bar what it has cost so far.",
        facts(answer.rows),
    )
    for currency, of_currency in by((row for row in answer.rows if row["scope"] == "account"), "currency").items():
        section.figures.append(
            Figure("forecast of the month", words.added((row["forecast"] for row in of_currency), currency))
        )
        rows = [
            plots.Interval(
                f"{row['provider']} {words.name(row['sub_account_id'])}",
                _float(row["low"]),
                _float(row["forecast"]),
                _float(row["high"]),
                _float(row["month_to_date"]),
            )
            for row in of_currency[:MOST_BARS]
        ]
        section.plots.append(Plot(f"Outlook of the month in {currency}", plots.intervals(rows, currency)))
    unusual = [row for row in answer.rows if row["is_unusual"]]
    section.figures.append(Figure("unusual", f"{len(unusual):,} of {len(answer.rows):,}", ["accounts and services"]))
    section.tables.append(
        table(
            "By account and service",
            sorted(answer.rows, key=lambda row: not row.get("is_unusual")),
            [
                ("provider", "provider", words.name), ("account", "sub_account_id", words.name),
                ("service", "service_name", words.name), ("currency", "currency", words.name),
                ("month to date", "month_to_date", words.money), ("forecast", "forecast", words.money),
                ("low", "low", words.money), ("high", "high", words.money), ("usual day", "usual_day", words.money),
                ("unusual by", "unusual_by", words.money), ("unusual", "is_unusual", words.yes),
                ("of", "day", words.time), ("causes", "causes", str), ("why not", "reason", str), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def waste(answer: Answer) -> Section:
    """What costs money and is of no use."""
    section = Section(
        "waste", "Waste", "Resources that cost and seem to be of no use, by the month.", facts(answer.rows)
    )
    for currency, rows in _by_currency(answer.rows, "monthly_amount"):
        amounts = [row["monthly_amount"] for row in rows]
        section.figures.append(
            Figure("a month", words.added(amounts, currency), [_parts_of("amount_from", rows), facts(rows)])
        )
        labels = [
            (f"{words.name(row['resource_name'])} ({row['provider']})", row["amount_from"], row["monthly_amount"])
            for row in rows
        ]
        section.plots.append(Plot(f"Waste a month in {currency}", plots.bars(_kept_apart(labels, currency), currency)))
    section.tables.append(
        table(
            "Dearest",
            answer.rows,
            [
                ("provider", "provider", words.name), ("resource", "resource_name", words.name),
                ("type", "resource_type", words.name), ("reason", "reason", words.name),
                ("a month", "monthly_amount", words.money), ("currency", "currency", words.name),
                ("from", "amount_from", words.name), ("evidence", "evidence", str), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def rightsizing(answer: Answer) -> Section:
    """Machines that would do with less."""
    smaller = [row for row in answer.rows if row.get("suggested_type")]
    section = Section(
        "rightsizing",
        "Rightsizing",
        "Machines and databases whose 14 days would fit the next smaller type of the same family, by list prices.",
        facts(answer.rows),
    )
    verdicts = by(answer.rows, "verdict").items()
    section.figures.append(Figure("machines judged", f"{len(answer.rows):,}", [_parts_of("verdict", answer.rows)]))
    counts = [plots.Bar(words.name(verdict), {"": float(len(its))}, f"{len(its):,}") for verdict, its in verdicts]
    section.plots.append(Plot("Machines by verdict", plots.bars(counts, "machines and databases")))
    for currency, rows in _by_currency(smaller, "saving"):
        section.figures.append(Figure("saving a month", words.added((r["saving"] for r in rows), currency)))
        labels = [
            (f"{words.name(row['resource_name'])} ({row['provider']})", f"{row['risk']} risk", row["saving"])
            for row in rows
        ]
        section.plots.append(Plot(f"Saving a month in {currency}", plots.bars(_kept_apart(labels, currency), currency)))
    section.tables.append(
        table(
            "Suggestions" if smaller else "Judged",
            smaller or answer.rows,
            [
                ("provider", "provider", words.name), ("resource", "resource_name", words.name),
                ("type", "type", words.name), ("suggested", "suggested_type", words.name),
                ("saving a month", "saving", words.money), ("currency", "currency", words.name),
                ("verdict", "verdict", words.name), ("risk", "risk", words.name), ("basis", "basis", words.name),
                ("why", "reason", str), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def allocation(answer: Answer) -> Section:
    """The section on who has caused the costs: by account, region, and tag."""
    period = "last_30_days" if any(row["period"] == "last_30_days" for row in answer.rows) else "month_to_date"
    rows = [row for row in answer.rows if row["period"] == period]
    section = Section("allocation", "Allocation", f"{period.replace('_', ' ').capitalize()}.", facts(rows))
    for currency, of_currency in by(rows, "currency").items():
        for dimension, of_dimension in by(of_currency, "dimension").items():
            if dimension in {"service", "provider"}:
                continue  # shown above
            labels = [(words.name(row["value"]), row) for row in of_dimension]
            section.plots.append(
                Plot(f"By {words.name(dimension)} in {currency}", plots.bars(_stacked(labels, currency), currency))
            )
    section.tables.append(
        table(
            "Shares",
            [row for row in rows if row["dimension"] not in {"service", "provider"}],
            [
                ("dimension", "dimension", words.name), ("value", "value", words.name),
                ("currency", "currency", words.name), ("share", "share", words.percent), *_AMOUNTS,
                ("shared costs", "shared", words.money), ("resources", "resources", words.number), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def _unknown_periods(rows: Sequence[Row]) -> list[Row]:
    """The periods of which nothing is known of an account: the reader has no row of them."""
    names = ("provider", "sub_account_id", "currency")
    known = {(*(row[name] for name in names), row["period"]) for row in rows}
    nothing: Row = {"effective": None, "amount": None, "days": 0.0, "as_of": None, "complete": False}
    nothing |= dict.fromkeys(KINDS, Decimal(0))
    return [
        {**dict(zip(names, account, strict=True)), "period": period, **nothing}
        for account in sorted({key[:3] for key in known})
        for period in ("yesterday", "last_30_days", "month_to_date")
        if (*account, period) not in known
    ]


def _amounts(rows: Iterable[Row]) -> list[Decimal | None]:
    return [row["amount"] for row in rows]


def _facts_of(rows: Sequence[Row]) -> list[str]:
    """The parts of an amount, and how far it is known."""
    parts = [f"{kind} {words.money(sum((row[kind] for row in rows), Decimal(0)))}" for kind in KINDS]
    known = f"{words.number(min(row['days'] for row in rows), 1)} days known of every account"
    return [", ".join(parts), known, facts([{k: row[k] for k in ("as_of", "complete")} for row in rows])]


def _parts_of(column: str, rows: Sequence[Row]) -> str:
    return ", ".join(f"{len(its):,} {words.name(value)}" for value, its in by(rows, column).items() if value)


def _is_doubtful(rows: Sequence[Row], providers: set[str], *, today: bool) -> bool:
    """True if a day is not known of every provider. Today never is, and is said to be so far."""
    if {row["provider"] for row in rows} != providers or any(row["amount"] is None for row in rows):
        return True
    return not today and not all(row["complete"] for row in rows)


def _by_currency(rows: Iterable[Row], amount: str) -> list[tuple[str, list[Row]]]:
    """Rows by currency, dearest first; what has no price has no currency either, and comes last."""
    found = by(rows, "currency")
    dearest = {
        currency or words.NO_CURRENCY: sorted(its, key=lambda row: row[amount] or Decimal(0), reverse=True)
        for currency, its in found.items()
    }
    return sorted(dearest.items(), key=lambda item: item[0] == words.NO_CURRENCY)


def _stacked(labels: Sequence[tuple[str, Row]], currency: str) -> list[plots.Bar]:
    """A bar for each label: billed, estimated, and what is arriving beside; what has no room is one bar."""
    totals: dict[str, dict[str, Decimal]] = {}
    unknown: dict[str, int] = defaultdict(int)
    for label, row in labels:
        parts = totals.setdefault(label, dict.fromkeys(KINDS, Decimal(0)))
        for kind in KINDS:
            parts[kind] += row[kind]
        unknown[label] += row["amount"] is None
    ranked = sorted(totals, key=lambda label: (-_amount(totals[label]), label))
    kinds = [kind for kind in KINDS if any(totals[label][kind] for label in ranked)] or ["billed"]
    shown = [_bar(label, totals[label], kinds, currency, unknown[label]) for label in ranked[:MOST_BARS]]
    if rest := ranked[MOST_BARS:]:
        parts = {kind: sum((totals[label][kind] for label in rest), Decimal(0)) for kind in KINDS}
        shown.append(_bar(f"{len(rest)} others", parts, kinds, currency, sum(unknown[label] for label in rest)))
    return shown


def _amount(parts: dict[str, Decimal]) -> Decimal:
    return parts["billed"] + parts["estimated"]


def _bar(label: str, parts: dict[str, Decimal], kinds: Sequence[str], currency: str, unknown: int) -> plots.Bar:
    """A bar; where nothing of it is known but what is arriving, its amount is not known."""
    is_unknown = bool(unknown) and not _amount(parts)
    mark = words.UNKNOWN if is_unknown else words.money(_amount(parts), currency)
    if unknown and not is_unknown:
        mark += f", and {unknown} {words.UNKNOWN}"
    values: dict[str, float | None] = {kind: float(parts[kind]) for kind in kinds}
    return plots.Bar(label, values | ({words.UNKNOWN: None} if unknown else {}), mark)


def _kept_apart(labels: Sequence[tuple[str, str, Decimal | None]], currency: str) -> list[plots.Bar]:
    """A bar for each of the dearest, in the colour of its kind; what has no room is one bar."""
    kinds = sorted({kind for _, kind, amount in labels if amount is not None})
    shown = [
        plots.Bar(
            label,
            {one: float(amount) if one == kind and amount is not None else 0.0 for one in kinds}
            | ({words.UNKNOWN: None} if amount is None else {}),
            words.money(amount, currency if amount is not None else ""),
        )
        for label, kind, amount in labels[:MOST_BARS]
    ]
    if rest := labels[MOST_BARS:]:
        of_kind = dict.fromkeys(kinds, Decimal(0))
        for _, kind, amount in rest:
            if amount is not None:
                of_kind[kind] += amount
        mark = words.added((amount for _, _, amount in rest), currency)
        shown.append(plots.Bar(f"{len(rest)} others", {k: float(v) for k, v in of_kind.items()}, mark))
    return shown


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
