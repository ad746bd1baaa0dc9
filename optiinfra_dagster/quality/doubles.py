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
from zlib import crc32

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.quality.interactions import UNKNOWN, Interaction, SkippedCall

_MOST_LENGTH = 2**24 - 1
_END = 64  # characters of a text, by which texts of one length are told apart


class Doubles:
    """The calls of a window as they go by, about 60 bytes each.

    First every record goes through `is_first`. If `is_settled` is false then, those that it let through were not the
    right ones, and all are to go through `settled` in any order, which gives the right ones.
    """

    def __init__(self) -> None:
        self.is_settled = True
        # Of each call: where its record stands among its application's, when, what was asked, how rich it is.
        self._applications, self._times, self._prompts = array("q"), array("q"), array("q")
        self._best = array("Q")
        self._joined: dict[int, int] = {}  # calls that turned out to be another one
        self._own = _Index()  # by the hash of an id, the first call whose record has it as its own
        self._more: dict[int, list[int]] = {}  # further calls with that id
        self._other = _Index()  # by that of a further id
        self._restarted: set[int] = set()  # ids that several calls have
        self._told: set[int] = set()
        self._failed_within: set[int] = set()  # ids of the spans around calls that failed

    def is_first(self, item: Interaction | SkippedCall) -> bool:
        """Note a record; True if it is the first of its call."""
        if isinstance(item, SkippedCall) and item.around:
            self._failed_within.add(hash(item.around))
        own = hash(item.interaction_id)
        micros = _micros(item)
        richness = _richness(item, micros)
        if not item.other_ids and self._own.get(own) < 0 and self._other.get(own) < 0:  # as most are
            self._own.add(own, self._note(item, richness, micros))
            return True
        found = self._calls(item)
        if not found:
            call = self._new(item, richness, micros)
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

    def knows(self, key: int) -> bool:
        """True if a call has an id of this hash."""
        return self._own.get(key) >= 0 or self._other.get(key) >= 0

    def has_failed_within(self, key: int) -> bool:
        """True if a call has failed within the span with an id of this hash."""
        return key in self._failed_within

    def settled(self, item: Interaction | SkippedCall) -> Interaction | SkippedCall | None:
        """The record if it is the one that counts, and was not given before; else None."""
        found = self._calls(item)
        if not found:
            return None  # it was not there the first time
        call = min(found)
        if call in self._told or _richness(item, _micros(item)) != self._best[call]:
            return None
        self._told.add(call)
        if hash((item.application_id, item.interaction_id)) in self._restarted:
            unique_id = f"{item.interaction_id}@{item.timestamp:%H:%M:%S.%f}"
            return replace(item, interaction_id=unique_id)
        return item

    def check(self) -> None:
        """Make sure that `settled` gave every call.

        Raises:
            CloudError: the log changed between the first reading and the second.
        """
        if len(self._told) != len(self._best) - len(self._joined):
            raise CloudError(Cause.INCOMPLETE, f"the log changed while it was read. {LATER}")

    def _calls(self, item: Interaction | SkippedCall) -> set[int]:
        """The calls that a record is of: none, one, or several that it shows to be one."""
        found = set()
        own = hash(item.interaction_id)
        if (call := self._other.get(own)) >= 0:
            found.add(self._root(call))
        for name in item.other_ids:
            key = hash(name)
            if (call := self._other.get(key)) >= 0:
                found.add(self._root(call))
            found.update(self._root(call) for call in self._owners(key))
        for call in self._owners(own):
            if self._applications[call] == hash(item.application_id) and (
                self._times[call] == _micros(item) or (_prompt(item) and self._prompts[call] == _prompt(item))
            ):
                found.add(self._root(call))
        return found

    def _new(self, item: Interaction | SkippedCall, richness: int, micros: int) -> int:
        own = hash(item.interaction_id)
        owners = self._owners(own)
        if owners and any(self._applications[other] == hash(item.application_id) for other in owners):
            self._restarted.add(hash((item.application_id, item.interaction_id)))
            self.is_settled = False
        return self._note(item, richness, micros)

    def _note(self, item: Interaction | SkippedCall, richness: int, micros: int) -> int:
        call = len(self._best)
        self._applications.append(hash(item.application_id))
        self._times.append(micros)
        self._prompts.append(_prompt(item))
        self._best.append(richness)
        return call

    def _note_ids(self, item: Interaction | SkippedCall, call: int) -> None:
        own = hash(item.interaction_id)
        if self._own.add(own, call) != call:
            calls = self._more.setdefault(own, [])
            if call not in calls:
                calls.append(call)
        for name in item.other_ids:
            self._other.add(hash(name), call)

    def _owners(self, key: int) -> list[int]:
        first = self._own.get(key)
        return [] if first < 0 else [first, *self._more.get(key, ())]

    def _root(self, call: int) -> int:
        while (joined := self._joined.get(call)) is not None:
            call = joined
        return call


