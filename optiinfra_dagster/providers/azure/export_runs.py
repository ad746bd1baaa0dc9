"""The runs of Cost Management's exports: which of their files state a day now.

An export writes <export>/<days>/<run>/<part> and, when all parts are there, manifest.json beside them; where it does
not split its files, <export>/<days>/<export>_<run>.csv. Every run states its days anew.
https://learn.microsoft.com/azure/cost-management-billing/costs/tutorial-improved-exports
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeAlias

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.object_storage.store import File, GoneError
from optiinfra_dagster.providers.parsing import ODD, Item, as_datetime, as_dict, as_dicts, as_int, as_text

ReadManifest: TypeAlias = Callable[[File], Item]
"""Reads a manifest; a GoneError where it is no longer there."""

_WRITTEN = re.compile(r"(?P<folder>(?:.*/)?)(?P<first>\d{8})-(?P<last>\d{8})/(?P<run>(?:.*/)?)(?P<name>[^/]+)")
_OF_RUN = re.compile(r"(.*?)[_-]?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}).*", re.IGNORECASE)
_NO_COSTS = ("pricesheet", "reservation")  # what the types of exports begin with that state other things


@dataclass(frozen=True)
class Run:
    """The files that a run of an export has written of a range of days, as they were listed.

    `folder` is that of the export, and `name` that of the run below the range, or what names it in its files.
    """

    folder: str
    first: date
    last: date
    name: str
    files: tuple[File, ...]

    @property
    def path(self) -> str:
        """The run for messages."""
        return f"{self.folder}{self.first:%Y%m%d}-{self.last:%Y%m%d}/{self.name}".rstrip("/")

    @property
    def manifest(self) -> File | None:
        """The manifest that tells its parts, where it has been written."""
        return next(filter(_is_manifest, self.files), None)

    @property
    def parts(self) -> list[File]:
        """Every file but the manifest."""
        return [file for file in self.files if not _is_manifest(file)]

    @property
    def written(self) -> datetime:
        """The time of its newest file."""
        return max(file.modified for file in self.files)

    def days(self, wanted: Collection[date]) -> list[date]:
        """Those of the wanted days that it states."""
        return sorted(day for day in wanted if self.first <= day <= self.last)


@dataclass(frozen=True)
class Statement:
    """A run as its manifest tells it. `lacks` is empty where it is complete; `named` names the export, maybe not."""

    run: Run
    named: str
    kind: str
    at: datetime
    parts: tuple[File, ...]
    lacks: str = ""

    @property
    def files(self) -> list[File]:
        """All that it is told by."""
        return [*self.parts, *((self.run.manifest,) if self.run.manifest else ())]


@dataclass
class Choice:
    """The runs that count, with the days that each is read for, and why the days of others cannot be read."""

    days: list[tuple[Statement, list[date]]] = field(default_factory=list)
    problems: list[tuple[str, list[date]]] = field(default_factory=list)


def runs_of(files: Iterable[File]) -> tuple[list[Run], list[File]]:
    """The runs that have written these files, and the files that are in no folder of a range of days."""
    loose = list[File]()
    found: dict[tuple[str, date, date, str], list[File]] = {}
    for file in files:
        written = _WRITTEN.fullmatch(file.key)
        try:
            days = [date.fromisoformat(written[end]) for end in ("first", "last")] if written else []
        except ValueError:
            days = []
        if written is None or not days:
            loose.append(file)
            continue
        folder, run = written["folder"], written["run"]
        of_run = _OF_RUN.fullmatch(written["name"])
        if of_run and not run:
            run = of_run[2].lower()
            export = of_run[1].casefold()
            if export and not export.startswith("part") and not f"/{folder}".casefold().endswith(f"/{export}/"):
                folder += f"{export}/"  # a file that was put beside those of another export
        found.setdefault((folder, days[0], days[1], run), []).append(file)
    return [Run(*place, tuple(of_run)) for place, of_run in sorted(found.items())], loose


def choose(runs: Sequence[Run], read_manifest: ReadManifest, days: Collection[date]) -> Choice:
    """The newest complete run for each of the days.

    Raises:
        CloudError: different exports state one month, or there are only exports of other things than costs.
    """
    first_manifest: dict[str, datetime] = {}
    for run in runs:
        if run.manifest:
            first_manifest[run.folder] = min(run.manifest.modified, first_manifest.get(run.folder, run.written))
    told = [_told(run, read_manifest, first_manifest.get(run.folder)) for run in runs if run.days(days)]
    kinds = {one.run.folder: one.kind for one in told if one.kind}
    costs = [one for one in told if not (one.kind or kinds.get(one.run.folder, "")).casefold().startswith(_NO_COSTS)]
    if told and not costs:
        what = f"{told[0].run.folder.rstrip('/')} is an export of {kinds[told[0].run.folder]}, which states no costs"
        raise CloudError(
            Cause.CONFIG, f"{what}. Write the folder of an export of FocusCost or ActualCost as cost_export"
        )
    exports = _by_export(costs)
    _refuse_two_of_a_month(exports, days)
    choice = Choice()
    for statements in exports.values():
        left, lacking = set(days), list[Statement]()
        for one in sorted(statements, key=lambda one: (one.at, one.run.name), reverse=True):
            if one.lacks:
                lacking.append(one)
            elif mine := one.run.days(left):
                choice.days.append((one, mine))
                left -= set(mine)
        if late := next((one for one in lacking if one.run.days(left)), None):
            text = (
                f"{late.run.path} lacks {late.lacks}, and no other run states all of its days: what it alone states is "
                "not read. If it stays so, run the export again in Cost Management"
            )
            choice.problems.append((text, late.run.days(left)))
    return choice


def _told(run: Run, read_manifest: ReadManifest, first_manifest: datetime | None) -> Statement:
    """What a run's manifest tells of it. The parts of a run without one are what is there."""
    parts = tuple(run.parts)
    if run.manifest is None:
        # Where an export writes manifests, a run without one is not at its end yet, unless it is a file that names it.
        one_file = bool(run.name) and not run.name.endswith("/")
        late = first_manifest is not None and run.written >= first_manifest and not one_file
        return Statement(run, "", "", run.written, parts, "manifest.json" if late else "")
    try:
        manifest = read_manifest(run.manifest)
        listed = {
            _last_name(as_text(blob["blobName"])): as_int(blob.get("byteCount"))
            for blob in as_dicts(manifest.get("blobs"))
        }
    except GoneError:
        return Statement(run, "", "", run.written, (), "manifest.json, which was replaced or removed")
    except ODD:
        return Statement(run, "", "", run.written, (), "a manifest.json that can be read")
    there = {_last_name(part.key): part for part in parts}
    count = as_int(manifest.get("blobCount"))
    lacks = "" if listed or there else "any part"
    if count is not None and count != len(listed or there):
        lacks = f"{count - len(listed or there)} of its {count} parts"
    for name, size in listed.items():
        if name not in there:
            lacks = name
        elif size is not None and size != there[name].size:
            lacks = f"a part of {name}, which has {there[name].size:,} bytes and should have {size:,}"
    config, info = as_dict(manifest, "exportConfig"), as_dict(manifest, "runInfo")
    name = as_text(config.get("resourceId")).lower() or as_text(config.get("exportName"))
    at = as_datetime(info.get("submittedTime")) or run.written
    chosen = tuple(there[name] for name in listed or there if name in there)
    return Statement(run, name, as_text(config.get("type")), at, chosen, lacks)


