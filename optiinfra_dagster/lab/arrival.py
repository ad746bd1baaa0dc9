"""Bills that arrive late and in parts: what a cloud's bill has of a day when it is asked, in every cloud of the lab."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

_LAST_DIGIT = Decimal("1e-10")


class BillsArrive(BaseModel):
    """How bills arrive: of each day a share at once, and the rest some hours after the day's end.

    Of a day that is not over there is what was used of it, of which this is a share too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: float = Field(default=0, ge=0)
    share: Decimal = Field(default=Decimal(0), ge=0, le=1)

    def whole_at(self, day: date) -> datetime:
        """When all of a day is there."""
        return datetime.combine(day, time(), UTC) + timedelta(days=1, hours=self.hours)

    def so_far(self, amount: Decimal, day: date, now: datetime) -> Decimal:
        """What there is of a day's amount."""
        late = self.hours and now < self.whole_at(day)
        return (amount * self.share).quantize(_LAST_DIGIT) if late else amount
