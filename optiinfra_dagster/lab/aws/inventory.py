"""The listings: which operation shows which kinds of resource, under which key, and in pages of what size.

Keys, tokens and page parameters come from botocore's paginators; the limits from the API references. A parameter that
an operation does not understand here is refused: a lab that ignored a filter would answer something else than AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optiinfra_dagster.lab.aws.describe import describe
from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region
from optiinfra_dagster.lab.aws.wire import AwsError, Call, paginator, refusal

BALANCERS = ("elbv2:application", "elbv2:network", "elbv2:gateway")
REGIONS = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
]
OPT_IN_REGIONS = ["af-south-1", "ap-east-1", "eu-south-1", "il-central-1", "me-central-1", "me-south-1"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One paged operation: the kinds it shows, its page sizes, and the parameter that picks resources by id or name."""

    kinds: tuple[str, ...]
    smallest: int
    largest: int
    pick: str = ""  # the parameter's wire name
    missing: str = ""  # the error code where a picked one does not exist; "{id}" in its message
    show: Callable[[LabResource, Region], Any] = describe


def _name(resource: LabResource, _region: Region) -> str:
    return str(resource.name)


LISTINGS: dict[tuple[str, str], Listing] = {
    ("ec2", "DescribeInstances"): Listing(("ec2:instance",), 5, 1000, "InstanceId", "InvalidInstanceID.NotFound"),
    ("ec2", "DescribeVolumes"): Listing(("ebs:volume",), 5, 1000, "VolumeId", "InvalidVolume.NotFound"),
    ("ec2", "DescribeVpcs"): Listing(("ec2:vpc",), 5, 1000, "VpcId", "InvalidVpcID.NotFound"),
    ("ec2", "DescribeSubnets"): Listing(("ec2:subnet",), 5, 1000, "SubnetId", "InvalidSubnetID.NotFound"),
    ("ec2", "DescribeNatGateways"): Listing(("ec2:natgateway",), 5, 1000, "NatGatewayId", "NatGatewayNotFound"),
    ("rds", "DescribeDBInstances"): Listing(("rds:db",), 20, 100, "DBInstanceIdentifier", "DBInstanceNotFound"),
    ("rds", "DescribeDBClusters"): Listing(("rds:cluster",), 20, 100, "DBClusterIdentifier", "DBClusterNotFoundFault"),
    ("elb", "DescribeLoadBalancers"): Listing(("elb:classic",), 1, 400, "LoadBalancerNames", "LoadBalancerNotFound"),
    ("elbv2", "DescribeLoadBalancers"): Listing(BALANCERS, 1, 400, "LoadBalancerArns", "LoadBalancerNotFound"),
    ("eks", "ListClusters"): Listing(("eks:cluster",), 1, 100, show=_name),
    ("elasticache", "DescribeCacheClusters"): Listing(
        ("elasticache:cluster",), 20, 100, "CacheClusterId", "CacheClusterNotFound"
    ),
    ("redshift", "DescribeClusters"): Listing(("redshift:cluster",), 20, 100, "ClusterIdentifier", "ClusterNotFound"),
    ("dynamodb", "ListTables"): Listing(("dynamodb:table",), 1, 100, show=_name),
    ("efs", "DescribeFileSystems"): Listing(("efs:filesystem",), 1, 100, "FileSystemId", "FileSystemNotFound"),
}

Answer = Callable[[Estate, Call, Region], dict[str, Any]]


def token_of(call: Call) -> str:
    """The page token that a call carries, or an empty string."""
    name = paginator(call.service, call.operation).get("input_token", "")
    token = "" if isinstance(name, list) else call.params.get(name)
    return str(token or "")


def page_of(call: Call) -> int:
    """Which page of a listing a call asks for, 1 for the first; told by the lab's own tokens."""
    page = token_of(call).partition(".")[0]
    return int(page) if page.isdigit() else 1


