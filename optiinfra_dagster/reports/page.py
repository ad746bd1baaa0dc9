"""The page of `optiinfra report`: one HTML file with all in it, which loads nothing and runs nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.reports import bills, costs, others
from optiinfra_dagster.reports.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from optiinfra_dagster.reports.section import Answer

Key = tuple[str, str]


class Part(NamedTuple):
    """A section of the page, and the reader whose rows it shows.

    `back` is how far, where the newest rows are not enough. One that `is_rare` is there only where there are rows: most
    customers have no such thing.
    """

    reader: Key
    title: str
    build: Callable[[Answer], Section]
    back: timedelta | None = None
    is_rare: bool = False


PARTS: Sequence[Part] = (
    Part(("cost", "summary"), "Cost", costs.summary),
    Part(("cost", "trends"), "Cost by day", costs.by_day),
    Part(("cost", "by_service"), "Cost by service", costs.by_service),
    Part(("cost", "outlook"), "The month's outlook", costs.outlook),
    Part(("cost", "waste"), "Waste", costs.waste),
    Part(("cost", "rightsizing"), "Rightsizing", costs.rightsizing),
    Part(("cost", "allocation"), "Allocation", costs.allocation),
    Part(("cost", "invoices"), "Invoices", bills.invoices, is_rare=True),
    Part(("cost", "commitments"), "Commitments", bills.commitments, is_rare=True),
    Part(("resource", "changes"), "Changes", others.changes, timedelta(days=others.DAYS_OF_CHANGES)),
    Part(("performance", "anomalies"), "Out of the ordinary", others.anomalies),
    Part(("application", "summary"), "LLM quality", others.quality),
)


def sections(answers: Mapping[Key, Answer], states: Answer, slices: Answer) -> list[Section]:
    """The sections of the page: of each reader that there is, and of what is not known."""
    shown = [
        part
        for part in PARTS
        if part.reader in answers and (answers[part.reader].rows or answers[part.reader].is_lost or not part.is_rare)
    ]
    return [*(_section(part, answers[part.reader]) for part in shown), others.coverage(states, slices)]


def _section(part: Part, answer: Answer) -> Section:
    """The section of a reader; without rows, what its note says."""
    if answer.rows:
        return part.build(answer)
    return Section(part.reader[1], part.title, note=answer.note)


def render(customer: str, name: str, at: datetime, parts: Sequence[Section], known_at: str = "") -> str:
    """The page as HTML, of what was known at a time where one is given.

    Whatever is text is escaped: names of resources are anybody's.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["drawn"] = Markup  # of what plots.py has drawn, whose texts are escaped
    return environment.get_template("page.html.j2").render(
        customer=customer, name=name, at=at, sections=parts, known_at=known_at
    )
