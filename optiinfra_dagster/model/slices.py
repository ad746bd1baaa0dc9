"""Slices: the result of an attempt at a customer, provider and window, its status, and how it is to be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

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
        """True if an attempt with this outcome replaces what readers see."""
        return self in {SliceStatus.OK, SliceStatus.PARTIAL}


@dataclass(frozen=True, slots=True)
class SliceKey:
    """The key of a slice of a dataset. Reader assets publish whole windows: customer and provider are empty."""

    customer_id: str
    provider: str
    window: datetime

    @property
    def content_key(self) -> tuple[str, str, int]:
        """Customer, provider and epoch seconds of the window: plain values, as Arrow tables have them."""
        return self.customer_id, self.provider, int(self.window.timestamp())


# --- How results are written -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replace:
    """Write mode: the rows replace what is published of their windows."""


@dataclass(frozen=True, slots=True)
class ReplaceMetrics:
    """Write mode of metrics: the rows replace what is published of their windows; of a past window, none goes for good.

    In windows other than `present`, published points that the rows do not have stay: what only the present told, such
    as a machine's uptime by the inventory or the total of a day; those of a resource that is gone and not asked about;
    and those that the cloud, or the customer's Prometheus, keeps no longer.
    """

    present: datetime | None


@dataclass(frozen=True, slots=True)
class MergeLatePoints:
    """Write mode of late data corrections: rows of windows that earlier attempts published.

    They replace the published rows with the same keys; all other rows stay. A window that is not published stays so.
    """


@dataclass(frozen=True, slots=True)
class BillImport:
    """An import of bills that ended well: of which accounts, and when it began."""

    accounts: Collection[str]
    at: datetime


@dataclass(frozen=True, slots=True)
class MergeBilledAccounts:
    """Write mode of billed days: the rows replace the published ones of what was read, and all others stay.

    Of `accounts`, all of these days was read; of `statements`, by account and first day of the billing period, what is
    in them. `completes` is the import that is recorded once these slices are published: it ends with them. None where
    more slices of the import follow, or none is to be recorded.
    """

    accounts: Collection[str]
    completes: BillImport | None = None
    statements: Collection[tuple[str, date]] = ()


WriteMode = Replace | ReplaceMetrics | MergeLatePoints | MergeBilledAccounts


@dataclass(slots=True)
class SliceResult:
    """The result of one attempt at some windows of one customer and provider, all with the same outcome.

    `rows` holds the rows of every window (column `window_start`); a window without rows is an empty slice, which is
    published as well: "collected, nothing there" is not "never collected". `api_calls` and `api_cost_usd` are of the
    whole attempt and go to the ledger row of its first window, so that sums are right.

    `scope` is what an inventory looked at: by account, the regions that it listed, or none where that was all of the
    account. Empty where it is not known, and for other datasets.
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
    dataset: str = ""  # whose slices these are, where it is not the asset's own
    mode: WriteMode = field(default_factory=Replace)
    scope: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse windows without a zone: they would be taken for times of the host's zone.

        Raises:
            ValueError: a window is naive.
        """
        if any(window.tzinfo is None for window in self.windows):
            raise ValueError(f"{self.customer_id} {self.provider}: a window without time zone; windows are zoned UTC.")

    @property
    def keys(self) -> list[SliceKey]:
        """The slices, in the order of `windows`."""
        return [SliceKey(self.customer_id, self.provider, window) for window in self.windows]


@dataclass(frozen=True, slots=True)
class PublishedWindows:
    """Windows of one customer and provider that a plan leaves out: they are published, with so many `rows` in all.

    Nothing is collected or written of them, but what a killed attempt left of them is cleared away.
    """

    customer_id: str
    provider: str
    windows: Sequence[datetime]
    rows: int = 0

    @property
    def keys(self) -> list[SliceKey]:
        """The slices, in the order of `windows`."""
        return [SliceKey(self.customer_id, self.provider, window) for window in self.windows]
