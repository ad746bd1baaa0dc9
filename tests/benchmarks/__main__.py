"""`make bench`: prints each figure beside its plain baseline and its aim. Reports, never fails: machines differ.

`python -m tests.benchmarks [NAME ...]` runs those named, or all. CPU seconds are those of the measured process (and of
the children it waits for, where that is said). Baseline and subject alternate, and the best of the rounds counts, so
that a busy machine disturbs both alike. A figure whose aim is "told" has none. `soak`, which takes ten minutes, is run
only where it is named. OPTIINFRA_BENCH_FULL=1 takes an export
of 1 GB and 100,000 interactions.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import MetricsRequest
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import arrow, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.rows import performance_rows
from optiinfra_dagster.storage.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optiinfra_dagster.providers.aws.account import AwsAccount

ROUNDS = 3
FULL = os.environ.get("OPTIINFRA_BENCH_FULL") == "1"
ACCOUNT = "123456789012"


def main() -> None:
    """Run every benchmark, or those named on the command line, and print a line for each figure."""
    benchmarks = {
        function.__name__: function
        for function in (
            imports,
            collect_series,
            inventories,
            performances,
            custodian,
            exports,
            estimates,
            interactions,
            intervals,
            insert_rows,
            bytes_per_row,
            trends,
            history,
            cost_readers,
            outlook,
            alarm,
            reading,
            replacing,
            as_of,
            growth,
            fixed_cost_of_a_window,
        )
    }
    named_only = {"soak": soak}
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description="Print figures; see `make bench`.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(benchmarks)}; default: all; or soak"
    )
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in benchmarks | named_only]:
        parser.error(f"there is no benchmark {unknown[0]}: choose from {', '.join(benchmarks | named_only)}")
    print(f"{'figure':<58}{'ours':>12}{'baseline':>12}{'ratio':>8}   aim")
    for name in names or benchmarks:
        (benchmarks | named_only)[name]()


def line(figure: str, ours: float, baseline: float | None, aim: str, ratio: float | None = None) -> None:
    """Print one figure."""
    if baseline is not None and ratio is None:
        ratio = ours / baseline
    shown = ["" if value is None else f"{value:,.3f}" for value in (ours, baseline)]
    print(f"{figure:<58}{shown[0]:>12}{shown[1]:>12}{'' if ratio is None else f'{ratio:.2f}':>8}   {aim}", flush=True)


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads, for one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def child_cpu(command: list[str], **environment: str) -> float:
    """CPU seconds of a command and everything it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imports() -> None:
    """What every process pays before it does anything: our definitions against Dagster alone."""
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as home:
        for _ in range(ROUNDS):
            plain.append(child_cpu([sys.executable, "-c", "import dagster"]))
            ours.append(child_cpu([sys.executable, "-c", "import optiinfra_dagster.definitions"], DAGSTER_HOME=home))
    line("import definitions vs import dagster, CPU-s", min(ours), min(plain), "<= 1.2")


