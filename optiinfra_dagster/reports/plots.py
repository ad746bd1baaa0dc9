"""Plots as SVG to stand inside a page: text stays text, and nothing is loaded from anywhere.

Matplotlib is imported in the function that draws: it takes 0.4 CPU-s, which only `optiinfra report` is to pay.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.reports.words import UNKNOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart by lightness and hatching too: on paper, and by who cannot tell colours.
COLOURS: Mapping[str, tuple[str, str]] = {
    "billed": ("#1b4f8a", ""),
    "estimated": ("#7fb2e5", ""),
    "arriving": ("#e8e2c8", "///"),
    UNKNOWN: ("#c0392b", ""),
    "collected": ("#2e7d5b", ""),
    "no_points": ("#b9c7bf", ""),
    "not_offered": ("#d8d8d8", ""),
    "not_collected": ("#f2f2f2", "..."),
    "no_permission": ("#c0392b", ""),
    "agent_missing": ("#e0a030", ""),
    "throttled": ("#8e6bb0", ""),
    "error": ("#7b241c", "///"),
    "created": ("#2e7d5b", ""),
    "listed": ("#9cc3ad", ""),
    "deleted": ("#c0392b", ""),
    "not_listed": ("#e0b4ae", ""),
}
OTHERS = ("#5b6770", "#9aa5ad", "#c9b37e", "#6d8f71", "#a57c9b")
WIDTH = 9.0  # inches of 72 points


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of several parts; a part that is None is not known."""

    label: str
    parts: Mapping[str, float | None]
    mark: str = ""  # what stands behind it


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and how sure it is; None where there is none."""

    label: str
    low: float | None
    middle: float | None
    high: float | None
    so_far: float | None = None


def days(columns: Sequence[tuple[date, Mapping[str, float], bool]], unit: str) -> str:
    """Columns of several parts by day; of a day that is not known wholly, a question mark."""
    with _axes(2.9, unit) as (axes, svg):
        kinds = list(dict.fromkeys(kind for _, parts, _ in columns for kind in parts))
        places = range(len(columns))
        for kind in kinds:
            below = [_below(parts, kinds, kind) for _, parts, _ in columns]
            colour, hatch = _look(kind, kinds)
            axes.bar(
                places, [parts.get(kind, 0.0) for _, parts, _ in columns], bottom=below, width=0.82, label=kind,
                color=colour, hatch=hatch, edgecolor="#8a8468" if hatch else colour, linewidth=0.4,
            )  # fmt: skip
        tops = [sum(value for value in parts.values() if value > 0) for _, parts, _ in columns]
        room = max(tops, default=0.0) or 1.0
        doubtful = [place for place, (_, _, is_unknown) in zip(places, columns, strict=True) if is_unknown]
        for place in doubtful:
            axes.text(place, tops[place] + room * 0.02, "?", ha="center", color=COLOURS[UNKNOWN][0], weight="bold")
        named = [
            f"{day:%d\n%b}" if day.day == 1 or place == 0 else f"{day:%d}" for place, (day, _, _) in enumerate(columns)
        ]
        axes.set_xticks(places, named, fontsize=7.5)
        axes.set_xlim(-0.6, max(len(columns) - 0.4, 0.6))
        axes.margins(y=0.12)
        axes.axhline(0, color="#555555", linewidth=0.6)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
        handles, labels = axes.get_legend_handles_labels()
        if doubtful:
            handles.append(axes.scatter([], [], marker="$?$", color=COLOURS[UNKNOWN][0]))
            labels.append("not all of it is known")
        _legend(axes, handles, labels)
    return svg[0]


def bars(rows: Sequence[Bar], unit: str) -> str:
    """Bars from left to right, one below the other, each of several parts."""
    with _axes(0.9 + 0.27 * len(rows), "") as (axes, svg):
        kinds = list(dict.fromkeys(kind for row in rows for kind in row.parts))
        places = [-place for place in range(len(rows))]
        for kind in kinds:
            values = [row.parts.get(kind) or 0.0 for row in rows]
            left = [_below({k: v or 0.0 for k, v in row.parts.items()}, kinds, kind) for row in rows]
            colour, hatch = _look(kind, kinds)
            axes.barh(
                places, values, left=left, height=0.72, label=kind, color=colour, hatch=hatch,
                edgecolor="#8a8468" if hatch else colour, linewidth=0.4,
            )  # fmt: skip
        for place, row in zip(places, rows, strict=True):
            end = sum(value for value in row.parts.values() if value and value > 0)
            is_unknown = any(value is None for value in row.parts.values())
            axes.annotate(
                row.mark, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                color=COLOURS[UNKNOWN][0] if is_unknown else "#333333",
            )  # fmt: skip
        axes.set_yticks(places, [row.label for row in rows], fontsize=8)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.margins(x=0.16)
        axes.axvline(0, color="#555555", linewidth=0.6)
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        axes.set_xlabel(unit)
        if kinds != [""]:
            _legend(axes, *axes.get_legend_handles_labels())
    return svg[0]


def intervals(rows: Sequence[Interval], unit: str, limits: tuple[float, float] | None = None) -> str:
    """Points with their intervals, one below the other, and a bar as far as it is so far."""
    with _axes(0.9 + 0.27 * len(rows), "") as (axes, svg):
        for place, row in enumerate(rows):
            if row.so_far is not None:
                axes.barh(-place, row.so_far, height=0.6, color=COLOURS["estimated"][0])
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [-place, -place], color="#333333", linewidth=1.6, marker="|")
            if row.middle is not None:
                axes.plot([row.middle], [-place], color="#1b4f8a", marker="o", markersize=5)
            else:
                at = row.so_far or (limits[0] if limits else 0.0)
                axes.annotate(
                    UNKNOWN, (at, -place), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                    color=COLOURS[UNKNOWN][0],
                )  # fmt: skip
        axes.set_yticks([-place for place in range(len(rows))], [row.label for row in rows], fontsize=8)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        if limits:
            axes.set_xlim(*limits)
        else:
            axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        axes.set_xlabel(unit)
    return svg[0]


def _look(kind: str, kinds: Sequence[str]) -> tuple[str, str]:
    others = [one for one in kinds if one not in COLOURS]
    return COLOURS.get(kind) or (OTHERS[others.index(kind) % len(OTHERS)], "")


def _below(parts: Mapping[str, float], kinds: Sequence[str], kind: str) -> float:
    """Where a part begins: what is charged is stacked upwards, what is credited downwards."""
    sign = parts.get(kind, 0.0) >= 0
    before = kinds[: kinds.index(kind)]
    return sum(parts.get(one, 0.0) for one in before if (parts.get(one, 0.0) >= 0) == sign)


def _legend(axes: Axes, handles: Any, labels: Any) -> None:
    if labels:
        axes.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=6, frameon=False, fontsize=8,
            borderaxespad=0.2, handlelength=1.2,
        )  # fmt: skip


@contextmanager
def _axes(height: float, unit: str) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; the SVG is in the list afterwards."""
    import io

    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of its cache of fonts, which no reader asked for
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")  # the browser has the letters that this font lacks
        mpl.rcdefaults()  # the user's own matplotlibrc is for the user's own plots
        mpl.rcParams.update(
            {
                "svg.fonttype": "none",
                "text.parse_math": False,  # a name with two $ is a name
                "font.size": 8.5,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.edgecolor": "#999999",
                "axes.axisbelow": True,
                "hatch.linewidth": 0.6,
                "hatch.color": "#8a8468",
            }
        )
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_ylabel(unit)
        drawn: list[str] = []
        yield axes, drawn
        text = io.StringIO()
        mpl.rcParams["svg.hashsalt"] = "optiinfra"  # ids follow from the shapes: two plots share an id with its shape
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        drawn.append(_inlined(text.getvalue()))


def _inlined(svg: str) -> str:
    """The drawing as an element of a page: without the head of a file, and as wide as the page has room."""
    _, start, rest = svg.partition("<svg")
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", f"{start}{rest}", count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    element = re.sub(r"<metadata>.*?</metadata>", "", element, count=1, flags=re.DOTALL)
    return re.sub(r"<style type=\"text/css\">.*?</style>", "", element, count=1, flags=re.DOTALL)
