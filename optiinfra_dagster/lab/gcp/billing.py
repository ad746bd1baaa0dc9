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

from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.gcp.prices import hourly
from optiinfra_dagster.lab.gcp.world import GcpExport
from optiinfra_dagster.lab.service import ApiError

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.estate import GcpEstate
    from optiinfra_dagster.lab.server import Request

_DAY = timedelta(days=1)
_ROW_BYTES = 400
_LEAST_BYTES = 10 * 2**20
_PART, _DELAY = timedelta(hours=6), timedelta(hours=1)
_DAYS_BACK = 70  # that the exports reach back
BILLING_ACCOUNT = "01A2B3-C4D5E6-F7A8B9"

# --- Exports ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A row of an export. `resource` is the inventory's id of what it is of, which the row may tell in another form."""

    day: date
    exported: datetime
    project: str  # "" for a charge of the whole billing account
    service: str
    region: str
    cost: Decimal
    credit: Decimal = Decimal(0)
    cost_type: str = "regular"
    currency: str = "USD"
    resource: str = ""
    resource_name: str = ""
    global_name: str = ""


_FIELDS: Mapping[str, str | tuple[tuple[str, str], ...]] = {
    "billing_account_id": "STRING",
    "service": (("id", "STRING"), ("description", "STRING")),
    "sku": (("id", "STRING"), ("description", "STRING")),
    "usage_start_time": "TIMESTAMP",
    "usage_end_time": "TIMESTAMP",
    "project": (("id", "STRING"), ("number", "STRING"), ("name", "STRING")),
    "location": (("location", "STRING"), ("country", "STRING"), ("region", "STRING"), ("zone", "STRING")),
    "resource": (("name", "STRING"), ("global_name", "STRING")),
    "export_time": "TIMESTAMP",
    "cost": "FLOAT",
    "currency": "STRING",
    "credits": (("name", "STRING"), ("amount", "FLOAT")),
    "cost_type": "STRING",
    "cost_at_list": "FLOAT",
}


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
        """Export a correction of what Compute Engine cost on a past day now."""
        row = ExportRow(
            day, self.now(), project, "Compute Engine", "global", amount, cost_type="adjustment", currency=currency
        )
        self._restated[table].append(row)

    def restate_project(self, project: str, day: date, amount: Decimal) -> None:
        """The same for the export that a project is in.

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
        """The truth: the costs of days by project, service and resource, of what is exported by now."""
        costs: dict[tuple[date, str, str, str], Decimal] = defaultdict(Decimal)
        for row in self.rows(table):
            if first <= row.day <= last:
                costs[row.day, row.project or BILLING_ACCOUNT, row.service, row.resource] += row.cost + row.credit
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
                        credit=(-cost / 10).quantize(Decimal("1e-6")) if sustained else Decimal(0),
                        currency=export.currency,
                        resource=names[0],
                        resource_name=names[1],
                        global_name=names[2],
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
            ApiError: it cannot be.
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
        return {
            "kind": "bigquery#table",
            "id": name.replace(".", ":", 1),
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
            "schema": {"fields": _schema(_columns(export))},
            "type": "TABLE",
            "timePartitioning": {"type": "DAY"},
            "numBytes": str(_ROW_BYTES * len(self.rows(name))),
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
        _check(sql, export, parameters)
        read = [row for row in self.rows(export.table) if _midnight(row.exported.date()) >= parameters["partition"]]
        size = max(_ROW_BYTES * len(read), _LEAST_BYTES)
        projects = {"", *parameters["projects"]}
        rows = [
            row
            for row in read
            if parameters["start"] <= _midnight(row.day) < parameters["end"] and row.project in projects
        ]
        if "GROUPING SETS" not in sql:
            days = sorted({row.day for row in rows if row.exported >= parameters["since"]})
            return _Job([{"name": "day", "type": "DATE"}], [[day.isoformat()] for day in days], size)
        chosen = [row for row in rows if row.day in parameters["days"] or row.day >= parameters["today"]]
        return _Job(_RESULT, list(_grouped(chosen, with_list="cost_at_list" in sql)), size)


DEFAULT_TABLE = "gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9"

_RESULT = [
    {"name": name, "type": of_type}
    for name, of_type in (
        ("day", "DATE"), ("currency", "STRING"), ("is_total", "INTEGER"), ("project", "STRING"), ("service", "STRING"),
        ("region", "STRING"), ("resource_name", "STRING"), ("resource_id", "STRING"), ("cost_type", "STRING"),
        ("cost", "BIGNUMERIC"), ("credit", "BIGNUMERIC"), ("list_cost", "BIGNUMERIC"), ("without_list", "INTEGER"),
    )
]  # fmt: skip


def _grouped(rows: Sequence[ExportRow], *, with_list: bool) -> Iterator[list[str | None]]:
    sums: dict[tuple[str | None, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0), Decimal(0)])
    for row in rows:
        at = row.day.isoformat(), row.currency
        what = (
            row.project or BILLING_ACCOUNT,
            row.service,
            row.region,
            row.resource_name,
            row.global_name,
            row.cost_type,
        )
        for key in ((*at, "0", *what), (*at, "1", *(None for _ in what))):
            sums[key][0] += row.cost
            sums[key][1] += row.credit
            sums[key][2] += 1
    for key, (cost, credit, count) in sums.items():
        yield [*key, f"{cost:f}", f"{credit:f}", f"{cost:f}" if with_list else None, "0" if with_list else str(count)]


def _check(sql: str, export: GcpExport, parameters: Mapping[str, Any]) -> None:
    """Refuse a query that names a column which the table does not have, or lacks a parameter."""
    columns = _columns(export)
    for name, parts in _FIELDS.items():
        names = [f"{name}.{part}" for part, _ in parts] if isinstance(parts, tuple) else [name]
        for column in names:
            # `credits` are read by UNNEST, and their amounts by another name
            used = re.search(rf"(?<![\w.@]){re.escape(column)}(?![\w.])", sql)
            if used and column not in columns and not re.search(rf" AS {re.escape(column)}\b", sql):
                raise ApiError(400, "invalidQuery", f"Unrecognized name: {column} at [1:1]")
    needed = {"start", "end", "projects", "partition"} | ({"days", "today"} if "GROUPING SETS" in sql else {"since"})
    used_names = set(re.findall(r"@(\w+)", sql))
    if needed - parameters.keys() or used_names - parameters.keys() or needed - used_names:
        raise ApiError(400, "invalidQuery", f"Query parameter not found: {sorted(needed - parameters.keys())}")
    if "_PARTITIONTIME >= @partition" not in sql:
        raise ApiError(400, "invalidQuery", "The cloud lab knows this query with a filter of the partition only")


def _columns(export: GcpExport) -> set[str]:
    """The columns of an export, those of records as `project.id`."""
    names = {
        f"{name}.{part}" if part else name
        for name, parts in _FIELDS.items()
        for part in ([name_of_part for name_of_part, _ in parts] if isinstance(parts, tuple) else [""])
    }
    detailed = {name for name in names if name.startswith("resource.")}
    return names - set(export.omit) - (set() if export.detailed else detailed)


def _schema(columns: set[str]) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = []
    for name, parts in _FIELDS.items():
        if isinstance(parts, str):
            if name in columns:
                fields.append({"name": name, "type": parts, "mode": "NULLABLE"})
        elif within := [{"name": part, "type": of} for part, of in parts if f"{name}.{part}" in columns]:
            mode = "REPEATED" if name == "credits" else "NULLABLE"
            fields.append({"name": name, "type": "RECORD", "mode": mode, "fields": within})
    return fields


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
    if of_type == "DATE":
        return date.fromisoformat(text or "")
    if of_type == "TIMESTAMP":
        moment = datetime.fromisoformat(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return text


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
