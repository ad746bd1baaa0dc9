"""Sections of bills: what each month's invoices come to, and what commitments are of use for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.reports import plots, words
from optiinfra_dagster.reports.section import AS_OF, Answer, Figure, Plot, Section, by, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.reports.section import Row

_PARTS = {"charges": "charges", "left out": "left_out"}  # of a statement, as they are called and by column


def invoices(answer: Answer) -> Section:
    """What the bills of the last months say, by invoice."""
    section = Section(
        "invoices",
        "Invoices",
        "Of the running month and the 12 before it. What was left out is in the statement, and is not the customer's.",
        f"as of {words.span(row['as_of'] for row in answer.rows)}",
    )
    for currency, rows in by(answer.rows, "currency").items():
        months = by(rows, "billing_period")
        newest = list(months)[-1]
        section.figures.append(
            Figure(
                f"statements of {newest:%Y-%m}",
                words.added((row["total"] for row in months[newest]), currency),
                [
                    ", ".join(
                        f"{label} {words.added(row[column] for row in months[newest])}"
                        for label, column in _PARTS.items()
                    ),
                    _finality(months[newest]),
                ],
            )
        )
        bars = [
            plots.Bar(
                f"{month:%Y-%m}",
                {label: _sum(its, column) for label, column in _PARTS.items()},
                words.added((row["total"] for row in its), currency),
            )
            for month, its in months.items()
        ]
        section.plots.append(Plot(f"Statements by month in {currency}", plots.bars(bars, currency)))
    section.tables.append(
        table(
            "Newest",
            answer.rows,
            [
                ("month", "billing_period", words.time), ("provider", "provider", words.name),
                ("bill", "billing_account_id", words.name), ("invoice", "invoice_id", words.name),
                ("total", "total", words.money), ("currency", "currency", words.name),
                ("final", "is_final", words.yes), ("usage", "usage", words.money),
                ("purchases", "purchases", words.money), ("taxes", "taxes", words.money),
                ("credits", "credits", words.money), ("left out", "left_out", words.money),
                ("differs from its days", "differs", words.money), ("because", "because", str), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def commitments(answer: Answer) -> Section:
    """The section on reservations, savings plans and committed use: how much was used, and what they saved."""
    section = Section(
        "commitments",
        "Commitments",
        "Reservations, savings plans and committed use of the running month and the 5 before it, of days whose bill "
        "has settled. Unused is what was paid for nothing.",
    )
    for currency, rows in by(answer.rows, "currency").items():
        months = by(rows, "month")
        newest = list(months)[-1]
        its = months[newest]
        section.figures += [
            Figure(
                f"unused in {newest:%Y-%m}", words.added((row["unused"] for row in its), currency), [_finality(its)]
            ),
            Figure(f"saved in {newest:%Y-%m}", words.added((row["saved"] for row in its), currency)),
        ]
        bars = [_used(f"{month:%Y-%m}", of_month, currency) for month, of_month in months.items()]
        section.plots.append(Plot(f"Commitments by month in {currency}", plots.bars(bars, currency)))
    section.tables.append(
        table(
            "Newest",
            answer.rows,
            [
                ("month", "month", words.time), ("provider", "provider", words.name),
                ("account", "sub_account_id", words.name), ("commitment", "commitment_id", words.name),
                ("type", "commitment_type", words.name), ("used", "used", words.money),
                ("unused", "unused", words.money), ("currency", "currency", words.name),
                ("utilisation", "utilisation", words.percent), ("covered", "covered", words.money),
                ("coverage", "coverage", words.percent), ("saved", "saved", words.money),
                ("final", "is_final", words.yes),
            ],
        )
    )  # fmt: skip
    return section


def _finality(rows: Sequence[Row]) -> str:
    """A word on whether the clouds may still restate these rows."""
    return "final" if all(row["is_final"] for row in rows) else "not final: may be restated"


def _used(label: str, rows: Sequence[Row], currency: str) -> plots.Bar:
    """What was used and what was not; nothing is drawn of what the bill does not tell."""
    known = [row for row in rows if row["used"] is not None and row["unused"] is not None]
    parts = {part: _sum(known, part) if known else None for part in ("used", "unused")}
    return plots.Bar(label, parts, f"{words.added((row['unused'] for row in rows), currency)} unused")


def _sum(rows: Sequence[Row], column: str) -> float:
    return float(sum((row[column] for row in rows), Decimal(0)))