@contextmanager
def lab(world: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The cloud lab in a process of its own, so that its CPU is not the collector's; yields the environment to it."""
    import json
    import shlex

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(world, file)
        file.flush()
        command = [sys.executable, "-m", "optiinfra_dagster.lab", "--world", file.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            environment = {}
            for text in process.stdout:
                if text.startswith("#"):
                    break
                name, _, value = text.removeprefix("export ").partition("=")
                environment[name] = shlex.split(value)[0]
            try:
                yield environment
            finally:
                process.terminate()


def account(url: str) -> AwsAccount:
    """The lab's account, entered with long-lived keys."""
    from optiinfra_dagster.config.secrets import Endpoint, Reference
    from optiinfra_dagster.providers.aws.account import AwsAccount

    os.environ.update({"BENCH_KEY": "AKIABENCH0000000001", "BENCH_SECRET": "bench"})
    return AwsAccount(
        account_id=ACCOUNT,
        access_key_id=Reference(env="BENCH_KEY"),
        secret_access_key=Reference(env="BENCH_SECRET"),
        regions=["us-east-1"],
        endpoint_url=Endpoint(url=url),
    )


def collect_series() -> None:
    """The collector, rows included, against boto3's own paginator for the same series of 300 instances."""
    import boto3

    from optiinfra_dagster.providers.aws import inventory, metrics

    fleet = {"kind": "ec2:instance", "region": "us-east-1", "count": 300, "type": "m6i.large", "volumes": 0}
    world = {"aws": {"accounts": [{"id": ACCOUNT, "access_keys": ["AKIABENCH0000000001"], "fleets": [fleet]}]}}
    end = windows.floor(datetime.now(UTC) - timedelta(minutes=5))
    start = end - 2 * windows.WINDOW
    with lab(world) as environment:
        url = environment["OPTIINFRA_LAB_AWS"]
        mine = account(url)
        found = inventory.collect("bench", [mine], Meter()).resources
        client = boto3.client(
            "cloudwatch",
            "us-east-1",
            endpoint_url=url,
            aws_access_key_id="AKIABENCH0000000001",
            aws_secret_access_key="b",
        )
        queries: list[dict[str, Any]] = []
        for instance in found:
            for metric, statistic in [
                ("CPUUtilization", "Average"), ("EBSReadBytes", "Sum"), ("EBSWriteBytes", "Sum"), ("EBSReadOps", "Sum"),
                ("EBSWriteOps", "Sum"), ("NetworkIn", "Sum"), ("NetworkOut", "Sum"), ("StatusCheckFailed", "Average"),
            ]:  # fmt: skip
                dimension = {"Name": "InstanceId", "Value": instance.resource_id.rpartition("/")[2]}
                stat = {
                    "Metric": {"Namespace": "AWS/EC2", "MetricName": metric, "Dimensions": [dimension]},
                    "Period": 300,
                    "Stat": statistic,
                }
                queries.append({"Id": f"m{len(queries)}", "MetricStat": stat})

        def plain() -> None:
            points = 0
            for i in range(0, len(queries), 500):
                pages = client.get_paginator("get_metric_data").paginate(
                    MetricDataQueries=queries[i : i + 500], StartTime=start, EndTime=end
                )
                points += sum(len(result["Values"]) for page in pages for result in page["MetricDataResults"])
            assert points == len(queries) * 6

        def ours() -> None:
            collected = metrics.collect(MetricsRequest("bench", [mine], found, start, end), Meter())
            rows = performance_rows("bench", "aws", collected.series, datetime.now(UTC))
            assert rows.num_rows == len(queries) * 6

        ours()
        plain()
        costs = [(cpu(ours), cpu(plain)) for _ in range(ROUNDS)]
    mine_ms, plain_ms = (min(side) * 1000 / len(queries) for side in zip(*costs, strict=True))
    line(f"CPU-ms per series ({len(queries):,} of 6 points) vs boto3", mine_ms, plain_ms, "<= 1.3")


def inventories() -> None:
    """10,000 machines per cloud in one account: calls at the lab, CPU, and memory, against a plain loop of its SDK."""
    from optiinfra_dagster.lab import LabControl
    from tests.benchmarks import inventories as sides

    for provider, least in sides.LEAST_CALLS.items():
        with lab(sides.world(provider)) as environment:
            url = environment[f"OPTIINFRA_LAB_{provider.upper()}"]
            ours = [sides.measure(provider, "ours", url, environment)]
            calls = LabControl(url).calls()
            plain = [sides.measure(provider, "plain", url, environment)]
            for _ in range(ROUNDS - 1):
                ours.append(sides.measure(provider, "ours", url, environment))
                plain.append(sides.measure(provider, "plain", url, environment))
        assert {side.found for side in (*ours, *plain)} == {sides.COUNT}
        listing = calls.count(operation=sides.LISTING[provider])
        mine, raw = (min(side.cpu for side in sides_) for sides_ in (ours, plain))
        most = [max(side.peak for side in sides_) / 2**20 for sides_ in (ours, plain)]
        line(f"{provider}: calls, {sides.COUNT:,} resources ({listing} of machines)", calls.count(), least, "= least")
        line(f"{provider}: CPU-s for {sides.COUNT:,} resources vs plain SDK", mine, raw, "told")
        line(f"{provider}: peak memory, MiB, vs plain SDK", most[0], most[1], "<= 400 MB")


def performances() -> None:
    """The points of 10,000 machines per cloud: metric calls at the lab, and CPU per series, against the plain SDK."""
    from optiinfra_dagster.lab import LabControl
    from tests.benchmarks import performances as sides

    for provider, least in sides.LEAST_CALLS.items():
        with lab(sides.world(provider)) as environment:
            url = environment[f"OPTIINFRA_LAB_{provider.upper()}"]
            ours = [sides.measure(provider, "ours", url, environment)]
            calls = LabControl(url).calls()
            plain = [sides.measure(provider, "plain", url, environment)]
            for _ in range(ROUNDS - 1):
                ours.append(sides.measure(provider, "ours", url, environment))
                plain.append(sides.measure(provider, "plain", url, environment))
        series = sides.SERIES[provider]
        assert {side.series for side in (*ours, *plain)} == {series}
        mine, raw = (min(side.cpu for side in sides_) * 1000 / series for sides_ in (ours, plain))
        asked = sides.CALL[provider]
        line(f"{provider}: {asked} calls, {series:,} series", calls.count(operation=asked), least, "= least")
        line(f"{provider}: CPU-ms per series, rows included, vs plain SDK", mine, raw, "<= 1.3")


def custodian() -> None:
    """The same series of 60 instances by Cloud Custodian's metrics filter: requests at the lab, CPU of the process."""
    from optiinfra_dagster.lab import LabControl
    from tests.benchmarks import performances as sides

    if (installed := sides.custodian()) is None:
        print("custodian: skipped; install c7n in an environment of its own, and let C7N name its command `custodian`")
        return
    found: dict[str, tuple[int, float]] = {}
    with tempfile.TemporaryDirectory() as name, lab(sides.custodian_world()) as environment:
        url = environment["OPTIINFRA_LAB_AWS"]
        # The collector's own key opens another account.
        keys = {"AWS_ACCESS_KEY_ID": "AKIABENCH0000000001", "AWS_SECRET_ACCESS_KEY": "bench"}
        commands = {
            "ours": sides.command("aws", "ours", url),
            "plain": sides.command("aws", "plain", url),
            "c7n": sides.custodian_command(installed, Path(name)),
        }
        for side, command in commands.items():
            LabControl(url).reset()
            spent = child_cpu(command, **{**environment, **keys})
            found[side] = LabControl(url).calls().count(), spent
        assert sides.custodian_series(Path(name)) == sides.FEW * len(sides.AWS_METRICS)
    figure = f"for {sides.FEW * len(sides.AWS_METRICS)} series of {sides.FEW} instances"
    for side in ("ours", "plain"):
        line(f"requests {figure}, {side} vs c7n", found[side][0], found["c7n"][0], "told")
        line(f"CPU-s {figure}, {side} vs c7n", found[side][1], found["c7n"][1], "told")


def exports() -> None:
    """A generated Cost and Usage Report in Parquet, against a plain scan of the same columns: rows, and memory."""
    from tests.benchmarks import exports as sides

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "cur.snappy.parquet"
        rows = sides.write(path, 1000 if FULL else sides.MEGABYTES)
        found = [[sides.measure(path, side) for side in ("ours", "plain")] for _ in range(1 if FULL else ROUNDS)]
        size = path.stat().st_size
    ours, plain = (min(side.cpu for side in sides_) for sides_ in zip(*found, strict=True))
    most = [max(side.peak for side in sides_) / 1e6 for sides_ in zip(*found, strict=True)]
    line(f"1,000 rows per CPU-s of an export of {size / 1e6:,.0f} MB", rows / ours / 1000, rows / plain / 1000, "told")
    line("peak memory of it, MB", most[0], most[1], "<= 500")


def estimates() -> None:
    """What the demo world's customers are estimated to cost in a day, against the bills of the day."""
    from tests.benchmarks import estimates as demo

    demo.main()


def intervals() -> None:
    """How often the 95 % intervals of LLM quality hold the truth: over rates from 0.01 to 0.5, and of the worst."""
    from tests.benchmarks.intervals import report

    with tempfile.TemporaryDirectory() as folder:
        for figure, mean, least in report(ClickHouse(f"chdb://{folder}/clickhouse"), 2000 if FULL else 200):
            line(f"{figure}, % held, least beside it", 100 * mean, 100 * least, "95 ± 1.5", ratio=None)


def interactions() -> None:
    """A sample of a window's interactions out of one compressed file, against parsing it: lines, and memory."""
    from tests.benchmarks import interactions as sides

    count = 100_000 if FULL else sides.COUNT
    with tempfile.TemporaryDirectory() as name:
        size = sides.write(Path(name), count).stat().st_size
        found = [[sides.measure(Path(name), side) for side in ("ours", "plain")] for _ in range(1 if FULL else ROUNDS)]
    ours, plain = (min(side.cpu for side in sides_) for sides_ in zip(*found, strict=True))
    most = [max(side.peak for side in sides_) / 1e6 for sides_ in zip(*found, strict=True)]
    line(f"CPU-s to sample {count:,} interactions of {size / 1e6:,.0f} MB vs parsing", ours, plain, "told")
    line("peak memory of it, MB", most[0], most[1], "told")


def _rows(customers: range, windows_: list[datetime], resources: int) -> pa.Table:
    """Performance rows like those of a fleet: 6 metrics, 5-minute gauges with a daily shape and two decimals."""
    names = ["cpu_utilization", "disk_read", "disk_write", "network_in", "network_out", "memory_utilization"]
    seconds = np.array([int(w.timestamp()) + 300 * k for w in windows_ for k in range(3)])
    series = [(c, r, m) for c in customers for r in range(resources) for m in range(len(names))]
    noise = np.random.default_rng(7)
    times = np.tile(seconds, len(series))
    owner = np.repeat(np.arange(len(series)), len(seconds))
    values = np.round(50 + 30 * np.sin(times / 13_750 + owner) + noise.normal(0, 3, len(times)), 2)

    def column(words: list[str], of_series: list[int]) -> pa.DictionaryArray:
        codes = np.asarray(of_series, dtype=np.int32)[owner]
        return pa.DictionaryArray.from_arrays(pa.array(codes), words)

    def constant(word: str) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(times), np.int32)), [word])

    first = customers.start
    fleet = [(c, r) for c in customers for r in range(resources)]
    ids = [f"arn:aws:ec2:us-east-1:{100000000000 + c}:instance/i-{c:08x}{r:09x}" for c, r in fleet]
    of_resource = [(c - first) * resources + r for c, r, _ in series]
    columns: dict[str, Any] = {
        "timestamp": pa.array(times).cast(schema.TIME),
        "window_start": pa.array(times - times % 900).cast(schema.TIME),
        "customer_id": column([f"customer-{c:03d}" for c in customers], [c - first for c, _, _ in series]),
        "provider": constant("aws"),
        "metric_type": column(["cpu", "disk", "network", "memory"], [[0, 1, 1, 2, 2, 3][m] for *_, m in series]),
        "resource_id": column(ids, of_resource),
        "instance_uid": constant(""),
        "resource_name": column([f"web-{i:05d}" for i in range(len(ids))], of_resource),
        "resource_type": constant("compute"),
        "region": constant("us-east-1"),
        "metric_name": column(names, [m for *_, m in series]),
        "statistic": constant("average"),
        "period_seconds": pa.array(np.full(len(times), 300, np.uint32)),
        "metric_value": pa.array(values),
        "unit": column(["percent", "bytes/s"], [[0, 1, 1, 1, 1, 0][m] for *_, m in series]),
        "workload_type": constant(""),
        "metadata": constant("{}"),
        "collected_at": pa.array(times - times % 900 + 1200).cast(schema.TIME),
    }
    return pa.table([columns[f.name] for f in schema.PERFORMANCE.schema], schema=schema.PERFORMANCE.schema)


