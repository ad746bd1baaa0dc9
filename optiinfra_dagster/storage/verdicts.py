"""Verdicts in ClickHouse (`application_verdicts`): loaded instead of paid for again, and added up per day.

Each call is one short session: with the embedded engine, nothing is locked while the judge thinks.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pydantic import TypeAdapter

from optiinfra_dagster.model.quality import Failure, Said, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from optiinfra_dagster.storage.clickhouse import ClickHouse

_SAID: TypeAdapter[Said] = TypeAdapter(Said)

KEYS_PER_QUERY = 5_000  # parameters travel in the URL, of which ClickHouse reads 1 MiB

_COLUMNS = [
    "asked_at", "customer_id", "verdict_key", "judge_model", "judge_version", "answer", "failure", "settled",
    "prompt_tokens", "completion_tokens", "unanswered_tokens", "requests", "usd",
]  # fmt: skip


class Used(NamedTuple):
    """The tokens and requests that judging took."""

    tokens: int
    requests: int


class Verdicts:
    """The verdicts of all customers in one ClickHouse."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def load(self, customer_id: str, keys: Sequence[str], day: date) -> tuple[dict[str, Verdict], Used]:
        """The settled verdicts among `keys`, and what the customer's judging used on a day (UTC) so far.

        Where two runs put the same question to the judge at a time, the first verdict stands.
        """
        verdicts: dict[str, Verdict] = {}
        with self._clickhouse.session() as client:
            for at in range(0, len(keys), KEYS_PER_QUERY):
                rows = client.query(
                    """
                    SELECT verdict_key, toString(judge_model), toString(judge_version), answer, toString(failure),
                        prompt_tokens, completion_tokens, unanswered_tokens, requests, usd
                    FROM application_verdicts
                    WHERE customer_id = {customer:String} AND verdict_key IN {keys:Array(String)} AND settled
                    ORDER BY verdict_key, asked_at, answer
                    LIMIT 1 BY verdict_key
                    """,
                    parameters={"customer": customer_id, "keys": list(keys[at : at + KEYS_PER_QUERY])},
                ).result_rows
                verdicts |= {
                    key: Verdict(
                        model,
                        version,
                        _SAID.validate_json(answer) if answer else None,
                        Failure(failure) if failure else None,
                        *counts,
                    )
                    for key, model, version, answer, failure, *counts in rows
                }
            # Compared with a DateTime, a DateTime64 in the last second before midnight would be left out.
            midnight = datetime.combine(day, time(), UTC)
            ((tokens, requests),) = client.query(
                """
                SELECT sum(prompt_tokens + completion_tokens + unanswered_tokens), sum(requests)
                FROM application_verdicts
                WHERE customer_id = {customer:String}
                    AND asked_at >= fromUnixTimestamp64Milli({begin:Int64}, 'UTC')
                    AND asked_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
                """,
                parameters={
                    "customer": customer_id,
                    "begin": 1000 * int(midnight.timestamp()),
                    "end": 1000 * int((midnight + timedelta(days=1)).timestamp()),
                },
            ).result_rows
        return verdicts, Used(int(tokens), int(requests))

    def store(self, customer_id: str, verdicts: Mapping[str, Verdict], asked_at: datetime, *, store_text: bool) -> None:
        """Keep verdicts by key. Failures that are not settled are kept for the sums only."""
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
            with self._clickhouse.session() as client:
                client.insert("application_verdicts", rows, column_names=_COLUMNS)


def _to_json(said: Said | None, *, store_text: bool) -> str:
    if said is None:
        return ""
    return (said if store_text else said.without_evidence()).model_dump_json()
