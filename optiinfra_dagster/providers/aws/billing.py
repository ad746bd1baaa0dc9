"""The bills of AWS: Cost Explorer's days by service and account, or a Data Export in S3 where there is one.

Cost Explorer costs $0.01 for each page, so it is asked twice a day: for the totals, then for what they consist of. It
tells at most two things of a charge at once, which are the service and the account; regions and resources are in an
export. Its resource level is left out: it is opt-in, a call (or more) for every service, for two weeks only.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Bill, BillRequest, Category, Charge, Source, Total
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws.client import PRICES_USD, Account, open_account
from optiinfra_dagster.providers.aws.errors import explain_cost_explorer
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.billing import service_names, service_types
from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.object_storage.s3 import S3
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import ODD

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount
    from optiinfra_dagster.providers.object_storage.store import File

READING_SECONDS = 240.0  # after which nothing more is asked

_MOST_PAGES = 500  # of one answer: a guard, not a limit that an account comes near
_PAGE_USD = PRICES_USD["GetCostAndUsage"]
_METRICS = ("UnblendedCost", "AmortizedCost")
_GROUPS = ("SERVICE", "LINKED_ACCOUNT")  # two are the most that the API takes
_DAY = timedelta(days=1)
_LARGEST = Decimal(10) ** 15  # what is more is no amount of money
_LATER = "It is asked again with the next reading"

_RESOURCE_TYPES = service_types.of_kinds(KINDS.values(), service_types.COST_EXPLORER)


def price(request: BillRequest[AwsAccount]) -> Decimal:
    """The most that Cost Explorer will charge, in USD: for the pages that each answer had last time, else for one each.

    The meter stops an answer that turns out to be longer than the budget allows.
    """
    pages = [
        (request.memory.get(*_pages_key(request, source)) if request.memory else None) or 2
        for source in request.sources
        if not source.account.cost_export
    ]
    return sum(pages) * _PAGE_USD


def read(request: BillRequest[AwsAccount], meter: Meter) -> Bill:
    """Read the bills of the request's sources, one after the other, each whole or not at all."""
    bill, until = Bill(), time.monotonic() + READING_SECONDS
    for source in request.sources:
        try:
            account = open_account(request.customer_id, source.account, meter)
            reader = _read_export if source.account.cost_export else _read_cost_explorer
            part = reader(request, source, account, meter, until)
        except CollectionError as error:
            part = Bill(problems=[Problem.of(source.id, error)])
        bill.merge(part)
    return bill


# --- Cost Explorer --------------------------------------------------------------------------------------------------


def _pages_key(request: BillRequest[AwsAccount], source: Source[AwsAccount]) -> tuple[str, ...]:
    return "pages of Cost Explorer", request.customer_id, source.id


