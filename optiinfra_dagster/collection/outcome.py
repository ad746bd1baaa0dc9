"""The status of a slice, from the problems of its collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optiinfra_dagster.model.slices import SliceStatus

if TYPE_CHECKING:
    from optiinfra_dagster.model.problems import Problem


def status_of(problems: Sequence[Problem], *, has_content: bool) -> SliceStatus:
    """The status of a slice: ok without problems; else partial if it has any content, failed if it has none."""
    if not problems:
        return SliceStatus.OK
    return SliceStatus.PARTIAL if has_content else SliceStatus.FAILED


def all_permanent(problems: Sequence[Problem]) -> bool:
    """True if there are problems and every one needs a person: asking again would fail alike."""
    return bool(problems) and all(problem.cause.permanent for problem in problems)
