from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import botocore.session
import pytest

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.lab.aws.services import KINDS as LAB_KINDS
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws import prices
from optiinfra_dagster.providers.aws.kind import status_of
from optiinfra_dagster.providers.aws.services import KINDS, LISTINGS, actions
from optiinfra_dagster.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from optiinfra_dagster.providers.aws.kind import AwsKind


def of_kind(kind: AwsKind, **metadata: str | float | bool) -> Resource:
    return Resource(
        account_id="111111111111",
        region="us-east-1",
        kind=kind.name,
        resource_id=f"arn:aws:x:us-east-1:111111111111:y/{kind.name}",
        resource_name="",
        resource_type=kind.resource_type,
        status=Status.RUNNING,
        cloud_status="",
        capacity=2,
        metadata=dict(metadata),
    )


RESOURCES = [
    of_kind(KINDS["ec2:instance"], instance_type="m6i.large", platform="Linux/UNIX"),
    of_kind(KINDS["ec2:instance"], instance_type="m6i.large", platform="Windows", tenancy="dedicated"),
    of_kind(KINDS["ebs:volume"], volume_type="gp3", iops=4000, throughput_mib_s=200),
    of_kind(KINDS["ebs:volume"], volume_type="io1", iops=500),
    of_kind(KINDS["ebs:volume"], volume_type="io2", iops=90_000),
    of_kind(
        KINDS["rds:db"], **{"class": "db.m6g.large"}, engine="postgres", multi_az=True,
        storage_type="gp3", iops=4000, throughput_mib_s=200,
    ),
    of_kind(
        KINDS["rds:db"], **{"class": "db.m6g.large"}, engine="oracle-ee", license_model="license-included",
        storage_type="io2", iops=1000,
    ),
    of_kind(KINDS["rds:db"], **{"class": "db.r6g.large"}, engine="aurora-mysql", storage_type="aurora-iopt1"),
    of_kind(KINDS["elasticache:cluster"], **{"class": "cache.t4g.small"}, engine="valkey"),
    of_kind(KINDS["redshift:cluster"], **{"class": "ra3.xlplus"}),
    of_kind(KINDS["memorydb:cluster"], **{"class": "db.r7g.large"}, engine="valkey"),
    of_kind(KINDS["opensearch:domain"], **{"class": "i4g.large.search"}),
    *(
        of_kind(KINDS[name])
        for name in (
            "ec2:nat_gateway",
            "ec2:address",
            "eks:cluster",
            "elbv2:application",
            "elbv2:network",
            "elbv2:gateway",
        )
    ),
    of_kind(KINDS["elb:classic"]),
]  # fmt: skip


@pytest.mark.parametrize("resource", RESOURCES, ids=[f"{n}-{one.kind}" for n, one in enumerate(RESOURCES)])
def test_each_price_part_is_found_by_one_query_and_by_that_of_its_own_kind(resource: Resource) -> None:
    parts = prices.components(resource)

    assert parts
    for part in parts:
        owners = {
            kind.name
            for kind in KINDS.values()
            for pattern in kind.price_queries
            if re.fullmatch(pattern, part.key) is not None
        }
        assert owners == {resource.kind}
        assert prices.query_for(part.key) is not None


def test_a_kind_with_a_price_says_which_service_charges_for_it() -> None:
    priced = [kind for kind in KINDS.values() if kind.price_parts is not None]

    missing = {kind.name for kind in priced} - {resource.kind for resource in RESOURCES}
    assert not missing, f"add a resource of {', '.join(sorted(missing))} to RESOURCES in this file"
    assert [kind.name for kind in priced if not (kind.bill_service and kind.price_queries)] == []


def test_what_costs_nothing_now_has_no_parts() -> None:
    volume = of_kind(KINDS["ebs:volume"], volume_type="gp3", iops=3000, throughput_mib_s=125)

    assert [(part.key, part.quantity) for part in prices.components(volume)] == [("gp3 GiB", Decimal(2))]


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param(of_kind(KINDS["ec2:nat_gateway"], availability_mode="regional"), id="a gateway in many zones"),
        pytest.param(
            of_kind(
                KINDS["rds:db"], **{"class": "db.m6g.large"}, engine="oracle-ee", license_model="license-included",
                storage_type="io2", iops=1000, more_volumes=2,
            ),
            id="a database with further volumes",
        ),
    ],
)  # fmt: skip
def test_what_has_parts_of_an_unknown_price_has_no_estimate(resource: Resource) -> None:
    assert list(prices.components(resource)) == []


# Service, and the name of an enumeration in the SDK's model.
STATES = [
    ("ec2", "InstanceStateName"), ("ec2", "VolumeState"), ("ec2", "SnapshotState"), ("ec2", "VpcState"),
    ("ec2", "SubnetState"), ("ec2", "NatGatewayState"), ("elbv2", "LoadBalancerStateEnum"), ("eks", "ClusterStatus"),
    ("eks", "NodegroupStatus"), ("dynamodb", "TableStatus"), ("efs", "LifeCycleState"), ("lambda", "State"),
    ("opensearch", "DomainProcessingStatusType"), ("fsx", "FileSystemLifecycle"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "enumeration"), STATES)
def test_every_state_that_the_sdk_knows_has_a_status(service: str, enumeration: str) -> None:
    words = botocore.session.get_session().get_service_model(service).shape_for(enumeration).enum

    assert words
    assert [word for word in words if status_of(word) is Status.UNKNOWN] == []


def test_the_facts_that_waste_is_judged_by() -> None:
    assert KINDS["ebs:volume"].attachable
    assert not KINDS["ec2:instance"].attachable
    for kind in KINDS.values():
        silent = kind.resource_type is ResourceType.LOAD_BALANCER or kind.name == "lambda:function"
        assert kind.silent_when_idle == silent


def test_kinds_are_named_once_and_the_same_in_the_lab() -> None:
    assert KINDS.keys() == LAB_KINDS.keys()
    assert len({listing.kind for listing in LISTINGS}) == len(LISTINGS)


def test_an_instance_stopped_before_the_window_is_not_asked_about() -> None:
    stopped_at = datetime(2026, 11, 20, 11, tzinfo=UTC)
    kind = KINDS["ec2:instance"]
    resource = Resource(
        **{
            **{name: getattr(of_kind(kind), name) for name in Resource.__slots__},
            "status": Status.STOPPED,
            "metadata": {"stopped_at": stopped_at.isoformat()},
        }
    )

    assert kind.idle_since(resource, datetime(2026, 11, 20, 12, tzinfo=UTC)) == "the instance is stopped"
    assert kind.idle_since(resource, stopped_at) == ""


def test_permissions_are_those_of_the_families() -> None:
    aws = PROVIDERS["aws"]

    assert aws.permissions(FAMILIES) == actions()
    assert aws.permissions(["cost"]) == ("ce:GetCostAndUsage", "pricing:GetProducts")
    assert aws.permissions(["performance"]) == ("cloudwatch:GetMetricData", "cloudwatch:ListMetrics")
    listed = {action for listing in LISTINGS for action in listing.actions.split()}
    assert set(aws.permissions(["resource"])) == listed | {"ec2:DescribeRegions", "tag:GetResources"}
    assert aws.kinds is KINDS


def test_the_kinds_are_read_without_an_sdk() -> None:
    code = (
        "import sys\n"
        "from optiinfra_dagster.providers.aws.provider import Aws\n"
        "Aws().kinds, Aws().permissions(['resource'])\n"
        "print({'boto3', 'botocore'} & {name.partition('.')[0] for name in sys.modules})"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
