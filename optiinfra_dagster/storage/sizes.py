"""The types of machines and databases, and what they would cost in the next smaller one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import fetch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.model.sizes import Offer

_WRITTEN_EVERY = timedelta(days=1)
_FACTS = {
    "type": pa.string(),
    "vcpus": pa.float64(),
    "memory_gib": pa.float64(),
    "smaller_type": pa.string(),
    "smaller_vcpus": pa.float64(),
    "memory_share": pa.float64(),
    "why_not": pa.string(),
    "note": pa.string(),
    "monthly": schema.AMOUNT,
    "smaller_monthly": schema.AMOUNT,
    "currency": pa.string(),
}
_ROWS = pa.schema(
    [
        ("customer_id", pa.string()),
        ("provider", pa.string()),
        ("resource_id", pa.string()),
        ("window_start", schema.TIME),
        *_FACTS.items(),
        ("collected_at", schema.TIME),
    ]
)


def keep(
    client: Client, customer_id: str, provider: str, window: datetime, offers: Iterable[Offer], at: datetime
) -> None:
    """Record what holds from a window on; what was recorded in the day before and is the same is not written again."""
    known = _known(client, customer_id, provider, window)
    rows = []
    for offer in offers:
        sized = offer.sized
        facts = {
            "type": sized.type,
            "vcpus": sized.vcpus,
            "memory_gib": sized.memory_gib,
            "smaller_type": sized.smaller_type,
            "smaller_vcpus": sized.smaller_vcpus,
            "memory_share": sized.memory_share,
            "why_not": sized.why_not,
            "note": sized.note,
            "monthly": offer.monthly,
            "smaller_monthly": offer.smaller_monthly,
            "currency": offer.currency,
        }
        if known.get(sized.resource.resource_id) != facts:
            rows.append(
                {
                    "customer_id": customer_id,
                    "provider": provider,
                    "resource_id": sized.resource.resource_id,
                    "window_start": window,
                    **facts,
                    "collected_at": at,
                }
            )
    if rows:
        client.insert_arrow("machine_sizes", pa.Table.from_pylist(rows, schema=_ROWS))


def _known(client: Client, customer_id: str, provider: str, window: datetime) -> dict[str, dict[str, Any]]:
    """What was last recorded of each resource in the day up to a window."""
    rows = fetch(
        client,
        f"""
        SELECT resource_id, {", ".join(_FACTS)}
        FROM machine_sizes
        WHERE customer_id = {{customer:String}} AND provider = {{provider:String}}
            AND window_start > {{since:DateTime('UTC')}} AND window_start <= {{window:DateTime('UTC')}}
        ORDER BY resource_id, window_start DESC, collected_at DESC
        LIMIT 1 BY resource_id
        """,  # noqa: S608 - names are the code's own
        {"customer": customer_id, "provider": provider, "since": window - _WRITTEN_EVERY, "window": window},
    ).to_pylist()
    return {row.pop("resource_id"): row for row in rows}
