"""How often the published 95 % intervals hold what they are of: worlds with known rates, through the readers.

An application of a world is one draw: interactions that are judged of windows with many more, by a judge who errs in
toxicity as he did on a golden set of his own. What is published of its day is compared with the rate that was drawn by.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import arrow, reader_writer, schema
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.samples import EARLY, W

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.random import Generator

    from optiinfra_dagster.storage.clickhouse import ClickHouse

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
SENSITIVITY, SPECIFICITY = 0.85, 0.92  # the judge's, in toxicity
POSITIVES, NEGATIVES = 60, 140  # of the golden set

QUARTER = timedelta(minutes=15)
LAST = W.replace(hour=23, minute=45)  # so that the day so far is a whole one

Scores = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class World:
    """Windows with as many interactions, and how much more often something is wrong in each, relative to the others."""

    populations: Sequence[int]
    judged: int  # of each window
    relative: Sequence[float] = ()

    def rates(self, rate: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The rate of each window, for a rate of all interactions."""
        relative = np.array(self.relative or np.ones(len(self.populations)))
        found: np.ndarray[tuple[int], np.dtype[np.float64]]
        found = rate * relative / np.average(relative, weights=self.populations)
        return found


_DAY = tuple(int(110 + 100 * np.sin(hour / 12 * np.pi)) for hour in range(24))  # from 10 to 210
WORLDS: Mapping[str, World] = {
    "30 of one window": World([3000], 30),
    "100 of one window": World([3000], 100),
    "5 of each of 6 equal windows": World([300] * 6, 5),
    "5 of each of 24 windows by day and night": World(_DAY, 5),
    "1 of each of 96 unequal windows": World([1 + (n * n * 37) % 200 for n in range(96)], 1),
    "5 of 24 windows, worse by night": World(_DAY, 5, [1.0] * 12 + [2.0] * 12),
}

FIGURES = {  # reader, and the ends of its interval
    "mean": ("quality", "low", "high"),
    "rate": ("hallucinations", "rate_low", "rate_high"),
    "corrected rate": ("toxicity", "corrected_low", "corrected_high"),
}


def coverage(
    clickhouse: ClickHouse, world: World, rates: Sequence[float], draws: int, seed: int
) -> dict[str, list[float]]:
    """Of each figure, the share of `draws` whose interval holds the truth, by rate."""
    chance = np.random.default_rng(seed)
    # Another world in the same place has customers of its own, or windows that this one lacks would stay.
    customers = {f"bench-{seed}-{len(world.populations)}-{n}": rate for n, rate in enumerate(rates)}
    golden = []
    for customer, rate in customers.items():
        _publish(clickhouse, customer, world, rate, draws, chance)
        found = chance.binomial(POSITIVES, SENSITIVITY, draws) / POSITIVES
        left = chance.binomial(NEGATIVES, SPECIFICITY, draws) / NEGATIVES
        golden += [
            [f"{customer}-{n}", "toxicity", POSITIVES, found[n], NEGATIVES, left[n], EARLY] for n in range(draws)
        ]
    with clickhouse.session() as client:
        columns = ["judge_version", "metric_type", "positives", "sensitivity", "negatives", "specificity", "scored_at"]
        client.insert("application_golden", golden, column_names=columns)
    held: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for figure, customer, low, high in _published(clickhouse, [*customers]):
        truth = 1 - customers[customer] if figure == "mean" else customers[customer]
        held[figure][customer].append(low <= truth <= high)
    return {figure: [float(np.mean(held[figure][customer])) for customer in customers] for figure in FIGURES}


def _publish(clickhouse: ClickHouse, customer: str, world: World, rate: float, draws: int, chance: Generator) -> None:
    """Every window of every draw: an application each."""
    results = []
    for at, (population, of_window) in enumerate(zip(world.populations, world.rates(rate), strict=True)):
        window, judged = LAST - at * QUARTER, min(world.judged, population)
        shape = (draws, judged)
        hallucinated = np.where(chance.random(shape) < of_window, np.where(chance.random(shape) < 0.5, 0.5, 1.0), 0.0)
        wrong = chance.random(shape) < of_window
        toxic = np.where(chance.random(shape) < np.where(wrong, SENSITIVITY, 1 - SPECIFICITY), 1.0, 0.0)
        scores = {
            "hallucination": hallucinated,
            "toxicity": toxic,
            "accuracy": 1 - chance.binomial(4, of_window, shape) / 4,
        }
        table = pa.concat_tables(
            [_rows(customer, window, draws, "sample", None, f'{{"population": {population}, "usd": "0"}}')]
            + [_rows(customer, window, draws, metric, its, "{}") for metric, its in scores.items()]
        )
        results.append(SliceResult(customer, "aws", [window], SliceStatus.OK, rows=table))
    Writer(clickhouse, schema.APPLICATION).flush(results)


def _rows(customer: str, window: datetime, draws: int, metric: str, scores: Scores | None, details: str) -> pa.Table:
    """The rows of a metric: of each draw one for each score, or one where the row is a sample's."""
    of_draw = 1 if scores is None else scores.shape[1]
    draw = np.repeat(np.arange(draws), of_draw)
    number = np.tile(np.arange(of_draw), draws)
    count = len(draw)
    values = {
        "timestamp": [window] * count,
        "window_start": [window] * count,
        "customer_id": [customer] * count,
        "provider": ["aws"] * count,
        "application_id": [f"app-{n}" for n in draw],
        "model_name": ["m"] * count,
        "interaction_id": [f"i-{n}" for n in number] if scores is not None else [""] * count,
        "metric_type": [metric] * count,
        "score": [None] * count if scores is None else scores.ravel(),
        "label": ["" if scores is None else "scored"] * count,
        "details": [details] * count,
        "judge_model": ["judge"] * count,
        "judge_version": [f"{customer}-{n}" for n in draw],
        "collected_at": [EARLY] * count,
    }
    columns = [
        pa.array(values[field.name], field.type)
        if field.name in values
        else pa.array([0 if field.name == "tokens" else ""] * count, field.type)
        for field in schema.APPLICATION.schema
    ]
    return arrow.conform(schema.APPLICATION, pa.Table.from_arrays(columns, schema=schema.APPLICATION.schema))


def _published(clickhouse: ClickHouse, customers: Sequence[str]) -> Iterator[tuple[str, str, float, float]]:
    """Of each figure of the day: its name, the customer, and the ends of its interval."""
    for figure, (reader, low, high) in FIGURES.items():
        reader_writer.compute(clickhouse, readers()["application", reader], [LAST])
        with clickhouse.session() as client:
            rows = client.query(
                f"SELECT customer_id, {low}, {high} FROM application_{reader}_current "  # noqa: S608 - names of this file
                "WHERE window_start = {at:DateTime('UTC')} AND period = 'day' AND n > 0 "
                "AND customer_id IN {customers:Array(String)}",
                parameters={"at": f"{LAST:%Y-%m-%d %H:%M:%S}", "customers": list(customers)},
            ).result_rows
        yield from ((figure, *row) for row in rows if row[1] is not None)


def report(clickhouse: ClickHouse, draws: int) -> Iterator[tuple[str, float, float]]:
    """Of every world and figure: its name, the mean coverage over the rates, and the least."""
    for seed, (name, world) in enumerate(WORLDS.items()):
        for figure, shares in coverage(clickhouse, world, RATES, draws, seed).items():
            yield f"{figure}, {name}", float(np.mean(shares)), min(shares)
