"""What people should label: which interactions are chosen, what of them is told, and the file for the labels."""

from __future__ import annotations

import json
import stat
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.cli.golden import add_cases
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.quality import METRICS, RETRIEVAL
from optiinfra_dagster.quality import golden
from optiinfra_dagster.quality.golden_scales import Scale
from optiinfra_dagster.quality.labelling import Selection, cases_to_label, is_there
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.golden import judged_cases
from tests.storage.test_application_readers import FLAWLESS, W, interaction, publish, row
from tests.support.engines import copy_migrated
from tests.support.judging import customer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = timedelta(hours=1)
SECRET = "how do I reach the treasurer"
APART = range(4)  # of these a second judge says something else, by more and more
NEAR = range(4, 10)
LAST = 30


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """30 judged interactions of one window, and one of last week."""
    clickhouse = ClickHouse(f"chdb://{copy_migrated(tmp_path_factory.mktemp('labelling') / 'clickhouse')}")
    rows: list[dict[str, Any]] = interaction(99, window=W - timedelta(days=8))
    for number in range(LAST):
        rows += interaction(number, {"accuracy": "fair"} if number in NEAR else FLAWLESS)
    for number in APART:
        labels = {"accuracy": "very_poor", "coherence": "very_poor" if number else "good"}
        rows += interaction(number, labels, judge_version="second")
    rows += interaction(LAST, "judge_failed")
    with clickhouse.session():
        publish(clickhouse, rows)
        yield clickhouse


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The customer's logs of the window: two of the interactions say the same, and one is no longer there."""
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [
        {
            "id": f"i-{number}", "application_id": "chat", "model": "m-1", "ts": W.isoformat(),
            "prompt": f"{SECRET} {min(number, 28)}?", "response": "Room 1.", "context": "It is room 1.",
        }
        for number in range(LAST) if number != 0
    ]  # fmt: skip
    (folder / "window.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def chosen(clickhouse: ClickHouse, count: int, known: golden.GoldenSet | None = None, **of_customer: Any) -> Selection:
    return cases_to_label(clickhouse, customer(**of_customer), W - 24 * HOUR, W + HOUR, count, known)


def numbers(found: Selection, reason: str) -> set[int]:
    return {int(line["id"].rpartition("-")[2]) for line in found.lines if line["chosen_for"] == reason}


def test_a_third_is_random_a_third_disputed_and_a_third_near_a_threshold(clickhouse: ClickHouse) -> None:
    found = chosen(clickhouse, 9)
    assert found.reasons == {"random": 3, "disagreement": 3, "uncertain": 3}
    assert numbers(found, "disagreement") <= {*APART}
    assert numbers(found, "uncertain") <= {*NEAR}
    assert len({line["id"] for line in found.lines}) == 9
    assert chosen(clickhouse, 9) == found
    windows = {line["id"]: line["window"] for line in chosen(clickhouse, LAST).lines}
    assert windows["acme/aws/chat/i-1"] == f"{W:%Y-%m-%dT%H:%MZ}"


def test_retrieval_own_rubrics_and_the_second_judge_are_looked_at_too(clickhouse: ClickHouse) -> None:
    facts = {"customer_id": "globex", "provider": "aws", "application_id": "chat", "model_name": "m-1"}
    told: dict[int, tuple[str, str, float | None]] = {
        0: ("second:accuracy", "very_poor", 0.0),  # the first says excellent
        1: ("groundedness", "part", 0.6),
        2: ("groundedness", "part", 0.75),
        3: ("context_recall", "cannot_tell", None),
        4: ("rubric:tone", "neutral", 0.5),
        5: ("rubric:tone", "poor", 0.0),  # the customer's word, at the end of the scale
        6: ("rubric:gone", "neutral", 0.5),  # no longer the customer's
        7: ("rubric:tone", "not_assessable", None),
        8: ("rubric:tone", "warm", 1.0),
    }
    rows: list[dict[str, Any]] = []
    for number, (metric, label, score) in told.items():
        rows += interaction(number, "judge_failed" if number in {7, 8} else FLAWLESS, customer_id="globex")
        rows.append(
            row(**facts, timestamp=W, interaction_id=f"i-{number}", metric_type=metric, label=label, score=score)
        )
    publish(clickhouse, rows)
    found = judged_cases(clickhouse, "globex", W, W + HOUR, ["tone"])
    assert {case.interaction_id: (case.apart, case.is_near) for case in found} == {
        "i-0": (1.0, False),
        "i-1": (0.0, True),
        "i-2": (0.0, False),
        "i-3": (0.0, True),
        "i-4": (0.0, True),
        "i-5": (0.0, False),
        "i-6": (0.0, False),
        "i-8": (0.0, False),
    }


def test_where_there_are_fewer_of_a_kind_more_are_drawn_at_random(clickhouse: ClickHouse) -> None:
    found = chosen(clickhouse, 100)
    assert {int(line["id"].rpartition("-")[2]) for line in found.lines} == {*range(LAST)}
    assert sum(found.reasons.values()) == LAST


def test_without_store_text_there_are_ids_and_no_text_and_never_a_score(clickhouse: ClickHouse) -> None:
    for line in chosen(clickhouse, 10).lines:
        assert line.keys() == {"id", "window", "model", "chosen_for", "labels"}
        assert line["labels"] == dict.fromkeys((*METRICS, *RETRIEVAL))


def test_a_customers_own_rubrics_are_among_what_is_to_be_labelled(clickhouse: ClickHouse) -> None:
    tone = {
        "name": "tone", "question": "Is it friendly?", "labels": ["cold", "warm"], "direction": "higher_is_better",
    }  # fmt: skip
    for line in chosen(clickhouse, 3, rubrics=[tone]).lines:
        assert line["labels"] == {**dict.fromkeys((*METRICS, *RETRIEVAL)), "rubrics": {"tone": None}}


def test_what_is_in_the_golden_set_is_never_chosen_again(clickhouse: ClickHouse, logs: Path, tmp_path: Path) -> None:
    stored: dict[str, Any] = {"store_text": True, "interactions": str(logs)}
    first = chosen(clickhouse, 10, **stored)
    path = tmp_path / "golden.jsonl"
    labelled = [{**line, "labels": {"toxicity": "none"}} for line in first.lines]
    labelled[0].pop("id")  # known by its texts alone
    path.write_text("".join(json.dumps(line) + "\n" for line in labelled))
    second = chosen(clickhouse, 100, golden.load(path), **stored)
    texts = Counter(line["prompt"] for line in (*first.lines, *second.lines))
    assert set(texts.values()) == {1}
    # 30 were judged: of i-0 nothing is in the logs, i-28 and i-29 have the same texts.
    assert (len(first.lines) + len(second.lines), second.gone) == (28, 1)
    assert second.known == 10 + 1
    assert {line["context"] for line in first.lines} == {"It is room 1."}


# --- The command ----------------------------------------------------------------------------------------------------


def settings_of(tmp_path: Path, logs: Path, *, stored: bool) -> Settings:
    file = tmp_path / "customers.yaml"
    file.write_text(
        "customers:\n  - id: acme\n    name: Acme\n    aws:\n      - account_id: '111111111111'\n"
        f"    application:\n      interactions: {logs}\n      store_text: {str(stored).lower()}\n"
    )
    return Settings(dagster_home=tmp_path, customers_path=file)


def run(clickhouse: ClickHouse, tmp_path: Path, logs: Path, *, stored: bool) -> list[str]:
    times = (f"{W - HOUR:%Y-%m-%dT%H:%MZ}", f"{W + HOUR:%Y-%m-%dT%H:%MZ}")
    settings = settings_of(tmp_path, logs, stored=stored)
    return list(add_cases(clickhouse, settings, "acme", tmp_path / "to_label.jsonl", 6, times))


def test_a_file_is_written_that_is_a_golden_set_once_it_has_labels(
    clickhouse: ClickHouse, tmp_path: Path, logs: Path
) -> None:
    said = run(clickhouse, tmp_path, logs, stored=True)
    file = tmp_path / "to_label.jsonl"
    assert "6 interactions to be labelled" in said[0]
    assert "store_text" not in " ".join(said)
    assert SECRET not in " ".join(said)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="line 1: labels is empty"):
        golden.load(file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(line | {"labels": {"accuracy": 4, "toxicity": None}}) + "\n" for line in lines))
    assert golden.load(file).labels == [{Scale("accuracy"): 4}] * 6
    with pytest.raises(ConfigError, match="is there already"):
        run(clickhouse, tmp_path, logs, stored=True)
    assert len(golden.load(file).interactions) == 6


def test_without_store_text_the_command_says_what_is_lacking(
    clickhouse: ClickHouse, tmp_path: Path, logs: Path
) -> None:
    said = run(clickhouse, tmp_path, logs, stored=False)
    assert "store_text of acme is false" in said[1]
    assert SECRET not in (tmp_path / "to_label.jsonl").read_text()
    assert "to_label.jsonl" in str(is_there(tmp_path / "to_label.jsonl"))
    with pytest.raises(ConfigError, match=r"line 1: prompt"):
        golden.load(tmp_path / "to_label.jsonl")


def test_where_nothing_was_judged_the_command_says_so_and_writes_nothing(
    clickhouse: ClickHouse, tmp_path: Path, logs: Path
) -> None:
    settings, times = settings_of(tmp_path, logs, stored=True), ("2026-01-01T00:00Z", "2026-01-02T00:00Z")
    with pytest.raises(ConfigError, match=r"acme: nothing was judged from .*optiinfra collect --customer acme"):
        list(add_cases(clickhouse, settings, "acme", tmp_path / "other.jsonl", 6, times))
    assert not (tmp_path / "other.jsonl").exists()
