"""The figures of Vultr's resources: databases' usage, machines' traffic by the day, and those of agents in machines.

Every figure is a function of the world's seed, the resource and the time. Agents' figures are read by PromQL, of which
the lab understands exactly `EXPRESSIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from optiinfra_dagster.lab.series import DAY, Floats, chance, recorded_points
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.vultr.kind import LabResource
    from optiinfra_dagster.lab.vultr.world import VultrReplay

STEP = 300  # what range selectors in `EXPRESSIONS` look back on


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of an agent in a machine: a name, and values from `low` to `high` over a day."""

    agent: str
    name: str
    low: float
    high: float


_DISKS = "device=~'[sv]d[a-z]+|xvd[a-z]+|nvme[0-9]+n[0-9]+'"
_CARDS = "e(n[^i]|th)[^.]*"
_NICS = f"device=~'{_CARDS}'"
_ROOT = "{mountpoint='/'}"
_ROOT_FREE = "{mountpoint='/',state='free'}"


def _space(selector: str) -> str:
    return f"avg_over_time(system_filesystem_usage_bytes{selector}[5m])"


def _memory(states: str) -> str:
    equals = "=~" if "|" in states else "="
    return f"avg_over_time(system_memory_usage_bytes{{state{equals}'{states}'}}[5m])"


def _understood(agent: str, *rows: tuple[str, float, float, str]) -> dict[str, Figure]:
    return {promql: Figure(agent, name, low, high) for name, low, high, promql in rows}


# PromQL, without the labels that it aggregates by
EXPRESSIONS: dict[str, Figure] = {
    **_understood(
        "node_exporter",
        ("cpu_utilization", 0.5, 97, "100 - 100 * avg (rate(node_cpu_seconds_total{mode='idle'}[5m]))"),
        ("memory_utilization", 5, 95,
         "100 - 100 * avg (avg_over_time(node_memory_MemAvailable_bytes[5m]) / node_memory_MemTotal_bytes)"),
        ("memory_free", 1e8, 8e9, "avg (avg_over_time(node_memory_MemAvailable_bytes[5m]))"),
        ("disk_utilization", 10, 90,
         f"100 - 100 * max (avg_over_time(node_filesystem_avail_bytes{_ROOT}[5m]) / node_filesystem_size_bytes)"),
        ("disk_read", 0, 8e7, f"sum (max (rate(node_disk_read_bytes_total{{{_DISKS}}}[5m])))"),
        ("disk_write", 1e3, 2e8, f"sum (max (rate(node_disk_written_bytes_total{{{_DISKS}}}[5m])))"),
        ("disk_read_ops", 0, 900, f"sum (max (rate(node_disk_reads_completed_total{{{_DISKS}}}[5m])))"),
        ("disk_write_ops", 1, 2e3, f"sum (max (rate(node_disk_writes_completed_total{{{_DISKS}}}[5m])))"),
        ("network_in", 1e3, 1e8, f"sum (max (rate(node_network_receive_bytes_total{{{_NICS}}}[5m])))"),
        ("network_out", 1e3, 2e8, f"sum (max (rate(node_network_transmit_bytes_total{{{_NICS}}}[5m])))"),
    ),
    **_understood(
        "opentelemetry",
        ("cpu_utilization", 0.5, 97, "100 - 100 * avg (rate(system_cpu_time_seconds_total{state='idle'}[5m]))"),
        ("memory_utilization", 5, 95, f"100 * sum ({_memory('used')}) / sum ({_memory('used|free|buffered|cached')})"),
        ("memory_free", 1e8, 8e9, f"sum (max ({_memory('free|buffered|cached')}))"),
        ("disk_utilization", 10, 90,
         f"100 - 100 * sum ({_space(_ROOT_FREE)}) / sum ({_space(_ROOT)})"),
        ("disk_read", 0, 8e7, f"sum (max (rate(system_disk_io_bytes_total{{direction='read',{_DISKS}}}[5m])))"),
        ("disk_write", 1e3, 2e8, f"sum (max (rate(system_disk_io_bytes_total{{direction='write',{_DISKS}}}[5m])))"),
        ("disk_read_ops", 0, 900, f"sum (max (rate(system_disk_operations_total{{direction='read',{_DISKS}}}[5m])))"),
        ("disk_write_ops", 1, 2e3, f"sum (max (rate(system_disk_operations_total{{direction='write',{_DISKS}}}[5m])))"),
        ("network_in", 1e3, 1e8,
         f"sum (max (rate(system_network_io_bytes_total{{direction='receive',{_NICS}}}[5m])))"),
        ("network_out", 1e3, 2e8,
         f"sum (max (rate(system_network_io_bytes_total{{direction='transmit',{_NICS}}}[5m])))"),
    ),
    **_understood(
        "v-agent",
        ("cpu_utilization", 0.5, 97, "avg (avg_over_time(v_cpu_util_pct[5m]))"),
        ("memory_utilization", 5, 95, "100 - 100 * avg (avg_over_time(v_memory_free[5m]) / v_memory_total)"),
        ("memory_free", 1e8, 8e9, "avg (avg_over_time(v_memory_free[5m]))"),
        ("disk_utilization", 10, 90, "max (avg_over_time(v_fs_bytes_util{mount='/'}[5m]))"),
        ("disk_read", 0, 8e7, f"512 / 300 * sum (max (sum_over_time(v_disk_stats_sectors_read{{{_DISKS}}}[5m])))"),
        ("disk_write", 1e3, 2e8,
         f"512 / 300 * sum (max (sum_over_time(v_disk_stats_sectors_written{{{_DISKS}}}[5m])))"),
        ("disk_read_ops", 0, 900, f"1 / 300 * sum (max (sum_over_time(v_disk_stats_read{{{_DISKS}}}[5m])))"),
        ("disk_write_ops", 1, 2e3,
         f"1 / 300 * sum (max (sum_over_time(v_disk_stats_writes_completed{{{_DISKS}}}[5m])))"),
        ("network_in", 1e3, 1e8, f"sum (max (rate(v_nic_bytes_rx{{nic=~'{_CARDS}'}}[5m])))"),
        ("network_out", 1e3, 2e8, f"sum (max (rate(v_nic_bytes_tx{{nic=~'{_CARDS}'}}[5m])))"),
    ),
    **_understood(
        "blackbox_exporter",
        ("response_time", 2e-3, 0.9, "avg (avg_over_time((probe_duration_seconds and probe_success == 1)[5m:1m]))"),
        ("uptime", 90, 100, "100 * avg (avg_over_time(probe_success[5m]))"),
    ),
}  # fmt: skip

