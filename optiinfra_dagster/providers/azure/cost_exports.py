"""Exports of Cost Management in blob storage, read in place of its queries."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Bill, BillRequest, Source
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure.export_runs import Run, choose, runs_of, unambiguous
from optiinfra_dagster.providers.billing import finality
from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.billing.exports.reader import read_export
from optiinfra_dagster.providers.billing.statements import Statements, months_of, of_days
from optiinfra_dagster.providers.object_storage.azure_blob import AzureBlob
from optiinfra_dagster.providers.parsing import Item, as_dict

if TYPE_CHECKING:
    from optiinfra_dagster.providers.azure.account import AzureAccount
    from optiinfra_dagster.providers.azure.client import Principal
    from optiinfra_dagster.providers.object_storage.store import File


def read(principal: Principal, source: Source[AzureAccount], request: BillRequest[AzureAccount]) -> Bill:
    """The bill that an export in blob storage tells, of the months that it stated anew. Only inside of `calling`.

    Raises:
        CloudError: the export cannot be listed, there is none, or two state one month.
    """
    store, files = _listed(principal, source)
    statements = Statements(request, source)
    bill = Bill()

    def read_files(parts: Iterable[File], days: Collection[date] | None, run: Run | None) -> bool:
        """Read a run, the statement of its month, or some days of one that is none. False where that fails."""
        month = run.first.replace(day=1) if run is not None and days is None else None
        part = read_export(
            [ExportFile(file.key, file.size, partial(store.open, file)) for file in parts],
            source_id=source.id,
            first=request.first,
            last=request.last,
            resources=request.resources,
            provider_names=("microsoft", "azure"),
            period=month,
            covers=(run.first, run.last) if run is not None else None,
            days=days,
            written=run.written if run is not None else None,
            settles=finality.SETTLES_AZURE,
            accounts=source.covers,
            account_charges=source.account_charges,
        )
        bill.merge(part if days is None else of_days(part, days))
        return not part.problems

    runs, loose = runs_of(files)
    months = months_of(request.first, request.last)
    of_month = {
        month: [file for run in runs if month in months_of(run.first, run.last) for file in run.files]
        for month in months
    }
    if any(of_month.values()):
        changed = [month for month in months if statements.changed([month], of_month[month])]
        choice = choose(
            runs,
            lambda file: statements.once(file, lambda: _manifest(store, file)),
            [day for day in request.days if day.replace(day=1) in changed],
        )
        bill.problems += [Problem(source.id, "", "", Cause.INCOMPLETE, text) for text, _ in choice.problems]
        failed = {day.replace(day=1) for _, days in choice.problems for day in days}
        chosen = {
            month: [
                file
                for one, days in choice.days
                if any(day.replace(day=1) == month for day in days)
                for file in one.files
            ]
            for month in changed
        }
        to_read = [
            month
            for month in changed
            if month in failed or statements.chosen_changed([month], of_month[month], chosen[month])
        ]
        for statement, days in choice.days:
            unread = [day for day in days if day.replace(day=1) in to_read]
            run = statement.run
            # The statement of a month; else, as the last seven days are, nothing but days.
            alone = sum(any(day.replace(day=1) == run.first.replace(day=1) for day in of) for _, of in choice.days) == 1
            of_one_month = run.first.replace(day=1) == run.last.replace(day=1)
            whole = alone and of_one_month and unread == run.days(request.days)
            if unread and not read_files(statement.parts, None if whole else unread, run):
                failed.update(day.replace(day=1) for day in unread)
        for month in to_read:
            statements.note([month], of_month[month], chosen[month], read=month not in failed)
    else:
        parts = unambiguous(loose)
        if not parts:
            raise _nothing(source, request.first, request.last)
        if statements.changed(months, parts):
            statements.note(months, parts, parts, read=read_files(parts, None, None))
    if not bill.problems:
        bill.read.setdefault(source.id, [])
    return bill


def probe(principal: Principal, source: Source[AzureAccount], day: date) -> None:
    """Find the files that state a day, without reading them. Only inside of `calling`.

    Raises:
        CloudError: there are none, they are not complete, or two exports state the day's month.
    """
    store, files = _listed(principal, source)
    runs, loose = runs_of(files)
    if not any(run.days([day]) for run in runs) and not unambiguous(loose):
        raise _nothing(source, day, day)
    if problems := choose(runs, partial(_manifest, store), [day]).problems:
        raise CloudError(Cause.INCOMPLETE, problems[0][0])


def _listed(principal: Principal, source: Source[AzureAccount]) -> tuple[AzureBlob, list[File]]:
    """The container, and what is in the source's folder. Data Lake storage lists its folders too, without a size."""
    host, container, *folder = source.id.split("/", 2)
    store = AzureBlob(host, container, lambda _operation: nullcontext(principal), "cost_export")
    pages = store.pages(f"{folder[0]}/" if folder else "")
    return store, [file for page in pages for file in page.files if file.size]


def _manifest(store: AzureBlob, file: File) -> Item:
    with store.open(file) as stream:
        return as_dict(json.loads(stream.read()))


def _nothing(source: Source[AzureAccount], first: date, last: date) -> CloudError:
    return CloudError(
        Cause.CONFIG,
        f"no export of {first} to {last} is below {source.id}. Correct cost_export in the customers file, or run the "
        "export in Cost Management",
    )
