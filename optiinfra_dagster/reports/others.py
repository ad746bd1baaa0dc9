"""Sections beside money: what changed, what is out of the ordinary, how good answers are, and what is not known."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.reports import plots, words
from optiinfra_dagster.reports.section import AS_OF, MOST_BARS, Answer, Figure, Plot, Section, by, facts, table

if TYPE_CHECKING:
    from optiinfra_dagster.reports.section import Row

SCORES = ("coherence", "relevance", "accuracy", "hallucination", "toxicity")
DAYS_OF_CHANGES = 7
# From what is known to what nobody knows.
STATES = (
    "collected", "no_points", "not_offered", "agent_missing", "not_collected", "throttled", "no_permission", "error",
)  # fmt: skip


def changes(answer: Answer) -> Section:
    """What was created, deleted and changed in the last days."""
    section = Section(
        "changes",
        "Changes",
        f"Of the last {DAYS_OF_CHANGES} days, each found between two complete inventories.",
        f"as of {words.time(answer.at)}",
    )
    newest = sorted(answer.rows, key=lambda row: row["window_start"], reverse=True)
    counts = Counter((row["window_start"].astimezone(UTC).date(), row["change"]) for row in newest)
    kinds = sorted({row["change"] for row in newest})
    first, last = (min(day for day, _ in counts), max(day for day, _ in counts))
    columns = [
        (day, {kind: float(counts[day, kind]) for kind in kinds}, False)
        for day in (first + timedelta(days=n) for n in range((last - first).days + 1))
    ]
    section.plots.append(Plot("Changes by day", plots.days(columns, "changes")))
    section.tables.append(
        table(
            "Newest",
            newest,
            [
                ("window", "window_start", words.time), ("provider", "provider", words.name),
                ("resource", "resource_name", words.name), ("type", "resource_type", words.name),
                ("change", "change", words.name), ("before", "before", words.name), ("after", "after", words.name),
                ("compared with", "previous_window", words.time), ("id", "resource_id", words.name),
            ],
        )
    )  # fmt: skip
    return section


def anomalies(answer: Answer) -> Section:
    """What left all that it was in two weeks."""
    section = Section(
        "anomalies",
        "Out of the ordinary",
        "What left, in the last 24 hours, all that it was in the 14 days before; the furthest first, in usual ranges "
        "of a day. A list to look at, and no alarm: about one in three is nothing.",
        f"as of {words.time(answer.at)}",
    )
    section.tables.append(
        table(
            "Furthest",
            answer.rows,
            [
                ("provider", "provider", words.name), ("resource", "resource_name", words.name),
                ("type", "resource_type", words.name), ("metric", "metric_name", _spaced),
                ("statistic", "statistic", _spaced), ("ranges", "ranges", words.number),
                ("direction", "direction", words.name), ("value", "value", words.number),
                ("lowest before", "minimum_before", words.number), ("highest before", "maximum_before", words.number),
                ("unit", "unit", words.name), ("since", "since", words.time),
                ("days before", "days_before", words.number), ("id", "resource_id", words.name),
            ],
        )
    )  # fmt: skip
    return section


def quality(answer: Answer) -> Section:
    """The section on the quality of the applications' answers."""
    rows = [row for row in answer.rows if row["period"] == "day"]
    section = Section(
        "quality",
        "LLM quality",
        "Means of all answers of the day so far, as far as the judged ones tell, each with its 95 % interval. Of "
        "hallucination and toxicity, less is better.",
        facts(rows),
    )
    is_judge_new = len({row["judge_version"] for row in rows}) > 1
    for score in SCORES:
        shown = [
            plots.Interval(
                f"{words.name(row['application_id'])}, {words.name(row['model_name'])} ({row['provider']}, "
                f"{row['judged']} judged{' by ' + row['judge_version'] if is_judge_new else ''})",
                *(row[f"{score}{end}"] for end in ("_low", "", "_high")),
            )
            for row in rows[:MOST_BARS]
        ]
        section.plots.append(Plot(score.capitalize(), plots.intervals(shown, f"{score}, 0 to 1", (0.0, 1.0))))
    written = [row | {score: _mean(row, score) for score in SCORES} for row in rows]
    section.tables.append(
        table(
            "Means and intervals",
            written,
            [
                ("provider", "provider", words.name), ("application", "application_id", words.name),
                ("model", "model_name", words.name), ("version of the judge", "judge_version", words.name),
                ("answers", "population", words.number),
                ("judged", "judged", words.number), *((score, score, str) for score in SCORES),
                ("judge failed", "failures", words.number), ("over budget", "over_budget", words.number), *AS_OF,
            ],
        )
    )  # fmt: skip
    return section


def coverage(states: Answer, slices: Answer) -> Section:
    """What is not known: metrics that have no points, and collections that did not go well."""
    section = Section(
        "coverage",
        "Coverage gaps",
        "A metric counts once for each resource. What is not collected is not known, and nowhere on this page a zero.",
        f"as of {words.span(row['attempted_at'] for row in slices.rows)}",
        note=states.note if not states.rows else "",
    )
    if states.rows:
        gaps = [row for row in states.rows if row["state"] != "collected"]
        known = sum(row["resources"] for row in states.rows if row["state"] in {"collected", "no_points"})
        total = sum(row["resources"] for row in states.rows)
        section.figures.append(Figure("metrics that are known", words.percent(known / total, 1), [f"of {total:,}"]))
        present = [state for state in STATES if any(row["state"] == state for row in states.rows)]
        bars = []
        for provider, of_provider in by(states.rows, "provider").items():
            for kind, rows in by(of_provider, "resource_type").items():
                parts: dict[str, float | None] = {
                    state: float(sum(row["resources"] for row in rows if row["state"] == state)) for state in present
                }
                missing = sum(row["resources"] for row in rows if row["state"] not in {"collected", "no_points"})
                bars.append(plots.Bar(f"{provider} {words.name(kind)}", parts, f"{missing:,} missing"))
        section.plots.append(Plot("Metrics by state", plots.bars(bars, "metrics of resources")))
        section.tables.append(
            table(
                "Largest gaps",
                gaps,
                [
                    ("provider", "provider", words.name), ("type", "resource_type", words.name),
                    ("metric", "metric_name", words.name), ("state", "state", _spaced),
                    ("resources", "resources", words.number), ("since", "since", words.time), ("why", "reason", str),
                ],
            )
        )  # fmt: skip
    failing = [row for row in slices.rows if row["status"] != "ok"]
    section.figures.append(
        Figure("collections that stand", f"{len(slices.rows) - len(failing)} of {len(slices.rows)}", [_names(failing)])
    )
    section.tables.append(
        table(
            "Collections",
            sorted(slices.rows, key=lambda row: row["status"] == "ok"),
            [
                ("provider", "provider", words.name), ("what", "dataset", _spaced),
                ("newest attempt", "status", _spaced), ("at", "attempted_at", words.time),
                ("newest published window", "published_window", words.time),
                ("not whole in 7 days", "failures", words.number), ("why", "error", str),
            ],
        )
    )  # fmt: skip
    return section


def _mean(row: Row, score: str) -> str:
    mean, low, high = (row[f"{score}{end}"] for end in ("", "_low", "_high"))
    interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return f"{words.number(mean)}{interval}"


def _spaced(text: str) -> str:
    return words.name(text.replace("_", " "))


def _names(rows: list[Row]) -> str:
    return ", ".join(f"{row['provider']} {_spaced(row['dataset'])}: {_spaced(row['status'])}" for row in rows)
