"""Exports of AWS in S3, read in place of Cost Explorer: which of their files state what was charged.

A Data Export (CUR 2.0 or FOCUS) or a Cost and Usage Report of before states a month anew several times a day, in the
files that a new manifest names; the files of before are overwritten or stay. The manifest is written last.
https://docs.aws.amazon.com/cur/latest/userguide/dataexports-export-delivery.html and
https://docs.aws.amazon.com/cur/latest/userguide/understanding-report-versions.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Bill, BillRequest, Source
from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing import finality
from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.billing.exports.reader import read_export
from optiinfra_dagster.providers.billing.statements import Statements, months_of
from optiinfra_dagster.providers.object_storage.s3 import S3
from optiinfra_dagster.providers.parsing import ODD, Item, as_texts

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount
    from optiinfra_dagster.providers.aws.client import Account
    from optiinfra_dagster.providers.object_storage.store import File

_DAY = timedelta(days=1)
_WRITING = timedelta(hours=2)  # after which a file that is newer than its manifest is a copy, and not of a delivery

# Of a Data Export: prefix/name/metadata/BILLING_PERIOD=2026-11/(execution/)name-Manifest.json. Of a Cost and Usage
# Report: prefix/name/20261101-20261201/(assembly/)name-Manifest.json, and beside it others, for Redshift and Athena.
_MANIFEST = re.compile(
    r"(?P<export>(?:.*/)?)(?:metadata/BILLING_PERIOD=20\d\d-(?:0[1-9]|1[0-2])/.*|\d{8}-\d{8}/(?:[^/]+/)?[^/]+-)Manifest\.json",
    re.IGNORECASE,
)
# The last form is of the Parquet files of a Cost and Usage Report, which are overwritten.
_MONTH = re.compile(
    r"(?:BILLING_PERIOD=(\d{4})-(\d\d)|(\d{4})(\d\d)\d\d-\d{8}|year=(\d{4})/month=(\d\d?))/", re.IGNORECASE
)


@dataclass(frozen=True)
class _Export:
    """An export in a bucket, as it was listed: every object below its place, by key."""

    place: str  # s3://bucket/prefix
    store: S3
    objects: Mapping[str, File]
    at: datetime

    @classmethod
    def listed(cls, place: str, account: Account, meter: Meter, until: float, at: datetime) -> _Export:
        """What is below `place` at a time, listed as an account; nothing is sent from `until` on."""
        lend = partial(account.call, "s3", account.home_region, meter, until=until)
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        store = S3(bucket, lend, "cost_export", account.partition)
        return cls(
            place,
            store,
            {file.key: file for page in store.pages(f"{prefix}/" if prefix else "") for file in page.files},
            at,
        )

    def months(self) -> dict[date, list[File]]:
        """The objects of each month that has a manifest.

        Raises:
            CloudError: there is no manifest.
        """
        found: dict[date, list[File]] = {}
        for key, file in self.objects.items():
            if month := _month_of(key):
                found.setdefault(month, []).append(file)
        of_exports = {month: files for month, files in found.items() if any(_MANIFEST.fullmatch(f.key) for f in files)}
        if not of_exports:
            text = (
                f"{self.place} holds no export (a Manifest.json). Write s3://bucket/prefix/name of one as cost_export"
            )
            raise CloudError(Cause.CONFIG, text)
        return of_exports

    def newest(
        self, month: date, files: list[File], load: Callable[[File], Item] | None = None
    ) -> tuple[File, list[File]]:
        """The newest manifest of a month whose data files are all there, and these; `load` gives what manifests tell.

        Raises:
            CloudError: there is none (`INCOMPLETE`), or several exports state the month (`CONFIG`).
        """
        manifests = {file: match["export"] for file in files if (match := _MANIFEST.fullmatch(file.key))}
        if len(set(manifests.values())) > 1:
            names = " and ".join(sorted(name.rstrip("/") for name in set(manifests.values())))
            text = f"{self.place} holds several exports: {names} state {month:%Y-%m} each: it would be counted twice"
            raise CloudError(Cause.CONFIG, f"{text}. Write s3://bucket/prefix/name of one as cost_export")
        newest_lacks: CloudError | None = None
        for manifest in sorted(manifests, key=lambda file: (file.modified, file.key), reverse=True):
            try:
                return manifest, self._named(manifest, month, (load or self.load)(manifest))
            except CloudError as error:
                if error.cause is not Cause.INCOMPLETE:
                    raise
                newest_lacks = newest_lacks or error
        raise newest_lacks or CloudError(Cause.BUG, f"{self.place} has no manifest of {month:%Y-%m}")

    def load(self, manifest: File) -> Item:
        """Read a manifest."""
        with self.store.open(manifest) as stream:
            text = stream.read()
        try:
            told = json.loads(text)
            return {"files": [*as_texts(told.get("dataFiles")), *as_texts(told.get("reportKeys"))]}
        except ODD as error:
            what = f"{self.place}: {manifest.key} is not a manifest of AWS ({type(error).__name__})"
            raise CloudError(Cause.BUG, what) from None

    def _named(self, manifest: File, month: date, told: Item) -> list[File]:
        """The data files that the manifest of a month names, each once.

        It names them with the bucket that they were written to; here they may be copies.
        """
        keys = list(dict.fromkeys(re.sub("^s3://[^/]+/", "", name) for name in told["files"]))
        if others := [key for key in keys if _month_of(key) not in {None, month}]:
            what = f"{self.place}: the manifest {manifest.key} of {month:%Y-%m} lists {others[0]}, of another month"
            raise CloudError(Cause.INCOMPLETE, f"{what}. {LATER}")
        if missing := [key for key in keys if key not in self.objects]:
            what = f"{self.place}: the manifest {manifest.key} lists {missing[0]}, which is not there. {LATER}"
            raise CloudError(Cause.INCOMPLETE, what)
        if not keys:
            raise CloudError(Cause.INCOMPLETE, f"{self.place}: the manifest {manifest.key} lists no file. {LATER}")
        files = [self.objects[key] for key in keys]
        if newer := [file for file in files if max(manifest.modified, self.at - _WRITING) < file.modified]:
            what = (
                f"{self.place}: {newer[0].key} is newer than the manifest {manifest.key}, so it is being written anew"
            )
            raise CloudError(Cause.INCOMPLETE, f"{what}. {LATER}")
        return files


def _month_of(key: str) -> date | None:
    match = _MONTH.search(key)
    try:
        year, month = (int(group) for group in match.groups() if group) if match else (0, 0)
        return date(year, month, 1)
    except ValueError:
        return None


def try_export(config: AwsAccount, account: Account, meter: Meter, until: float) -> None:
    """Find the newest manifest of an account's export and read it. CloudError where that cannot be."""
    export = _Export.listed(config.cost_export or "", account, meter, until, datetime.now(UTC))
    export.newest(*max(export.months().items()))


