"""The verdicts on an explained row: is it complete, is what it was computed from unaltered, and why not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.text import counted, shortened
from optiinfra_dagster.model.windows import key
from optiinfra_dagster.storage.explanation import checksums, facts
from optiinfra_dagster.storage.explanation.slices import BEFORE, FINE, MISSING, PARTIAL
from optiinfra_dagster.storage.schema import BILLED, COST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from optiinfra_dagster.storage.explanation.model import Explanation, Layer
    from optiinfra_dagster.storage.explanation.slices import Beneath, Slice

_STANDS = {PARTIAL: "partial", MISSING: "never tried", "failed": "failed", "budget": "left out for the budget"}
_TOLD_DAYS = 5
_COMPUTE = "Compute the reader again: re-materialize the asset in Dagster."


def judged(explanation: Explanation) -> Explanation:
    """The explanation with its verdicts."""
    lacks = [sentence for layer in explanation.beneath for sentence in _lacks(explanation, layer.of)]
    lacks += _lacking_days(explanation)
    lacks += _uncollected(explanation)
    if explanation.row.get("complete") is False:
        lacks.append("The row itself says that it is not complete.")
    unknown = list(_unknown(explanation))
    altered = list(_altered(explanation))
    changed = [sentence for layer in explanation.beneath for sentence in _changed(layer.of)]
    changed += _restated(explanation)
    different = _different(explanation, is_explained=bool(changed))
    complete = False if lacks or changed else None if unknown else True
    return replace(
        explanation,
        complete=complete,
        unaltered=False if altered else None if different else _unaltered(explanation),
        reasons=[*altered, *_fewer(explanation), *lacks, *changed, *different, *unknown],
    )


def _lacks(explanation: Explanation, of: Beneath) -> Iterator[str]:
    """A sentence for each way in which slices of a layer lack something."""
    for state in of.counts:
        those = [one for one in of.slices if one.state == state]
        if state == MISSING:
            those = _not_by_days(explanation, of, those)
        if state in FINE or not those:
            continue
        count = len(those)
        error = next((one.error for one in reversed(those) if one.error), "")
        when = key(those[0].start) if count == 1 else f"{key(those[0].start)} to {key(those[-1].start)}"
        done = "not computed" if of.is_reader and state == MISSING else _STANDS.get(state, state)
        said = f": {shortened(error)}" if error else ""
        yield f"{_whose(of)}: {count:,} of {counted(len(of.slices), 'slice')} {_are(count)} {done} ({when}){said}."


def _not_by_days(explanation: Explanation, of: Beneath, slices: Sequence[Slice]) -> list[Slice]:
    """The slices among some that no day of costs accounts for.

    Of costs it counts whether a day is known, by its bill or by its estimates, once the day is over.
    """
    if not explanation.days or of.dataset not in {COST.name, BILLED.name}:
        return list(slices)
    going_on = max(layer.of.end for layer in explanation.beneath).replace(hour=0, minute=0)
    return [one for one in slices if one.start >= going_on]


def _lacking_days(explanation: Explanation) -> list[str]:
    sentences = []
    for days in explanation.days:
        if not days.lacking:
            continue
        named = [f"{day} {share:.0%}" for day, share in sorted(days.lacking.items())]
        more = f" and {len(named) - _TOLD_DAYS} more" if len(named) > _TOLD_DAYS else ""
        sentences.append(
            f"Costs of {days.provider}: {counted(len(named), 'day')} {_are(len(named))} not known in full, by bill "
            f"or by estimates: {', '.join(named[:_TOLD_DAYS])}{more}."
        )
    return sentences


def _uncollected(explanation: Explanation) -> list[str]:
    """Sentences of gaps of the metric that the row is of."""
    if not explanation.row.get("metric_name"):
        return []
    return [
        f"{gap.metric_name} of {gap.resource_id or counted(gap.resources, 'resource')} on {gap.provider} was not "
        f"collected ({gap.state}) from {key(gap.since)} {f'to {key(gap.until)}' if gap.until else 'on'}"
        f"{f': {shortened(gap.reason)}' if gap.reason else ''}."
        for gap in explanation.gaps
        if gap.state in facts.LACKS
    ]


def _changed(of: Beneath) -> list[str]:
    changed = [one for one in of.slices if one.changed_since]
    if not changed:
        return []
    verb = "computed" if of.is_reader else "published"
    when = key(changed[0].start) if len(changed) == 1 else f"{key(changed[0].start)} to {key(changed[-1].start)}"
    count = f"{counted(len(changed), 'slice')} {'was' if len(changed) == 1 else 'were'}"
    return [f"{_whose(of)}: {count} {verb} after this row was ({when}); it does not hold what they say. {_COMPUTE}"]


def _restated(explanation: Explanation) -> list[str]:
    count = len(explanation.restated_since) + explanation.restated_left_out
    if not count:
        return []
    return [f"The bill changed {counted(count, 'amount')} of these days after this row was computed."]


def _unknown(explanation: Explanation) -> Iterator[str]:
    """What cannot be told."""
    if explanation.own is None:
        yield "The ledger has no slice that holds this row: how it came about is not known."
    elif not explanation.beneath:
        yield "The reader's file does not say what it reads (-- reads:): what lies beneath is not known."
    for layer in explanation.beneath:
        of = layer.of
        if not of.slices and of.dataset not in {COST.name, BILLED.name}:
            yield f"{_whose(of)}: nothing was ever {'computed' if of.is_reader else 'collected'}."
        before = _not_by_days(explanation, of, [one for one in of.slices if one.state == BEFORE])
        is_told = of.is_reader or of.dataset == BILLED.name or (of.dataset == COST.name and not explanation.days)
        if before and not is_told:
            begun = before[-1].start + of.length
            when = f"before {key(begun)}" if begun < of.end else "of these times"
            yield f"{_whose(of)}: nothing was collected {when}: {len(before):,} of {counted(len(of.slices), 'slice')}."


def _altered(explanation: Explanation) -> Iterator[str]:
    if explanation.own and explanation.own.counted == checksums.MORE:
        yield f"There are more rows of the row's own slice than were published: somebody added some. {_COMPUTE}"
    for layer in explanation.beneath:
        if layer.checked and (count := layer.checked.verdicts.get(checksums.MORE)):
            has = f"{counted(count, 'slice')} {_have(count)}"
            yield f"{_whose(layer.of)}: {has} more rows than were published ({_when(layer.checked.differing)})."
        if layer.checked and (count := layer.checked.verdicts.get(checksums.DIFFERS)):
            when = _when(layer.checked.differing)
            yield (
                f"{_whose(layer.of)}: the rows of {counted(count, 'slice')} are not those that were published "
                f"({when}): somebody changed the table. Collect them again: `optiinfra collect --refresh`."
            )


def _fewer(explanation: Explanation) -> list[str]:
    """Sentences of slices of readers that have fewer rows than were published."""
    whose = ["The row's own slice has"] if explanation.own and explanation.own.counted == checksums.FEWER else []
    whose += [
        f"{_whose(layer.of)}: {counted(count, 'slice')} ({_when(layer.checked.differing)}) {_have(count)}"
        for layer in explanation.beneath
        if layer.checked and (count := layer.checked.verdicts.get(checksums.FEWER))
    ]
    return [f"{one} fewer rows than were published: somebody deleted some, or a customer was erased." for one in whose]


def _different(explanation: Explanation, *, is_explained: bool) -> list[str]:
    """A sentence where the row, computed again, is another one; what was published since may be why."""
    again = explanation.recomputed
    if again is None or (again.found and not again.differs):
        return []
    what = f"differs in {', '.join(again.differs)}" if again.found else "is not there"
    beside = f" or changed {', '.join(explanation.beside)}" if explanation.beside else ""
    why = (
        "see what was published since" if is_explained else f"nothing was published since, somebody changed it{beside}"
    )
    return [f"Computed again now, the row {what}: {why}."]


def _unaltered(explanation: Explanation) -> bool | None:
    """True if everything that was hashed again matches, and something was."""
    hashed = [
        layer for layer in explanation.beneath if layer.checked and layer.checked.slices and not layer.of.is_reader
    ]
    if not hashed or _fewer(explanation) or any(_not_told(layer) for layer in hashed):
        return None
    return True


def _not_told(layer: Layer) -> bool:
    return layer.checked is not None and set(layer.checked.verdicts) - {checksums.MATCHES} != set()


def _whose(of: Beneath) -> str:
    return f"{of.name}, {of.provider}" if of.provider else of.name


def _when(starts: Sequence[datetime]) -> str:
    return ", ".join(map(key, starts[:_TOLD_DAYS])) + (" and others" if len(starts) > _TOLD_DAYS else "")


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
