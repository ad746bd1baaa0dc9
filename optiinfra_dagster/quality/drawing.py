"""What is kept of a window's log while it is read: the sample to judge, conversations, and what was used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.quality.counts import SourceCounts
from optiinfra_dagster.quality.doubles import Doubles
from optiinfra_dagster.quality.interactions import Interaction
from optiinfra_dagster.quality.sampling import Sample
from optiinfra_dagster.quality.sessions import Sessions
from optiinfra_dagster.quality.usage import Usage

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.quality.interactions import Skipped
    from optiinfra_dagster.quality.sources import InteractionSource


@dataclass(slots=True)
class Drawn:
    """What is kept of a window's calls, each of which counts once, and the counts of what was read for it."""

    sample: Sample
    counts: SourceCounts = field(default_factory=SourceCounts)
    sessions: Sessions = field(default_factory=Sessions)
    usage: Usage = field(default_factory=Usage)

    def add(self, item: Interaction | Skipped) -> None:
        """Consider a call."""
        self.usage.add(item)
        if isinstance(item, Interaction):
            self.sample.add(item)
            self.sessions.add(item)


def draw(customer_id: str, size: int, provider: str, window: datetime, source: InteractionSource) -> Drawn:
    """Read a window's log once, and a second time where what came first of a call was not its best record.

    Raises:
        CloudError: the log changed while it was read, or as `InteractionSource.fetch`.
        ConfigError, StorageError: as `InteractionSource.fetch`.
    """
    end = window + windows.WINDOW
    doubles, drawn = Doubles(), Drawn(Sample(customer_id, window, size))
    for item in source.fetch(provider, window, end):
        if doubles.is_first(item):
            drawn.add(item)
    counts = source.counts
    if not doubles.is_settled:
        drawn = Drawn(Sample(customer_id, window, size))
        for item in source.fetch(provider, window, end):
            if (told := doubles.settled(item)) is not None:
                drawn.add(told)
        doubles.check()
    drawn.counts = counts
    return drawn
