"""One call to a model counts once, however often a window's log tells of it.

Two records are of the same call if one names the other's id, or both name the same one, among its further ids
(`other_ids`: trace and span, the id of the API's response); or if they have the same id within an application, and the
same time or the same prompt. An export that tells of a call again once it is complete keeps its time, and an
instrumentation that tells of it from outside keeps the prompt. Where both differ, the ids are numbers that begin anew
with each process: these are different calls, and get their times into their ids.

Of the records of a call the richer counts: an interaction before a step or a failure, then the one with more fields
and longer texts. What is read first may be the poorer one. That is known at the end only, and rare, so the log is read
a second time then: memory for the texts of all is not to be had.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.quality.interactions import UNKNOWN, Interaction

if TYPE_CHECKING:
    from optiinfra_dagster.quality.interactions import Skipped

_MOST_LENGTH = 2**24 - 1


class Doubles:
    """The calls of a window as they go by, about 150 bytes each.

    First every record goes through `is_first`. If `is_settled` is false then, those that it let through were not the
    right ones, and all are to go through `settled` in any order, which gives the right ones.
    """

    def __init__(self) -> None:
        self.is_settled = True
        # Of each call: where its record stands among its application's, when, what was asked, how rich it is.
        self._applications, self._times, self._prompts = array("q"), array("q"), array("q")
        self._best = array("Q")
        self._joined: dict[int, int] = {}  # calls that turned out to be another one
        self._own: dict[int, int | list[int]] = {}  # by the hash of an id, the calls whose records have it as theirs
        self._other: dict[int, int] = {}  # by that of a further id
        self._restarted: set[int] = set()  # ids that several calls have
        self._told: set[int] = set()

    def is_first(self, item: Interaction | Skipped) -> bool:
        """Note a record; True if it is the first of its call."""
        found = self._calls(item)
        richness = _richness(item)
        if not found:
            call = self._new(item, richness)
        else:
            call = min(found)
            for double in found:
                if double != call:
                    self._joined[double] = call
                    self._best[call] = max(self._best[call], self._best[double])
                    self.is_settled = False
            if richness > self._best[call]:
                self._best[call] = richness
                self.is_settled = False
        self._note_ids(item, call)
        return not found

    def settled(self, item: Interaction | Skipped) -> Interaction | Skipped | None:
        """The record if it is the one that counts, and was not given before; else None."""
        found = self._calls(item)
        if not found:
            return None  # it was not there the first time
        call = min(found)
        if call in self._told or _richness(item) != self._best[call]:
            return None
        self._told.add(call)
        if hash((item.application_id, item.interaction_id)) in self._restarted:
            told = f"{item.interaction_id}@{item.timestamp:%H:%M:%S.%f}"
            return replace(item, interaction_id=told)
        return item

    def check(self) -> None:
        """Make sure that `settled` gave every call.

        Raises:
            CloudError: the log changed between the first reading and the second.
        """
        if len(self._told) != len(self._best) - len(self._joined):
            raise CloudError(Cause.INCOMPLETE, f"the log changed while it was read. {LATER}")

    def _calls(self, item: Interaction | Skipped) -> set[int]:
        """The calls that a record is of: none, one, or several that it shows to be one."""
        found = set()
        own = hash(item.interaction_id)
        if (call := self._other.get(own)) is not None:
            found.add(self._root(call))
        for name in item.other_ids:
            key = hash(name)
            if (call := self._other.get(key)) is not None:
                found.add(self._root(call))
            found.update(self._root(call) for call in self._owners(key))
        for call in self._owners(own):
            if self._applications[call] == hash(item.application_id) and (
                self._times[call] == _micros(item) or (_prompt(item) and self._prompts[call] == _prompt(item))
            ):
                found.add(self._root(call))
        return found

    def _new(self, item: Interaction | Skipped, richness: int) -> int:
        call = len(self._best)
        own = hash(item.interaction_id)
        if any(self._applications[other] == hash(item.application_id) for other in self._owners(own)):
            self._restarted.add(hash((item.application_id, item.interaction_id)))
            self.is_settled = False
        self._applications.append(hash(item.application_id))
        self._times.append(_micros(item))
        self._prompts.append(_prompt(item))
        self._best.append(richness)
        return call

    def _note_ids(self, item: Interaction | Skipped, call: int) -> None:
        own = hash(item.interaction_id)
        known = self._own.setdefault(own, call)
        if known != call:
            calls = known if isinstance(known, list) else [known]
            if call not in calls:
                self._own[own] = [*calls, call]
        for name in item.other_ids:
            self._other.setdefault(hash(name), call)

    def _owners(self, key: int) -> list[int]:
        known = self._own.get(key)
        if known is None:
            return []
        return known if isinstance(known, list) else [known]

    def _root(self, call: int) -> int:
        while (joined := self._joined.get(call)) is not None:
            call = joined
        return call


def _micros(item: Interaction | Skipped) -> int:
    return round(item.timestamp.timestamp() * 1e6)


def _prompt(item: Interaction | Skipped) -> int:
    """A number for the prompt; 0 where there is none to tell calls apart by."""
    return hash(item.prompt) if isinstance(item, Interaction) else 0


def _richness(item: Interaction | Skipped) -> int:
    """The more is known of a call, the more; of two records that tell as much, it orders them by what they tell.

    The same in every process: what is chosen of a window must be chosen again.
    """
    known = sum(
        field not in (None, "", UNKNOWN)
        for field in (item.model_name, item.application_id, item.provider, item.prompt_tokens, item.response_tokens,
                      item.latency_ms, item.cost_usd)
    )  # fmt: skip
    content = crc32(f"{item.interaction_id}\0{item.application_id}\0{item.timestamp}\0{item.model_name}".encode(
        "utf-8", "surrogatepass"))  # fmt: skip
    if not isinstance(item, Interaction):
        return known << 56 | content
    grounds = bool(item.context) + bool(item.reference)
    length = min(len(item.prompt) + len(item.response), _MOST_LENGTH)
    content = crc32(f"{item.prompt}\0{item.response}\0{item.context}".encode("utf-8", "surrogatepass"), content)
    return 1 << 63 | grounds << 61 | known << 56 | length << 32 | content
