"""The items of a status, each with a state, a sentence and its parts; and the troubles that alerts tell of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from optiinfra_dagster.model.text import plain, shortened

LONGEST_TEXT = 400  # characters of a part; texts come from clouds and are as long as these like
MOST_PARTS = 50  # of an item that are shown by name; the others are counted
MOST_IN_LINE = 2  # of the worst parts, in the item's own line


class State(StrEnum):
    """The state of an item or part. Only `red` makes the command end with 1."""

    OK = "ok"
    WARN = "warn"  # to be known: nothing is lost, or nobody can mend it any more
    RED = "red"  # somebody has to do something


class Item(StrEnum):
    """The items of a status, in the order in which they are shown."""

    DAEMONS = "daemons"
    TICKS = "schedules and sensors"
    COLLECTIONS = "collections"
    CUSTOMERS = "failing customers"
    GAPS = "gaps"
    RUNS = "runs"
    BUDGETS = "budgets"
    CUSTOMERS_FILE = "customers file"
    CLICKHOUSE = "clickhouse"
    DISK = "disk"
    ALERTS = "alerts"


class Kind(StrEnum):
    """The kinds of trouble that alerts tell of. What each means and its remedy stands in docs/operations.md."""

    SLICE_FAILING = "slice_failing"
    LATE = "late"
    GAP = "gap"
    BUDGET = "budget"
    CHECK = "check"
    RUN_FAILING = "run_failing"
    COST_UNUSUAL = "cost_unusual"
    QUALITY_WORSE = "quality_worse"
    DAEMON_SILENT = "daemon_silent"
    CUSTOMERS_FILE = "customers_file"
    CLICKHOUSE = "clickhouse"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes on and that people are told of: once when it begins, and once when it is over.

    `customer`, `provider` and `family` say whose it is, `subject` which of several, such as an account, a check or a
    job; each is empty where it says nothing. While `cause` changes the trouble is the same one, and its new cause is
    told.
    """

    kind: Kind
    customer: str = ""
    provider: str = ""
    family: str = ""
    subject: str = ""
    cause: str = ""
    text: str = ""

    @property
    def key(self) -> str:
        """Its identity as long as it goes on."""
        return key_of(self.kind, self.customer, self.provider, self.family, self.subject)


def key_of(kind: str, customer: str = "", provider: str = "", family: str = "", subject: str = "") -> str:
    """The identity of a trouble and of its incident."""
    return f"{kind}/{customer}/{provider}/{family}/{subject}"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an item: what it is of, how it stands, and what there is to say of it, in one line."""

    state: State
    name: str
    text: str

    def __post_init__(self) -> None:
        """Keep to one line of bounded length, without control characters."""
        object.__setattr__(self, "text", shortened(plain(self.text), LONGEST_TEXT))


@dataclass(frozen=True, slots=True)
class Section:
    """An item of the status. `text` says it all in one line; `parts` are its details, the worst first.

    `more` counts parts that were left out. What is `unread` could not be looked at: its troubles are neither there nor
    over. The same holds for the troubles of `undecided` keys and kinds, of which nothing is known now.
    """

    item: Item
    state: State
    text: str
    parts: tuple[Part, ...] = ()
    more: int = 0
    troubles: tuple[Trouble, ...] = ()
    undecided: frozenset[str] = frozenset()
    undecided_kinds: frozenset[Kind] = frozenset()
    unread: bool = False


def section(
    item: Item,
    parts: Sequence[Part],
    fine: str,
    *,
    troubles: Sequence[Trouble] = (),
    undecided: Sequence[str] = (),
) -> Section:
    """The item of some parts: as bad as the worst of them. Its line names the worst, or is `fine`."""
    worst = max((part.state for part in parts), key=list(State).index, default=State.OK)
    ordered = sorted(parts, key=lambda part: -list(State).index(part.state))
    text = fine
    if worst is not State.OK:
        named = [part for part in ordered if part.state is worst]
        texts = [f"{part.name}: {part.text}" if part.name else part.text for part in named[:MOST_IN_LINE]]
        others = len([part for part in ordered if part.state is not State.OK]) - len(texts)
        text = "; ".join(texts) + (f"; and {others:,} more" if others else "")
    more = max(len(ordered) - MOST_PARTS, 0)
    return Section(item, worst, text, tuple(ordered[:MOST_PARTS]), more, tuple(troubles), frozenset(undecided))


def unread(item: Item, reason: str, *, state: State = State.RED, troubles: Sequence[Trouble] = ()) -> Section:
    """An item that could not be looked at, and why."""
    part = Part(state, "", reason)
    return Section(item, state, part.text, (part,), troubles=tuple(troubles), unread=True)


@dataclass(frozen=True, slots=True)
class Status:
    """The status of the whole installation at a moment."""

    at: datetime
    sections: tuple[Section, ...]

    @property
    def state(self) -> State:
        """The worst state of an item."""
        return max((one.state for one in self.sections), key=list(State).index, default=State.OK)

    def of(self, item: Item) -> Section:
        """The section of an item.

        Raises:
            KeyError: it was not looked at.
        """
        for one in self.sections:
            if one.item is item:
                return one
        raise KeyError(item)


# Which item tells of a kind of trouble: where it could not be looked at, that kind's troubles are neither new nor over.
TOLD_BY = {
    Kind.SLICE_FAILING: Item.CUSTOMERS,
    Kind.LATE: Item.COLLECTIONS,
    Kind.GAP: Item.GAPS,
    Kind.BUDGET: Item.BUDGETS,
    Kind.COST_UNUSUAL: Item.COLLECTIONS,
    Kind.QUALITY_WORSE: Item.COLLECTIONS,
    Kind.CHECK: Item.RUNS,
    Kind.RUN_FAILING: Item.RUNS,
    Kind.DAEMON_SILENT: Item.DAEMONS,
    Kind.CUSTOMERS_FILE: Item.CUSTOMERS_FILE,
    Kind.CLICKHOUSE: Item.CLICKHOUSE,
    Kind.DISK: Item.DISK,
}


def was_looked_at(kind: Kind, status: Status) -> bool:
    """True if the item that tells of a kind was looked at for it, so that what it does not tell of is over."""
    told_by = status.of(TOLD_BY[kind])
    return not told_by.unread and kind not in told_by.undecided_kinds