class _Index:
    """Whole numbers from 0 on by 64-bit keys, in 18 to 36 bytes each: a dict takes 150."""

    def __init__(self) -> None:
        self._count, self._mask = 0, 1023
        self._keys, self._values = array("q", bytes(8 * 1024)), array("i", [-1]) * 1024

    def get(self, key: int) -> int:
        """The number of a key; -1 if there is none."""
        keys, values, mask = self._keys, self._values, self._mask
        slot = key & mask
        while (value := values[slot]) >= 0:
            if keys[slot] == key:
                return value
            slot = (slot + 1) & mask
        return -1

    def add(self, key: int, value: int) -> int:
        """Keep a number, unless the key has one; returns the one that it has then."""
        keys, values, mask = self._keys, self._values, self._mask
        slot = key & mask
        while (known := values[slot]) >= 0:
            if keys[slot] == key:
                return known
            slot = (slot + 1) & mask
        keys[slot], values[slot] = key, value
        self._count += 1
        if 3 * self._count > 2 * mask:
            self._grow()
        return value

    def _grow(self) -> None:
        size, mask = 2 * len(self._keys), 2 * len(self._keys) - 1
        keys, values = array("q", bytes(8 * size)), array("i", [-1]) * size
        for key, value in zip(self._keys, self._values, strict=True):
            if value >= 0:
                slot = key & mask
                while values[slot] >= 0:
                    slot = (slot + 1) & mask
                keys[slot], values[slot] = key, value
        self._keys, self._values, self._mask = keys, values, mask


def _micros(item: Interaction | SkippedCall) -> int:
    return round(item.timestamp.timestamp() * 1e6)


def _prompt(item: Interaction | SkippedCall) -> int:
    """A number for the prompt; 0 where there is none to tell calls apart by."""
    return hash(item.prompt) if isinstance(item, Interaction) else 0


def _richness(item: Interaction | SkippedCall, micros: int) -> int:
    """The more is known of a call, the more; of two records that tell as much, it orders them by what they tell.

    The same in every process: what is chosen of a window must be chosen again.
    """
    known = (
        (item.model_name != UNKNOWN)
        + (item.application_id != UNKNOWN)
        + (item.provider != "")
        + (item.prompt_tokens is not None)
        + (item.response_tokens is not None)
        + (item.latency_ms is not None)
        + (item.cost_usd is not None)
    )
    identity = f"{item.interaction_id}\0{item.application_id}\0{micros}\0{item.model_name}"
    if not isinstance(item, Interaction):
        return known << 56 | _checksum(identity)
    grounds = bool(item.context) + bool(item.reference)
    length = min(len(item.prompt) + len(item.response), _MOST_LENGTH)
    content = _checksum(f"{identity}\0{item.prompt[-_END:]}\0{item.response[-_END:]}")
    return 1 << 63 | grounds << 61 | known << 56 | length << 32 | content


def _checksum(text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"))
