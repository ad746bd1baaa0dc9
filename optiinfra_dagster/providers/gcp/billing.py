"""The charges of a customer's projects, by day: the billing export that the customer keeps in BigQuery.

Google has no API for this; the export is it, the standard or the detailed one
(https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables). A day is the UTC day in which a line's usage
starts, where Google's invoices go by the days of US Pacific time: `period` is the month of the invoice that a line is
on, also for the first and last eight hours of a month and for corrections. Rows arrive hours to days after the usage,
and old days get new rows, so each reading asks first which days have rows that were exported since the one before,
however old they are, and reads those days whole.

Rows of a later day say nothing of whether those of a day are all there: it is arriving for the time that the slower
services take. Google never says that a day is final; it is taken to be ten days after its month, when the invoice was
made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from optiinfra_dagster.model.cost import (
    CORRECTION,
    Bill,
    BillRequest,
    Category,
    Charge,
    LeftOut,
    LeftOutBecause,
    Source,
    Total,
)
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.model.text import to_json
from optiinfra_dagster.providers.billing import finality, service_names, service_types
from optiinfra_dagster.providers.billing.finality import SETTLES_GCP, arriving_from, is_final
from optiinfra_dagster.providers.billing.matching import Matcher, Name
from optiinfra_dagster.providers.gcp import export_queries, focus_export
from optiinfra_dagster.providers.gcp.bigquery import Export, open_export
from optiinfra_dagster.providers.gcp.bill_sources import bill_sources
from optiinfra_dagster.providers.gcp.services import KINDS
from optiinfra_dagster.providers.parsing import as_labels

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

MARGIN = timedelta(hours=6)  # from a row's export_time until it can be read, generously
_DAY = timedelta(days=1)
_LARGEST = Decimal(10) ** 19  # of a day's lines that are added up; of one line it is 10^15, as in every bill
_MOST_OF_A_UNIT = Decimal(10) ** 18  # of which more has no place in the table

Parameter: TypeAlias = ScalarQueryParameter | ArrayQueryParameter

_CATEGORIES = {
    "tax": Category.TAX,
    "adjustment": Category.ADJUSTMENT,
    "rounding_error": Category.ADJUSTMENT,
}


def read(request: BillRequest[GcpAccount], meter: Meter) -> Bill:
    """The days of each export that changed since it was last read, or all of them where it never was.

    Charges are of the projects that name the export and, where one of them has `account_charges`, of no project: taxes,
    support, adjustments of the whole billing account, whose id is then their sub-account. What the export has of a day
    besides is told as left out. Each credit is a charge of its own; those that lower the price of what was used are in
    its effective cost.
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
        days, older = self._days()
        try:
            self._read([*older, *days])
        except CloudError as error:
            if error.cause is not Cause.BUDGET or not older:
                raise
            text = f"{older[0]} to {older[-1]} have corrections, which are not read: {error}"
            self.bill.problems.append(Problem(self.source.id, "", "", error.cause, text))
            self._read(days)

    def _read(self, days: Sequence[date]) -> None:
        """Read days whole; CloudError where they cannot be."""
        without_cost = set[date]()
        for row in self._rows(days) if days else ():
            if row["unknown"]:
                without_cost.add(row["day"])
            if row["amount"] is None or not row["currency"]:
                without_cost.add(row["day"])
            elif abs(row["amount"]) >= _LARGEST:
                text = f"{self.source.id} has {row['amount']:.6g} {row['currency']} on {row['day']}: no amount of money"
                raise CloudError(Cause.BUG, text)
            elif row["is_total"]:
                self.bill.totals.append(Total(row["day"], self.source.id, row["currency"], row["amount"]))
            elif row["own"]:
                self.bill.charges.append(self._charge(row))
            elif row["amount"]:
                self.bill.left_out.append(self._left_out(row))
        self.bill.read[self.source.id] = sorted(days)
        arriving = arriving_from(self.request.at, SETTLES_GCP)
        self.bill.arriving[self.source.id] = {day for day in days if day >= arriving}
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
        rows, partition, parameters = self._exported(self.request.first)
        parameters += self._of_changed(_time("since", _midnight(self.today)))
        self.export.plan(export_queries.exported_since(rows, partition), parameters)

    @property
    def is_focus(self) -> bool:
        """True for Google's FOCUS export."""
        return focus_export.MARK in self.export.columns

    @property
    def columns(self) -> set[str]:
        """The columns that queries may name."""
        columns = self.export.columns
        return focus_export.rows(self.source.id, "", columns)[1] if self.is_focus else columns

    def _check_columns(self) -> None:
        columns = self.export.columns
        if self.is_focus:
            lacking, remedy = focus_export.lacking(columns), "Name Google's own FOCUS view or export, or another export"
        else:
            lacking = [name for name in export_queries.COLUMNS if name not in columns]
            remedy = "Name Google's own export, or a view with the same columns"
        if lacking:
            text = f"{self.source.id} has no column {', '.join(lacking)}, so nothing was read. {remedy}"
            raise CloudError(Cause.CONFIG, text)

    def _days(self) -> tuple[list[date], list[date]]:
        """The days to read, of the range and before it.

        Of the range those that have newer rows or had not settled; all of it with the first reading, and with that
        which finds a month final. Before it, those that have newer rows: of the first reading, the rows that are
        invoiced in the range.
        """
        first, since = self.request.first, self.request.read_at.get(self.source.id)
        if since is None:
            return self.request.days, self._older_days_invoiced_since(first)
        since -= MARGIN
        if is_final(first, self.today, finality.GCP) and not is_final(first, since.date(), finality.GCP):
            return self.request.days, self._older_days_invoiced_since(first)
        changed, unsettled = self._changed_since(since), arriving_from(since, SETTLES_GCP)
        days = [day for day in self.request.days if day in changed or day >= unsettled]
        return days, sorted(day for day in changed if day < first)

    def _changed_since(self, since: datetime) -> set[date]:
        rows, partition, parameters = self._exported(since.date() - _DAY)
        parameters += self._of_changed(_time("since", since))
        return {row["day"] for row in self.export.query(export_queries.exported_since(rows, partition), parameters)}

    def _older_days_invoiced_since(self, first: date) -> list[date]:
        if "invoice.month" not in self.columns:
            return sorted(day for day in self._changed_since(_midnight(first)) if day < first)
        rows, partition, parameters = self._exported(first - _DAY)
        parameters += self._of_changed(ScalarQueryParameter("month", "STRING", f"{first:%Y%m}"), until=first)
        sql = export_queries.invoiced_from(rows, partition)
        return sorted(row["day"] for row in self.export.query(sql, parameters))

    def _of_changed(self, newer: ScalarQueryParameter, until: date | None = None) -> list[Parameter]:
        return [
            _time("start", _midnight(self.request.last - finality.KEPT)),
            _time("end", _midnight(until or self.today)),
            ArrayQueryParameter("projects", "STRING", list(self.source.covers)),
            newer,
        ]

    def _rows(self, days: Sequence[date]) -> Iterator[Any]:
        """The lines and totals of days: they come after their usage."""
        rows, partition, parameters = self._exported(min(days) - _DAY)
        parameters += [
            _time("start", _midnight(min(days))),
            _time("end", _midnight(max(days) + _DAY)),
            ArrayQueryParameter("projects", "STRING", list(self.source.covers)),
            ArrayQueryParameter("days", "DATE", list(days)),
            ArrayQueryParameter("discounts", "STRING", list(export_queries.DISCOUNTS)),
            ScalarQueryParameter("account_charges", "BOOL", self.source.account_charges),
        ]
        sql = export_queries.charges(rows, partition, self.columns)
        yield from self.export.query(sql, parameters)

    def _exported(self, since: date) -> tuple[str, str, list[Parameter]]:
        """The rows to query, a condition that leaves out partitions of before a day, and its parameter.

        The last two are empty where there are no partitions; of FOCUS rows the condition is within them.
        """
        condition = self.export.partition_since("partition")
        parameters: list[Parameter] = [_time("partition", _midnight(since))] if condition else []
        if self.is_focus:
            return focus_export.rows(self.source.id, condition, self.export.columns)[0], "", parameters
        return f"`{self.source.id}`", f"{condition} AND " if condition else "", parameters

    def _left_out(self, row: Mapping[str, Any]) -> LeftOut:
        because = LeftOutBecause.BILLING_ACCOUNT if row["of_account"] else LeftOutBecause.ANOTHER_ACCOUNT
        return LeftOut(
            row["day"], self.source.id, row["project"], because, row["amount"], row["currency"], row["line_count"]
        )

    def _charge(self, row: Mapping[str, Any]) -> Charge:
        service, cost_type = row["service"] or "Google Cloud", (row["cost_type"] or "regular").replace(" ", "_")
        resource, by = match(self.matcher, row["project"], row["resource_id"], row["resource_name"])
        period = _month(row["invoice_month"])
        named = "" if by == "id" else row["resource_id"] or row["resource_name"]
        facts = {
            "cost_type": "" if cost_type == "regular" else cost_type,
            "credit": row["credit_type"],
            "adjustment": row["adjustment"],
            "transaction": "" if row["transaction"] == "GOOGLE" else row["transaction"],
            "resource": named,
            "matched_by": by,
        }
        commitment = row["sku_name"].startswith("Commitment")  # as Google names what is paid for a commitment
        what = row["credit_name"] if row["is_credit"] else row["sku_name"]
        # Lines that are of different things stay apart though nothing else tells them.
        thing = "" if resource else row["resource_name"]
        used, priced = _quantity(row["used"]), _quantity(row["priced"])
        return Charge(
            day=row["day"],
            billing_account_id=self.source.id,
            sub_account_id=row["project"],
            service_name=service_names.canonical(service) or service,
            amount=row["amount"],
            currency=row["currency"],
            category=Category.CREDIT
            if row["is_credit"]
            else _CATEGORIES.get(cost_type, Category.PURCHASE if commitment else Category.USAGE),
            cost_type=str(resource.resource_type) if resource else service_types.of_google(service),
            effective_cost=row["effective"],
            list_cost=row["list_cost"],
            resource_id=resource.resource_id if resource else "",
            region_id=row["region"],
            is_final=is_final(period or row["day"], self.today, finality.GCP),
            description=f"{what} ({thing})" if what and thing else what or thing,
            metadata={name: fact for name, fact in facts.items() if fact},
            period=period,
            contracted_cost=Decimal(0) if row["is_credit"] else row["amount"],
            charge_class=CORRECTION if row["adjustment"] else "",
            charge_frequency="Recurring" if commitment and not row["is_credit"] else "",
            publisher=row["seller"] or ("Google" if row["transaction"] == "GOOGLE" else ""),
            payer_account_id=row["account"],
            sub_account_name=row["project_name"],
            sku_id=row["sku"],
            pricing_category="Committed" if row["consumption_model"] not in {"", "Default"} else "",
            pricing_quantity=priced,
            pricing_unit=row["pricing_unit"] if priced is not None else "",
            consumed_quantity=used,
            consumed_unit=row["usage_unit"] if used is not None else "",
            commitment_id=row["commitment"],
            availability_zone=row["zone"],
            tags=_tags(row["labels_json"]),
        )


def _month(text: str) -> date | None:
    """The first day of an invoice's month, which is written as 202611."""
    return date(int(text[:4]), int(text[4:]), 1) if len(text) == 6 and text.isdigit() else None


def _quantity(quantity: Decimal | None) -> Decimal | None:
    return quantity if quantity is not None and abs(quantity) < _MOST_OF_A_UNIT else None


def _tags(labels: str) -> str:
    """The labels of a line as a JSON object, from a list of key and value; of a key that is there twice, the last."""
    found = as_labels(json.loads(labels)) if labels else {}
    return to_json(found) if found else ""


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
