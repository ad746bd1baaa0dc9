"""The bills of AWS: Cost Explorer's days by service and account, or a Data Export in S3 where there is one.

Cost Explorer costs $0.01 for each page, so it is asked twice a day: for the totals, then for what they consist of. It
tells at most two things of a charge at once, which are the service and the account. So a credit or a refund is known
only where it outweighs the use of its service on a day, and a fee not at all: types of charges, regions and resources
are in an export, at no price. Its resource level is left out: it is opt-in, a call (or more) for every service, for two
weeks only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Bill, BillRequest, Category, Charge, Source, Total
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws import data_exports
from optiinfra_dagster.providers.aws.client import Account, open_account
from optiinfra_dagster.providers.aws.errors import explain_cost_explorer
from optiinfra_dagster.providers.aws.sdk import PRICES_USD
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.billing import service_names, service_types
from optiinfra_dagster.providers.billing.finality import SETTLES_AWS, arriving_from
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import as_dicts, as_text, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount

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
            reader = data_exports.read if source.account.cost_export else _read_cost_explorer
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
    """The days of one bill: their totals, then their services. Without either, nothing is read.

    A day that Cost Explorer tells nothing of yet is read, and arriving; after its time to settle, it is missing.
    """
    period = {"Start": request.first.isoformat(), "End": (request.last + _DAY).isoformat()}  # the end is exclusive
    request_of_totals = {"TimePeriod": period, "Granularity": "DAILY", "Metrics": list(_METRICS)}
    grouped = {**request_of_totals, "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in _GROUPS]}
    region = "us-east-1" if account.partition == "aws" else account.home_region  # the partition's one endpoint
    try:
        with account.call("ce", region, meter, until=until) as ce:
            total_pages = list(_pages(ce, request_of_totals))
            pages = list(_pages(ce, grouped))
            totals = [total for page in total_pages for total in _totals(page, source.id)]
            names = _names_of(pages)
            charges = [charge for page in pages for charge in _charges(page, source.id, names)]
            if any(charge.sub_account_id != source.id for charge in charges):  # as only the bill of a payer has
                charges = [replace(charge, payer_account_id=source.id) for charge in charges]
            whole = _days_of(total_pages) & _days_of(pages)
    except CloudError as error:
        raise explain_cost_explorer(error) from None
    if request.memory is not None:
        request.memory.put(len(total_pages) + len(pages), *_pages_key(request, source))
    arriving = arriving_from(request.at, SETTLES_AWS)
    days = [day for day in request.days if day in whole or day >= arriving]
    bill = Bill(
        [charge for charge in charges if charge.day in whole],
        [total for total in totals if total.day in whole],
        {source.id: days},
        arriving={source.id: {day for day in days if day >= arriving}},
    )
    if missing := [day for day in request.days if day not in whole and day < arriving]:
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
            yield Total(_day(result), source_id, money[1], money[0], is_apart=True)


def _names_of(pages: Sequence[Any]) -> dict[str, str]:
    """The names of the accounts that an answer is of, by their numbers."""
    told = [one for page in pages for one in as_dicts(page.get("DimensionValueAttributes"))]
    return {as_text(one.get("Value")): as_text(dig(one, "Attributes", "description")) for one in told}


def _charges(page: Any, source_id: str, names: Mapping[str, str]) -> Iterator[Charge]:
    for result in page.get("ResultsByTime") or ():
        for group in result.get("Groups") or ():
            service, linked = (key.strip() for key in (*(group.get("Keys") or ()), "", "")[:2])
            metrics = group["Metrics"]
            if _METRICS[0] not in metrics:
                raise ValueError(f"{service} has no {_METRICS[0]}")
            money, effective = (_amount(metrics, name) for name in _METRICS)
            if money is None:
                continue
            account = linked if re.fullmatch(r"[0-9]{12}", linked) else source_id
            yield Charge(
                _day(result),
                source_id,
                account,
                service_names.canonical(service) or service,
                *money,
                category=_category(service, money[0]),
                cost_type=service_types.of_service(_RESOURCE_TYPES, service),
                effective_cost=effective[0] if effective and effective[1] == money[1] else None,
                is_final=result.get("Estimated") is False,
                sub_account_name=names.get(account, ""),
            )


def _category(service: str, amount: Decimal) -> Category:
    if service == "Tax":
        return Category.TAX
    if amount < 0:  # what is used costs something
        return Category.CREDIT
    return Category.PURCHASE if service.startswith("Savings Plans for") else Category.USAGE
