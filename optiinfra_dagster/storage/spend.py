"""What judging spends of each customer's day (`judge_spend`): reserved before anything is asked, given back after.

So runs side by side never take more than the day has, and what a killed run had reserved stays spent.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.storage.inserts import insert_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse

_COLUMNS = ["at", "customer_id", "provider", "late", "tokens", "requests"]


class Amount(NamedTuple):
    """Tokens and requests."""

    tokens: int
    requests: int


@dataclass(frozen=True, slots=True)
class Purse:
    """A part of a customer's daily budget for the judge: one cloud's, for windows of the past or for current ones."""

    customer_id: str
    at: datetime
    late: bool
    provider: str


class Spend:
    """The spending of all customers in one ClickHouse. Each call is one short session."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def reserve(
        self,
        purse: Purse,
        wanted: Amount,
        since: datetime,
        left: Callable[[Mapping[str, Amount], Mapping[str, Amount]], Amount],
    ) -> Amount:
        """Reserve as much of `wanted` as is left; `left` takes what each cloud spent today, and `since` a time.

        What is written is read again with what others wrote meanwhile, and given back where that is too much: of two
        that reserve the last of a day at the same moment, both may get nothing, but never both all of it.
        """
        with self._clickhouse.session(writes="judge_spend") as client:
            granted = _least(wanted, left(*_spent(client, purse, since)))
            if not all(granted):
                return Amount(0, 0)
            _add(client, purse, granted)
            over = _least(Amount(*(max(0, -amount) for amount in left(*_spent(client, purse, since)))), granted)
            if any(over):
                _add(client, purse, Amount(-over.tokens, -over.requests))
        return Amount(granted.tokens - over.tokens, granted.requests - over.requests)

    def give_back(self, purse: Purse, amount: Amount) -> None:
        """Give back what was reserved and not used."""
        if any(amount):
            with self._clickhouse.session(writes="judge_spend") as client:
                _add(client, purse, Amount(-amount.tokens, -amount.requests))

    def of_day(self, purse: Purse) -> Amount:
        """What all clouds of the customer spent on the purse's day (UTC) of its part of the day."""
        with self._clickhouse.session(reads="judge_spend") as client:
            spent, _ = _spent(client, purse, purse.at)
        return Amount(
            sum(amount.tokens for amount in spent.values()), sum(amount.requests for amount in spent.values())
        )


def _least(wanted: Amount, left: Amount) -> Amount:
    return Amount(max(0, min(wanted.tokens, left.tokens)), max(0, min(wanted.requests, left.requests)))


def _add(client: Client, purse: Purse, amount: Amount) -> None:
    row = [purse.at, purse.customer_id, purse.provider, purse.late, amount.tokens, amount.requests]
    # Of two equal amounts each counts.
    insert_rows(client, "judge_spend", _COLUMNS, [row], token=uuid.uuid4().hex)


def _spent(client: Client, purse: Purse, since: datetime) -> tuple[dict[str, Amount], dict[str, Amount]]:
    """What each cloud spent on the purse's day, and since a time of it."""
    midnight = purse.at.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = client.query(
        """
        SELECT toString(provider), sum(tokens), sum(requests),
            sumIf(tokens, at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')),
            sumIf(requests, at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC'))
        FROM judge_spend
        WHERE customer_id = {customer:String} AND late = {late:Bool}
            AND at >= fromUnixTimestamp64Milli({begin:Int64}, 'UTC')
            AND at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
        GROUP BY provider
        """,
        parameters={
            "customer": purse.customer_id,
            "late": purse.late,
            "since": 1000 * int(since.timestamp()),
            "begin": 1000 * int(midnight.timestamp()),
            "end": 1000 * int((midnight + timedelta(days=1)).timestamp()),
        },
    ).result_rows
    today = {provider: Amount(int(tokens), int(requests)) for provider, tokens, requests, _, _ in rows}
    lately = {provider: Amount(int(tokens), int(requests)) for provider, _, _, tokens, requests in rows}
    return today, lately
