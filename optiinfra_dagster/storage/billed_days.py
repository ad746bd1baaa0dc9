"""The days and months that the published bills of a customer have charges of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date

    from clickhouse_connect.driver.client import Client


def outside(
    client: Client, customer_id: str, provider: str, periods: Mapping[str, Collection[date]]
) -> dict[str, set[date]]:
    """The days outside of their own month that published statements have charges of: by billing account."""
    found: dict[str, set[date]] = {}
    for account, of_account in periods.items():
        rows = client.query(
            """
            SELECT DISTINCT toDate(window_start, 'UTC')
            FROM cost_metrics_current
            WHERE customer_id = {customer:String} AND provider = {provider:String} AND cost_kind = 'billed'
                AND billing_account_id = {account:String} AND billing_period IN {periods:Array(Date)}
                AND toStartOfMonth(window_start) != billing_period
            """,
            parameters={
                "customer": customer_id,
                "provider": provider,
                "account": account,
                "periods": sorted(of_account),
            },
        ).result_rows
        if rows:
            found[account] = {day for (day,) in rows}
    return found


def charged(
    client: Client,
    customer_id: str,
    provider: str,
    statements: Collection[str],
    days: Mapping[str, Collection[date]],
) -> dict[str, set[date]]:
    """The days of billing accounts, among some, that are published with charges.

    Of the accounts in `statements`, the days stand for the months whose statements have charges.
    """
    found: dict[str, set[date]] = {}
    for account, of_account in days.items():
        day = "billing_period" if account in statements else "toDate(window_start, 'UTC')"
        rows = client.query(
            f"""
            SELECT DISTINCT {day} AS day
            FROM cost_metrics_current
            WHERE customer_id = {{customer:String}} AND provider = {{provider:String}} AND cost_kind = 'billed'
                AND billing_account_id = {{account:String}} AND amount != 0 AND day IN {{days:Array(Date)}}
            """,  # noqa: S608 - the code's own
            parameters={
                "customer": customer_id,
                "provider": provider,
                "account": account,
                "days": sorted(of_account),
            },
        ).result_rows
        found[account] = {one for (one,) in rows}
    return found
