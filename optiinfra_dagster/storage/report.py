"""The report of a run's slices: for its log, the partition's page, and the asset's success or failure."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.model.cost import by_month
from optiinfra_dagster.model.slices import (
    MergeBilledAccounts,
    MergeLatePoints,
    PublishedWindows,
    SliceResult,
    SliceStatus,
)
from optiinfra_dagster.model.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

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
MOST_OF_ERROR = 200  # characters, in a line of the log
MOST_LEFT_OUT = 100  # lines of the table in the metadata
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
        if detailed and self.customers:
            metadata["customers"] = dg.MetadataValue.table(
                [dg.TableRecord({"customer": name, **row}) for name, row in sorted(self.customers.items())]
            )
        return metadata

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
            reasons = "\n".join(f"{name}: {row['error']}" for name, row in sorted(self.customers.items()))
            raise dg.Failure(
                f"Every slice of this asset failed.\n{reasons}",
                metadata={**self.metadata(detailed=True), EVERY_SLICE_FAILED: True},
                allow_retries=not self._permanent,
            )
