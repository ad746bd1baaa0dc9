"""The charges of the projects of a world: billing exports in BigQuery.

BigQuery here is no SQL engine. It knows the two queries of a cost collector by their shape (which days have newer rows;
the sums of days, by groups and without), takes from them the table, the columns and the parameters, and refuses all
else; whether the SQL itself is right, it cannot tell beyond that.

Six hours of usage are exported at once, one hour after them.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.gcp import export_answers, focus_rows
from optiinfra_dagster.lab.gcp.export_rows import BILLING_ACCOUNT, ExportRow, columns_of, names_of, schema_of
from optiinfra_dagster.lab.gcp.prices import hourly
from optiinfra_dagster.lab.gcp.world import GcpExport
from optiinfra_dagster.lab.service import ApiError
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.estate import GcpEstate
    from optiinfra_dagster.lab.server import Request

_DAY = timedelta(days=1)
_ROW_BYTES = 400
_LEAST_BYTES = 10 * 2**20
_PART, _DELAY = timedelta(hours=6), timedelta(hours=1)
_DAYS_BACK = 70  # that the exports reach back
_PACIFIC = ZoneInfo("America/Los_Angeles")


@dataclass(slots=True)
class _Job:
    schema: list[dict[str, Any]]
    rows: list[list[str | None]]
    size: int


@dataclass(slots=True)
class Exports:
    """The exports of a world in BigQuery. `page_rows` is the most rows of an answer."""

    estate: GcpEstate
    declared: Sequence[GcpExport]
    now: Callable[[], datetime]
    page_rows: int = 10_000
    arrive: BillsArrive = field(default_factory=BillsArrive)
    bytes_billed: int = 0
    _restated: dict[str, list[ExportRow]] = field(default_factory=lambda: defaultdict(list))
    _jobs: dict[str, _Job] = field(default_factory=dict)

    def restate(self, table: str, day: date, project: str, amount: Decimal, currency: str = "USD") -> None:
        """Export a correction of what Compute Engine cost on a past day now; it is invoiced with this month."""
        now = self.now()
        row = ExportRow(
            day,
            now,
            project,
            "Compute Engine",
            "global",
            amount,
            cost_type="adjustment",
            currency=currency,
            month=_invoice_month(now),
            adjustment="GENERAL_ADJUSTMENT",
        )
        self.add_row(table, row)

    def add_row(self, table: str, row: ExportRow) -> None:
        """Export one more row."""
        self._restated[table].append(row)

    def restate_project(self, project: str, day: date, amount: Decimal) -> None:
        """Correct a past day, as `restate` does, in the export that a project is in.

        Raises:
            LookupError: it is in none.
        """
        table = f"{project}.billing.{DEFAULT_TABLE}"
        if project not in self.estate.projects:
            raise LookupError(project)
        self.restate(
            next((export.table for export in self.declared if project in export.projects), table), day, project, amount
        )

    def expected(self, table: str, first: date, last: date) -> dict[tuple[date, str, str, str], Decimal]:
        """The costs of days by project, service and resource, of what is exported by now: the truth for tests."""
        costs: dict[tuple[date, str, str, str], Decimal] = defaultdict(Decimal)
        for row in self.rows(table):
            if first <= row.day <= last:
                costs[row.day, row.project or BILLING_ACCOUNT, row.service, row.resource] += row.amount
        return dict(costs)

    def rows(self, table: str) -> list[ExportRow]:
        """The rows that a table has by now."""
        export, now = self.find(table), self.now()
        rows = [row for project in export.projects for row in self._of_project(project, export, now)]
        return [row for row in [*rows, *self._taxes(export, now), *self._restated[table]] if row.exported <= now]

    def find(self, table: str) -> GcpExport:
        """The export of a table; without any declared, each project has a detailed one.

        Raises:
            ApiError: there is none.
        """
        for export in self.declared:
            if export.table == table:
                return export
        project = table.partition(".")[0]
        if not self.declared and table == f"{project}.billing.{DEFAULT_TABLE}" and project in self.estate.projects:
            return GcpExport(table=table, projects=[project])
        raise ApiError(404, "notFound", f"Not found: Table {table.replace('.', ':', 1)}")

    def _of_project(self, project: str, export: GcpExport, now: datetime) -> Iterator[ExportRow]:
        for asset in self.estate.assets(project):
            service, price = hourly(asset)
            if not price:
                continue
            parent, _, last = asset.full_name.rpartition("/")
            global_name = f"{parent}/{asset.number}" if asset.full_name.startswith("//compute.") else asset.full_name
            names = (asset.full_name, last, global_name) if export.detailed else ("", "", "")
            for n in range(_DAYS_BACK + 1):
                day = now.date() - n * _DAY
                start = _midnight(day)
                for part in range(_DAY // _PART):
                    begin = start + part * _PART
                    used = min(max((begin + _PART - asset.created) // timedelta(hours=1), 0), 6)
                    exported = begin + _PART + _DELAY
                    if self.arrive.hours and part >= self.arrive.share * (_DAY // _PART):
                        exported = max(exported, self.arrive.whole_at(day))
                    cost = (price * used).quantize(Decimal("1e-6"))
                    if not used:
                        continue
                    sustained = asset.kind == "gcp:instance" and (asset.fleet.type or "").startswith("n")
                    yield ExportRow(
                        day,
                        exported,
                        project,
                        service,
                        asset.region,
                        cost,
                        credits=_credits(cost) if sustained else (),
                        currency=export.currency,
                        resource=names[0],
                        resource_name=names[1],
                        global_name=names[2],
                        month=_invoice_month(begin),
                        sku=f"SKU-{digest(asset.kind) % 10_000:04d}",
                        sku_name=f"{asset.kind.rpartition(':')[2]} in {asset.region}",
                        zone=asset.zone,
                        labels=tuple(asset.fleet.tags.items()),
                        hours=used,
                    )

    def _taxes(self, export: GcpExport, now: datetime) -> Iterator[ExportRow]:
        """The tax on each month, on its last day, exported on the 2nd."""
        month = now.date().replace(day=1)
        for _ in range(3):
            day, exported, amount = month - _DAY, _midnight(month + _DAY), Decimal("12.34")
            yield ExportRow(day, exported, "", "Invoice", "", amount, cost_type="tax", currency=export.currency)
            month = day.replace(day=1)

    # --- The REST API ---------------------------------------------------------------------------------------------

    def answer(
        self, operation: str, request: Request, parts: Sequence[str], query: Mapping[str, str]
    ) -> dict[str, Any]:
        """Answer a request of BigQuery; `parts` are those of its path.

        Raises:
            ApiError: it cannot be answered.
        """
        match operation:
            case "tables.get":
                return self._table(f"{parts[0]}.{parts[1]}.{parts[2]}")
            case "tables.list":
                return self._tables(f"{parts[0]}.{parts[1]}")
            case "jobs.query" | "jobs.insert":
                body = json.loads(request.body)
                return self._query(parts[0], operation, body)
            case "jobs.getQueryResults":
                return self._page(parts[0], parts[1], query)
            case "jobs.get":
                return self._show(parts[0], parts[1], {})
        raise ApiError(404, "notFound", f"The cloud lab does not know {operation}")

    def _table(self, name: str) -> dict[str, Any]:
        export = self.find(name)
        project, dataset, table = name.split(".")
        fields = focus_rows.fields(export) if export.focus else {}
        of_type: dict[str, Any] = {
            "type": "TABLE",
            "timePartitioning": {"type": "DAY"},
            "numBytes": str(_ROW_BYTES * len(self.rows(name))),
        }
        if export.focus == "view":
            of_type = {"type": "VIEW", "view": {"query": "SELECT ...", "useLegacySql": False}}
        return {
            "kind": "bigquery#table",
            "id": name.replace(".", ":", 1),
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
            "schema": {"fields": schema_of(names_of(fields), fields) if fields else schema_of(columns_of(export))},
            **of_type,
        }

    def _tables(self, dataset: str) -> dict[str, Any]:
        names = [export.table for export in self.declared] or [
            f"{project}.billing.{DEFAULT_TABLE}" for project in self.estate.projects
        ]
        here = [name.split(".") for name in names if name.rpartition(".")[0] == dataset]
        keys = ("projectId", "datasetId", "tableId")
        return {
            "kind": "bigquery#tableList",
            "totalItems": len(here),
            "tables": [
                {"id": ".".join(parts), "tableReference": dict(zip(keys, parts, strict=True))} for parts in here
            ],
        }

    def _query(self, project: str, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        setup = body if operation == "jobs.query" else body["configuration"]["query"]
        dry = body.get("dryRun") or (body.get("configuration") or {}).get("dryRun")
        if setup.get("useLegacySql") is not False:
            raise ApiError(400, "invalidQuery", "The cloud lab speaks GoogleSQL only: set useLegacySql to false")
        job = self._run(setup["query"], _parameters(setup.get("queryParameters") or ()))
        if dry:
            return self._show(project, "dry", body, job)
        most = setup.get("maximumBytesBilled")
        if most is not None and job.size > int(most):
            text = f"Query exceeded limit for bytes billed: {most}. {job.size} or higher required."
            raise ApiError(400, "bytesBilledLimitExceeded", text)
        self.bytes_billed += job.size
        name = f"lab_{len(self._jobs) + 1}"
        self._jobs[name] = job
        return self._page(project, name, {"maxResults": str(setup.get("maxResults", ""))})

    def _show(self, project: str, name: str, body: Mapping[str, Any], job: _Job | None = None) -> dict[str, Any]:
        job = job or self._jobs.get(name)
        if job is None:
            raise ApiError(404, "notFound", f"Not found: Job {project}:{name}")
        configuration = body.get("configuration") or {"query": {"query": ""}}
        destination = {"projectId": project, "datasetId": "_lab", "tableId": name}
        query, size = {**configuration["query"], "destinationTable": destination}, str(job.size)
        return {
            "kind": "bigquery#job",
            "id": f"{project}:US.{name}",
            "jobReference": {"projectId": project, "jobId": name, "location": "US"},
            "configuration": {**configuration, "jobType": "QUERY", "query": query},
            "status": {"state": "DONE"},
            "statistics": {
                "totalBytesProcessed": size,
                "query": {"totalBytesProcessed": size, "totalBytesBilled": size, "statementType": "SELECT"},
            },
        }

    def _page(self, project: str, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        job = self._jobs.get(name)
        if job is None:
            raise ApiError(404, "notFound", f"Not found: Job {project}:{name}")
        start = int(query.get("pageToken") or 0)
        wanted = query.get("maxResults") or ""
        stop = start + min(int(wanted) if wanted.isdigit() else self.page_rows, self.page_rows)
        answer = {
            "kind": "bigquery#queryResponse",
            "schema": {"fields": job.schema},
            "jobReference": {"projectId": project, "jobId": name, "location": "US"},
            "totalRows": str(len(job.rows)),
            "rows": [{"f": [{"v": value} for value in row]} for row in job.rows[start:stop]],
            "totalBytesProcessed": str(job.size),
            "jobComplete": True,
            "cacheHit": False,
        }
        return answer | ({"pageToken": str(stop)} if stop < len(job.rows) else {})

    # --- The two queries ------------------------------------------------------------------------------------------

    def _run(self, sql: str, parameters: Mapping[str, Any]) -> _Job:
        named = re.search(r"FROM `([^`]+)`", sql)
        export = self.find(named[1] if named else "")
        export_answers.refuse(sql, export, parameters)
        since = parameters.get("partition", datetime.min.replace(tzinfo=UTC))  # a view has no partitions
        read = [row for row in self.rows(export.table) if _midnight(row.exported.date()) >= since]
        size = max(_ROW_BYTES * len(read), _LEAST_BYTES)
        rows = [row for row in read if parameters["start"] <= _midnight(row.day) < parameters["end"]]
        if not export_answers.is_of_charges(sql):
            return _Job(export_answers.DAYS, export_answers.changed_days(rows, parameters), size)
        return _Job(export_answers.schema(sql), list(export_answers.charges(sql, rows, parameters)), size)


DEFAULT_TABLE = "gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9"


def _parameters(parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The named parameters of a query, as Python's values."""
    return {
        each["name"]: [_value(each["parameterType"]["arrayType"]["type"], value["value"]) for value in values]
        if (values := each["parameterValue"].get("arrayValues")) is not None
        else _value(each["parameterType"]["type"], each["parameterValue"].get("value"))
        for each in parameters
    }


def _value(of_type: str, text: str | None) -> Any:
    if of_type == "ARRAY":
        return []
    if of_type == "BOOL":
        return text == "true"
    if of_type == "DATE":
        return date.fromisoformat(text or "")
    if of_type == "TIMESTAMP":
        moment = datetime.fromisoformat(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return text


def _credits(cost: Decimal) -> tuple[tuple[str, str, Decimal], ...]:
    """A discount of a tenth, and a promotion of a hundredth."""
    tenth, hundredth = ((-cost / by).quantize(Decimal("1e-6")) for by in (10, 100))
    return (
        ("SUSTAINED_USAGE_DISCOUNT", "Sustained Usage Discount", tenth),
        ("PROMOTION", "Free trial credit", hundredth),
    )


def _invoice_month(moment: datetime) -> str:
    """The month of the invoice that what is used then is on."""
    return f"{moment.astimezone(_PACIFIC):%Y%m}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
