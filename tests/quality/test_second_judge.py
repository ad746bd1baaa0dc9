"""A second judge on a share of what the first judged: which it is asked about, its rows, budgets and failures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model.quality import METRICS
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.quality.collect import WindowResult, collect
from optiinfra_dagster.quality.second_judge import PREFIX, SecondJudge
from tests.support.chat_server import ChatServer, serving
from tests.support.judging import NOW, Listed, W, customer, interaction, judge_at

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.storage.verdicts import Verdicts

MANY = [interaction(n) for n in range(200)]


def run(lab: CloudLab, verdicts: Verdicts, server: ChatServer, interactions: list[Interaction], share: float,
        **judging: Any) -> WindowResult:  # fmt: skip
    first = judge_at(lab.url)
    second = SecondJudge(judge_at("", server=server.server(), **judging), share)
    try:
        return collect(customer(), "aws", W, Listed(interactions), first, verdicts, lambda: NOW, second)
    finally:
        first.close()
        second.judge.close()


def rows_of(found: WindowResult) -> list[dict[str, Any]]:
    assert found.rows is not None
    rows: list[dict[str, Any]] = found.rows.to_pylist()
    return [row | {"details": json.loads(row["details"])} for row in rows]


def asked_of(interactions: list[Interaction], share: float) -> set[str]:
    """Which of them a second judge of acme is asked about."""
    second = SecondJudge(judge_at(""), share)
    return {one.interaction_id for one in interactions if second.is_asked("acme", one)}


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_share_is_chosen_by_texts_and_a_larger_one_holds_the_smaller(share: float) -> None:
    asked = asked_of(MANY, share)
    assert abs(len(asked) - 200 * share) <= 3 * (200 * share * (1 - share)) ** 0.5
    assert asked <= asked_of(MANY, min(1.0, share * 1.5))


def test_its_scores_stand_beside_the_first_ones_and_are_paid_for_once(lab: CloudLab, verdicts: Verdicts) -> None:
    some = MANY[:30]
    with serving(ChatServer(forms=("tool",))) as server:
        alone = run(lab, verdicts, server, some, 1e-9)
        found = run(lab, verdicts, server, some, 0.5)
        again = run(lab, verdicts, server, some[::-1], 0.5)
        asked = asked_of(some, 0.5)
    rows, before = rows_of(found), rows_of(alone)
    own = [row for row in rows if row["metric_type"].startswith(PREFIX)]
    assert {row["interaction_id"] for row in own} == asked
    assert 5 < len(asked) < 25
    assert [row for row in rows if row not in own] == before
    assert {(row["judge_model"], row["details"]["first_model"]) for row in own} == {("judge-1", "openai/gpt-oss-120b")}
    assert {row["judge_version"] for row in own}.isdisjoint(row["judge_version"] for row in before)
    of_first = {(row["interaction_id"], row["metric_type"]): row["score"] for row in before}
    for row in own:
        metric = row["metric_type"].removeprefix(PREFIX)
        assert row["details"]["first"] == row["score"] == of_first[row["interaction_id"], metric]
    assert {row["metric_type"] for row in own} >= {PREFIX + metric for metric in METRICS}
    assert found.api_calls == len(asked)
    assert again.api_calls == 0


def test_one_that_fails_costs_no_score_of_the_first_and_is_told(lab: CloudLab, verdicts: Verdicts) -> None:
    with serving(ChatServer(models=("other",))) as server:
        found = run(lab, verdicts, server, MANY[:5], 1.0)
    assert found.outcome is SliceStatus.OK
    assert "The second judge gave no verdict" in found.error
    assert not [row for row in rows_of(found) if row["metric_type"].startswith(PREFIX)]
    assert all(row["score"] is not None for row in rows_of(found) if row["metric_type"] == "coherence")


def test_settings_make_one_at_groq_or_elsewhere_that_shares_the_budgets() -> None:
    first = judge_at("http://127.0.0.1:9")
    at_groq = {"GROQ_API_KEY": "k", "OPTIINFRA_SECOND_JUDGE_MODEL": "openai/gpt-oss-20b"}
    elsewhere = {
        **at_groq,
        "OPTIINFRA_SECOND_JUDGE_BASE_URL": "https://api.openai.com/v1",
        "OPTIINFRA_SECOND_JUDGE_API_KEY": "sk",
        "OPTIINFRA_SECOND_JUDGE_SHARE": "0.25",
    }
    second = SecondJudge.of(load_settings(at_groq), first)
    other = SecondJudge.of(load_settings(elsewhere), first)
    assert second is not None
    assert other is not None
    assert (second.judge.server.is_groq, second.judge.model, second.share) == (True, "openai/gpt-oss-20b", 0.1)
    assert (other.judge.server.base_url, other.judge.server.api_key) == ("https://api.openai.com/v1", "sk")
    assert other.share == 0.25
    assert second.judge.run_budget is first.run_budget
    assert second.judge.server.model_setting == "OPTIINFRA_SECOND_JUDGE_MODEL"
    assert SecondJudge.of(load_settings({"GROQ_API_KEY": "k"}), first) is None