def insert_rows() -> None:
    """The slice protocol, all steps, against a bare insert of the same Arrow table."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    day = windows.span(start, start + 95 * windows.WINDOW)
    rows = _rows(range(20), day, 8)
    with tempfile.TemporaryDirectory() as folder:
        clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
        lot = [
            SliceResult(
                f"customer-{c:03d}", "aws", day, SliceStatus.OK, arrow.of_slice(rows, f"customer-{c:03d}", "aws")
            )
            for c in range(20)
        ]
        with clickhouse.session() as client:
            client.command("CREATE TABLE plain AS performance_metrics")
            batch = rows.append_column("batch", pa.repeat(pa.scalar(1, pa.uint64()), rows.num_rows))
            ours, plain = [], []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                client.insert_arrow("plain", batch)
                plain.append(time.perf_counter() - began)
                client.command("TRUNCATE TABLE performance_metrics")
                client.command("TRUNCATE TABLE metric_batches")
                began = time.perf_counter()
                Writer(clickhouse, schema.PERFORMANCE).flush(lot)
                ours.append(time.perf_counter() - began)
    mine, raw = rows.num_rows / min(ours), rows.num_rows / min(plain)
    line(f"rows/s into ClickHouse ({rows.num_rows:,} rows, 1,920 slices)", mine, raw, ">= 0.7 of insert_arrow")


def bytes_per_row() -> None:
    """10 million rows of 200 customers, written window by window as collections do, merged as ClickHouse does."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
        writer = Writer(clickhouse, schema.PERFORMANCE)
        written, block = 0, 0
        while written < 10_000_000:
            some = windows.span(start + block * 24 * windows.WINDOW, start + (block * 24 + 23) * windows.WINDOW)
            rows = _rows(range(200), some, 4)
            lot = [
                SliceResult(
                    f"customer-{c:03d}", "aws", some, SliceStatus.OK, arrow.of_slice(rows, f"customer-{c:03d}", "aws")
                )
                for c in range(200)
            ]
            written += writer.flush(lot).rows_written
            block += 1
        with clickhouse.session() as client:
            client.command("OPTIMIZE TABLE performance_metrics FINAL")  # what the merges of a few hours do
            stored, count = client.query(
                "SELECT sum(data_compressed_bytes), sum(rows) FROM system.parts "
                "WHERE active AND database = currentDatabase() AND table = 'performance_metrics'"
            ).result_rows[0]
    line(f"bytes per row, {count:,} rows", stored / count, None, "<= 4.0")


