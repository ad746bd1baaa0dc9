"""The PromQL of the exporters against the real Prometheus, node_exporter and blackbox_exporter of Debian.

What the real exporters answer is written into blocks of the past, as a Prometheus that scraped them each minute would
have them: counters rise by a known rate. So nothing has to be waited for, and every figure is known beforehand.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from optiinfra_dagster.lab.server import Response, Server
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.prometheus import Machines, Prometheus, PrometheusConfig, read_metrics
from optiinfra_dagster.providers.prometheus_exporters import metrics_of
from optiinfra_dagster.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("prometheus", "promtool", "prometheus-node-exporter", "prometheus-blackbox-exporter")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)),
    reason="needs Debian's prometheus, prometheus-node-exporter and prometheus-blackbox-exporter",
)

END = windows.floor(datetime.now(UTC)) - timedelta(hours=1)
START = END - timedelta(minutes=15)
BEFORE = START - timedelta(minutes=10)
NODE = {"instance": "10.0.0.1:9100", "job": "node"}
OTEL = {"instance": "6d3f", "job": "hostmetrics", "host_id": "i-0bbb", "host_name": "worker"}
WEB = {"instance": "https://10.0.0.1/health", "job": "blackbox"}
GONE = {"instance": "10.0.0.2:22", "job": "blackbox"}

# What each counter of node_exporter rises by in a second, and the gauges that are read beside them.
RATES = {
    "node_cpu_seconds_total": 0.25,  # of each processor, in each mode
    "node_disk_read_bytes_total": 1000.0,
    "node_disk_written_bytes_total": 2000.0,
    "node_disk_reads_completed_total": 3.0,
    "node_disk_writes_completed_total": 4.0,
    "node_network_receive_bytes_total": 5000.0,
    "node_network_transmit_bytes_total": 6000.0,
    "node_memory_MemAvailable_bytes": 0.0,
    "node_memory_MemTotal_bytes": 0.0,
    "node_filesystem_avail_bytes": 0.0,
    "node_filesystem_size_bytes": 0.0,
}


class Told(NamedTuple):
    """A series that an exporter told: its name, labels as they are written, first value, and what it rises by."""

    name: str
    labels: str
    value: float
    rate: float = 0.0

    def lines(self, target: Mapping[str, str]) -> Iterator[str]:
        """A line for each minute, with the labels that Prometheus adds to the target."""
        labels = ",".join(filter(None, [self.labels, *(f'{name}="{value}"' for name, value in target.items())]))
        for moment in range(int(BEFORE.timestamp()), int(END.timestamp()) + 1, 60):
            yield f"{self.name}{{{labels}}} {self.value + self.rate * (moment - BEFORE.timestamp())!r} {moment}"


@contextmanager
def running(program: str, listening: str, *arguments: str) -> Iterator[str]:
    """A program that serves on an address of its own; begins once it has said that it listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    command = [program, f"--web.listen-address={address}", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        said = next((line for line in process.stderr if listening in line), "")
        try:
            assert said, f"{program} did not start"
            yield f"http://{address}"
        finally:
            process.kill()


def scraped(url: str, rates: Mapping[str, float]) -> list[Told]:
    text = httpx.get(url, trust_env=False).text
    found = re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
    return [Told(name, labels, float(value), rates[name]) for name, labels, value in found if name in rates]


def of_open_telemetry() -> Iterator[Told]:
    """What the Collector's hostmetrics receiver writes, by its documentation: Debian has no package of it."""
    for state, size in (("used", 30e9), ("free", 50e9), ("buffered", 5e9), ("cached", 15e9), ("slab_reclaimable", 2e9)):
        yield Told("system_memory_usage_bytes", f'state="{state}"', size)
    for where, state, size in (
        ("/", "used", 60.0),
        ("/", "free", 30.0),
        ("/", "reserved", 10.0),
        ("/data", "free", 9.0),
    ):
        yield Told("system_filesystem_usage_bytes", f'mountpoint="{where}",state="{state}"', size)
    for core, idle in (("cpu0", 0.4), ("cpu1", 0.6)):
        yield Told("system_cpu_time_seconds_total", f'cpu="{core}",state="idle"', 1e6, idle)
        yield Told("system_cpu_time_seconds_total", f'cpu="{core}",state="user"', 1e6, 1 - idle)
    for device in ("nvme0n1", "nvme0n1p1", "xvdb", "xvdb1"):
        for way, rate in (("read", 100.0), ("write", 200.0)):
            yield Told("system_disk_io_bytes_total", f'device="{device}",direction="{way}"', 1e9, rate)
            yield Told("system_disk_operations_total", f'device="{device}",direction="{way}"', 1e6, rate / 100)
    # Two cards; a VLAN on one of them, and the end of a container's cable, have the same bytes once more.
    for device in ("eth0", "ens5", "lo", "docker0", "ens5.100", "eni5f0c1d2a3b4"):
        for way, rate in (("receive", 10.0), ("transmit", 20.0)):
            yield Told("system_network_io_bytes_total", f'device="{device}",direction="{way}"', 1e9, rate)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Told]]:
    """What the exporters tell: of this machine, of a page of it, and of a port where nobody listens."""
    page = Server(lambda _request: Response(200, b"well"))
    page.start()
    try:
        with running("prometheus-node-exporter", "Listening on") as url:
            node = scraped(f"{url}/metrics", RATES)
        config = tmp_path_factory.mktemp("blackbox") / "blackbox.yml"
        config.write_text("modules: {http: {prober: http, timeout: 5s}, tcp: {prober: tcp, timeout: 5s}}")
        wanted = {"probe_success": 0.0, "probe_duration_seconds": 0.0}
        with running("prometheus-blackbox-exporter", "Listening on", f"--config.file={config}") as url:
            well = scraped(f"{url}/probe?module=http&target={page.url}", wanted)
            gone = scraped(f"{url}/probe?module=tcp&target=127.0.0.1:1", wanted)
    finally:
        page.stop()
    return {"node": node, "well": well, "gone": gone}


