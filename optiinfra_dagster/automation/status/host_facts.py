"""Facts of this host and of ClickHouse: customers file, migrations, who holds the engine, the disk, DAGSTER_HOME."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from optiinfra_dagster.automation.status.items import Item, Kind, Part, Section, State, Trouble, section, unread
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.model.text import ago, counted
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage import migrations, reader_tables
from optiinfra_dagster.storage.embedded import holder

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

MOST_FILES = 50_000  # of DAGSTER_HOME that are looked at, in about 0.3 CPU-s
LITTLE_SPACE = 1 << 30  # bytes: a day of runs and some merges of ClickHouse
LITTLE_SHARE = 0.05  # of a disk; ClickHouse merges need room beside what is there
HOUSEKEEPING_EVERY = timedelta(days=2)  # every night, and one that failed is made good by the next


def customers_file(settings: Settings) -> tuple[Section, tuple[Customer, ...] | None]:
    """The item of the customers file, and its customers; None where it cannot be used."""
    try:
        customers = load_customers(settings.customers_path)
    except OptiInfraError as error:
        lines = str(error).splitlines()
        more = f" (and {len(lines) - 1:,} more lines)" if len(lines) > 1 else ""
        trouble = Trouble(Kind.CUSTOMERS_FILE, text=f"The customers file cannot be used: {lines[0]}{more}")
        return unread(Item.CUSTOMERS_FILE, f"{lines[0]}{more}", troubles=[trouble]), None
    paused = sum(customer.paused for customer in customers)
    text = f"valid, {counted(len(customers), 'customer')}{f', {paused:,} of them paused' if paused else ''}"
    changed = file_changed(settings)
    when = f", changed {changed:%Y-%m-%dT%H:%MZ}" if changed else ""
    return Section(Item.CUSTOMERS_FILE, State.OK, f"{text}{when}: {settings.customers_path}"), customers


def file_changed(settings: Settings) -> datetime | None:
    """When the customers file was changed; None where that cannot be told."""
    try:
        return datetime.fromtimestamp(settings.customers_path.stat().st_mtime, UTC)
    except (OSError, ValueError):
        return None


def clickhouse_lost(clickhouse: ClickHouse, reason: str) -> Section:
    """ClickHouse that cannot be used, with who holds an embedded engine."""
    text = reason.splitlines()[0] if reason else "it does not say why"
    by = holder(clickhouse.path) if clickhouse.path else ""
    parts = [Part(State.RED, "", text)] + ([Part(State.RED, "its lock", f"held by {by}")] if by else [])
    return section(Item.CLICKHOUSE, parts, "", troubles=[Trouble(Kind.CLICKHOUSE, text=text)])


def clickhouse_state(client: Client, clickhouse: ClickHouse) -> tuple[Section, bool]:
    """The item of a ClickHouse that answers, and whether it has every table of this version, so that it can be read."""
    applied = migrations.status(client)
    pending = [migration.name for migration, done in applied if not done]
    pending += [] if pending else [reader.table for reader in reader_tables.missing(client)]
    if pending:
        what = f"{counted(len(pending), 'migration')} not applied, the first is {pending[0]}. Run `optiinfra migrate`"
        part = Part(State.RED, "", f"{clickhouse.place}: {what}")
        trouble = Trouble(Kind.CLICKHOUSE, cause="pending", text=f"ClickHouse: {what}.")
        return section(Item.CLICKHOUSE, [part], "", troubles=[trouble]), False
    by = migrations.lock_holder(client)
    parts = [Part(State.WARN, "its lock", f"a migration holds it until {by}")] if by else []
    text = f"reachable at {clickhouse.place}, {len(applied)} migrations applied, nobody holds the lock"
    return section(Item.CLICKHOUSE, parts, text), True


def disk(
    settings: Settings,
    clickhouse: ClickHouse,
    housekeeping: tuple[datetime, bool] | None,
    now: datetime,
    *,
    with_parts: bool,
) -> Section:
    """Free space where DAGSTER_HOME and an embedded engine are; with parts, what DAGSTER_HOME holds."""
    home = settings.dagster_home
    if not home.is_dir():
        what = "is no folder" if home.exists() else "does not exist"
        return unread(
            Item.DISK, f"DAGSTER_HOME {home} {what}. Run `optiinfra run`, or set DAGSTER_HOME to another folder"
        )
    parts, troubles, free_texts = [], [], []
    places = {home: "DAGSTER_HOME"}
    if clickhouse.path and clickhouse.path.is_dir() and clickhouse.path.stat().st_dev != home.stat().st_dev:
        places[clickhouse.path] = "ClickHouse"
    for place, name in places.items():
        usage = shutil.disk_usage(place)
        free = f"{_size(usage.free)} free of {_size(usage.total)}"
        free_texts.append(f"{free} for {name}")
        little = usage.free < max(LITTLE_SPACE, min(LITTLE_SHARE * usage.total, 10 * LITTLE_SPACE))
        parts.append(Part(State.RED if little else State.OK, name, free + (". Free some space" if little else "")))
        if little:
            troubles.append(Trouble(Kind.DISK, subject=name, text=f"Only {free} for {name}. Free some space."))
    if with_parts:
        parts += [Part(State.OK, name, text) for name, text in _sizes(home)]
    parts.append(_housekeeping(housekeeping, home, now))
    return section(Item.DISK, parts, "; ".join([*free_texts, parts[-1].text]), troubles=troubles)


def _housekeeping(last: tuple[datetime, bool] | None, home: Path, now: datetime) -> Part:
    if last is None:
        begun = (
            datetime.fromtimestamp((home / "dagster.yaml").stat().st_mtime, UTC)
            if (home / "dagster.yaml").exists()
            else now
        )
        late = now - begun > HOUSEKEEPING_EVERY
        text = "no housekeeping yet" + (
            ". Start a Dagster daemon, or Dagster's state grows without end" if late else ""
        )
        return Part(State.WARN if late else State.OK, "housekeeping", text)
    ended, well = last
    text = f"last housekeeping {ago(now - ended)} ago"
    if not well:
        return Part(State.RED, "housekeeping", f"{text}, and it failed. See its run in Dagster's UI")
    return Part(State.WARN if now - ended > HOUSEKEEPING_EVERY else State.OK, "housekeeping", text)


def _sizes(home: Path) -> Sequence[tuple[str, str]]:
    """The size of each entry of a folder, the largest first; of folders with very many files, at least so much."""
    sizes: dict[str, int] = {}
    seen = 0
    for entry in sorted(home.iterdir()):
        sizes[entry.name], files = _bytes_below(entry, MOST_FILES - seen)
        seen += files
    at_least = "at least " if seen >= MOST_FILES else ""
    largest = sorted(sizes.items(), key=lambda item: -item[1])
    return [(name, f"{at_least}{_size(size)}") for name, size in largest[:12]]


def _bytes_below(place: Path, most_files: int) -> tuple[int, int]:
    """The bytes on disk of a file, or of up to so many files in and below a folder; and how many were looked at."""
    folders, size, seen = [place], 0, 0
    while folders and seen < most_files:
        folder = folders.pop()
        with suppress(OSError):  # it went away, or may not be read
            if folder.is_symlink() or not folder.is_dir():
                size += folder.lstat().st_blocks * 512
                seen += 1
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
    return size, seen


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "B" else f"{size:.0f} B"
        size /= 1000
    return f"{size:,.3g} TB" if size < 1000 else f"{size:,.0f} TB"