def trends() -> None:
    """The trends of an hour, from 60 days of rollups of 1,000 machines with 7 metrics each."""
    from tests.benchmarks import trends as rollups

    hour = windows.floor_to(timedelta(days=1), datetime.now(UTC)) - timedelta(hours=3)
    with tempfile.TemporaryDirectory() as folder:
        clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
        with clickhouse.session() as client:
            read = rollups.fill(client, 1000, hour)
            for table in ("performance_hourly", "performance_daily"):
                client.command(f"OPTIMIZE TABLE {table} FINAL")  # what the merges of a few hours do
            size = sum(rollups.bytes_of_day(client).values())
        costs = [cpu(lambda: rollups.refresh(clickhouse, hour)) for _ in range(ROUNDS)]
    line("bytes of the rollups of a series and day", size, None, "<= 1,000")
    line(f"CPU-s of trends from {read:,} rollups, all threads", min(costs), None, "<= 5")


def history() -> None:
    """The readers of a window beside ten times as much history in the same month."""
    from tests.benchmarks import history as months

    found = {}
    for days in (3, 30):
        with tempfile.TemporaryDirectory() as folder:
            clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
            with clickhouse.session():
                rows = months.fill(clickhouse, days)
                found[days] = min(months.refresh(clickhouse) for _ in range(ROUNDS)), rows
    (few, before), (many, rows) = found[3], found[30]
    line(f"CPU-s of 7 readers, {rows / 1e6:.0f} M points beside {before / 1e6:.0f} M", many, few, "<= 1.2")