_BY = re.compile(r" by \(([^)]*)\)")


def read_promql(promql: str) -> tuple[Figure, frozenset[str]] | None:
    """The figure of a question, and the labels that its answer keeps; None where it is not understood."""
    kept = frozenset(label.strip() for labels in _BY.findall(promql) for label in labels.split(","))
    figure = EXPRESSIONS.get(_BY.sub("", promql))
    return None if figure is None else (figure, kept)


def _wave(keys: Sequence[int], times: Sequence[int], low: float, high: float) -> Floats:
    """Values of several series at some times: a daily wave on a level of each series' own, and noise."""
    key, time = np.array(keys, np.uint64)[:, None], np.asarray(times, np.int64)
    wave = 0.65 + 0.35 * np.sin(2 * np.pi * ((time % DAY) / DAY + chance(key, 2)))
    height = np.clip((0.1 + 0.75 * chance(key, 1)) * wave + 0.12 * (chance(key, time, 1) - 0.5), 0.005, 0.995)
    return np.asarray(low + (high - low) * height, np.float64)


class Figures:
    """The values of a world, and the recorded series among them."""

    def __init__(self, replays: Sequence[VultrReplay]) -> None:
        self._replays = {(replay.resource, replay.metric): replay for replay in replays}

    def _recorded(self, resource: LabResource, name: str) -> dict[int, float] | None:
        replay = self._replays.get((resource.id, name)) or self._replays.get((resource.name, name))
        return None if replay is None else _by_period(replay)

    def agents(self, figure: Figure, machines: Sequence[LabResource], starts: Sequence[int]) -> Floats:
        """Agents' figures in the periods that begin at `starts`: machines x periods, NaN where there is nothing."""
        keys = [digest(resource.seed, figure.agent, figure.name) for resource in machines]
        values = _wave(keys, starts, figure.low, figure.high)
        for n, resource in enumerate(machines):
            recorded = self._recorded(resource, figure.name) if self._replays else None
            if recorded is not None:
                values[n] = [recorded.get(start, np.nan) for start in starts]
        created = np.array([[resource.created.timestamp()] for resource in machines])
        return np.where(np.asarray(starts) >= created, values, np.nan)

    def usage(self, resource: LabResource, now: datetime) -> dict[str, Any]:
        """The answer of get-database-usage now: percentages have two decimals, as sizes in GB have."""

        def share(name: str, low: float, high: float) -> float:
            second = int(now.timestamp())
            recorded = self._recorded(resource, name) or {}
            before = [time for time in recorded if time <= second]
            if before:
                return recorded[max(before)]
            return round(float(_wave([digest(resource.seed, name)], [second // 60 * 60], low, high)[0, 0]), 2)

        memory, disk = share("memory.percentage", 10, 95), share("disk.percentage", 5, 90)
        ram, size = 2048 * resource.fleet.vcpus, resource.fleet.size
        return {
            "disk": {"current_gb": round(size * disk / 100, 2), "max_gb": size, "percentage": disk},
            "memory": {"current_mb": round(ram * memory / 100), "max_mb": ram, "percentage": memory},
            "cpu": {"percentage": share("cpu.percentage", 0.5, 97)},
        }

    def traffic(self, resource: LabResource, day: int, now: datetime) -> dict[str, int] | None:
        """The bytes of the day that begins at `day`, so far; None before a machine was there, and in the future."""
        begin, end = max(day, int(resource.created.timestamp())), min(day + DAY, int(now.timestamp()))
        if end <= begin:
            return None
        share = (end - begin) / DAY
        received, sent = (
            int(share * digest(resource.seed, day, way) / 2**64 * most) for way, most in (("in", 4e11), ("out", 9e11))
        )
        return {"incoming_bytes": received, "outgoing_bytes": sent}

    def bandwidth(self, resource: LabResource, days: int, now: datetime) -> dict[str, dict[str, int]]:
        """The answer of get-instance-bandwidth: today so far, and the `days` before it."""
        today = int(now.timestamp()) // DAY * DAY
        days_sums = {day: self.traffic(resource, day, now) for day in range(today - days * DAY, today + 1, DAY)}
        return {datetime.fromtimestamp(day, UTC).date().isoformat(): sums for day, sums in days_sums.items() if sums}


@lru_cache(64)
def _by_period(replay: VultrReplay) -> dict[int, float]:
    """A recorded series by the start of its periods; the values of one period are averaged."""
    times, values = recorded_points(replay.file, replay.shift_seconds, replay.ends_at)
    starts, place = np.unique(times // STEP * STEP, return_inverse=True)
    means = np.bincount(place, weights=values) / np.bincount(place)
    return dict(zip(starts.tolist(), means.tolist(), strict=True))
