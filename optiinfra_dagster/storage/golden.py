"""The agreement of versions of the judge with golden sets (`application_golden`), and what may be added to one."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.model.quality import METRICS, RETRIEVAL, Agreement
from optiinfra_dagster.storage.inserts import insert_rows
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse


def load_agreements(
    clickhouse: ClickHouse, judge_versions: Iterable[str], golden_set: str
) -> dict[tuple[str, str], Agreement]:
    """The newest figures of versions of the judge on a set, by metric and version.

    Raises:
        StorageError: they could not be read.
    """
    with clickhouse.session(reads="application_golden") as client:
        parameters = {"versions": list(judge_versions), "digest": golden_set}
        rows = client.query(read_sql("queries/golden_scores"), parameters=parameters).result_rows
    found = [Agreement(*row) for row in rows]
    return {(one.metric_type, one.judge_version): one for one in found}


def store_agreements(
    clickhouse: ClickHouse,
    agreements: Sequence[Agreement],
    *,
    judge_model: str,
    golden_set: str,
    run_id: str,
    scored_at: datetime,
) -> None:
    """Keep the figures of all metrics at once: one INSERT of one block, so a set is scored or it is not.

    Raises:
        StorageError: they could not be kept.
    """
    figures = [field.name for field in fields(Agreement)]
    columns = ["judge_model", "golden_set", *figures, "run_id", "scored_at"]
    rows = [[judge_model, golden_set, *astuple(agreement), run_id, scored_at] for agreement in agreements]
    with clickhouse.session(writes="application_golden") as client:
        insert_rows(client, "application_golden", columns, rows)


@dataclass(frozen=True, slots=True)
class Case:
    """A judged interaction. `apart` is how far versions of the judge are from each other on it, 0 to 1.

    `is_near` is true where a score is next to where a metric's good and bad meet, or where the judge could not tell.
    """

    provider: str
    window: datetime
    application_id: str
    model_name: str
    interaction_id: str
    apart: float
    is_near: bool


def judged_cases(
    clickhouse: ClickHouse, customer_id: str, begin: datetime, end: datetime, rubrics: Iterable[str]
) -> list[Case]:
    """The customer's interactions that were judged in the published windows of [begin, end).

    Judged by our metrics, by the figures of retrieval, or by the customer's `rubrics`.

    Raises:
        StorageError: they could not be read.
    """
    parameters = {
        "customer": customer_id,
        "begin": int(begin.timestamp()),
        "end": int(end.timestamp()),
        "metrics": list(METRICS),
        "shares": [*RETRIEVAL, *(f"rubric:{name}" for name in rubrics)],
    }
    with clickhouse.session(reads=read_sql("queries/worth_labelling")) as client:
        rows = client.query(read_sql("queries/worth_labelling"), parameters=parameters).result_rows
    return [
        Case(provider, datetime.fromtimestamp(seconds, UTC), application, model, interaction, apart, bool(is_near))
        for provider, seconds, application, model, interaction, apart, is_near in rows
    ]
