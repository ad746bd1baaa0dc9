"""Exports of Cost Management in blob storage, read in place of its queries."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Bill, BillRequest, Source
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure.export_runs import Choice, Run, Statement, choose, runs_of, unambiguous
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

    Months before the request's are among them, where their runs are newer than the last reading. What is wrong with
    one of them does not keep the others from being read.

    Raises:
        CloudError: the export cannot be listed, there is none, or two state one month.
    """
    store, files = _listed(principal, source)
    export = _Export(store, source, request, Statements(request, source))
    runs, loose = runs_of(files)
    months = months_of(request.first, request.last)
    found: dict[date, list[File]] = {month: [] for month in months}
    for run in runs:
        for month in months_of(run.first, run.last):
            found.setdefault(month, []).extend(run.files)
    of_month = {month: found[month] for month in months}
    if any(of_month.values()):
        export.read_runs(runs, of_month, request.days)
        export.read_older(runs, {month: found[month] for month in export.statements.rewritten(found)})
    else:
        parts = unambiguous(loose)
        if not parts:
            raise _nothing(source, request.first, request.last)
        export.read_loose_files(parts, months)
    if not export.bill.problems:
        export.bill.read.setdefault(source.id, [])
    return export.bill


@dataclass(frozen=True)
class _Export:
    """An export that is being read, and the bill that its files told so far."""

    store: AzureBlob
    source: Source[AzureAccount]
    request: BillRequest[AzureAccount]
    statements: Statements[AzureAccount]
    bill: Bill = field(default_factory=Bill)

    def read_older(self, runs: Sequence[Run], of_month: Mapping[date, Sequence[File]]) -> None:
        """Read the runs of months before the request's."""
        try:
            self.read_runs(runs, of_month, [day for month in of_month for day in _days_of(month)])
        except CloudError as error:
            self.bill.problems.append(Problem.of(self.source.id, error))

    def read_runs(self, runs: Sequence[Run], of_month: Mapping[date, Sequence[File]], wanted: Collection[date]) -> None:
        """Read the runs that state the wanted days, of the months whose statement changed.

        `of_month` are the files of all runs that have to do with a month.
        """
        changed = [month for month, files in of_month.items() if self.statements.changed([month], files)]
        choice = choose(
            runs,
            lambda file: self.statements.once(file, lambda: _manifest(self.store, file)),
            [day for day in wanted if _month(day) in changed],
        )
        self.bill.problems += [Problem(self.source.id, "", "", Cause.INCOMPLETE, text) for text, _ in choice.problems]
        failed = {_month(day) for _, days in choice.problems for day in days}
        chosen = {month: _files_of(choice, month) for month in changed}
        to_read = [
            month
            for month in changed
            if month in failed or self.statements.chosen_changed([month], of_month[month], chosen[month])
        ]
        for statement, days in choice.days:
            unread = [day for day in days if _month(day) in to_read]
            whole = unread == statement.run.days(wanted) and _states_a_month(statement.run, choice)
            if unread and not self._read_files(statement.parts, None if whole else unread, statement):
                failed.update(_month(day) for day in unread)
        for month in to_read:
            self.statements.note([month], of_month[month], chosen[month], read=month not in failed)

    def read_loose_files(self, parts: Sequence[File], months: Sequence[date]) -> None:
        """Read files that are in no run's folder, which state all months of the request, if they changed."""
        if self.statements.changed(months, parts):
            self.statements.note(months, parts, parts, read=self._read_files(parts, None, None))

    def _read_files(self, parts: Sequence[File], days: Collection[date] | None, of: Statement | None) -> bool:
        """Read a run, the statement of its month, or some days of one that is none. False where that fails.

        It has what there was when it was submitted, or else written; its files may be copies that are newer.
        """
        run = of.run if of is not None else None
        written = max(file.modified for file in parts) if of is None else min(of.at, of.run.written)
        part = read_export(
            [ExportFile(file.key, file.size, partial(self.store.open, file)) for file in parts],
            source_id=self.source.id,
            first=self.request.first,
            last=self.request.last,
            resources=self.request.resources,
            provider_names=("microsoft", "azure"),
            period=_month(run.first) if run is not None and days is None else None,
            covers=(run.first, run.last) if run is not None else None,
            days=days,
            written=written,
            settles=finality.SETTLES_AZURE,
            accounts=self.source.covers,
            account_charges=self.source.account_charges,
        )
        self.bill.merge(part if days is None else of_days(part, days))
        return not part.problems


def _month(day: date) -> date:
    return day.replace(day=1)


def _days_of(month: date) -> list[date]:
    following = (month + timedelta(days=31)).replace(day=1)
    return [month + timedelta(days=n) for n in range((following - month).days)]


def _files_of(choice: Choice, month: date) -> list[File]:
    """The files of the statements that were chosen for days of a month."""
    return [
        file for statement, days in choice.days if any(_month(day) == month for day in days) for file in statement.files
    ]


def _states_a_month(run: Run, choice: Choice) -> bool:
    """True for a run that is the statement of a month; False for one that, as the last seven days are, is days only."""
    sharing = sum(any(_month(day) == _month(run.first) for day in days) for _, days in choice.days)
    return sharing == 1 and _month(run.first) == _month(run.last)


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
