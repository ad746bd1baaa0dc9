"""An explanation as text for a person: the verdict first, then what it rests on, the long SQL last."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from optiinfra_dagster.cli.output import cell
from optiinfra_dagster.model.text import counted, plain, shortened
from optiinfra_dagster.storage.explanation.model import of_interest, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optiinfra_dagster.storage.explanation.model import Explanation, Layer, Own
    from optiinfra_dagster.storage.explanation.slices import Beneath, Calls, Range

_WIDTH = 116
_VERDICTS = {True: "complete", False: "not complete", None: "not known"}
_UNALTERED = {
    True: "yes: the collected rows that were hashed again match the ledger",
    False: "no: somebody changed rows after they were published",
    None: "not known: nothing could be hashed again, or not all of it",
}


def print_explanation(explanation: Explanation, format_: str, out: TextIO) -> None:
    """Print it as `text` or `json`."""
    if format_ == "json":
        json.dump(explanation.as_dict(), out, indent=1, ensure_ascii=False)
        out.write("\n")
    else:
        write(explanation, out)


def write(of: Explanation, out: TextIO) -> None:
    """Write it, section by section; a section of which nothing is known to be told says so."""
    sections = {
        f"{of.customer}: {of.family} {of.reader}": _row(of),
        "May it be trusted?": list(_verdict(of)),
        "Where it comes from": list(_origin(of)),
        "What it was computed from": [line for layer in of.beneath for line in _layer(layer)] or ["not known"],
        "API calls": [_calls(of.calls)],
        "Days of costs": [
            f"{days.provider}: " + ", ".join(f"{count} {state}" for state, count in days.counts.items())
            for days in of.days
        ],
        "Not collected": list(_gaps(of)),
        "Restated by the bill": list(_restated(of)),
        "Failed since": list(_failed(of)),
        "Check it yourself": list(_checks(of)),
    }
    for title, lines in sections.items():
        if lines:
            out.write(f"{title}\n")
            out.writelines(f"  {line}\n" for line in lines)
            out.write("\n")
    if of.origin.computed_by:
        out.write(f"The SELECT of {of.origin.file}, as it was run:\n{of.origin.computed_by.rstrip()}\n")


def _row(of: Explanation) -> list[str]:
    known = {name: value for name, value in of.row.items() if value is not None and str(value)}
    width = max(map(len, known), default=0)
    lines = [f"{name:<{width}}  {_value(value)}" for name, value in known.items()]
    unknown = [name for name, value in of.row.items() if value is None]
    return [*lines, *([f"unknown: {', '.join(unknown)}"] if unknown else [])]


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return shown(value)
    if isinstance(value, (list, tuple, dict)):
        return shortened(plain(str(value)), 100)
    return shortened(cell(value), 200) if isinstance(value, (datetime, bool)) else plain(str(value))


def _verdict(of: Explanation) -> Iterator[str]:
    yield f"complete: {_VERDICTS[of.complete]}"
    yield f"unaltered: {_UNALTERED[of.unaltered]}"
    for reason in of.reasons:
        yield from textwrap.wrap(plain(reason), _WIDTH, initial_indent="- ", subsequent_indent="  ")


def _origin(of: Explanation) -> Iterator[str]:
    origin = of.origin
    yield from textwrap.wrap(f"{origin.name}: {origin.description}", _WIDTH)
    if origin.file:
        yield f"{origin.file}, version {origin.version}, table {origin.table}, view {origin.view}"
    else:
        yield f"view {origin.view}"
    yield _own(of.own) if of.own else "the ledger has no slice that holds it"


def _own(own: Own) -> str:
    text = f"slice {own.dataset} {_time(own.begin)}: {own.status}"
    if own.batch:
        text += f", batch {own.batch}, {counted(own.rows, 'row')}, published {_time(own.published_at)}"
    if own.run_id:
        text += f" by run {own.run_id}"
    return text + (f": {shortened(plain(own.error))}" if own.error else "")


def _layer(layer: Layer) -> Iterator[str]:
    of = layer.of
    indent = "  " * (of.depth - 1)
    counts = ", ".join(f"{count:,} {state}" for state, count in of.counts.items()) or "never tried"
    whose = f"{of.name} on {of.provider}" if of.provider else of.name
    yield f"{indent}{whose}, {_time(of.begin)} to {_time(of.end)}: {counts}{_calls_of(of)}"
    told, left_out = of_interest(of.ranges)
    for one in told:
        yield f"{indent}  {_range(one)}"
    if left_out:
        yield f"{indent}  ... and {counted(left_out, 'more stretch')}; --format json has the counts"
    if layer.checked:
        verdicts = ", ".join(f"{text}: {count:,}" for text, count in layer.checked.verdicts.items())
        of_all = f"{layer.checked.slices:,} of {counted(layer.checked.of, 'published slice')}"
        yield f"{indent}  {'counted' if of.is_reader else 'hashed'} again, {of_all}; {verdicts}"


def _range(one: Range) -> str:
    if one.slices == 1:
        text = f"{_time(one.begin)}  {one.state}"
    else:
        text = f"{_time(one.begin)} to {_time(one.end)}  {one.slices:,} {one.state}"
    if one.last_batch:
        text += f", {counted(one.rows, 'row')}, published {_times(one.first_published, one.last_published)}"
        if one.first_batch == one.last_batch:
            text += f", batch {one.last_batch}"
        text += f", content {one.content_hash:016x}" if one.content_hash else ""
    text += ", published after it was read" if one.changed_since else ""
    text += ", an attempt failed since" if one.failed_since else ""
    return text + (f": {shortened(plain(one.error))}" if one.error else "")


def _times(first: datetime | None, last: datetime | None) -> str:
    begin, end = _time(first), _time(last)
    return begin if begin == end else f"{begin} to {end}"


def _time(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if time else "-"


def _calls_of(of: Beneath) -> str:
    return f"; {_calls(of.calls)}" if of.calls else ""


def _calls(calls: Calls) -> str:
    if calls.calls is None or calls.usd is None:
        return "calls not metered"
    return f"{counted(calls.calls, 'API call')}, {calls.usd:f} USD"


def _gaps(of: Explanation) -> Iterator[str]:
    for gap in of.gaps:
        until = f"to {_time(gap.until)}" if gap.until else "and still"
        why = f": {shortened(plain(gap.reason))}" if gap.reason else ""
        whose = gap.resource_id or counted(gap.resources, "resource")
        since = f"since {_time(gap.since)} {until}"
        yield f"{gap.metric_name} of {plain(whose)} on {gap.provider}: {gap.state} {since}{why}"
    if of.gaps_left_out:
        yield f"... and {counted(of.gaps_left_out, 'more line')}"


def _restated(of: Explanation) -> Iterator[str]:
    for one in of.restated_since:
        account = f" ({one.sub_account_id})" if one.sub_account_id else ""
        change = f"{_amount(one.before)} -> {_amount(one.after)} {one.currency}"
        yield f"{one.charge_day} {one.provider}{account} {one.service_name}: {change}, seen {_time(one.seen_at)}"
    if of.restated_left_out:
        yield f"... and {of.restated_left_out:,} more"
    if of.restated_before:
        yield f"{counted(of.restated_before, 'amount')} restated before it was computed, which it holds"


def _amount(value: Decimal | None) -> str:
    return "no line" if value is None else shown(value)


def _failed(of: Explanation) -> Iterator[str]:
    for one in of.failed_since:
        what = "newer slice" if one.newer else "slice that was published before"
        when = _times(one.first, one.last)
        yield (
            f"{one.dataset} on {one.provider}: {counted(one.slices, what)} {one.status} ({when}): "
            f"{shortened(plain(one.error))}"
        )


def _checks(of: Explanation) -> Iterator[str]:
    yield "the row:"
    yield f"  {of.origin.read_by}"
    if of.recomputed is not None:
        yield f"computed again now: {_recomputed(of)}"
    if of.checksum:
        yield f"the customer's {counted(of.checksum.rows, 'row')} of the slice have the checksum {of.checksum.value}:"
        yield f"  {of.checksum.sql}"
    yield from _hashes(of.beneath)


def _hashes(beneath: Sequence[Layer]) -> Iterator[str]:
    for layer in beneath:
        if layer.checksum:
            rows = counted(layer.checksum.rows, "row")
            yield f"{layer.of.name} on {layer.of.provider}, {rows}, checksum {layer.checksum.value}:"
            yield f"  {layer.checksum.sql}"


def _recomputed(of: Explanation) -> str:
    again = of.recomputed
    if again is None or not again.found:
        return "the row is not there any more"
    if not again.differs:
        return "the same"
    return "; ".join(
        f"{name} was {_value(stored)} and is {_value(now)}" for name, (stored, now) in again.differs.items()
    )
