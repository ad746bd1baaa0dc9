"""YAML read into plain data with the line of everything in it, for files whose mistakes are shown to people.

Not `yaml.safe_load`: that keeps no line numbers, lets a repeated key overwrite the first, reads dates and binary, and
its C variant crashes the process on very deep nesting. Not ruamel.yaml: it keeps lines, but takes 2.24 CPU-s for a file
of 1,000 customers where this takes 0.11, and stops at the first mistake. Messages never repeat a value: it may be a
misplaced secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

Place: TypeAlias = tuple[str | int, ...]
"""Where in the file: `("customers", 2, "aws", 0, "role_arn")`; empty for the file as a whole."""

_MAX_REPEATED = 100_000  # values that aliases stand for: 1,000 customers have 20,000; nine levels of nine, a billion
_MAX_DEPTH = 32  # no file of ours needs 8; each level is two frames of Python's stack


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake at one place, and its remedy; `line` counts from 1."""

    line: int
    place: Place
    what: str
    remedy: str

    def __str__(self) -> str:
        """`7 customers[2].aws[0].role_arn: is missing. Write ...`, to be put behind `<file>:`."""
        return f"{self.line}{' ' if self.place else ''}{spell(self.place)}: {self.what}. {self.remedy}."


def spell(place: Place) -> str:
    """`customers[2].aws[0].role_arn`; a key that is not a plain word becomes `?`, since it could be a stray secret."""
    parts = (
        f"[{part}]" if isinstance(part, int) else f".{part}" if re.fullmatch(r"[A-Za-z][\w-]{0,39}", part) else ".?"
        for part in place
    )
    return "".join(parts).removeprefix(".")


