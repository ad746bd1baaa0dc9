"""The report of a run's slices: for its log, the partition's page, and the asset's success or failure."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.model import markdown
from optiinfra_dagster.model.cost import by_month
from optiinfra_dagster.model.metrics import CoverageState
from optiinfra_dagster.model.slices import (
    MergeBilledAccounts,
    MergeLatePoints,
    PublishedWindows,
    SliceResult,
    SliceStatus,
)
from optiinfra_dagster.model.text import counted, named, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optiinfra_dagster.model.cost import LeftOut
    from optiinfra_dagster.storage.writer import FlushResult

# What an outcome is called where a person reads of it.
WORDS = {
    "ok": "published",
    "partial": "published with gaps",
    "budget": "left out for the budget",
    "not_due": "not due",
    "not_configured": "not configured",
}
MOST_OF_ERROR = 200  # characters, in a line of the log and of the table; the ledger has all of it
MOST_REASONS = 12  # customers whose errors stand in the asset's failure
MOST_LEFT_OUT = 100  # lines of the table in the metadata
MOST_CUSTOMERS = 100  # of the table, those that failed first: Dagster's storage keeps it for every run
MOST_COVERED = 10  # customers of whom coverage is shown, the least known first
_WORST_FIRST = ("failed", "partial", "budget")  # outcomes that come first in the table
_KNOWN = (CoverageState.COLLECTED, CoverageState.NO_POINTS)
EVERY_SLICE_FAILED = "every_slice_failed"
"""Metadata of an asset's failure whose reasons the ledger has, customer by customer."""