def cost_readers() -> None:
    """The cost readers of a window late in a month, with a month, and eight, of estimates and bills."""
    from tests.benchmarks import cost_readers as costs

    for days in (30, 240) if FULL else (30, 90):
        with tempfile.TemporaryDirectory() as folder:
            clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
            with clickhouse.session():
                rows = costs.fill(clickhouse, days)
                costs.refresh(clickhouse)  # the rollups of all days before, once
                rounds = [(sum(costs.refresh(clickhouse).values()), costs.plain(clickhouse)) for _ in range(ROUNDS)]
        ours, plain = (min(side) for side in zip(*rounds, strict=True))
        line(f"CPU-s of the cost readers, {rows:,} rows, all threads", ours, plain, "flat; <= 3")


def outlook() -> None:
    """Forecasts of months that are over beside what they cost and the naive ones, and what one refresh costs."""
    from tests.benchmarks import outlook as replayed

    with tempfile.TemporaryDirectory() as folder:
        clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
        with clickhouse.session() as client:
            replayed.keep_all_years(client)
            days = range(1, 32) if FULL else (3, 10, 20, 28)
            told = [
                said for month in replayed.MONTHS for said in replayed.replay(client, replayed.REPLAYED, month, days)
            ]
            print(replayed.table(told))
            for scope, aim in (("account", "<= a third"), ("service", "<= half")):
                of = [said for said in told if said.scope == scope]
                tenth = replayed.figures(said for said in of if said.day == 10)
                line(f"middle error on the 10th, {scope}s, %", 100 * tenth["error"], 100 * tenth["naive"], aim)
            judged = replayed.replay_in_python(replayed.JUDGED_BY, replayed.MONTHS, [10])
            for scope in ("account", "service"):
                held = 100 * replayed.figures(said for said in judged if said.scope == scope)["held"]
                line(f"months in the 90 % interval on the 10th, {scope}s, %", held, None, "85 to 95")
            today = replayed.MONTHS[0].replace(day=31)
            for resources in (100, 10_000):
                replayed.fill(client, today, resources, 90)
                spent = min(cpu(lambda: replayed.compute(client, today)) for _ in range(ROUNDS))
                line(f"CPU-s of the outlook of {resources:,} resources x 90 days", spent, None, "<= 3")


