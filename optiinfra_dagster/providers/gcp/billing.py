"""The charges of a customer's projects, by day: the billing export that the customer keeps in BigQuery.

Google has no API for this; the export is it, the standard or the detailed one
(https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables). A day is the UTC day in which a line's usage
starts, where Google's invoices go by the days of US Pacific time: the lines of a month's first and last eight hours may
be on the neighbouring invoice. Rows arrive hours to days after the usage, and old days get new rows, so each reading
asks first which days have rows that were exported since the one before, and reads those days whole.

A day counts as read once the export holds usage of a later day, or three days after it: until then part of it is on its
way. Google never says that a day is final; it is taken to be ten days after its month, when the invoice was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from optiinfra_dagster.model.cost import Bill, BillRequest, Category, Charge, Source, Total
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing import finality, service_names, service_types
from optiinfra_dagster.providers.billing.finality import is_final
from optiinfra_dagster.providers.billing.matching import Matcher, Name
from optiinfra_dagster.providers.gcp.bigquery import Export, open_export
from optiinfra_dagster.providers.gcp.bill_sources import bill_sources
from optiinfra_dagster.providers.gcp.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

MARGIN = timedelta(hours=6)  # from a row's export_time until it can be read, generously
LATE = timedelta(days=3)  # a day without later usage counts after them
_DAY = timedelta(days=1)

Parameter: TypeAlias = ScalarQueryParameter | ArrayQueryParameter

# What the export must have; `cost_type`, `location`, `resource` and the list price are of newer or detailed exports.
COLUMNS = (
    "billing_account_id", "service.description", "usage_start_time", "export_time", "project.id",
    "cost", "currency", "credits.amount",
)  # fmt: skip
_OPTIONAL = {
    "region": ("location.region", "location.location"),
    "resource_name": ("resource.name",),
    "resource_id": ("resource.global_name",),
    "cost_type": ("cost_type",),
}

_CHANGED = """
SELECT DISTINCT DATE(usage_start_time) AS day
FROM `{table}`
WHERE {partition}usage_start_time >= @start AND usage_start_time < @end AND export_time >= @since
    AND (project.id IS NULL OR project.id IN UNNEST(@projects))
"""

# `cost` and credits are floating point: each row's is made decimal, with 15 digits, before anything is added up, so
# that sums do not depend on the order. The second set is the sum of a day without groups, for the reconciliation.
_CHARGES = """
WITH lines AS (
    SELECT
        DATE(usage_start_time) AS day,
        currency,
        IFNULL(project.id, billing_account_id) AS project,
        IFNULL(service.description, '') AS service,
        {region} AS region,
        {resource_name} AS resource_name,
        {resource_id} AS resource_id,
        {cost_type} AS cost_type,
        ROUND(CAST(cost AS BIGNUMERIC), 15) AS cost,
        IFNULL((SELECT SUM(ROUND(CAST(one.amount AS BIGNUMERIC), 15)) FROM UNNEST(credits) AS one), 0) AS credit,
        {list_cost} AS list_cost
    FROM `{table}`
    WHERE {partition}usage_start_time >= @start AND usage_start_time < @end
        AND (DATE(usage_start_time) IN UNNEST(@days) OR DATE(usage_start_time) >= @today)
        AND (project.id IS NULL OR project.id IN UNNEST(@projects))
)
SELECT
    day, currency, GROUPING(service) AS is_total, project, service, region, resource_name, resource_id, cost_type,
    SUM(cost) AS cost, SUM(credit) AS credit, SUM(list_cost) AS list_cost, COUNTIF(list_cost IS NULL) AS without_list
