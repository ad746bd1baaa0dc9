"""Verdicts in ClickHouse (`application_verdicts`): loaded instead of paid for again.

Each call is one short session: with the embedded engine, nothing is locked while the judge thinks.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from optiinfra_dagster.model.quality import Failure, JudgeAnswer, Verdict
from optiinfra_dagster.storage.inserts import insert_rows
from optiinfra_dagster.storage.spend import Spend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from optiinfra_dagster.storage.clickhouse import ClickHouse

_SAID: TypeAdapter[JudgeAnswer] = TypeAdapter(JudgeAnswer)

KEYS_PER_QUERY = 5_000  # parameters travel in the URL, of which ClickHouse reads 1 MiB

_COLUMNS = [
    "asked_at", "customer_id", "verdict_key", "judge_model", "judge_version", "answer", "failure", "settled",
    "prompt_tokens", "completion_tokens", "unanswered_tokens", "requests", "usd",
]  # fmt: skip


class Verdicts:
    """The verdicts of all customers in one ClickHouse."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self.spend = Spend(clickhouse)

    def load(self, customer_id: str, keys: Sequence[str]) -> dict[str, Verdict]:
        """What is known of questions by their keys: the answer, or how the question failed and how often.

        Where two runs put the same question to the judge at a time, the first answer stands.
        """
        verdicts: dict[str, Verdict] = {}
        with self._clickhouse.session(reads="application_verdicts") as client:
            for at in range(0, len(keys), KEYS_PER_QUERY):
                rows = client.query(
                    """
                    SELECT verdict_key, toString(judge_model), toString(judge_version), answer, toString(failure),
                        prompt_tokens, completion_tokens, unanswered_tokens, requests, usd,
                        if(answer = '', count() OVER (PARTITION BY verdict_key), 0) AS askings
                    FROM application_verdicts
                    WHERE customer_id = {customer:String} AND verdict_key IN {keys:Array(String)}
                        AND (answer != '' OR failure IN {failures:Array(String)})
                    ORDER BY verdict_key, answer = '', if(answer = '', -toUnixTimestamp64Milli(asked_at),
                        toUnixTimestamp64Milli(asked_at)), answer
                    LIMIT 1 BY verdict_key
                    """,
                    parameters={
                        "customer": customer_id,
                        "keys": list(keys[at : at + KEYS_PER_QUERY]),
                        "failures": [failure.value for failure in Failure if failure.of_the_question],
                    },
                ).result_rows
                verdicts |= {
                    key: Verdict(
                        model,
                        version,
                        _SAID.validate_json(answer) if answer else None,
                        None if answer else Failure(failure),
                        *counts,
                    )
                    for key, model, version, answer, failure, *counts in rows
                }
        return verdicts

    def store(self, customer_id: str, verdicts: Mapping[str, Verdict], asked_at: datetime, *, store_text: bool) -> None:
        """Keep verdicts by key; a failure of the question itself counts as an asking, others are kept for the sums."""
        rows = [
            [
                asked_at,
                customer_id,
                key,
                verdict.judge_model,
                verdict.judge_version,
                _to_json(verdict.said, store_text=store_text),
                verdict.failure or "",
                verdict.settled,
                verdict.prompt_tokens,
                verdict.completion_tokens,
                verdict.unanswered_tokens,
                verdict.requests,
                verdict.usd,
            ]
            for key, verdict in verdicts.items()
            if verdict.requests or verdict.said is not None
        ]
        if rows:
            with self._clickhouse.session(writes="application_verdicts") as client:
                insert_rows(client, "application_verdicts", _COLUMNS, rows, token=uuid.uuid4().hex)


def _to_json(said: JudgeAnswer | None, *, store_text: bool) -> str:
    if said is None:
        return ""
    return (said if store_text else said.without_evidence()).model_dump_json()
