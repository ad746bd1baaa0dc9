"""Data Exports of AWS in S3: which of their files state what was charged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Bill, BillRequest, Source
from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.billing.exports.reader import read_export
from optiinfra_dagster.providers.object_storage.s3 import S3
from optiinfra_dagster.providers.parsing import ODD

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount
    from optiinfra_dagster.providers.aws.client import Account
    from optiinfra_dagster.providers.object_storage.store import File

_DAY = timedelta(days=1)

# prefix/name/metadata/BILLING_PERIOD=2026-11/(execution/)name-Manifest.json, written when all data files are there:
# https://docs.aws.amazon.com/cur/latest/userguide/dataexports-export-delivery.html
_MANIFEST = re.compile(r"(.*/)?metadata/billing_period=(20\d\d-(?:0[1-9]|1[0-2]))/.*Manifest\.json", re.IGNORECASE)


@dataclass(frozen=True)
class _Export:
    """A Data Export in a bucket."""

    place: str  # s3://bucket/prefix
    store: S3

    @classmethod
    def of(cls, place: str, account: Account, meter: Meter, until: float) -> _Export:
        """The export below `place`, read as an account; nothing is sent from `until` on."""
        lend = partial(account.call, "s3", account.home_region, meter, until=until)
        bucket = place.removeprefix("s3://").partition("/")[0]
        return cls(place, S3(bucket, lend, "cost_export", account.partition))

    def listed(self) -> dict[str, File]:
        """Every object of the export by its key."""
        prefix = self.place.removeprefix("s3://").partition("/")[2]
        pages = self.store.pages(f"{prefix}/" if prefix else "")
        return {file.key: file for page in pages for file in page.files}

    def manifests(self, objects: Mapping[str, File]) -> dict[date, File]:
        """The newest manifest by the first day of its month; CloudError where there is none, or of several exports."""
        newest: dict[date, File] = {}
        exports = set[str]()
        for key, file in objects.items():
            if match := _MANIFEST.fullmatch(key):
                exports.add(match[1] or "")
                month = date.fromisoformat(f"{match[2]}-01")
                if month not in newest or newest[month].modified < file.modified:
                    newest[month] = file
        if len(exports) != 1:
            names = ", ".join(sorted(name.rstrip("/") for name in exports))
            what = f"holds several exports: {names}" if exports else "holds no Data Export (a Manifest.json)"
            text = f"{self.place} {what}. Write s3://bucket/prefix/name of one of CUR 2.0 or FOCUS as cost_export"
            raise CloudError(Cause.CONFIG, text)
        return newest

    def files(self, manifest: File, objects: Mapping[str, File]) -> list[ExportFile]:
        """The data files that a manifest lists."""
        with self.store.open(manifest) as stream:
            text = stream.read()
        try:
            keys = [str(name).removeprefix(f"{self.store.place}/") for name in json.loads(text).get("dataFiles") or ()]
        except ODD as error:
            what = f"{self.place}: {manifest.key} is not a manifest of AWS ({type(error).__name__})"
            raise CloudError(Cause.BUG, what) from None
        if missing := [key for key in keys if key not in objects]:
            what = f"{self.place}: the manifest lists {missing[0]}, which is not there. {LATER}"
            raise CloudError(Cause.INCOMPLETE, what)
        return [
            ExportFile(f"{self.store.place}/{key}", objects[key].size, partial(self.store.open, objects[key]))
            for key in keys
        ]


def try_export(config: AwsAccount, account: Account, meter: Meter, until: float) -> None:
    """Find the newest manifest of an account's export and read it. CloudError where that cannot be."""
    export = _Export.of(config.cost_export or "", account, meter, until)
    objects = export.listed()
    export.files(max(export.manifests(objects).items())[1], objects)


def read(
    request: BillRequest[AwsAccount], source: Source[AwsAccount], account: Account, meter: Meter, until: float
) -> Bill:
    """The months of an export that were written since they were last read; a day is whole in one written after it."""
    export = _Export.of(source.account.cost_export or "", account, meter, until)
    last_read = request.read_at.get(source.id)
    objects = export.listed()
    bill = Bill(read={source.id: []})
    for month, manifest in sorted(export.manifests(objects).items()):
        written = manifest.modified.astimezone(UTC)
        first = max(request.first, month)
        last = min(request.last, (month + timedelta(days=31)).replace(day=1) - _DAY, written.date() - _DAY)
        if first > last or (last_read is not None and written <= last_read):
            continue
        files = export.files(manifest, objects)
        part = read_export(
            files,
            source_id=source.id,
            first=first,
            last=last,
            resources=request.resources,
            provider_names=("aws", "amazon"),
        )
        bill.merge(part)
    return bill