def alarm() -> None:
    """False alarms and power of the alarm on LLM quality, beside two other rules."""
    from tests.benchmarks import alarm as simulated

    for text in simulated.lines(20_000 if FULL else 2_000):
        print(text, flush=True)


def reading() -> None:
    """`optiinfra read` of a million points as CSV and JSON, and of the newest as a table, beside the engine alone."""
    from tests.benchmarks import reading as rows

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rows.fill(home, 1_000_000)
        for format_, aim in (("csv", "<= 4"), ("json", "<= 4"), ("table", "<= 0.8")):
            sides = [(rows.measure(home, "ours", format_), rows.measure(home, "plain", format_)) for _ in range(ROUNDS)]
            ours, plain = ([of_round[place] for of_round in sides] for place in (0, 1))
            cpus = min(side.cpu for side in ours), min(side.cpu for side in plain)
            line(f"CPU-s of read as {format_}, all of the process", *cpus, aim)
            peaks = min(side.peak for side in ours) / 2**20, min(side.peak for side in plain) / 2**20
            line(f"peak memory of read as {format_}, MiB", *peaks, "<= 400")


def replacing() -> None:
    """Wrong reads of a slice that is replaced meanwhile: beside Dagster's IO manager for ClickHouse."""
    from tests.benchmarks.replacing import measure

    found = {(of.place, of.loader): of.seen for of in measure(50)}
    for (place, loader), ours in found.items():
        if loader == "ours":
            theirs = found[place, "dagster-clickhouse"]
            line(f"{place}: % of reads wrong", 100 * ours.share_wrong, 100 * theirs.share_wrong, "0")
            line(f"{place}: replacing a slice, ms", ours.p50, theirs.p50, "told")