@pytest.fixture(scope="module")
def url(told: dict[str, list[Told]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has all of it, and of machines and pages twice: two servers scrape them, and write to it."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    targets = [(told["node"], NODE), (list(of_open_telemetry()), OTEL), (told["well"], WEB), (told["gone"], GONE)]
    pair = [(series, {**target, "prometheus_replica": name}) for series, target in targets for name in "ab"]
    lines = [line for series, target in pair for one in series for line in one.lines(target)]
    lines.sort(key=lambda line: line.partition("{")[0])  # the format wants a metric's lines together
    (folder / "metrics").write_text("\n".join([*lines, "# EOF", ""]))
    (folder / "prometheus.yml").write_text("global: {}")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "metrics", folder / "data"],
        check=True, capture_output=True,
    )  # fmt: skip
    arguments = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    with running("prometheus", "ready to receive web requests", *arguments) as url:
        yield url


def machine(resource_id: str, name: str, private_ip: str) -> Resource:
    return Resource(
        account_id="123456789012",
        region="us-east-1",
        kind="ec2:instance",
        resource_id=f"arn:aws:ec2:us-east-1:123456789012:instance/{resource_id}",
        resource_name=name,
        resource_type=ResourceType.COMPUTE,
        status=Status.RUNNING,
        cloud_status="running",
        metadata={"private_ip": private_ip},
    )


@pytest.fixture(scope="module")
def figures(url: str) -> dict[tuple[str, str], list[float]]:
    """The values of the window, by machine and metric."""
    machines = [
        machine("i-0aaa", "web", "10.0.0.1"),
        machine("i-0bbb", "worker", "10.0.0.3"),
        machine("i-0ccc", "gone", "10.0.0.2"),
    ]
    rows = metrics_of("aws", PROVIDERS["aws"].kinds["ec2:instance"])
    with Prometheus(PrometheusConfig(url)) as prometheus:
        result = read_metrics(prometheus, Machines(machines), [(rows, machines)], START, END, Meter())
    assert result.failures == {}
    assert all(one.timestamps == [int(START.timestamp()) + 300 * n for n in range(3)] for one in result.series)
    return {(one.resource.resource_name, one.metric.name): one.values for one in result.series}


def steady(value: float) -> list[float]:
    return [pytest.approx(value, rel=1e-6)] * 3  # type: ignore[list-item]


def test_the_figures_of_node_exporter_are_right(
    figures: dict[tuple[str, str], list[float]], told: dict[str, list[Told]]
) -> None:
    values = {(one.name, one.labels): one.value for one in told["node"]}
    total, available = values["node_memory_MemTotal_bytes", ""], values["node_memory_MemAvailable_bytes", ""]
    assert figures["web", "cpu_utilization"] == steady(75)
    assert figures["web", "memory_utilization"] == steady(100 - 100 * available / total)
    assert figures["web", "memory_free"] == steady(available)

    def devices(name: str, pattern: str) -> int:
        names = [re.search('device="(.*?)"', one.labels) for one in told["node"] if one.name == name]
        return sum(bool(found and re.fullmatch(pattern, found[1])) for found in names)

    disks, cards = r"[sv]d[a-z]+|xvd[a-z]+|nvme\d+n\d+", r"e(n[^i]|th)[^.]*"
    for ours, theirs, pattern in (
        ("disk_read", "node_disk_read_bytes_total", disks),
        ("disk_write", "node_disk_written_bytes_total", disks),
        ("disk_read_ops", "node_disk_reads_completed_total", disks),
        ("disk_write_ops", "node_disk_writes_completed_total", disks),
        ("network_in", "node_network_receive_bytes_total", cards),
        ("network_out", "node_network_transmit_bytes_total", cards),
    ):
        count = devices(theirs, pattern)
        assert figures.get(("web", ours)) == (steady(count * RATES[theirs]) if count else None), ours
    root = [one for one in told["node"] if 'mountpoint="/"' in one.labels]
    if root:  # a container may hide it
        free, size = (
            next(one.value for one in root if one.name.endswith(end)) for end in ("avail_bytes", "size_bytes")
        )
        assert figures["web", "disk_utilization"] == steady(100 - 100 * free / size)


def test_the_figures_of_open_telemetry_are_right(figures: dict[tuple[str, str], list[float]]) -> None:
    wanted = {
        "cpu_utilization": 50, "memory_utilization": 30, "memory_free": 70e9, "disk_utilization": 70, "disk_read": 200,
        "disk_write": 400, "disk_read_ops": 2, "disk_write_ops": 4, "network_in": 20, "network_out": 40,
    }  # fmt: skip
    assert {name: figures["worker", name] for name in wanted} == {name: steady(value) for name, value in wanted.items()}


def test_the_figures_of_probes_are_right(
    figures: dict[tuple[str, str], list[float]], told: dict[str, list[Told]]
) -> None:
    took = {one.name: one.value for one in told["well"]}
    assert took["probe_success"] == 1
    assert figures["web", "uptime"] == steady(100)
    assert figures["web", "response_time"] == steady(took["probe_duration_seconds"])
    assert figures["gone", "uptime"] == steady(0)
    assert ("gone", "response_time") not in figures  # a probe that failed has no response time
