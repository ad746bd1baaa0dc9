"""Verdicts in ClickHouse, of each transport: found again, without texts unless they may be kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model.quality import Answer, Failure, Verdict
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.verdicts import Verdicts
from tests.support.engines import copy_migrated
from tests.support.judging import MODEL, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.clickhouse_http import ClickHouseHttp, FaultKind

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ANSWER = Answer.model_validate(answer(1, 2, 3, (4, 2), "minor", 1))
JUDGED = Verdict(MODEL, "v1", ANSWER, None, 1000, 200, 0, 1, Decimal("0.00027"))


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    clickhouse = ClickHouse(f"chdb://{copy_migrated(tmp_path_factory.mktemp('verdicts') / 'clickhouse')}")
    with clickhouse.session():
        yield clickhouse


@pytest.fixture
def verdicts(clickhouse: ClickHouse) -> Verdicts:
    with clickhouse.session() as client:
        client.command("TRUNCATE TABLE application_verdicts")
    return Verdicts(clickhouse)


def test_what_is_stored_is_found_by_customer_and_key(verdicts: Verdicts) -> None:
    verdicts.store("acme", {"k1": JUDGED}, NOON, store_text=True)
    assert verdicts.load("acme", ["k1", "k2"]) == {"k1": JUDGED}
    assert verdicts.load("globex", ["k1"]) == {}


def test_evidence_is_kept_only_where_texts_are(verdicts: Verdicts) -> None:
    verdicts.store("acme", {"k1": JUDGED}, NOON, store_text=False)
    ((_, kept),) = verdicts.load("acme", ["k1"]).items()
    assert JUDGED.answer is not None
    assert kept.answer == JUDGED.answer.without_evidence()
    assert not [word for word in ("as labelled", "claim 1", "fact 0") if word in kept.answer.model_dump_json()]


@pytest.mark.parametrize("failure", list(Failure))
def test_a_question_that_failed_by_itself_is_counted_and_stands_the_third_time(
    verdicts: Verdicts, failure: Failure
) -> None:
    failed = Verdict(MODEL, "v1", None, failure, 10, 5, 300, 2, None)
    counted = failure in {
        Failure.MALFORMED, Failure.TRUNCATED, Failure.DECLINED, Failure.TOO_LARGE, Failure.REFUSED,
    }  # fmt: skip
    for askings in (1, 2, 3):
        at = NOON + timedelta(days=askings)
        verdicts.store("acme", {"k1": replace(failed, prompt_tokens=askings)}, at, store_text=False)
        found = verdicts.load("acme", ["k1"])
        assert found == ({"k1": replace(failed, prompt_tokens=askings, askings=askings)} if counted else {})
        assert [verdict.settled for verdict in found.values()] == [askings == 3] * counted


def test_a_verdict_replaces_an_earlier_failure_and_the_first_of_two_verdicts_stands(verdicts: Verdicts) -> None:
    failed = Verdict(MODEL, "v1", None, Failure.MALFORMED, requests=2)
    other = Verdict(MODEL, "v1", Answer.model_validate(answer()), None, 900, 100, 0, 1, None)
    for minutes, verdict in enumerate([failed, JUDGED, other]):
        verdicts.store("acme", {"k1": verdict}, NOON + timedelta(minutes=minutes), store_text=True)
    assert verdicts.load("acme", ["k1"]) == {"k1": JUDGED}


def test_what_was_not_asked_is_not_stored(verdicts: Verdicts) -> None:
    verdicts.store("acme", {"k1": Verdict(MODEL, "v1", failure=Failure.OVER_BUDGET)}, NOON, store_text=False)
    assert verdicts.load("acme", ["k1"]) == {}


def test_more_keys_than_fit_one_query_are_found(verdicts: Verdicts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optiinfra_dagster.storage.verdicts.KEYS_PER_QUERY", 2)
    verdicts.store("acme", {f"k{n}": JUDGED for n in range(5)}, NOON, store_text=False)
    assert sorted(verdicts.load("acme", [f"k{n}" for n in range(6)])) == [f"k{n}" for n in range(5)]


@pytest.fixture
def server(http_url: str) -> ClickHouse:
    return ClickHouse(http_url)


def test_a_server_takes_and_gives_them_too(server: ClickHouse) -> None:
    verdicts = Verdicts(server)
    verdicts.store("acme", {f"{n:032x}": JUDGED for n in range(300)}, NOON, store_text=True)
    found = verdicts.load("acme", [f"{n:032x}" for n in range(5000)])
    assert len(found) == 300
    assert found[f"{7:032x}"] == JUDGED


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_verdicts_whose_answer_got_lost_are_kept_and_count_once(
    server: ClickHouse, clickhouse_http: ClickHouseHttp, kind: FaultKind
) -> None:
    """The INSERT is sent again, and the table knows a block that it has."""
    clickhouse_http.fault(kind, match="INSERT INTO `?application_verdicts")
    Verdicts(server).store("acme", {"k1": JUDGED}, NOON, store_text=True)
    assert Verdicts(server).load("acme", ["k1"]) == {"k1": JUDGED}
    with server.session() as client:
        assert client.query("SELECT count() FROM application_verdicts").result_rows == [(1,)]


def test_a_price_is_kept_to_the_last_digit(verdicts: Verdicts) -> None:
    priced = replace(JUDGED, usd=Decimal("0.000000001"))
    verdicts.store("acme", {"k1": priced, "k2": replace(JUDGED, usd=None)}, NOON, store_text=False)
    found = verdicts.load("acme", ["k1", "k2"])
    assert [found["k1"].usd, found["k2"].usd] == [Decimal("0.000000001"), None]
