"""What could not be read of a log, in words: how much, for which reasons, where first, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.quality.interactions import Reason

if TYPE_CHECKING:
    from optiinfra_dagster.quality.counts import SourceCounts

_REMEDIES = {
    Reason.TOO_LARGE: "write records of at most 4 MiB",
    Reason.NOT_UTF8: "write the log as UTF-8",
    Reason.NOT_JSON: "write whole JSON records, one a line",
    Reason.WRONG_TYPE: "write the log in one of the formats of docs/log_formats.md",
    Reason.NO_TIME: "give each record its time",
    Reason.IN_FUTURE: "write times with their zone, or in UTC, and set the application's clock",
    Reason.NO_TEXTS: "write prompt and response into each record",
    Reason.TEXTS_NOT_LOGGED: "let the application's instrumentation record prompts and responses (of OpenTelemetry: "
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true)",
    Reason.NO_BODY: "let the folder `data` of large bodies lie within the place of the log, and keep it as long (what "
    "comes late is read)",
    Reason.NO_OBSERVATIONS: "let Langfuse export observations into the place as well: its traces alone name no "
    "model, and are not judged",
    Reason.NO_PROVIDER: "write `provider` below `application` in the customers file, or into the records",
    Reason.CUT_FILE: "deliver the file whole; it is read again once it has changed",
}


def reasons(counts: Mapping[Reason, int]) -> str:
    """`8 not_json, 4 no_time`, the most frequent first."""
    return ", ".join(f"{n:,} {reason.value}" for reason, n in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def remedies(counts: Mapping[Reason, int]) -> str:
    """What to do about the reasons, the most frequent first."""
    ordered = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return "; ".join(_REMEDIES[reason] for reason in ordered if reason in _REMEDIES)


def explain_unread(counts: SourceCounts) -> str:
    """`12 of 300 records of 3 files could not be read: 8 not_json, 4 no_time (first in logs/x.jsonl line 17). ...`."""
    if not counts.bad_lines:
        return ""
    of_files = f" of {counts.files:,} file{'s' if counts.files != 1 else ''}" if counts.files else ""
    records = f"{counts.records:,} record{'s' if counts.records != 1 else ''}"
    text = f"{counts.bad_lines:,} of {records}{of_files} could not be read: {reasons(counts.reasons)}"
    text += f" (first in {counts.first_bad})." if counts.first_bad else "."
    remedy = remedies(counts.reasons)
    return f"{text} Remedy: {remedy}." if remedy else text