@dataclass
class Document:
    """A YAML text as data, with the line of every value and the mistakes found in it.

    `data` holds dicts with text keys, lists, text, numbers, truth values and None; dates stay text. What could not be
    read is None in `data` and named in `mistakes`. `parsed` is False where the text ends in a syntax error.
    `odd_numbers` are where YAML reads another number than a person does: 010 is 8, and 1:30 is 90.
    """

    data: object = None
    mistakes: list[Mistake] = field(default_factory=list)
    parsed: bool = True
    lines: dict[Place, int] = field(default_factory=dict)
    unread: set[Place] = field(default_factory=set)
    odd_numbers: list[Place] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """The line, from 1, where `place` starts; where it is not in the file, that of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def complain(self, place: Place, what: str, remedy: str) -> None:
        """Note a mistake, unless something at or around `place` could not be read and is noted already."""
        if not any(place[:size] in self.unread for size in range(len(place) + 1)):
            self.mistakes.append(Mistake(self.line(place), place, what, remedy))


def read(text: str) -> Document:
    """Read a YAML text of one document; never raises, but fills `mistakes`."""
    reader = _Reader(text)
    try:
        reader.run()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        reader.stop(line, *_explain(error, text))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        reader.stop(line, "holds a control character", "Remove it: it may have been pasted in by accident")
    except _StopError as error:
        reader.stop(error.line, error.what, error.remedy)
    return reader.document


class _StopError(Exception):
    """The rest of the file makes no sense; `line` counts from 0."""

    def __init__(self, line: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what
        self.remedy = remedy


def _line(event: yaml.Event) -> int:
    return event.start_mark.line if event.start_mark else 0


class _Reader:
    """Builds a `Document` from the parser's events, which carry lines and need no recursion in C."""

    def __init__(self, text: str) -> None:
        self.document = Document()
        self._anchors: dict[str | None, tuple[object, int]] = {}  # a value, and how many it is with all within
        self._values = self._repeated = 0
        # The C parser is four times as fast, and part of every PyYAML wheel.
        self._events: Iterator[yaml.Event] = iter(
            yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        )

    def run(self) -> None:
        first = True
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if not first:
                    raise _StopError(_line(event), "a second document starts here", "Remove the line ---")
                first = False
                self.document.data = self._node(next(self._events), ())

    def stop(self, line: int, what: str, remedy: str) -> None:
        self.document.mistakes.append(Mistake(line + 1, (), what, remedy))
        self.document.parsed = False

    def _complain(self, event: yaml.Event, place: Place, what: str, remedy: str) -> None:
        self.document.mistakes.append(Mistake(_line(event) + 1, place, what, remedy))

    def _refuse(self, event: yaml.Event, place: Place, what: str, remedy: str) -> None:
        self._complain(event, place, what, remedy)
        self.document.unread.add(place)

    def _node(self, event: yaml.Event, place: Place) -> object:
        if len(place) > _MAX_DEPTH:
            raise _StopError(_line(event), "is nested too deeply", "Correct the brackets or the indentation")
        self.document.lines.setdefault(place, _line(event) + 1)
        quote = "Put the value in quotes if that character is part of it"
        if isinstance(event, yaml.AliasEvent):
            # An anchor is known only once it ends, so that nothing can hold itself.
            if event.anchor in self._anchors:
                value, size = self._anchors[event.anchor]
                self._values += size
                self._repeated += size
                if self._repeated > _MAX_REPEATED:
                    what = f"refers by * to over {_MAX_REPEATED:,} values, with those before it"
                    raise _StopError(_line(event), what, "Write the values out")
                return value
            self._refuse(event, place, "starts with * and so refers to an anchor that is not above it", quote)
            return None
        before, value = self._values, None
        self._values += 1
        if isinstance(event, yaml.SequenceStartEvent):
            value = self._list(place)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(place)
        elif isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place)
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = value, self._values - before
        tag = getattr(event, "tag", None)
        if tag not in {None, "!"} and tag not in _TAGS:
            self._refuse(event, place, "starts with ! and so is a YAML tag, which means nothing here", quote)
            return None
        return value

    def _list(self, place: Place) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*place, len(items))))
        return items

    def _mapping(self, place: Place) -> dict[str, object]:
        members: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            name = event.value if isinstance(event, yaml.ScalarEvent) else None
            inner = (*place, "?" if name is None else name)
            if name is None:
                self._complain(event, place, "has a key that is not a plain word", "Write `key: value`")
                self._node(event, inner)
            elif name == "<<":
                self._complain(event, place, "holds a merge key (<<), which is not read here", "Write the keys out")
            elif name in members:
                what = f"is written twice (first at line {self.document.line(inner)})"
                self._complain(event, inner, what, "Remove one of them")
                inner = (*place, "?")
            else:
                self.document.lines[inner] = _line(event) + 1
                members[name] = None
            value = self._node(next(self._events), inner)
            if inner[-1] in members:
                members[str(inner[-1])] = value
        return members

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> object:
        if re.search(r"[\x00-\x1f\x7f-\x9f]", event.value):
            what = "holds a line break or another control character"
            self._refuse(event, place, what, "Write it in one line, without it")
            return None
        tag = event.tag
        if tag is None:
            tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        convert = _SCALARS.get(str(tag))
        if tag in _NUMBERS and _ODD_NUMBER.match(event.value):
            self.document.odd_numbers.append(place)
        try:
            return event.value if convert is None else convert(yaml.ScalarNode(str(tag), event.value))
        except (ValueError, KeyError, OverflowError):
            self._refuse(event, place, "looks like a number that cannot be read", "Put it in quotes if it is text")
            return None


_RESOLVER = yaml.SafeLoader("")
# What YAML would make of other text, such as dates, is not wanted: it stays text.
_SCALARS: dict[str, Callable[[yaml.ScalarNode], object]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": _RESOLVER.construct_yaml_bool,
    "tag:yaml.org,2002:int": _RESOLVER.construct_yaml_int,
    "tag:yaml.org,2002:float": _RESOLVER.construct_yaml_float,
}
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_ODD_NUMBER = re.compile(r"[-+]?0[0-9a-fx_]+$|.*:", re.IGNORECASE)
_TAGS = {*_SCALARS, "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[str, str]:
    """A syntax error in plain words, without the text around it, and the remedy."""
    mark, problem = error.problem_mark, str(error.problem)
    lines = text.split("\n")
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "is indented with a tab", "Use spaces"
    if "mapping values are not allowed" in problem:
        return "has a second colon, or is indented deeper than the line above", "Put a value that holds `: ` in quotes"
    if "cannot start any token" in problem:
        return "has a value that starts with a character which YAML keeps for itself", "Put the value in quotes"
    if "tag" in problem or "anchor" in problem or "alias" in problem:  # PyYAML's own parser repeats these
        return "has a value that starts with ! or * or &", "Put the value in quotes"
    return f"is not valid YAML ({problem})", "Check indentation, brackets and quotes here and in the line above"
