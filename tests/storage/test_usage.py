"""What applications used, from calls to the reader's columns, against plain Python."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.token_prices import TokenPrice
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.quality.interactions import Interaction, Skip, SkippedCall
from optiinfra_dagster.quality.usage import Usage, bin_of
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.rows import application_rows
from optiinfra_dagster.storage.schema import APPLICATION
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.storage.test_application_readers import DAY, Q
from tests.support.engines import kept_open
from tests.support.samples import W, select

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.storage.clickhouse import ClickHouse

Call = Interaction | SkippedCall

PRICES = {
    "m-1": TokenPrice(model="m-1", input_usd_per_million=Decimal("0.15"), output_usd_per_million=Decimal("0.6")),
    "m-2": TokenPrice(model="m-2", input_usd_per_million=Decimal("0.0375"), output_usd_per_million=Decimal(0)),
}


def call(n: int = 0, kind: Skip | None = None, window: datetime = W, **changes: Any) -> Call:
    """A call that tells nothing of what it used."""
    fields: dict[str, Any] = {"interaction_id": f"i{n}", "application_id": "bot", "application_name": "Support bot",
                              "model_name": "m-1", "timestamp": window + timedelta(seconds=n % 900), "provider": "aws",
                              **changes}  # fmt: skip
    if kind is not None:
        return SkippedCall(kind, **fields)
    return Interaction(prompt="p", response="r", **fields)


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """A place for all tests, each of which has customers of its own."""
    return kept_open(tmp_path_factory.mktemp("usage") / "clickhouse")


def publish(clickhouse: ClickHouse, customer: str, calls: dict[datetime, list[Call]], *, partial: bool = False) -> None:
    """Publish the usage of windows of a customer."""
    for window, of_window in calls.items():
        usage = Usage()
        for one in of_window:
            usage.add(one)
        rows = application_rows(customer, "aws", window, list(usage.rows(window, PRICES)), "judge", "v1", W)
        status = SliceStatus.PARTIAL if partial else SliceStatus.OK
        Writer(clickhouse, APPLICATION).flush([SliceResult(customer, "aws", [window], status, rows=rows)])


def computed(clickhouse: ClickHouse, customer: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The reader's rows of a customer, by period, application and model."""
    reader = readers()["application", "usage"]
    reader_writer.compute(clickhouse, reader, [W])
    rows = select(clickhouse, f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}}", at=W)  # noqa: S608
    return {(r["period"], r["application_id"], r["model_name"]): r for r in rows if r["customer_id"] == customer}


def test_requests_of_every_kind_count_and_failures_take_no_time(clickhouse: ClickHouse) -> None:
    calls = [
        call(1, prompt_tokens=100, response_tokens=20, latency_ms=800.0),
        call(2, prompt_tokens=50, is_refusal=True),  # half told is not told
        call(3, Skip.STEP, prompt_tokens=200, response_tokens=10, latency_ms=400.0),
        call(4, Skip.EMBEDDING, prompt_tokens=1000),
        call(5, Skip.FAILED, latency_ms=60_000.0),
    ]
    publish(clickhouse, "kinds", {W: calls})
    row = computed(clickhouse, "kinds")["window", "bot", "m-1"]
    kinds = ("requests", "interactions", "steps", "embeddings", "failed", "refusals")
    assert [row[name] for name in kinds] == [5, 2, 1, 1, 1, 1]
    assert row["failed_share"] == 0.2
    assert (row["requests_with_tokens"], row["input_tokens"], row["output_tokens"]) == (3, 1300, 30)
    assert (row["requests_with_latency"], row["latency_mean_ms"]) == (2, 600.0)
    assert row["latency_p50_ms"] == pytest.approx(400, rel=0.03)
    assert row["latency_p95_ms"] == pytest.approx(800, rel=0.03)
    assert (row["usd"], row["usd_from"]) == (Decimal("0.000213"), "token_prices")
    assert row["application_name"] == "Support bot"


