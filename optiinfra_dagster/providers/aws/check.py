"""Proof, before the first collection, that an account lets itself be read: one small call for every permission."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws.billing import explained, try_export
from optiinfra_dagster.providers.aws.client import Account, open_account, region_refused
from optiinfra_dagster.providers.aws.inventory import enabled_regions
from optiinfra_dagster.providers.aws.kinds import LISTINGS, Listing

if TYPE_CHECKING:
    from optiinfra_dagster.providers.aws.account import AwsAccount

# Everything that the policy of the role has to allow for the inventory, the metrics and the costs. A Data Export takes
# s3:ListBucket and s3:GetObject on its bucket in place of ce:GetCostAndUsage.
ACTIONS: tuple[str, ...] = tuple(
    sorted(
        {
            "ce:GetCostAndUsage",
            "cloudwatch:GetMetricData",
            "cloudwatch:ListMetrics",
            "ec2:DescribeRegions",
            "pricing:GetProducts",
        }.union(*(listing.actions.split() for listing in LISTINGS))
    )
)

_Probe = Callable[[Any], object]
_NOBODY = "optiinfra-permission-probe"


def _ask_one_metric(cloudwatch: Any) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    metric = {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization"}
    query = {"Id": "m0", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Average"}}
    cloudwatch.get_metric_data(MetricDataQueries=[query], StartTime=end - timedelta(minutes=5), EndTime=end)


# Calls beside the listings. They name something that does not exist: to be told so proves the permission.
_PROBES: tuple[tuple[str, str, _Probe], ...] = (
    ("elb:classic", "elb", lambda elb: elb.describe_tags(LoadBalancerNames=[_NOBODY])),
    ("eks:cluster", "eks", lambda eks: eks.describe_cluster(name=_NOBODY)),
    ("eks:cluster", "eks", lambda eks: eks.list_nodegroups(clusterName=_NOBODY)),
    ("eks:cluster", "eks", lambda eks: eks.describe_nodegroup(clusterName=_NOBODY, nodegroupName=_NOBODY)),
    ("dynamodb:table", "dynamodb", lambda dynamodb: dynamodb.describe_table(TableName=_NOBODY)),
    ("", "cloudwatch", _ask_one_metric),
    ("", "cloudwatch", lambda cloudwatch: cloudwatch.list_metrics(Namespace=_NOBODY)),
)


def _ask_no_cost(ce: Any) -> None:
    """Ask for the costs of no day: AWS looks at the permission, then refuses the period, so there is nothing to pay.

    Whether Cost Explorer is enabled shows where AWS looks at that too before the period, else with the first reading.
    """
    period = {"Start": "2024-01-01", "End": "2024-01-01"}
    try:
        ce.get_cost_and_usage(TimePeriod=period, Granularity="DAILY", Metrics=["UnblendedCost"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise


def _ask_one_price(pricing: Any) -> None:
    pricing.get_products(ServiceCode="AmazonEKS", MaxResults=1)


def _first(listing: Listing) -> _Probe:
    return lambda client: next(listing.items(client), None)


def _probes(regions: list[str]) -> Iterator[tuple[str, str, str, _Probe]]:
    """Everything in the first region, and in each other one a single call, which shows that it is enabled."""
    for listing in LISTINGS:
        yield regions[0], listing.kind, listing.service, _first(listing)
    for kind, service, probe in _PROBES:
        yield regions[0], kind, service, probe
    for region in regions[1:]:
        yield region, LISTINGS[0].kind, LISTINGS[0].service, _first(LISTINGS[0])


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
    except CloudError as error:
        return [Problem(account.account_id, "", "", error.cause, str(error))]
    except ConfigError as error:
        return [Problem(account.account_id, "", "", Cause.CONFIG, str(error))]
    if owner != account.account_id:
        message = f"the credential belongs to the account {owner}: correct account_id, or the keys that it refers to"
        return [Problem(account.account_id, "", "", Cause.CONFIG, message)]
    probes = [probe for probe in _probes(regions) if probe[2] != "cloudwatch" or "performance" in families]
    probes += _payment_probes(account, opened) if "cost" in families else ()
    with ThreadPoolExecutor(8, thread_name_prefix=f"aws-{customer_id}") as pool:
        outcomes = list(pool.map(lambda probe: _attempt(opened, meter, *probe), probes))
    if account.cost_export and "cost" in families:
        try:
            try_export(account, opened, meter)
        except CloudError as error:
            outcomes.append(Problem(account.account_id, "", "", error.cause, str(error)))
    return list(dict.fromkeys(outcome for outcome in outcomes if outcome is not None))


def _payment_probes(account: AwsAccount, opened: Account) -> Iterator[tuple[str, str, str, _Probe]]:
    """The price list, and the bill where it is read from Cost Explorer."""
    region = "us-east-1" if opened.partition == "aws" else opened.home_region
    if opened.partition == "aws":
        yield region, "", "pricing", _ask_one_price
    if account.billing and not account.cost_export:
        yield region, "", "ce", _ask_no_cost


def _attempt(account: Account, meter: Meter, region: str, kind: str, service: str, probe: _Probe) -> Problem | None:
    try:
        with account.call(service, region, meter) as client:
            try:
                probe(client)
            except ClientError as error:
                if "NotFound" not in error.response["Error"]["Code"]:
                    raise
    except CloudError as error:
        if error.cause is Cause.AUTH:  # STS has just accepted this credential
            return Problem(account.account_id, region, "", Cause.CONFIG, region_refused(region))
        known = explained(error)
        return Problem(account.account_id, region, kind, known.cause, str(known))
    return None