FROM lines
GROUP BY GROUPING SETS (
    (day, currency, project, service, region, resource_name, resource_id, cost_type), (day, currency)
)
"""

_CATEGORIES = {
    "tax": Category.TAX,
    "adjustment": Category.ADJUSTMENT,
    "rounding_error": Category.ADJUSTMENT,
}


def read(request: BillRequest[GcpAccount], meter: Meter) -> Bill:
    """The days of each export that changed since it was last read, or all of them where it never was.

    Charges are of the projects that name the export, and of no project (taxes, support, adjustments of the whole
    billing account, whose id is then their sub-account). Amounts are the cost with all credits, as on the invoice;
    metadata tells both where there are any.
    """
    bill, matcher = Bill(), Matcher(request.resources, names_of)
    for source in request.sources:
        try:
            with open_export(source.account, source.id, meter) as export:
                _Reading(source, request, export, matcher, bill).read()
        except CollectionError as error:
            bill.problems.append(Problem.of(source.id, error))
    bill.problems += bill.currency_problems()
    return bill


def probe(account: GcpAccount, meter: Meter) -> None:
    """Look the account's export up and plan a query of it, which is free, to see whether it may be read.

    Raises:
        ConfigError, CloudError: it may not, is not there, or is no billing export.
    """
    yesterday = datetime.now(UTC).date() - _DAY
    for source in bill_sources([account]):
        request = BillRequest("", [source], [], yesterday, yesterday)
        with open_export(account, source.id, meter) as export:
            _Reading(source, request, export, Matcher([], names_of), Bill()).plan()


@dataclass(slots=True)
class _Reading:
    """A single reading of an export."""

    source: Source[GcpAccount]
    request: BillRequest[GcpAccount]
    export: Export
    matcher: Matcher
    bill: Bill

    @property
    def today(self) -> date:
        return self.request.last + _DAY

    def read(self) -> None:
        """Read what changed, and add it to the bill.

        Raises:
            CloudError: nothing could be read.
        """
        self._check_columns()
        since = self.request.read_at.get(self.source.id)
        days = self.request.days if since is None else self._changed(since)
        charges, totals, without_cost, newest = list[Charge](), list[Total](), set[date](), date.min
        for row in self._rows(days) if days else ():
            newest = max(newest, row["day"])
            if not self.request.first <= row["day"] <= self.request.last:
                continue
            if row["cost"] is None or not row["currency"]:
                without_cost.add(row["day"])
            elif row["is_total"]:
                totals.append(Total(row["day"], self.source.id, row["currency"], row["cost"] + row["credit"]))
            else:
                charges.append(self._charge(row))
        whole = {day for day in days if day < newest or day + LATE <= self.today - _DAY}
        self.bill.charges += [charge for charge in charges if charge.day in whole]
        self.bill.totals += [total for total in totals if total.day in whole]
        self.bill.read[self.source.id] = sorted(whole)
        if without_cost:
            text = (
                f"{self.source.id} has lines without a cost or a currency, of {min(without_cost)} to "
                f"{max(without_cost)}: they are left out"
            )
            self.bill.problems.append(Problem(self.source.id, "", "", Cause.INCOMPLETE, text))

    def plan(self) -> None:
        """Try what reading needs, without reading.

        Raises:
            CloudError: nothing could be read.
        """
        self._check_columns()
        self.export.plan(*self._prepared(_CHANGED, self.request.first, [_time("since", _midnight(self.today))]))

    def _check_columns(self) -> None:
        columns = self.export.columns
        if lacking := [name for name in COLUMNS if name not in columns]:
            focus = "ChargePeriodStart" in columns
            remedy = (
                "It is a FOCUS export: name the standard or detailed usage cost export"
                if focus
                else "Name Google's own export, or a view with the same columns"
            )
            text = f"{self.source.id} has no column {', '.join(lacking)}, so nothing was read. {remedy}"
            raise CloudError(Cause.CONFIG, text)

    def _changed(self, since: datetime) -> list[date]:
        """The days that have newer rows, whose month has become final, or that no reading has found whole yet."""
        since -= MARGIN
        changed = {row["day"] for row in self._ask(_CHANGED, since.date() - _DAY, [_time("since", since)])}
        recent = min(self.request.last, since.date()) - LATE
        return [
            day
            for day in self.request.days
            if day in changed
            or day >= recent
            or (is_final(day, self.today, finality.GCP) and not is_final(day, since.date(), finality.GCP))
        ]

    def _rows(self, days: Sequence[date]) -> Iterator[Any]:
        """The charges and totals of days, and of what today has so far."""
        existing = self.export.columns

        def of(*names: str) -> str:
            known = [name for name in names if name in existing]
            return f"COALESCE({', '.join(known)}, '')" if known else "''"

        listed = "cost_at_list" in existing
        columns = {name: of(*candidates) for name, candidates in _OPTIONAL.items()} | {
            "list_cost": "ROUND(CAST(cost_at_list AS BIGNUMERIC), 15)" if listed else "CAST(NULL AS BIGNUMERIC)"
        }
        chosen: list[Parameter] = [
            ArrayQueryParameter("days", "DATE", list(days)),
            ScalarQueryParameter("today", "DATE", self.today),
        ]
        return self._ask(_CHARGES, min(days) - _DAY, chosen, **columns)  # rows come after their usage

    def _ask(self, sql: str, partition_from: date, more: Sequence[Parameter], **parts: str) -> Iterator[Any]:
        yield from self.export.query(*self._prepared(sql, partition_from, more, **parts))

    def _prepared(
        self, sql: str, partition_from: date, more: Sequence[Parameter], **parts: str
    ) -> tuple[str, list[Parameter]]:
        parameters: list[Parameter] = [
            _time("start", _midnight(self.request.first)),
            _time("end", _midnight(self.today + _DAY)),
            ArrayQueryParameter("projects", "STRING", list(self.source.covers)),
            *more,
        ]
        condition = self.export.partition_since("partition")
        if condition:
            parameters.append(_time("partition", _midnight(partition_from)))
            condition += " AND "
        return sql.format(table=self.source.id, partition=condition, **parts), parameters

    def _charge(self, row: Mapping[str, Any]) -> Charge:
        service, cost_type = row["service"] or "Google Cloud", row["cost_type"] or "regular"
        resource, by = match(self.matcher, row["project"], row["resource_id"], row["resource_name"])
        facts = {
            "cost": f"{row['cost']:f}" if row["credit"] else "",
            "credits": f"{row['credit']:f}" if row["credit"] else "",
            "cost_type": "" if cost_type == "regular" else cost_type,
            "resource": "" if by == "id" else row["resource_id"] or row["resource_name"],
            "matched_by": by,
        }
        return Charge(
            day=row["day"],
            billing_account_id=self.source.id,
            sub_account_id=row["project"],
            service_name=service_names.canonical(service) or service,
            amount=row["cost"] + row["credit"],
            currency=row["currency"],
            category=_CATEGORIES.get(cost_type, Category.USAGE),
            cost_type=str(resource.resource_type) if resource else service_types.of_google(service),
            effective_cost=row["cost"] + row["credit"],
            list_cost=None if row["without_list"] else row["list_cost"],
            resource_id=resource.resource_id if resource else "",
            region_id=row["region"],
            is_final=is_final(row["day"], self.today, finality.GCP),
            # Lines that are of different things stay apart though nothing else tells them.
            description="" if resource else row["resource_name"],
            metadata={name: fact for name, fact in facts.items() if fact},
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _time(name: str, moment: datetime) -> ScalarQueryParameter:
    return ScalarQueryParameter(name, "TIMESTAMP", moment)


# --- The resource of a line -----------------------------------------------------------------------------------------

_NUMBERS = tuple(kind.number for kind in KINDS.values() if kind.number)
# The collection in a resource's name, where a name alone may be of several kinds: a boot disk is called as its machine.
_COLLECTIONS = {kind.collection for kind in KINDS.values()}


def names_of(resource: Resource) -> Iterator[Name]:
    """The names of a resource in the detailed export: its full name, its number, or its project and name.

    The full name is the inventory's id; a number is in the place of the name in what Compute Engine charges for.
    """
    yield "id", resource.resource_id
    for fact in _NUMBERS:
        if number := resource.metadata.get(fact):
            yield "number", str(number)
    yield "name", f"{resource.account_id} {resource.resource_name}"


def match(matcher: Matcher, project: str, full_name: str, name: str) -> tuple[Resource | None, str]:
    """The resource that a line is of, and what it was matched by; None where it is not known. By name it is a guess."""
    *_, collection, last = ("", *full_name.split("/"))
    names = (("id", full_name), ("number", last), ("name", f"{project} {name.rpartition('/')[2] or last}"))
    return matcher.match(
        names, lambda resource: collection not in _COLLECTIONS or f"/{collection}/" in resource.resource_id
    )