def as_of() -> None:
    """A day of which every slice has a superseded version, and ten of them, beside one that has none."""
    from tests.benchmarks.as_of import measured

    plain, costs = measured(0)
    for superseded in (1, 10):
        size, found = measured(superseded)
        line(f"bytes of a day, {superseded} superseded of each slice", size, plain, "told")
        for name, ours in found.items():
            line(f"CPU-s of {name}, {superseded} superseded of each slice", ours, costs[name], "<= 1.2")


def growth() -> None:
    """An installation that was left alone: its nights, ticks, pages and disk, on SQLite and on PostgreSQL."""
    from tests.benchmarks import growth as grown
    from tests.support import postgres

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,  # the embedded engine is open to the end
        grown.recorded(Path(folder) / "recorded") as recording,
    ):
        for figure in grown.Growth(recording, Path(folder) / "sqlite").figures():
            line(f"SQLite: {figure.says}", figure.value, figure.baseline, figure.aim)
        if postgres.programs():
            with postgres.running() as server:
                for figure in grown.Growth(recording, Path(folder) / "postgres", server).figures():
                    line(f"PostgreSQL: {figure.says}", figure.value, figure.baseline, figure.aim)


def soak() -> None:
    """Hours of a moved clock while things break."""
    from tests.benchmarks.soak import soak as run

    run()


def fixed_cost_of_a_window() -> None:
    """One provider's run and the readers' run of a window without resources, each in a process of its own."""
    worker = [sys.executable, "-m", "tests.benchmarks.run_worker"]
    world = {"aws": {"accounts": [{"id": ACCOUNT, "access_keys": ["AKIABENCH0000000001"]}]}}
    with tempfile.TemporaryDirectory() as home, lab(world) as of_lab:
        customers = Path(home) / "customers.yaml"
        customers.write_text(
            "customers:\n  - id: bench\n    name: Bench\n    aws:\n      - account_id: '123456789012'\n"
            "        access_key_id: {env: BENCH_KEY}\n        secret_access_key: {env: BENCH_SECRET}\n"
            f"        regions: [us-east-1]\n        endpoint_url: {of_lab['OPTIINFRA_LAB_AWS']}\n"
        )
        environment = {
            "DAGSTER_HOME": home, "OPTIINFRA_CUSTOMERS": str(customers), "OPTIINFRA_SNAPSHOT_GRACE_MINUTES": "120",
            "BENCH_KEY": "AKIABENCH0000000001", "BENCH_SECRET": "bench",
        }  # fmt: skip
        window = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=5))
        costs = []
        for back in range(3):
            key = windows.key(window - back * windows.WINDOW)
            costs.append(sum(child_cpu([*worker, job, key], **environment) for job in ("aws_collection", "readers")))
    # The first pair also creates the databases.
    line("fixed CPU-s of a window: a provider's run and the readers'", min(costs[1:]), None, "<= 15")


if __name__ == "__main__":
    main()