def _by_export(statements: Iterable[Statement]) -> Mapping[str, list[Statement]]:
    """The runs of each export, which their manifests name; else it is that of the other runs in its folder."""
    statements = list(statements)
    names: dict[str, set[str]] = {}
    for one in statements:
        names.setdefault(one.run.folder, set()).update({one.named} - {""})
    found: dict[str, list[Statement]] = {}
    for one in statements:
        named = one.named or (min(names[one.run.folder]) if len(names[one.run.folder]) == 1 else "")
        name = named if "/" in named else f"{one.run.folder}{named}"
        found.setdefault(name, []).append(one)
    return found


def _refuse_two_of_a_month(exports: Mapping[str, Sequence[Statement]], days: Collection[date]) -> None:
    state: dict[date, dict[str, Statement]] = {}
    for name, statements in exports.items():
        for one in statements:
            # What has no manifest yet may be of anything: where it counts, other runs of its export do too.
            for day in one.run.days(days) if one.named or not one.lacks else ():
                state.setdefault(day.replace(day=1), {})[name] = one
    for month, of_month in sorted(state.items()):
        if len(of_month) > 1:
            labels = " and ".join(sorted(_label(one) for one in of_month.values()))
            raise CloudError(
                Cause.CONFIG,
                f"{labels} state {month:%Y-%m} each: its costs would be counted twice. Keep one of them there, or "
                "write the folder of one as cost_export",
            )


def _label(one: Statement) -> str:
    told = ", ".join(filter(None, (_last_name(one.named), one.kind)))
    return one.run.folder.rstrip("/") + (f" ({told})" if told else "")


def unambiguous(loose: Sequence[File]) -> list[File]:
    """The files that no export has put into folders of ranges: all of them state what was charged.

    Raises:
        CloudError: two of them are of two runs of one export.
    """
    runs: dict[str, tuple[str, File]] = {}
    for file in loose:
        folder, _, name = file.key.rpartition("/")
        if of_run := _OF_RUN.fullmatch(name):
            run, before = runs.setdefault(f"{folder}/{of_run[1]}", (of_run[2], file))
            if run != of_run[2]:
                text = f"{before.key} and {file.key} are of two runs of one export, and no folder tells of which days"
                raise CloudError(
                    Cause.CONFIG,
                    f"{text}. Name the folder that the export writes to as cost_export, or keep one of them",
                )
    return [file for file in loose if not _is_manifest(file)]


def _is_manifest(file: File) -> bool:
    return file.key.endswith("manifest.json")


def _last_name(path: str) -> str:
    return path.rpartition("/")[2]