def read(
    request: BillRequest[AwsAccount], source: Source[AwsAccount], account: Account, meter: Meter, until: float
) -> Bill:
    """The months of an export that were written since they were last read; a day is whole in one written after it.

    Months before the request's are among them: AWS may give something back when a month is closed. What is wrong with
    one of them does not keep the others from being read.

    Raises:
        CloudError: the export cannot be listed, there is none, or several state one month.
    """
    export = _Export.listed(source.account.cost_export or "", account, meter, until, request.at)
    statements = Statements(request, source)
    found, wanted = export.months(), months_of(request.first, request.last)
    older = statements.rewritten(found)
    changed = {
        month: found[month]
        for month in [*wanted, *reversed(older)]
        if month in found and statements.changed([month], found[month])
    }
    bill = Bill()
    for month, listed in changed.items():
        try:
            manifest, files = export.newest(
                month, listed, lambda file: statements.once(file, lambda: export.load(file))
            )
        except CloudError as error:
            if error.cause is not Cause.INCOMPLETE and month in wanted:
                raise
            bill.problems.append(Problem.of(source.id, error))
            statements.note([month], listed, [], read=False)
            continue
        chosen = [manifest, *files]
        if not statements.chosen_changed([month], listed, chosen):
            continue
        part = read_export(
            [
                ExportFile(f"{export.store.place}/{file.key}", file.size, partial(export.store.open, file))
                for file in files
            ],
            source_id=source.id,
            first=request.first,
            last=request.last,
            resources=request.resources,
            provider_names=("aws", "amazon"),
            period=month,
            covers=(month, (month + timedelta(days=31)).replace(day=1) - _DAY),
            written=manifest.modified,
            settles=finality.SETTLES_AWS,
            accounts=source.covers,
            account_charges=source.account_charges,
        )
        bill.merge(part)
        statements.note([month], listed, chosen, read=not part.problems)
    if not bill.problems:
        bill.read.setdefault(source.id, [])
    return bill
