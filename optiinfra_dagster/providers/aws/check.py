"""Proof, before the first collection, that an account lets itself be read: one small call for every permission."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.model.cost import Bill
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws.billing import READING_SECONDS, read
from optiinfra_dagster.providers.aws.client import Account, open_account
from optiinfra_dagster.providers.aws.data_exports import try_export
from optiinfra_dagster.providers.aws.errors import (
    NotOfferedError,
    NotSubscribedError,
    UnreachableError,
    code_of,
    explain_cost_explorer,
    region_refused,
)
from optiinfra_dagster.providers.aws.inventory import enabled_regions
from optiinfra_dagster.providers.aws.kind import NOBODY, Listing, Probe
from optiinfra_dagster.providers.aws.services import LISTINGS
from optiinfra_dagster.providers.billing.scope import newest_statement

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Source
    from optiinfra_dagster.providers.aws.account import AwsAccount


def _ask_one_metric(cloudwatch: Any) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    metric = {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization"}
    query = {"Id": "m0", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Average"}}
    cloudwatch.get_metric_data(MetricDataQueries=[query], StartTime=end - timedelta(minutes=5), EndTime=end)


_PERFORMANCE_PROBES: tuple[Probe, ...] = (
    _ask_one_metric,
    lambda cloudwatch: cloudwatch.list_metrics(Namespace=NOBODY),
)


def _ask_no_cost(ce: Any) -> None:
    """Ask for the costs of no day: AWS looks at the permission, then refuses the period, so there is nothing to pay.

    Whether Cost Explorer is enabled shows where AWS looks at that too before the period, else with the first reading.
    """
    period = {"Start": "2024-01-01", "End": "2024-01-01"}
    try:
        ce.get_cost_and_usage(TimePeriod=period, Granularity="DAILY", Metrics=["UnblendedCost"])
    except ClientError as error:
        if code_of(error) != "ValidationException":
            raise


def _ask_one_price(pricing: Any) -> None:
    pricing.get_products(ServiceCode="AmazonEKS", MaxResults=1)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A probe, and where it is made. `kind` names the listing that it is for, "" for calls of the whole account."""

    region: str
    kind: str
    service: str
    probe: Probe


def _ask_one_tag(tagging: Any) -> None:
    tagging.get_resources(ResourcesPerPage=1)


def _first_item(listing: Listing) -> Probe:
    return lambda client: next(listing.items(client), None)


def _inventory_attempts(regions: Sequence[str]) -> Iterator[_Attempt]:
    """Everything in the first region, and in each other one a single call, which shows that it is enabled."""
    for listing in LISTINGS:
        for probe in (_first_item(listing), *listing.probes):
            yield _Attempt(regions[0], listing.kind, listing.service, probe)
    yield _Attempt(regions[0], "", "resourcegroupstaggingapi", _ask_one_tag)
    for region in regions[1:]:
        yield _Attempt(region, LISTINGS[0].kind, LISTINGS[0].service, _first_item(LISTINGS[0]))


def _cost_attempts(config: AwsAccount, account: Account) -> Iterator[_Attempt]:
    """The price list, and the bill where it is read from Cost Explorer."""
    region = "us-east-1" if account.partition == "aws" else account.home_region
    if account.partition == "aws":
        yield _Attempt(region, "", "pricing", _ask_one_price)
    if config.billing and not config.cost_export:
        yield _Attempt(region, "", "ce", _ask_no_cost)


def check(customer_id: str, account: AwsAccount, families: Collection[str] = FAMILIES) -> list[Problem]:
    """Try the credential and every permission that the collections of an account need.

    Returns:
        What is missing, each with its remedy; empty where a collection will get everything.
    """
    meter = Meter()
    try:
        opened = open_account(customer_id, account, meter)
        owner = opened.identity(meter)
        regions = account.regions or enabled_regions(opened, meter)
    except CollectionError as error:
        return [Problem.of(account.account_id, error)]
    if owner != account.account_id:
        message = f"the credential belongs to the account {owner}: correct account_id, or the keys that it refers to"
        return [Problem(account.account_id, "", "", Cause.CONFIG, message)]
    attempts = list(_inventory_attempts(regions))
    if "performance" in families:
        attempts += [_Attempt(regions[0], "", "cloudwatch", probe) for probe in _PERFORMANCE_PROBES]
    if "cost" in families:
        attempts += _cost_attempts(account, opened)
    with ThreadPoolExecutor(8, thread_name_prefix=f"aws-{customer_id}") as pool:
        problems = list(pool.map(lambda attempt: _make(attempt, opened, meter), attempts))
    if account.cost_export and "cost" in families:
        try:
            try_export(account, opened, meter, time.monotonic() + READING_SECONDS)
        except CloudError as error:
            problems.append(Problem.of(account.account_id, error))
    return list(dict.fromkeys(problem for problem in problems if problem is not None))


def newest_bill(customer_id: str, source: Source[AwsAccount]) -> Bill:
    """The newest statement of an export, which is read for nothing. Cost Explorer is not asked."""
    if source.account.cost_export:
        return read(newest_statement(customer_id, source), Meter())
    text = (
        "Cost Explorer is not asked for this check, as each answer costs 0.01 USD. Run it again after the first "
        "collection, which tells it"
    )
    return Bill(problems=[Problem(source.id, "", "", Cause.BUDGET, text)])


def _make(attempt: _Attempt, account: Account, meter: Meter) -> Problem | None:
    """Make an attempt; the problem that it shows, None where the call is allowed."""
    try:
        with account.call(attempt.service, attempt.region, meter) as client:
            try:
                attempt.probe(client)
            except ClientError as error:
                if "NotFound" not in code_of(error):
                    raise
    except CloudError as error:
        without_host = isinstance(error, UnreachableError) and not account.offers(attempt.service, attempt.region)
        # EC2 says whether the region is enabled.
        unsubscribed = isinstance(error, NotSubscribedError) and attempt.kind and attempt.service != "ec2"
        if without_host or unsubscribed or isinstance(error, NotOfferedError):
            return None
        if error.cause is Cause.AUTH:  # STS has just accepted this credential
            return Problem(account.account_id, attempt.region, "", Cause.CONFIG, region_refused(attempt.region))
        return Problem.of(account.account_id, explain_cost_explorer(error), attempt.region, attempt.kind)
    return None
