"""What is kept of a window's log while it is read: the sample to judge, conversations, what was used, and feedback."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.interaction_ids import Ids
from optiinfra_dagster.quality.counts import SourceCounts
from optiinfra_dagster.quality.doubles import Doubles
from optiinfra_dagster.quality.feedback import WindowFeedback, note_ids
from optiinfra_dagster.quality.interactions import Feedback, Interaction
from optiinfra_dagster.quality.sampling import Sample
from optiinfra_dagster.quality.sessions import Sessions
from optiinfra_dagster.quality.usage import Usage

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.quality.interactions import SkippedCall
    from optiinfra_dagster.quality.sources import InteractionSource


@dataclass(slots=True)
class WindowCalls:
    """What is kept of a window's calls, each of which counts once, and the counts of what was read for it."""

    sample: Sample
    feedback: WindowFeedback
    counts: SourceCounts = field(default_factory=SourceCounts)
    sessions: Sessions = field(default_factory=Sessions)
    usage: Usage = field(default_factory=Usage)
    ids: Ids = field(default_factory=Ids)

    def add(self, item: Interaction | SkippedCall) -> None:
        """Consider a call."""
        self.usage.add(item)
        if isinstance(item, Interaction):
            self.sample.add(item)
            self.sessions.add(item)
            note_ids(self.ids, item)


def draw(
    customer_id: str, application: Application, provider: str, window: datetime, source: InteractionSource
) -> WindowCalls:
    """Read a window's log once, and a second time where what came first of a call was not its best record.

    Raises:
        CloudError: the log changed while it was read, or as `InteractionSource.fetch`.
        ConfigError, StorageError: as `InteractionSource.fetch`.
    """
    end = window + windows.WINDOW
    size = application.sample_per_window
    doubles, drawn = Doubles(), WindowCalls(Sample(customer_id, window, size), WindowFeedback(customer_id, application))
    for item in source.fetch(provider, window, end):
        if isinstance(item, Feedback):
            drawn.feedback.add(item)
        elif doubles.is_first(item):
            drawn.add(item)
    counts = source.counts
    if not doubles.is_settled:
        drawn = WindowCalls(Sample(customer_id, window, size), drawn.feedback)
        for item in source.fetch(provider, window, end):
            if not isinstance(item, Feedback) and (told := doubles.settled(item)) is not None:
                drawn.add(told)
        doubles.check()
    counts.settle(doubles.knows, doubles.has_failed_within)
    drawn.counts = counts
    return drawn