def listing(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    """Answer one page of one of `LISTINGS`."""
    table, pages = LISTINGS[call.service, call.operation], paginator(call.service, call.operation)
    _refuse_unknown(call, {table.pick, pages["input_token"], pages["limit_key"], "ShowCacheNodeInfo", "IncludeShared"})
    found: Sequence[LabResource] = [one for kind in table.kinds for one in region.of(kind)]
    if picked := _as_list(call.params.get(table.pick)):
        if call.params.get(pages["limit_key"]) and call.operation == "DescribeInstances":
            raise AwsError(
                400, "InvalidParameterCombination", "The parameter instancesSet cannot be used with maxResults"
            )
        found = [_find(call, region, table, one) for one in picked]
    size = _page_size(call, table, pages["limit_key"])
    start, token = _start(call, found), {}
    if start + size < len(found):
        page = page_of(call) + 1
        last = found[start + size - 1].name if call.service == "dynamodb" else f"{page}.{start + size}.{call.operation}"
        token = {pages["output_token"]: last}
    return {pages["result_key"]: [table.show(one, region) for one in found[start : start + size]], **token}


def _page_size(call: Call, table: Listing, limit_key: str) -> int:
    try:
        size = int(call.params.get(limit_key, table.largest))
    except ValueError:
        size = -1
    if not table.smallest <= size <= table.largest:
        text = f"Value ({size}) for parameter {limit_key} is invalid. Expecting a value between {table.smallest} and "
        raise refusal(call, "invalid", f"{text}{table.largest}.")
    return size


def _start(call: Call, found: Sequence[LabResource]) -> int:
    token = token_of(call)
    if not token:
        return 0
    if call.service == "dynamodb":
        return 1 + next((n for n, one in enumerate(found) if one.name == token), len(found))
    _, start, operation = (*token.split("."), "", "")[:3]
    if not start.isdigit() or operation != call.operation or int(start) >= len(found):
        raise refusal(call, "invalid", f"The page token {token} is invalid.")
    return int(start)


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _find(call: Call, region: Region, table: Listing, key: str) -> LabResource:
    for kind in table.kinds:
        if (kind, key) in region.by_name:
            return region.by_name[kind, key]
    status = 400 if call.protocol == "ec2" or call.service.startswith("elb") else 404
    raise AwsError(status, table.missing, f"The resource '{key}' does not exist")


def _refuse_unknown(call: Call, known: set[str]) -> None:
    if unknown := {name for name, value in call.params.items() if value != ""} - known:
        raise refusal(
            call, "invalid", f"The cloud lab does not know {call.operation} with {', '.join(sorted(unknown))}."
        )


# --- operations without pages -----------------------------------------------------------------------------------------


def _regions(estate: Estate, call: Call, _region: Region) -> dict[str, Any]:
    _refuse_unknown(call, {"AllRegions", "RegionName"})
    account = estate.accounts.get(call.account)
    enabled = set(account.regions if account else REGIONS)
    everything = call.params.get("AllRegions") == "true"
    wanted = set(_as_list(call.params.get("RegionName")))
    names = sorted({*REGIONS, *OPT_IN_REGIONS, *enabled} if everything else enabled)
    return {
        "Regions": [
            {
                "RegionName": name,
                "Endpoint": f"ec2.{name}.amazonaws.com",
                "OptInStatus": "not-opted-in"
                if name not in enabled
                else "opted-in"
                if name in OPT_IN_REGIONS
                else "opt-in-not-required",
            }
            for name in names
            if not wanted or name in wanted
        ]
    }


def _balancer_tags(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    key, field, kinds = (
        ("ResourceArns", "ResourceArn", BALANCERS)
        if call.service == "elbv2"
        else ("LoadBalancerNames", "LoadBalancerName", ("elb:classic",))
    )
    asked = _as_list(call.params.get(key))
    if not 1 <= len(asked) <= 20:  # both API references: 1 to 20 per call
        raise AwsError(400, "ValidationError", f"1 to 20 {key} are allowed, not {len(asked)}")
    table = Listing(kinds, 1, 20, missing="LoadBalancerNotFound")
    return {
        "TagDescriptions": [
            {field: name, "Tags": [{"Key": k, "Value": v} for k, v in _find(call, region, table, name).tags.items()]}
            for name in asked
        ]
    }


def _one(kind: str, parameter: str, key: str, missing: tuple[int, str]) -> Answer:
    """An operation that shows one resource, named by `parameter`, under `key`."""

    def answer(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
        name = str(call.params.get(parameter, ""))
        if (kind, name) not in region.by_name:
            raise AwsError(*missing, f"No {kind} found for name: {name}.")
        return {key: describe(region.by_name[kind, name], region)}

    return answer


def _nodegroups(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    owner = region.by_name.get(("eks:cluster", str(call.params.get("name"))))
    if owner is None:
        raise AwsError(404, "ResourceNotFoundException", f"No cluster found for name: {call.params.get('name')}.")
    return {"nodegroups": [str(one.name) for one in region.children.get(owner, [])]}


def _table_tags(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    table = region.by_name.get(("dynamodb:table", str(call.params.get("ResourceArn"))))
    if table is None:
        raise AwsError(400, "ResourceNotFoundException", "Requested resource not found")
    return {"Tags": [{"Key": key, "Value": value} for key, value in table.tags.items()]}


SINGLES: dict[tuple[str, str], Answer] = {
    ("ec2", "DescribeRegions"): _regions,
    ("elb", "DescribeTags"): _balancer_tags,
    ("elbv2", "DescribeTags"): _balancer_tags,
    ("eks", "DescribeCluster"): _one("eks:cluster", "name", "cluster", (404, "ResourceNotFoundException")),
    ("eks", "ListNodegroups"): _nodegroups,
    ("eks", "DescribeNodegroup"): _one(
        "eks:nodegroup", "nodegroupName", "nodegroup", (404, "ResourceNotFoundException")
    ),
    ("dynamodb", "DescribeTable"): _one("dynamodb:table", "TableName", "Table", (400, "ResourceNotFoundException")),
    ("dynamodb", "ListTagsOfResource"): _table_tags,
}

OPERATIONS: dict[tuple[str, str], Answer] = dict.fromkeys(LISTINGS, listing) | SINGLES
