"""Exports of Cost Management: which files of a folder in blob storage state what was charged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.billing.exports.reader import read_export
from optiinfra_dagster.providers.object_storage.azure_blob import AzureBlob
from optiinfra_dagster.providers.object_storage.store import File

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Bill, BillRequest, Source
    from optiinfra_dagster.providers.azure.account import AzureAccount
    from optiinfra_dagster.providers.azure.client import Principal

# Below its folder, an export writes <range>/<run>/<part>, or <range>/<part> where it overwrites what it wrote before.
_WRITTEN = re.compile(r"(?P<export>(?:.*/)?)(?P<first>\d{8})-(?P<last>\d{8})/(?P<run>(?:.*/)?)[^/]+")


def read(principal: Principal, source: Source[AzureAccount], request: BillRequest[AzureAccount]) -> Bill:
    """The bill that an export in blob storage tells. Only inside of `calling`.

    Raises:
        CloudError: the export cannot be listed, or there is none.
    """
    return read_export(
        files(principal, source, request.first, request.last),
        source_id=source.id,
        first=request.first,
        last=request.last,
        resources=request.resources,
        provider_names=("microsoft", "azure"),
    )


def files(principal: Principal, source: Source[AzureAccount], first: date, last: date) -> list[ExportFile]:
    """The files of the export that state the days from `first` to `last`."""
    host, container, *folder = source.id.split("/", 2)
    prefix = f"{folder[0]}/" if folder else ""
    store = AzureBlob(host, container, lambda _operation: nullcontext(principal), "cost_export")
    files = newest_runs([file for page in store.pages(prefix) for file in page.files], first, last)
    if not files:
        raise CloudError(
            Cause.CONFIG,
            f"no export of {first} to {last} is below {source.id}. Correct cost_export in the customers file, or run "
            "the export in Cost Management",
        )
    return [ExportFile(file.key, file.size, partial(store.open, file)) for file in files]


def newest_runs(files: Sequence[File], first: date, last: date) -> list[File]:
    """The files that state the days from `first` to `last` now.

    An export states a month anew with every run: of each range of days, the newest run counts that is complete, which
    its manifest.json shows where it writes one. Files that no export has put into folders of ranges are all taken.
    """
    loose = list[File]()
    runs: dict[tuple[str, str, str], dict[str, list[File]]] = {}
    for file in files:
        written = _WRITTEN.fullmatch(file.key)
        if written is None:
            loose.append(file)
        elif written["first"] <= f"{last:%Y%m%d}" and written["last"] >= f"{first:%Y%m%d}":
            place = written["export"], written["first"], written["last"]
            runs.setdefault(place, {}).setdefault(written["run"], []).append(file)
    chosen, before = list[File](), ("", "", "")
    for place, of_place in sorted(runs.items()):
        if place[0] == before[0] and place[1] <= before[2]:
            what = f"{place[0]} holds {'-'.join(before[1:])} and {'-'.join(place[1:])}"
            raise CloudError(
                Cause.CONFIG,
                f"{what}: the same days would be counted twice. Keep one range of them, or name a folder of its own",
            )
        before = place
        complete = {run: of_run for run, of_run in of_place.items() if any(map(_is_manifest, of_run))}
        chosen += max((complete or of_place).values(), key=_newest)
    return [file for file in chosen or loose if not _is_manifest(file)]


def _newest(files: Iterable[File]) -> tuple[datetime, str]:
    return max((file.modified, file.key) for file in files)


def _is_manifest(file: File) -> bool:
    return file.key.endswith("manifest.json")