class Report:
    """The outcomes of a stream of slices, added up flush by flush."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.bill_days = 0
        self.left_out: dict[str, list[LeftOut]] = defaultdict(list)  # by customer
        self.rows_written = 0
        self.api_calls = 0
        self.api_cost_usd = Decimal(0)
        self.reread = 0
        self.corrected = 0
        self.customers: dict[str, dict[str, Any]] = defaultdict(
            lambda: {"outcome": "", "slices": 0, "rows": 0, "api_calls": 0, "error": ""}
        )
        self._permanent = True
        self._coverage: dict[str, tuple[datetime, Counter[CoverageState]]] = {}  # by customer, of its newest window

    def add(self, batch: Sequence[SliceResult | PublishedWindows], flushed: FlushResult) -> None:
        """Count a flush."""
        from optiinfra_dagster.storage.cost_rows import left_out_in  # and pyarrow, which the definitions do without

        for item in batch:
            if isinstance(item, PublishedWindows):
                self._count(item, "already published", item.rows)
                continue
            self.api_calls += item.api_calls
            self.api_cost_usd += item.api_cost_usd
            if isinstance(item.mode, MergeLatePoints):
                continue  # of a window before those of this run
            if isinstance(item.mode, MergeBilledAccounts):
                self.bill_days += len(item.windows)
                if item.rows is not None:
                    self.left_out[item.customer_id] += left_out_in(item.rows)
                continue
            self._cover(item)
            self._count(item, item.status.value, item.rows.num_rows if item.rows is not None else 0)
            customer = self.customers[item.customer_id]
            customer["api_calls"] += item.api_calls
            customer["error"] = customer["error"] or item.error
            if item.status is SliceStatus.FAILED and not item.permanent:
                self._permanent = False
        self.rows_written += flushed.rows_written
        self.corrected += flushed.corrected
        self.reread += flushed.reread

    def _count(self, item: SliceResult | PublishedWindows, outcome: str, rows: int) -> None:
        self.outcomes[outcome] += len(item.windows)
        customer = self.customers[item.customer_id]
        customer["slices"] += len(item.windows)
        customer["rows"] += rows
        customer["outcome"] = ", ".join(sorted({*filter(None, customer["outcome"].split(", ")), outcome}))

    def _cover(self, item: SliceResult) -> None:
        newest = max(item.windows)
        if item.coverage and (item.customer_id not in self._coverage or self._coverage[item.customer_id][0] < newest):
            self._coverage[item.customer_id] = newest, Counter(one.state for one in item.coverage)

    def __str__(self) -> str:
        """A line for the log: `3 customers: 2 published, 1 failed (acme: ...); 840 rows written, 36 API calls`."""
        total = sum(self.outcomes.values())
        parts = [f"{n:,} {WORDS.get(name, name)}" for name, n in sorted(self.outcomes.items())]
        only = parts[0].partition(" ")[2] if len(parts) == 1 else ""
        slices = f"{counted(len(self.customers), 'customer')}" if total else ""
        if total != len(self.customers):
            slices = f"{total:,} windows of {slices}"
        slices += f" {only}" if only else f": {', '.join(parts)}" if parts else ""
        if failed := next(((name, row["error"]) for name, row in self.customers.items() if row["error"]), None):
            text = f"{failed[0]}: {failed[1]}"
            slices += f" ({text[:MOST_OF_ERROR]}{'...' if len(text) > MOST_OF_ERROR else ''})"
        bills = f"{counted(self.bill_days, 'day')} of bills" if self.bill_days else ""
        left_out = [part for parts in self.left_out.values() for part in parts if part.because.is_not_theirs]
        if others := {(part.billing_account_id, part.account_id) for part in left_out}:
            bills += f", {counted(len(others), 'account')} in them left out"
        done = ", ".join(filter(None, (slices, bills))) or "nothing to do"
        return f"{done}; {counted(self.rows_written, 'row')} written, {counted(self.api_calls, 'API call')}"

    def metadata(self, *, detailed: bool) -> dict[str, Any]:
        """Metadata for the partition's page in the UI; with a table of customers where `detailed`."""
        metadata: dict[str, Any] = {
            "dagster/row_count": sum(c["rows"] for c in self.customers.values()),
            "rows_written": self.rows_written,
            "api_calls": self.api_calls,
            "api_cost_usd": str(self.api_cost_usd),
            "slices": dict(self.outcomes),
        }
        if self.reread:
            metadata["corrected_points"] = self.corrected
            metadata["corrected_share"] = self.corrected / self.reread
        if left_out := self._left_out():
            metadata["left_out"] = dg.MetadataValue.table(left_out)
        if self.customers:
            for name, outcome in (("customers_failed", "failed"), ("customers_incomplete", "partial")):
                metadata[name] = named([customer for customer in self.customers if outcome in self._outcomes(customer)])
        if detailed and self.customers:
            ordered = sorted(self.customers, key=lambda customer: (self._rank(customer), customer))
            metadata["customers"] = dg.MetadataValue.table(
                [
                    dg.TableRecord({"customer": name, **row, "error": shortened(row["error"], MOST_OF_ERROR)})
                    for name, row in ((name, self.customers[name]) for name in ordered[:MOST_CUSTOMERS])
                ]
            )
            if len(ordered) > MOST_CUSTOMERS:
                metadata["customers_not_listed"] = len(ordered) - MOST_CUSTOMERS
        if self._coverage:
            metadata["coverage"] = dg.MetadataValue.md(self._covered())
        return metadata

    def _outcomes(self, customer: str) -> list[str]:
        outcomes: list[str] = self.customers[customer]["outcome"].split(", ")
        return outcomes

    def _rank(self, customer: str) -> int:
        outcomes = self._outcomes(customer)
        return min((n for n, one in enumerate(_WORST_FIRST) if one in outcomes), default=len(_WORST_FIRST))

    def _covered(self) -> str:
        """What is known of the customers' metrics, with bars; the least known first."""
        counts = {customer: states for customer, (_, states) in self._coverage.items()}
        known = {customer: sum(states[one] for one in _KNOWN) for customer, states in counts.items()}
        least = sorted(counts, key=lambda customer: (known[customer] / counts[customer].total(), customer))
        lacking = sorted({state for states in counts.values() for state in states}.difference(_KNOWN))
        rows = [
            [customer, f"{known[customer]:,}", markdown.bar(known[customer] / counts[customer].total()),
             f"{counts[customer].total():,}", *(f"{counts[customer][state]:,}" for state in lacking)]
            for customer in least[:MOST_COVERED]
        ]  # fmt: skip
        reasons = [state.replace("_", " ") for state in lacking]
        parts = [
            "Of each customer's metrics, those that are known; why the others are not.",
            markdown.table(["customer", "known", "", "of", *reasons], rows, right=["known", "of", *reasons]),
            *(
                [f"and {counted(len(least) - MOST_COVERED, 'customer')} of whom more is known"]
                if len(least) > MOST_COVERED
                else []
            ),
        ]
        return "\n\n".join(parts)

    def _left_out(self) -> list[dg.TableRecord]:
        """What the bills have and the customers' costs have not, by month."""
        return [
            dg.TableRecord(
                {
                    "customer": customer,
                    "bill": part.billing_account_id,
                    "account": part.account_id,
                    "because": part.because.value,
                    "month": f"{part.billing_period:%Y-%m}",
                    "amount": f"{part.amount:f}",
                    "currency": part.currency,
                }
            )
            for customer, parts in sorted(self.left_out.items())
            for part in by_month(parts)
        ][:MOST_LEFT_OUT]

    def raise_if_all_failed(self) -> None:
        """Fail the asset where every slice failed, and only there: one customer's failure is that customer's.

        Raises:
            dagster.Failure: every slice failed; retried only where asking again can help.
        """
        if self.outcomes["failed"] and self.outcomes["failed"] == sum(self.outcomes.values()):
            first_customers = sorted(self.customers.items())[:MOST_REASONS]
            reasons = [f"{name}: {shortened(row['error'], MOST_OF_ERROR)}" for name, row in first_customers]
            if more := len(self.customers) - len(first_customers):
                reasons.append(f"and {counted(more, 'customer')} more: `optiinfra status --details`")
            raise dg.Failure(
                "\n".join(["Every slice of this asset failed.", *reasons]),
                metadata={**self.metadata(detailed=True), EVERY_SLICE_FAILED: True},
                allow_retries=not self._permanent,
            )
