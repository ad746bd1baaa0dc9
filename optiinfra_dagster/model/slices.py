"""Slices: what one attempt at a customer, provider and window gave, and its status in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.model.metrics import Coverage


class SliceStatus(StrEnum):
    """The outcome of an attempt at a slice, as the ledger keeps it."""

    OK = "ok"
    PARTIAL = "partial"  # published, but something is missing: the error names it
    NOT_DUE = "not_due"
    BUDGET = "budget"
    FAILED = "failed"
    NOT_CONFIGURED = "not_configured"

    @property
    def published(self) -> bool:
        """Whether an attempt with this outcome replaces what readers see."""
        return self in {SliceStatus.OK, SliceStatus.PARTIAL}


@dataclass(frozen=True, slots=True)
class SliceKey:
    """Which slice of a dataset. Reader assets publish whole windows: customer and provider are empty."""

    customer_id: str
    provider: str
    window: datetime


@dataclass(slots=True)
class SliceResult:
    """What one attempt gave for some windows of one customer and provider, all with the same outcome.

    `rows` holds the rows of every window (column `window_start`); a window without rows is an empty slice, which is
    published as well: "collected, nothing there" is not "never collected". `api_calls` and `api_cost_usd` are of the
    whole attempt and go to the ledger row of its first window, so that sums are right.
    """

    customer_id: str
    provider: str
    windows: Sequence[datetime]
    status: SliceStatus
    rows: pa.Table | None = None
    error: str = ""
    permanent: bool = False
    api_calls: int = 0
    api_cost_usd: Decimal = Decimal(0)
    coverage: Sequence[Coverage] | None = None
    correction: bool = False  # late points of windows that other attempts published: written only where that is so
    dataset: str = ""  # whose slices these are, where it is not the asset's own
    accounts: Collection[str] | None = None  # of billed days: the accounts that were read; what others had stays
    after: Callable[[Client], None] | None = None  # what is to be noted once these slices are published
    skipped: bool = False  # published before and not asked again: nothing to write, but rubbish is cleared away
    skipped_rows: int = 0  # how many rows those have

    def __post_init__(self) -> None:
        """Refuse windows without a zone: they would be taken for times of the host's zone.

        Raises:
            ValueError: a window is naive.
        """
        if any(window.tzinfo is None for window in self.windows):
            raise ValueError(f"{self.customer_id} {self.provider}: a window without time zone; windows are zoned UTC.")


Emit = Callable[[SliceResult], None]
"""How the work on one customer hands over what it has finished."""
