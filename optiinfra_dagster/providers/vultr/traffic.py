"""The machines whose daily traffic is read in a window: each once a day, and not all at the same time of the day.

Vultr has the bytes of whole days (UTC), one machine a call. So a machine has a quarter of an hour of its own, after
the day has been counted, and is due from then on until its yesterday is stored, or known not to be there.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import MetricsRequest
    from optiinfra_dagster.providers.vultr.account import VultrAccount

MOST_READS = 500  # of a customer in a window: 20 seconds of the rate limit that all customers share
DAYS_BACK = 3  # where the days before yesterday are missing too
FIRST_SLOT = 4  # quarters of an hour after midnight: until then Vultr may still count
SLOTS = 96
SLOT_SECONDS = 900
DAY = 86_400


def date(day: int) -> str:
    """`2026-11-20`: Vultr's name of the day that begins at these seconds since the epoch."""
    return datetime.fromtimestamp(day, UTC).date().isoformat()


def days_back(days: range) -> int:
    """The `date_range` for some days that end with yesterday; one more, because Vultr may count today."""
    return len(days) + 1


def missing_days(request: MetricsRequest[VultrAccount], machines: Sequence[Resource]) -> dict[str, range]:
    """The machines to read in the present window, at most `MOST_READS`, with the starts of the days that are missing.

    A window that is collected again reads the same machines again, because what it stored itself is not in
    `request.daily`. The day on which a machine was created is not a whole one.
    """
    if request.present is None:
        return {}
    now = int(request.present.timestamp())
    today = now // DAY * DAY
    slots = min(max(math.ceil(len(machines) / MOST_READS), 1), SLOTS - FIRST_SLOT)
    absent = _absent(request, today)
    due: list[tuple[int, int, str, range]] = []
    for machine in machines:
        resource_id = machine.resource_id
        number = zlib.crc32(resource_id.encode())
        slot = FIRST_SLOT + number % slots
        created = 0 if machine.created_at is None else -(-int(machine.created_at.timestamp()) // DAY) * DAY
        first = max(request.daily.get(resource_id, 0) + DAY, today - DAYS_BACK * DAY, created)
        if first < today and slot <= (now - today) // SLOT_SECONDS and resource_id not in absent:
            due.append((slot, number, resource_id, range(first, today, DAY)))
    due.sort(key=lambda entry: entry[:3])
    return {resource_id: days for _, _, resource_id, days in due[:MOST_READS]}


def remember_absent(request: MetricsRequest[VultrAccount], machines: Sequence[str]) -> None:
    """Keep for today that Vultr has none of the missing days of some machines; they are read again tomorrow."""
    if request.memory is not None and request.present is not None and machines:
        today = int(request.present.timestamp()) // DAY * DAY
        request.memory.put(sorted(_absent(request, today).union(machines)), *_key(request, today))


def _absent(request: MetricsRequest[VultrAccount], today: int) -> set[str]:
    known = None if request.memory is None else request.memory.get(*_key(request, today))
    return set(known) if isinstance(known, list) else set()


def _key(request: MetricsRequest[VultrAccount], today: int) -> tuple[str, ...]:
    return "vultr", "absent", request.customer_id, date(today)