def _read_cost_explorer(
    request: BillRequest[AwsAccount], source: Source[AwsAccount], account: Account, meter: Meter, until: float
) -> Bill:
    """The days of one bill: their totals, then their services. Without either, nothing is read."""
    period = {"Start": request.first.isoformat(), "End": (request.last + _DAY).isoformat()}  # the end is exclusive
    request_of_totals = {"TimePeriod": period, "Granularity": "DAILY", "Metrics": list(_METRICS)}
    grouped = {**request_of_totals, "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in _GROUPS]}
    region = "us-east-1" if account.partition == "aws" else account.home_region  # the partition's one endpoint
    try:
        with account.call("ce", region, meter, until=until) as ce:
            total_pages = list(_pages(ce, request_of_totals))
            pages = list(_pages(ce, grouped))
            totals = [total for page in total_pages for total in _totals(page, source.id)]
            charges = [charge for page in pages for charge in _charges(page, source.id)]
            whole = _days_of(total_pages) & _days_of(pages)
    except CloudError as error:
        raise explain_cost_explorer(error) from None
    if request.memory is not None:
        request.memory.put(len(total_pages) + len(pages), *_pages_key(request, source))
    days = [day for day in request.days if day in whole]
    bill = Bill(
        [charge for charge in charges if charge.day in whole],
        [total for total in totals if total.day in whole],
        {source.id: days},
    )
    if missing := [day for day in request.days if day not in whole]:
        text = f"Cost Explorer tells nothing of {missing[0]}" + (f" to {missing[-1]}" if len(missing) > 1 else "")
        bill.problems.append(Problem(source.id, "", "", Cause.INCOMPLETE, f"{text}. {_LATER}"))
    bill.problems += bill.currency_problems()
    return bill


def _pages(ce: Any, request: Mapping[str, Any]) -> Iterator[Any]:
    """The pages of one answer, by hand: botocore has no paginator for it. Each is charged, so none is asked twice."""
    guard, token = PageGuard("ce.GetCostAndUsage", _MOST_PAGES), ""
    while True:
        page = ce.get_cost_and_usage(**request, **({"NextPageToken": token} if token else {}))
        yield page
        token = page.get("NextPageToken") or ""
        if not token:
            return
        guard.check(token)


def _day(result: Any) -> date:
    return date.fromisoformat(result["TimePeriod"]["Start"])


def _days_of(pages: Sequence[Any]) -> set[date]:
    return {_day(result) for page in pages for result in page.get("ResultsByTime") or ()}


def _amount(metrics: Any, name: str) -> tuple[Decimal, str] | None:
    """Amount and currency of a metric; None where it is not there, or is nothing of no unit."""
    value = (metrics or {}).get(name)
    if not value:
        return None
    try:
        amount, unit = Decimal(value["Amount"]), str(value.get("Unit") or "")
    except InvalidOperation:
        raise ValueError(f"{name} is no amount") from None
    if not amount.is_finite() or abs(amount) >= _LARGEST or (amount and not re.fullmatch(r"[A-Z]{3}", unit)):
        raise ValueError(f"{name} has no amount in a currency")
    return (amount, unit) if re.fullmatch(r"[A-Z]{3}", unit) else None


def _totals(page: Any, source_id: str) -> Iterator[Total]:
    for result in page.get("ResultsByTime") or ():
        if (money := _amount(result.get("Total"), _METRICS[0])) is not None:
            yield Total(_day(result), source_id, money[1], money[0])


def _charges(page: Any, source_id: str) -> Iterator[Charge]:
    for result in page.get("ResultsByTime") or ():
        for group in result.get("Groups") or ():
            service, linked = (*(group.get("Keys") or ()), "", "")[:2]
            metrics = group["Metrics"]
            if _METRICS[0] not in metrics:
                raise ValueError(f"{service} has no {_METRICS[0]}")
            money, effective = (_amount(metrics, name) for name in _METRICS)
            if money is None:
                continue
            yield Charge(
                _day(result),
                source_id,
                linked if re.fullmatch(r"[0-9]{12}", linked) else source_id,
                service_names.canonical(service) or service,
                *money,
                category=_category(service),
                cost_type=service_types.of_service(_RESOURCE_TYPES, service),
                effective_cost=effective[0] if effective and effective[1] == money[1] else None,
                is_final=result.get("Estimated") is False,
            )


def _category(service: str) -> Category:
    if service.startswith("Savings Plans for"):
        return Category.PURCHASE
    return Category.TAX if service == "Tax" else Category.USAGE


# --- Data Exports ---------------------------------------------------------------------------------------------------

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
            what = f"{self.place}: the manifest lists {missing[0]}, which is not there. {_LATER}"
            raise CloudError(Cause.INCOMPLETE, what)
        return [
            ExportFile(f"{self.store.place}/{key}", objects[key].size, partial(self.store.open, objects[key]))
            for key in keys
        ]


def try_export(config: AwsAccount, account: Account, meter: Meter) -> None:
    """Find the newest manifest of an account's export and read it. CloudError where that cannot be."""
    export = _Export.of(config.cost_export or "", account, meter, time.monotonic() + READING_SECONDS)
    objects = export.listed()
    export.files(max(export.manifests(objects).items())[1], objects)


def _read_export(
    request: BillRequest[AwsAccount], source: Source[AwsAccount], account: Account, meter: Meter, until: float
) -> Bill:
    """The months of an export that were written since they were last read; a day is whole in one written after it."""
    from optiinfra_dagster.providers.billing.exports.reader import read_export

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