def test_what_no_price_is_known_of_costs_what_the_log_tells_or_is_unknown(clickhouse: ClickHouse) -> None:
    logged = [
        call(n, model_name="x", cost_usd=Decimal("0.0000025"), prompt_tokens=1, response_tokens=1) for n in (1, 2)
    ]
    silent = [call(3, model_name="y", prompt_tokens=1, response_tokens=1)]
    publish(clickhouse, "unpriced", {W: [*logged, *silent, call(4, model_name="z")]})
    rows = computed(clickhouse, "unpriced")
    told = {m: [rows["day", "bot", m][name] for name in ("usd", "usd_from", "requests_with_cost")] for m in "xyz"}
    assert told == {"x": [Decimal("0.000005"), "log", 2], "y": [None, "", 0], "z": [None, "", 0]}
    nothing = ("failed_share", "latency_mean_ms", "latency_p50_ms", "latency_p95_ms")
    assert [rows["day", "bot", "z"][name] for name in nothing] == [0, None, None, None]
    tokens = ("requests_with_tokens", "input_tokens", "output_tokens")
    assert [rows["day", "bot", "z"][name] for name in tokens] == [0, None, None]


def random_calls(chance: random.Random) -> dict[datetime, list[Call]]:
    """Calls of three windows, of two applications and four models."""
    number = 0
    calls: dict[datetime, list[Call]] = {}
    for window in (DAY, W - Q, W):
        calls[window] = []
        for _ in range(chance.randrange(120)):
            number += 1
            told: dict[str, Any] = {
                "application_id": chance.choice(("a", "b")),
                "model_name": f"m-{chance.randrange(4)}",
            }
            if chance.random() < 0.7:
                told |= {"prompt_tokens": chance.randrange(10**6), "response_tokens": chance.randrange(10**4)}
            if chance.random() < 0.7:
                told["latency_ms"] = chance.lognormvariate(6, 2) * (chance.random() < 0.95)
            if chance.random() < 0.3:
                told["cost_usd"] = Decimal(chance.randrange(10**6)).scaleb(-9)
            calls[window].append(call(number, chance.choice((None, None, *Skip)), window, **told))
    return calls


def quantile(sorted_: list[int], percent: int) -> float:
    """The middle of the bin of the first value that so many per cent do not exceed, in ms."""
    rank = -(-len(sorted_) * percent // 100)
    return 2 ** ((bin_of(sorted_[rank - 1]) + 0.5) / 12) / 1000


@pytest.mark.parametrize("seed", range(3))
def test_every_column_is_what_plain_python_says(clickhouse: ClickHouse, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    calls = random_calls(chance)
    publish(clickhouse, f"random-{seed}", calls, partial=bool(seed % 2))
    expected: dict[tuple[str, str, str], list[Call]] = defaultdict(list)
    for window, of_window in calls.items():
        for one in of_window:
            for period in ("window", "day") if window == W else ("day",):
                expected[period, one.application_id, one.model_name].append(one)
    found = computed(clickhouse, f"random-{seed}")
    assert found.keys() == expected.keys()
    for key, group in expected.items():
        row = found[key]
        kinds = {"interactions": None, "steps": Skip.STEP, "embeddings": Skip.EMBEDDING, "failed": Skip.FAILED}
        assert row["requests"] == len(group)
        for name, kind in kinds.items():
            assert row[name] == sum(getattr(one, "kind", None) is kind for one in group)
        with_tokens = [one for one in group if one.prompt_tokens is not None]
        given, got = (sum(getattr(one, f) for one in with_tokens) for f in ("prompt_tokens", "response_tokens"))
        assert row["requests_with_tokens"] == len(with_tokens)
        assert (row["input_tokens"], row["output_tokens"]) == ((given, got) if with_tokens else (None, None))
        took = sorted(
            round(one.latency_ms * 1000)
            for one in group
            if one.latency_ms is not None and getattr(one, "kind", None) is not Skip.FAILED
        )
        assert row["requests_with_latency"] == len(took)
        if took:
            assert row["latency_mean_ms"] == pytest.approx(sum(took) / len(took) / 1000)
            for percent in (50, 95):
                assert row[f"latency_p{percent}_ms"] == pytest.approx(quantile(took, percent))
                true = took[-(-len(took) * percent // 100) - 1] / 1000
                assert math.isclose(row[f"latency_p{percent}_ms"], true, rel_tol=0.03, abs_tol=0.01)
        costs = [one.cost_usd for one in group if one.cost_usd is not None]
        price = PRICES.get(key[2])
        logged = sum(costs, Decimal(0)) if costs else None
        priced = None
        if price is not None and with_tokens:
            priced = (given * price.input_usd_per_million + got * price.output_usd_per_million) / 10**6
        assert row["usd_logged"] == logged
        assert row["usd"] == (logged if priced is None else priced)
        assert row["usd_from"] == ("token_prices" if priced is not None else "log" if costs else "")
        assert row["complete"] is not bool(seed % 2)
        assert row["as_of"] == max(w for w, its in calls.items() if any(one in its for one in group))
