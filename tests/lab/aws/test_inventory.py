"""The listings show exactly the world's resources, page by page, as the real boto3 reads them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.aws.kind import describe
from tests.lab.conftest import ACCOUNT, WORLD, connect

# service, operation, kinds, the key of the id in each item
LISTINGS = [
    ("ec2", "describe_instances", ["ec2:instance"], "InstanceId"),
    ("ec2", "describe_volumes", ["ebs:volume"], "VolumeId"),
    ("ec2", "describe_vpcs", ["ec2:vpc"], "VpcId"),
    ("ec2", "describe_subnets", ["ec2:subnet"], "SubnetId"),
    ("ec2", "describe_nat_gateways", ["ec2:nat_gateway"], "NatGatewayId"),
    ("rds", "describe_db_instances", ["rds:db"], "DBInstanceIdentifier"),
    ("rds", "describe_db_clusters", ["rds:cluster"], "DBClusterIdentifier"),
    ("elb", "describe_load_balancers", ["elb:classic"], "LoadBalancerName"),
    ("elasticache", "describe_cache_clusters", ["elasticache:cluster"], "CacheClusterId"),
    ("redshift", "describe_clusters", ["redshift:cluster"], "ClusterIdentifier"),
    ("efs", "describe_file_systems", ["efs:filesystem"], "FileSystemId"),
    ("lambda", "list_functions", ["lambda:function"], "FunctionName"),
    ("elasticache", "describe_serverless_caches", ["elasticache:serverless"], "ServerlessCacheName"),
    ("fsx", "describe_file_systems", ["fsx:filesystem"], "FileSystemId"),
]


def items(client: Any, operation: str, size: int | None = None) -> list[Any]:
    pages = client.get_paginator(operation).paginate(PaginationConfig={"PageSize": size} if size else {})
    found: list[Any] = pages.build_full_result()[pages.result_keys[0].expression]
    return [one for group in found for one in group["Instances"]] if operation == "describe_instances" else found


@pytest.mark.parametrize(("service", "operation", "kinds", "key"), LISTINGS)
def test_a_listing_shows_every_resource_of_its_kind(
    lab: CloudLab, service: str, operation: str, kinds: list[str], key: str
) -> None:
    wanted = [one for kind in kinds for one in lab.resources(ACCOUNT, "us-east-1", kind)]
    shown = items(connect(lab, service), operation)
    assert [one[key] for one in shown] == [one.id for one in wanted]
    assert shown
    for one, resource in zip(shown, wanted, strict=True):  # nothing that the lab writes is lost on the wire
        written = describe(resource, lab.aws.estate.region(ACCOUNT, "us-east-1"))
        assert one == (written["Instances"][0] if operation == "describe_instances" else written)
    assert items(connect(lab, service, region="eu-west-1"), operation) == []


def test_load_balancers_come_with_their_type_and_tags(lab: CloudLab) -> None:
    client = connect(lab, "elbv2")
    shown = {one["LoadBalancerArn"]: one["Type"] for one in items(client, "describe_load_balancers")}
    assert shown == {
        one.arn: kind for kind in ("application", "network", "gateway") for one in lab.resources(kind=f"elbv2:{kind}")
    }
    tags = client.describe_tags(ResourceArns=list(shown))["TagDescriptions"]
    prod = [{"Key": "env", "Value": "prod"}]
    assert [(one["ResourceArn"], one["Tags"]) for one in tags] == [(arn, prod) for arn in shown]
    with pytest.raises(ClientError, match="1 to 20"):
        client.describe_tags(ResourceArns=[*shown] * 3)


def test_clusters_and_tables_are_listed_by_name_and_shown_one_by_one(lab: CloudLab) -> None:
    eks, dynamodb = connect(lab, "eks"), connect(lab, "dynamodb")
    for name, want in zip(items(eks, "list_clusters", 1), lab.resources(kind="eks:cluster"), strict=True):
        cluster = eks.describe_cluster(name=name)["cluster"]
        assert (cluster["arn"], cluster["createdAt"]) == (want.arn, want.created)
        [group] = eks.list_nodegroups(clusterName=name)["nodegroups"]
        assert eks.describe_nodegroup(clusterName=name, nodegroupName=group)["nodegroup"]["clusterName"] == name
    for name, want in zip(items(dynamodb, "list_tables", 1), lab.resources(kind="dynamodb:table"), strict=True):
        table = dynamodb.describe_table(TableName=name)["Table"]
        assert (table["TableArn"], table["CreationDateTime"]) == (want.arn, want.created)
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.describe_cluster(name="nowhere")


@pytest.mark.parametrize(
    ("service", "operation", "parameter", "smallest", "largest"),
    [
        ("ec2", "describe_instances", "MaxResults", 5, 1000),
        ("rds", "describe_db_instances", "MaxRecords", 20, 100),
        ("elbv2", "describe_load_balancers", "PageSize", 1, 400),
        ("eks", "list_clusters", "maxResults", 1, 100),
    ],
)
def test_page_sizes_have_the_real_limits(
    lab: CloudLab, service: str, operation: str, parameter: str, smallest: int, largest: int
) -> None:
    call = getattr(connect(lab, service), operation)
    for size in (smallest, largest):
        call(**{parameter: size})
    for size in (smallest - 1, largest + 1):
        with pytest.raises(Exception, match=r"invalid|Invalid"):  # boto3 itself refuses some sizes
            call(**{parameter: size})


def test_pages_of_every_size_give_the_same_listing(lab: CloudLab) -> None:
    ec2, elbv2 = connect(lab, "ec2"), connect(lab, "elbv2")
    assert items(ec2, "describe_volumes", 5) == items(ec2, "describe_volumes")
    assert items(elbv2, "describe_load_balancers", 2) == items(elbv2, "describe_load_balancers")
    first = elbv2.describe_load_balancers(PageSize=2)
    assert len(first["LoadBalancers"]) == 2
    assert first["NextMarker"]


def test_real_oddities_are_in_the_answers(lab: CloudLab) -> None:
    ec2 = connect(lab, "ec2")
    instances = items(ec2, "describe_instances")
    [bare] = [one for one in instances if "CpuOptions" not in one]
    assert "Tags" not in bare
    [off] = [one for one in instances if one["State"]["Name"] == "stopped"]
    assert off["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    [loose] = [one for one in items(ec2, "describe_volumes") if not one["Attachments"]]
    assert loose["State"] == "available"


def test_volumes_subnets_and_instances_point_at_each_other(lab: CloudLab) -> None:
    ec2 = connect(lab, "ec2")
    instances = {one["InstanceId"]: one for one in items(ec2, "describe_instances")}
    subnets = {one["SubnetId"]: one["VpcId"] for one in items(ec2, "describe_subnets")}
    for volume in items(ec2, "describe_volumes"):
        for attached in volume["Attachments"]:
            mapped = instances[attached["InstanceId"]]["BlockDeviceMappings"]
            assert volume["VolumeId"] in {one["Ebs"]["VolumeId"] for one in mapped}
    assert {subnets[one["SubnetId"]] == one["VpcId"] for one in instances.values()} == {True}


def test_named_resources_are_picked_and_missing_ones_refused(lab: CloudLab) -> None:
    ec2 = connect(lab, "ec2")
    [wanted] = [one for one in lab.resources(kind="ec2:instance") if one.name == "old"]
    [[picked]] = [one["Instances"] for one in ec2.describe_instances(InstanceIds=[wanted.id])["Reservations"]]
    assert picked["InstanceType"] == "t2.micro"
    with pytest.raises(ClientError) as error:
        ec2.describe_instances(InstanceIds=["i-0"])
    assert error.value.response["Error"]["Code"] == "InvalidInstanceID.NotFound"


def test_a_filter_that_the_lab_cannot_apply_is_refused_not_ignored(lab: CloudLab) -> None:
    with pytest.raises(ClientError, match="does not know DescribeInstances with Filter"):
        connect(lab, "ec2").describe_instances(Filters=[{"Name": "vpc-id", "Values": ["vpc-1"]}])


def test_regions_are_those_that_the_account_enabled(lab: CloudLab) -> None:
    ec2 = connect(lab, "ec2")
    assert [one["RegionName"] for one in ec2.describe_regions()["Regions"]] == ["eu-west-1", "us-east-1"]
    everywhere = {one["RegionName"]: one["OptInStatus"] for one in ec2.describe_regions(AllRegions=True)["Regions"]}
    assert everywhere["us-east-1"] == "opt-in-not-required"
    assert everywhere["af-south-1"] == "not-opted-in"
    with pytest.raises(ClientError) as error:
        connect(lab, "ec2", region="af-south-1").describe_instances()
    assert error.value.response["Error"]["Code"] == "AuthFailure"


def test_a_restarted_lab_shows_the_same_cloud(lab: CloudLab) -> None:
    with CloudLab(WORLD) as again:
        for service, operation, *_ in LISTINGS:
            assert items(connect(again, service), operation) == items(connect(lab, service), operation)


def test_what_the_lab_does_not_describe_is_answered_by_moto(lab: CloudLab) -> None:
    assert connect(lab, "sqs").list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200
