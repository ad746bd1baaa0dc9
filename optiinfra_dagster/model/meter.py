"""The meter of a slice: API calls and what the cloud charges the customer for them."""

from __future__ import annotations

import threading
from collections import Counter
from decimal import Decimal

from optiinfra_dagster.model.errors import Cause, CloudError


class Meter:
    """Counts the API calls that a slice makes and what the cloud charges the customer for them. Thread-safe.

    `limit_usd` is what is left of the customer's budget; None is no limit.
    """

    def __init__(self, limit_usd: Decimal | None = None) -> None:
        self._lock = threading.Lock()
        self._limit_usd = limit_usd
        self.calls: Counter[str] = Counter()
        self.cost_usd = Decimal(0)

    def count(self, operation: str, *, usd: Decimal = Decimal(0)) -> None:
        """Note one call of `operation` (`GetMetricData`), billed at `usd` whether or not it succeeds.

        To be called before the request is sent: one that would pass the limit is not counted and must not be sent.

        Raises:
            CloudError: the call would cost more than is left of the budget (`Cause.BUDGET`).
        """
        with self._lock:
            if usd and self._limit_usd is not None and self.cost_usd + usd > self._limit_usd:
                left = self._limit_usd - self.cost_usd
                raise CloudError(
                    Cause.BUDGET,
                    f"{operation} costs the customer {usd:f} USD and {left:f} USD are left of this month's budget: not "
                    "called. Raise monthly_api_budget_usd or poll_minutes in the customers file.",
                )
            self.calls[operation] += 1
            self.cost_usd += usd

    def bill(self, operation: str, *, usd: Decimal) -> None:
        """Note what a cloud charges by what it answered (time series returned), which no limit can stop any more."""
        with self._lock:
            self.calls[operation] += 0
            self.cost_usd += usd
