"""One call out of the records of a file that tell of it.

A call may be written several times: as a span and as an event, by nested instrumentations, by an agent and by the call
that gave the agent's answer; and in pieces, one log record to a message. What belongs together lies near together, as
spans are written when they end: the newest `HELD` calls of spans are kept for what may still come, oldest first out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta

from optiinfra_dagster.quality.interactions import BadLine, Interaction, Skip, SkippedCall
from optiinfra_dagster.quality.logs.calls import Call, Kind, read_call
from optiinfra_dagster.quality.logs.fields import count_of, moment_of
from optiinfra_dagster.quality.logs.retrievals import Retrievals

_Key = tuple[object, ...]

HELD = 1000  # calls
HELD_CHARACTERS = 2**23  # of their texts
_TAIL = 100  # characters at the end of two prompts that must agree
_LOOKED_AT = 50  # records that may be of one call: a span may have thousands below it

_SLACK = timedelta(milliseconds=100)  # by which what tells of one call may lie apart
_PAUSE = timedelta(seconds=1)  # between messages of one prompt, which are logged at once


class _Entry:
    """A call that is held. `item` is what it is so far, `keys` are those under which it is known."""

    __slots__ = ("call", "gone", "is_timed", "item", "keys", "kind", "number", "parents", "size", "spans")

    def __init__(self, call: Call, item: BadLine | None = None) -> None:
        self.call, self.gone = call, False
        self.is_timed = False  # by a span, whose messages are logged apart
        self.kind = call.kind
        self.number = 1  # of the call within its span
        self.item: Interaction | SkippedCall | BadLine = item or read_call(call)
        self.size = len(self.item.prompt) + len(self.item.response) if isinstance(self.item, Interaction) else 100
        self.keys: list[_Key] = []
        # The spans that are this call, but for an agent's, and those around them.
        self.spans, self.parents = {call.span_id} - {""}, {call.parent_id} - {""}


class Doubles:
    """Takes the calls of one file and gives what they are, each once."""

    def __init__(self) -> None:
        self._queue: deque[_Entry] = deque()
        self._characters = 0
        self._known: dict[_Key, list[_Entry]] = {}
        self._seen: set[int] = set()  # hashes of the ids and times that were given
        self._open: dict[object, _Entry] = {}  # pieces without ids, by their source
        self.retrievals = Retrievals()

    def add(self, call: Call, source: object = None) -> Iterator[Interaction | SkippedCall | BadLine]:
        """Take a call; gives those that need not be held any longer. `source` joins pieces that have no ids."""
        if not call.is_span:
            yield from self.give(read_call(call))
            return
        if call.is_piece:
            self._add_piece(call, source)
        else:
            self._add_whole(call)
        while len(self._queue) > HELD or self._characters > HELD_CHARACTERS:
            yield from self._out()

    def pass_on(self, item: BadLine) -> Iterator[BadLine]:
        """Give a bad line, behind what came before it: its time may be known by that only."""
        if not self._queue:
            yield item
        else:
            self._queue.append(_Entry(Call(), item))

    def rest(self) -> Iterator[Interaction | SkippedCall | BadLine]:
        """Give what is still held, at the end of the file."""
        for entry in list(self._queue):
            self._settle(entry)
        while self._queue:
            yield from self._out()

    def _out(self) -> Iterator[Interaction | SkippedCall | BadLine]:
        self._settle(self._queue[0])
        entry = self._queue.popleft()
        self._characters -= entry.size
        for key in entry.keys:
            self._known[key].remove(entry)
            if not self._known[key]:
                del self._known[key]
        if not entry.gone:
            entry.gone = True
            yield from self.give(read_call(entry.call) if entry.call.is_piece else entry.item)

    def give(self, item: Interaction | SkippedCall | BadLine) -> tuple[Interaction | SkippedCall | BadLine, ...]:
        """Give what need not be held, unless it was given before."""
        if not isinstance(item, BadLine):
            # Ids may begin anew with each process, and a call may be told again once more is known of it.
            mark = hash((item.interaction_id, item.timestamp, _told(item)))
            if mark in self._seen:
                return ()
            self._seen.add(mark)
        return (self.retrievals.given_to(item) if isinstance(item, Interaction) else item,)

    def _hold(self, entry: _Entry) -> None:
        self._queue.append(entry)
        self._characters += entry.size
        self._know(entry)

    def _know(self, entry: _Entry) -> None:
        for key in _keys(entry):
            if key not in entry.keys:
                entry.keys.append(key)
                self._known.setdefault(key, []).append(entry)

    # --- Pieces -----------------------------------------------------------------------------------------------------

    def _add_piece(self, call: Call, source: object) -> None:
        entry = self._of_piece(call, source)
        if entry is not None and call.prompt and entry.call.is_piece and _is_next(entry.call, call):
            if call.span_id:  # of several calls within one span, each needs an id of its own
                call.interaction_id = f"{call.own_id}-{entry.number + 1}"
            number, entry = entry.number + 1, None
        else:
            number = 1
        if entry is None:
            entry = _Entry(call)
            entry.number = number
            self._hold(entry)
        else:
            _fill(entry, call)
            self._know(entry)
        if not call.trace_id:
            self._open[source] = entry

    def _of_piece(self, call: Call, source: object) -> _Entry | None:
        """The call that a piece belongs to; None for the first of a new one."""
        if not call.trace_id:
            entry = self._open.get(source)
            return None if entry is None or entry.gone else entry
        same = self._last(("span", call.trace_id, call.span_id))
        if same is None and not call.prompt:
            # Of a stream, the answer may be logged under the span around the call.
            same = self._last(("asked", call.trace_id))
            same = same if same is not None and not same.call.response else None
        return same

    def _settle(self, entry: _Entry) -> None:
        """Join what came in pieces with the call that it belongs to, if that was logged within another span."""
        if entry.call.is_piece and not entry.gone:
            entry.item = read_call(entry.call)
            double = self._double_of(entry)
            if double is not None:
                entry.gone = True
                self._hold(self._joined(entry, double))

    def _last(self, key: _Key) -> _Entry | None:
        return next((entry for entry in reversed(self._known.get(key, ())) if not entry.gone), None)

    # --- Whole calls ------------------------------------------------------------------------------------------------

    def _add_whole(self, call: Call) -> None:
        entry = _Entry(call)
        double = self._double_of(entry)
        while double is not None:
            entry = self._joined(entry, double)
            double = self._double_of(entry)
        self._hold(entry)

    def _double_of(self, entry: _Entry) -> _Entry | None:
        for key in _questions(entry):
            for other in self._known.get(key, ())[-_LOOKED_AT:]:
                if other.gone or other is entry:
                    continue
                if other.call.is_piece:
                    other.item = read_call(other.call)
                if _is_same(entry, other):
                    return other
        return None

    def _joined(self, one: _Entry, other: _Entry) -> _Entry:
        """Both as one call: the richer, with what the other tells besides."""
        other.gone = True
        richer, poorer = sorted((one, other), key=_worth, reverse=True)
        failed = _has_failed(one, other)
        counts = [_least(one, other, name) for name in ("prompt_tokens", "response_tokens")]
        piece = next((entry.call for entry in (one, other) if entry.call.is_piece), None)
        whole = other.call if piece is one.call else one.call
        texts = (piece.prompt, piece.response) if piece is not None and not (whole.prompt or whole.response) else None
        times = _times(one, other)
        merged = richer.call
        merged.absorb(poorer.call)
        merged.failed = failed
        merged.prompt_tokens, merged.response_tokens = counts
        merged.started, merged.ended = times or (merged.started, merged.ended)
        outer = (one.parents | other.parents) - one.spans - other.spans
        merged.parent_id = outer.pop() if len(outer) == 1 else merged.parent_id
        if piece is not None:
            merged.is_piece = texts is not None and not texts[1]  # its answer is still to come
            merged.prompt, merged.response = texts or (merged.prompt, merged.response)
        entry = _Entry(merged)
        entry.is_timed = piece is not None
        calls = [held for held in (one, other) if held.kind is not Kind.AGENT]
        entry.spans = {span for held in calls for span in held.spans}
        entry.parents = {span for held in calls for span in held.parents}
        return entry


def _told(item: Interaction | SkippedCall) -> tuple[object, ...]:
    """What of a call an export may tell later than the rest."""
    later = (item.prompt_tokens, item.response_tokens, item.latency_ms, item.cost_usd)
    return (*later, len(item.response), item.context is None) if isinstance(item, Interaction) else later


def _least(one: _Entry, other: _Entry, name: str) -> int | None:
    """The lower of two counts: an agent's is of all its calls, and of two that disagree the lower was the API's."""
    counts = (count_of(getattr(entry.call, name)) for entry in (one, other))
    return min((count for count in counts if count), default=None)


def _times(one: _Entry, other: _Entry) -> tuple[object, object] | None:
    """From when to when a call was, as its spans tell: an event knows its end only, and an agent does more than ask."""
    times: list[tuple[datetime, datetime, Call]] = []
    for entry in (one, other):
        started, ended = moment_of(entry.call.started), moment_of(entry.call.ended)
        is_span = entry.is_timed or not (entry.call.is_piece or entry.kind is Kind.AGENT)
        if is_span and started is not None and ended is not None and started <= ended:
            times.append((started, ended, entry.call))
    if not times:
        return None
    return min(times, key=lambda time: time[0])[2].started, max(times, key=lambda time: time[1])[2].ended


def _has_failed(one: _Entry, other: _Entry) -> bool:
    """True if the call of which both tell has failed: of nested spans, not if one of them has an answer."""
    a, b = one.call, other.call
    if a.failed == b.failed or (a.span_id and a.span_id == b.span_id):
        return a.failed or b.failed
    answered = other if a.failed else one
    return isinstance(answered.item, BadLine) and not answered.call.stopped


def _is_next(held: Call, piece: Call) -> bool:
    """True for a message of a prompt that is of another call than those before it."""
    if piece.interaction_id is not None and piece.interaction_id == held.interaction_id:
        return False  # its log names the call
    if held.response:  # messages of one time may come in any order
        return bool(held.prompt) and moment_of(held.started) != moment_of(piece.started)
    last, moment = moment_of(held.ended), moment_of(piece.started)
    return last is not None and moment is not None and moment - last > _PAUSE


def _fill(entry: _Entry, piece: Call) -> None:
    """Add a piece to its call; it tells nothing new of one that is known as a whole and has texts."""
    held = entry.call
    if held.is_piece:
        held.prompt, held.response = [*held.prompt, *piece.prompt], [*held.response, *piece.response]
        if not entry.is_timed:
            held.ended = piece.ended
    elif isinstance(entry.item, BadLine) and not held.prompt and not held.response:
        entry.is_timed, held.is_piece, held.prompt, held.response = True, True, piece.prompt, piece.response
    piece.span_id = held.span_id
    if entry.number > 1:
        piece.interaction_id = held.interaction_id  # the id of its span is that of the call before
    held.absorb(piece)


def _worth(entry: _Entry) -> tuple[int, int, int, int]:
    item, call = entry.item, entry.call
    rank = 3 if isinstance(item, Interaction) else 2 if isinstance(item, SkippedCall) else 1
    return (
        rank,
        call.kind is not Kind.AGENT,
        call.response_id is not None,
        len(item.prompt) + len(item.context or "") if isinstance(item, Interaction) else 0,
    )


def _keys(entry: _Entry) -> list[_Key]:
    """Under what a call is known."""
    call, item = entry.call, entry.item
    keys: list[_Key] = []
    if call.trace_id:
        keys += [("span", call.trace_id, span) for span in entry.spans]
        keys += [("under", call.trace_id, span) for span in entry.parents]
        if isinstance(item, Interaction):
            keys.append(("answer", call.trace_id, hash(item.response.strip())))
        if call.failed:
            keys.append(("failed", call.trace_id))
        if call.is_piece and call.prompt:
            keys.append(("asked", call.trace_id))
        keys.append(("bare" if _is_bare(call) else "told", call.trace_id))
    if call.response_id:
        keys.append(("response", str(call.response_id)))
    return keys


def _questions(entry: _Entry) -> list[_Key]:
    """Under what other records of a call may be known."""
    call, keys = entry.call, _keys(entry)
    if call.trace_id:
        keys += [("span", call.trace_id, span) for span in entry.parents]
        keys += [("under", call.trace_id, span) for span in (*entry.spans, call.span_id)]
        keys.append(("told" if _is_bare(call) else "bare", call.trace_id))
    return keys


def _is_same(one: _Entry, other: _Entry) -> bool:
    """True for records of one call."""
    a, b = one.call, other.call
    if (a.trace_id and b.trace_id and a.trace_id != b.trace_id) or (a.is_piece and b.is_piece):
        return False
    in_one_trace = bool(a.trace_id) and a.trace_id == b.trace_id
    if in_one_trace and ((a.span_id and a.span_id == b.span_id) or one.spans & other.spans):
        return True
    nested = bool(one.parents & other.spans or other.parents & one.spans)
    if a.response_id and b.response_id and (a.response_id == b.response_id or not nested):
        return a.response_id == b.response_id  # a gateway may give an id of its own
    if not in_one_trace or not _overlap(a, b):
        return False
    if isinstance(one.item, Interaction) and isinstance(other.item, Interaction):
        return one.item.response.strip() == other.item.response.strip() and (nested or _is_same_prompt(one, other))
    return _is_same_without_answer(one, other, nested=nested)


def _is_same_prompt(one: _Entry, other: _Entry) -> bool:
    """True if what ran at the same time and gave the same answer was asked the same."""
    if Kind.AGENT in {one.call.kind, other.call.kind}:
        return True
    prompts = [entry.item.prompt for entry in (one, other) if isinstance(entry.item, Interaction)]
    asked, longer = sorted(prompts, key=len)
    return one.call.scope != other.call.scope and longer.endswith(asked[-_TAIL:])


def _is_same_without_answer(one: _Entry, other: _Entry, *, nested: bool) -> bool:
    """The same where at least one tells of no answer."""
    a, b = one.call, other.call
    if Kind.AGENT in {a.kind, b.kind}:  # it fails with its call, whatever lies between
        return (a.failed and b.failed) or ((a.failed or b.failed) and nested)
    siblings = a.scope != b.scope and (bool(one.parents & other.parents) or _is_within(a, b) or _is_within(b, a))
    if a.failed or b.failed:  # an attempt that was repeated within a call is none of its own
        return nested or (siblings and a.failed and b.failed)
    if Kind.EMBEDDING in {a.kind, b.kind}:
        return nested and a.kind is b.kind
    if _is_step(one) and _is_step(other):
        return nested or (siblings and (_is_bare(a) or _is_bare(b)))
    return (nested or siblings) and any(isinstance(entry.item, BadLine) for entry in (one, other))


def _is_bare(call: Call) -> bool:
    """True for a span without messages, as a vendor's client writes one below or beside an instrumentation's."""
    return not (call.is_piece or call.prompt or call.response)


def _is_within(inner: Call, outer: Call) -> bool:
    """True for a bare span that ran within another, of the same model: its release may be named besides."""
    a, b = str(inner.model_name or ""), str(outer.model_name or "")
    if not _is_bare(inner) or _is_bare(outer) or not (a.startswith(b) or b.startswith(a)):
        return False
    times = [moment_of(time) for time in (outer.started, inner.started, inner.ended, outer.ended)]
    known = [time for time in times if time is not None]
    return len(known) == len(times) and known == sorted(known)


def _is_step(entry: _Entry) -> bool:
    return isinstance(entry.item, SkippedCall) and entry.item.kind is Skip.STEP


def _overlap(a: Call, b: Call) -> bool:
    """True unless one call ended before the other began."""
    times: list[tuple[datetime, datetime]] = []
    for call in (a, b):
        started, ended = moment_of(call.started), moment_of(call.ended)
        if started is None or ended is None:
            return True  # not known
        times.append((started, ended))
    (one, one_end), (other, other_end) = times
    return max(one, other) <= min(one_end, other_end) + _SLACK
