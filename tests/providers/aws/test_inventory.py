from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from optiinfra_dagster.lab.aws import cloud
from optiinfra_dagster.lab.aws.services import OPERATIONS
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest
from optiinfra_dagster.providers.aws import inventory as inventory_module
from optiinfra_dagster.providers.aws import metrics
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.aws.check import check
from optiinfra_dagster.providers.aws.inventory import collect
from optiinfra_dagster.providers.aws.kind import MOST_REFUSALS, Place
from optiinfra_dagster.providers.aws.services import LISTINGS
from tests.providers.aws.conftest import ACME, NOW, StartLab, acme, expected, fleet, nobody_at

KINDS = (
    "ec2:instance",
    "ebs:volume",
    "ec2:vpc",
    "ec2:subnet",
    "rds:db",
    "rds:cluster",
    "elb:classic",
    "elbv2:application",
    "elbv2:network",
    "elbv2:gateway",
    "eks:cluster",
    "eks:nodegroup",
    "ec2:nat_gateway",
    "elasticache:cluster",
    "redshift:cluster",
    "dynamodb:table",
    "efs:filesystem",
    "ebs:snapshot",
    "s3:bucket",
    "lambda:function",
    "ecs:service",
    "opensearch:domain",
    "memorydb:cluster",
    "elasticache:serverless",
    "fsx:filesystem",
)
WITHOUT_TIME = {"ec2:vpc", "ec2:subnet", "s3:bucket", "lambda:function", "opensearch:domain", "memorydb:cluster"}


def gather(*accounts: AwsAccount, meter: Meter | None = None) -> Inventory:
    return collect("acme", accounts or (acme(),), meter or Meter())


def only(inventory: Inventory, kind: str) -> Resource:
    (resource,) = [one for one in inventory.resources if one.kind == kind]
    return resource


def test_every_kind_comes_out_once_under_its_own_arn(start_lab: StartLab) -> None:
    lab = start_lab(*(fleet(kind, 3) for kind in KINDS if kind not in {"ec2:subnet", "eks:nodegroup"}))

    inventory = gather()

    assert inventory.problems == []
    found = {one.resource_id: one for one in inventory.resources}
    assert len(found) == len(inventory.resources)
    wanted = expected(lab, *KINDS)
    assert found.keys() == wanted.keys()
    for arn, one in wanted.items():
        assert (found[arn].kind, found[arn].region, found[arn].account_id) == (one.kind, "us-east-1", ACME)
        assert found[arn].status is not Status.UNKNOWN
        assert (found[arn].created_at is None) == (one.kind in WITHOUT_TIME)


def test_an_instance_carries_what_later_steps_need(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", name="web", type="m6i.2xlarge", detailed=True, tags={"env": "prod"}))

    instance = only(gather(), "ec2:instance")

    (listed,) = expected(lab, "ec2:instance").values()
    assert instance.resource_name == "web"
    assert instance.resource_type is ResourceType.COMPUTE
    assert (instance.status, instance.cloud_status) == (Status.RUNNING, "running")
    assert (instance.capacity, instance.unit) == (8, "vCPU")
    assert instance.tags == {"Name": "web", "env": "prod"}
    assert instance.created_at == listed.created
    assert instance.created_at.tzinfo is UTC
    assert instance.metadata["instance_type"] == "m6i.2xlarge"
    assert instance.metadata["detailed_monitoring"] is True


def test_an_instance_without_tags_and_cpu_options_is_named_by_its_id(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", name=None, volumes=0, omit=["Tags", "CpuOptions", "Placement", "Monitoring"]))

    instance = only(gather(), "ec2:instance")

    assert instance.resource_name == instance.resource_id.rpartition("/")[2]
    assert (instance.capacity, instance.tags) == (None, {})


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.STARTING),
        ("running", Status.RUNNING),
        ("stopping", Status.STOPPING),
        ("stopped", Status.STOPPED),
        ("shutting-down", Status.STOPPING),
        ("terminated", Status.TERMINATED),
        ("hovering", Status.UNKNOWN),
    ],
)
def test_the_clouds_word_is_kept_beside_the_status(start_lab: StartLab, word: str, status: Status) -> None:
    start_lab(fleet("ec2:instance", state=word))

    instance = only(gather(), "ec2:instance")

    assert (instance.status, instance.cloud_status) == (status, word)


def test_volumes_tell_size_and_what_they_are_attached_to(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance"), fleet("ebs:volume", name="loose", size=500))

    inventory = gather()

    volumes = {one.resource_name: one for one in inventory.resources if one.kind == "ebs:volume"}
    loose = volumes.pop("loose")
    (attached,) = volumes.values()
    assert (loose.status, loose.capacity, loose.unit) == (Status.AVAILABLE, 500, "GiB")
    assert "attached_to" not in loose.metadata
    assert attached.status is Status.IN_USE
    assert attached.metadata["attached_to"] == only(inventory, "ec2:instance").resource_id.rpartition("/")[2]


def test_databases_tell_their_engine_and_never_who_may_enter(start_lab: StartLab) -> None:
    start_lab(fleet("rds:db", engine="postgres", type="db.r6g.large", size=100, tags={"env": "prod"}))

    database = only(gather(), "rds:db")

    assert (database.capacity, database.unit) == (100, "GiB")
    assert (database.metadata["engine"], database.metadata["class"]) == ("postgres", "db.r6g.large")
    assert database.tags == {"env": "prod"}
    assert not any("user" in name.lower() or "endpoint" in name.lower() for name in database.metadata)


@pytest.mark.parametrize("kind", ["elbv2:application", "elb:classic"])
def test_load_balancers_come_with_tags_twenty_to_a_call(start_lab: StartLab, kind: str) -> None:
    start_lab(fleet(kind, 45, tags={"env": "prod"}))
    meter = Meter()

    inventory = gather(meter=meter)

    assert [one.tags.get("env") for one in inventory.resources] == ["prod"] * 45
    assert meter.calls["DescribeTags"] == 3


def test_pages_are_as_large_as_the_api_allows(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", 1001, volumes=0), fleet("rds:db", 101))
    meter = Meter()

    inventory = gather(meter=meter)

    assert Counter(one.kind for one in inventory.resources) == {"ec2:instance": 1001, "rds:db": 101}
    assert (meter.calls["DescribeInstances"], meter.calls["DescribeDBInstances"]) == (2, 2)
    assert meter.calls["AssumeRole"] == 1
    assert meter.cost_usd == Decimal("0.000005")  # ListBuckets


def test_without_a_choice_every_enabled_region_is_listed(start_lab: StartLab) -> None:
    start_lab(*(fleet("ec2:vpc", region=region, subnets=0) for region in ("eu-west-1", "ap-south-1", "us-east-1")))
    meter = Meter()

    inventory = gather(acme(regions=None), meter=meter)

    assert {one.region for one in inventory.resources} == {"eu-west-1", "ap-south-1", "us-east-1"}
    assert (meter.calls["DescribeRegions"], meter.calls["DescribeVpcs"]) == (1, 3)


def test_regions_that_may_not_be_asked_for_can_be_named(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:vpc"))
    lab.control.add_faults({"action": "deny", "operation": "DescribeRegions"})

    (problem,) = gather(acme(regions=None)).problems
    named = gather(acme(regions=["us-east-1"]))

    assert (problem.region, problem.kind, problem.cause) == ("", "", Cause.PERMISSION)
    assert problem.message.startswith("name the account's `regions` in the customers file, or allow the call: ")
    assert "Allow ec2:DescribeRegions" in problem.message
    assert named.problems == []


def test_a_denied_kind_costs_that_kind_and_names_the_permission(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 2), fleet("rds:db", 2))
    lab.control.add_faults({"action": "deny", "operation": "DescribeDBInstances"})

    inventory = gather()

    (problem,) = inventory.problems
    assert (problem.account_id, problem.region, problem.kind) == (ACME, "us-east-1", "rds:db")
    assert problem.cause is Cause.PERMISSION
    assert "rds:DescribeDBInstances" in problem.message
    assert {one.kind for one in inventory.resources} == {"ec2:instance", "ebs:volume"}


def test_regions_that_an_organization_denies_are_a_problem_each(start_lab: StartLab) -> None:
    """Every region is enabled, and all but one are denied: hundreds of calls, of which ten would be told."""
    denied = ["ap-south-1", "eu-central-1", "eu-north-1"]
    lab = start_lab(*(fleet("ec2:vpc", region=region, subnets=0) for region in (*denied, "us-east-1")))
    deny = {"action": "deny", "mode": "service control policy"}
    lab.control.add_faults(*({**deny, "region": region} for region in denied))
    lab.control.add_faults({**deny, "region": "us-east-1", "operation": "DescribeDBInstances"})

    inventory = gather(acme(regions=None))

    *regions, one_kind = inventory.problems
    assert [(problem.region, problem.kind) for problem in regions] == [(region, "") for region in denied]
    assert all(f"leave {problem.region} out of `regions`" in problem.message for problem in regions)
    assert all("kinds are denied alike" in problem.message for problem in regions)
    assert (one_kind.region, one_kind.kind) == ("us-east-1", "rds:db")
    assert {problem.cause for problem in inventory.problems} == {Cause.PERMISSION}
    assert only(inventory, "ec2:vpc").region == "us-east-1"


def test_a_listing_that_breaks_off_keeps_what_it_brought(start_lab: StartLab) -> None:
    lab = start_lab(fleet("rds:db", 150))
    lab.control.add_faults({"action": "deny", "operation": "DescribeDBInstances", "page": 2})

    inventory = gather()

    assert len(inventory.resources) == 100
    (problem,) = inventory.problems
    assert "(100 listed before)" in problem.message


def test_without_permission_for_tags_load_balancers_come_untagged(start_lab: StartLab) -> None:
    lab = start_lab(fleet("elbv2:application", 45))
    lab.control.add_faults({"action": "deny", "operation": "DescribeTags"})
    meter = Meter()

    inventory = gather(meter=meter)

    assert len(inventory.resources) == 45
    (problem,) = inventory.problems
    assert "elasticloadbalancing:DescribeTags" in problem.message
    assert meter.calls["DescribeTags"] == 1


def test_a_cluster_that_cannot_be_described_costs_that_cluster(start_lab: StartLab) -> None:
    lab = start_lab(fleet("eks:cluster", 3, nodegroups=0))
    lab.control.add_faults({"action": "error", "operation": "DescribeCluster", "times": 4})  # all attempts of one call

    inventory = gather()

    assert len(inventory.resources) == 2
    assert [(problem.kind, problem.cause) for problem in inventory.problems] == [("eks:cluster", Cause.UNAVAILABLE)]


@pytest.mark.parametrize(
    ("kind", "operation"),
    [("eks:cluster", "DescribeCluster"), ("dynamodb:table", "DescribeTable"), ("ecs:service", "ListServices")],
)
def test_what_a_policy_refuses_by_name_costs_that_one(start_lab: StartLab, kind: str, operation: str) -> None:
    lab = start_lab(fleet(kind, 3), fleet(kind, 3))
    everything = gather()
    asked = lab.control.calls().count(operation=operation)
    lab.control.add_faults({"action": "deny", "operation": operation, "times": 1})

    inventory = gather()

    assert lab.control.calls().count(operation=operation) == 2 * asked
    assert 0 < len(everything.resources) - len(inventory.resources) <= len(everything.resources) / asked
    assert [(problem.kind, problem.cause) for problem in inventory.problems] == [(kind, Cause.PERMISSION)]


def test_without_permission_for_node_groups_clusters_come_and_few_calls_are_refused(start_lab: StartLab) -> None:
    lab = start_lab(fleet("eks:cluster", 30))
    lab.control.add_faults({"action": "deny", "operation": "ListNodegroups"})

    inventory = gather()

    assert Counter(one.kind for one in inventory.resources) == {"eks:cluster": 30}
    assert ["eks:ListNodegroups" in problem.message for problem in inventory.problems] == [True]
    assert lab.control.calls().count(operation="ListNodegroups") == MOST_REFUSALS


def test_node_groups_tell_their_size(start_lab: StartLab) -> None:
    start_lab(fleet("eks:cluster", name="prod", size=5))

    group = only(gather(), "eks:nodegroup")

    assert (group.capacity, group.unit, group.metadata["cluster"]) == (5, "nodes", "prod")


def test_a_throttled_call_is_tried_again_and_every_attempt_is_counted(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 2))
    lab.control.add_faults({"action": "throttle", "operation": "DescribeInstances", "times": 1})
    meter = Meter()

    inventory = gather(meter=meter)

    assert inventory.problems == []
    assert meter.calls["DescribeInstances"] == lab.control.calls().count(operation="DescribeInstances") == 2


def test_what_stays_throttled_is_told_as_throttled(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 2))
    lab.control.add_faults({"action": "throttle", "operation": "DescribeVolumes"})

    (problem,) = gather().problems

    assert (problem.kind, problem.cause) == ("ebs:volume", Cause.THROTTLED)


def test_a_dropped_connection_costs_one_kind(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 2))
    lab.control.add_faults({"action": "disconnect", "operation": "DescribeVpcs"})

    (problem,) = gather().problems

    assert (problem.kind, problem.cause) == ("ec2:vpc", Cause.UNAVAILABLE)
    assert "ec2.DescribeVpcs in us-east-1" in problem.message


def test_a_role_that_cannot_be_assumed_is_one_problem_and_no_further_call(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"id": "222222222222", "external_id": "right", "fleets": []}
    start_lab(fleet("ec2:instance"), accounts=(other,))
    monkeypatch.setenv("EXTERNAL_ID", "wrong-and-secret")
    locked = AwsAccount.model_validate(
        {
            "account_id": "222222222222",
            "role_arn": "arn:aws:iam::222222222222:role/reader",
            "external_id": {"env": "EXTERNAL_ID"},
        }
    )
    meter = Meter()

    inventory = gather(locked, meter=meter)

    (problem,) = inventory.problems
    assert (problem.account_id, problem.region, problem.kind) == ("222222222222", "", "")
    assert problem.cause is Cause.AUTH
    assert "external id" in problem.message
    assert "wrong-and-secret" not in problem.message
    assert meter.calls == {"AssumeRole": 1}


def test_one_account_that_cannot_be_entered_does_not_cost_the_other(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:vpc", subnets=0))
    stranger = AwsAccount(account_id="999999999999", role_arn="arn:aws:iam::999999999999:role/reader")

    inventory = gather(stranger, acme())

    assert [one.kind for one in inventory.resources] == ["ec2:vpc"]
    assert [(problem.account_id, problem.cause) for problem in inventory.problems] == [("999999999999", Cause.AUTH)]


def test_an_unknown_key_is_one_problem_after_one_listing(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    start_lab(fleet("ec2:instance"))
    monkeypatch.setenv("KEY", "NOBODYSKEY")
    monkeypatch.setenv("SECRET", "nobodys-secret")
    meter = Meter()
    keys = {"access_key_id": {"env": "KEY"}, "secret_access_key": {"env": "SECRET"}}

    inventory = gather(acme(role_arn=None, **keys), meter=meter)

    (problem,) = inventory.problems
    assert (problem.region, problem.kind, problem.cause) == ("", "", Cause.AUTH)
    assert "NOBODYSKEY" not in problem.message
    assert meter.calls == {"DescribeInstances": 1, "GetCallerIdentity": 1}


def test_a_reference_that_leads_nowhere_is_one_problem(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance"))
    meter = Meter()

    inventory = gather(acme(external_id={"env": "NOT_SET_ANYWHERE"}), meter=meter)

    (problem,) = inventory.problems
    assert problem.cause is Cause.CONFIG
    assert "NOT_SET_ANYWHERE" in problem.message
    assert not meter.calls


def test_a_region_that_is_not_enabled_costs_that_region_only(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:vpc", 2, subnets=0))
    meter = Meter()

    inventory = gather(acme(regions=["me-south-1", "us-east-1"]), meter=meter)

    assert len(inventory.resources) == 2
    (problem,) = inventory.problems
    assert (problem.region, problem.cause) == ("me-south-1", Cause.CONFIG)
    assert "enable the region" in problem.message
    assert meter.calls["GetCallerIdentity"] == 1


@pytest.mark.parametrize(("region", "lacking"), [("ap-northeast-3", 0), ("us-east-1", 1)])
def test_a_service_that_a_region_does_not_have_is_no_gap(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, region: str, lacking: int
) -> None:
    """MemoryDB has no host in Osaka, a region that every account has; in Virginia, one that is silent is a gap."""
    start_lab(fleet("ec2:vpc", region=region))
    nobody_at(monkeypatch, "AWS_ENDPOINT_URL_MEMORYDB")

    inventory = gather(acme(regions=[region]))

    assert only(inventory, "ec2:vpc").region == region
    assert [(problem.kind, problem.cause) for problem in inventory.problems] == (
        [("memorydb:cluster", Cause.UNAVAILABLE)] * lacking
    )


@pytest.mark.parametrize(
    ("service", "operation"), [("elasticache", "DescribeServerlessCaches"), ("fsx", "DescribeFileSystems")]
)  # of a protocol with forms, and of one with JSON
def test_a_call_that_a_service_does_not_have_in_a_region_is_no_gap(
    start_lab: StartLab, service: str, operation: str
) -> None:
    """As in partitions that are behind: what cannot be asked for cannot have been made."""
    lab = start_lab(fleet("ec2:vpc", subnets=0))
    lab.control.add_faults({"action": "unknown_call", "service": service, "operation": operation})

    inventory = gather()

    assert inventory.problems == []
    assert [one.kind for one in inventory.resources] == ["ec2:vpc"]
    assert check("acme", acme(), ["resource"]) == []


@pytest.mark.parametrize("service", ["elasticache", "redshift", "memorydb", "eks", "dynamodb"])
def test_a_service_that_the_account_has_not_signed_up_for_is_no_gap(start_lab: StartLab, service: str) -> None:
    """Nothing of it can have been made: an account that never used Redshift would never have a whole inventory."""
    lab = start_lab(fleet("ec2:vpc", subnets=0))
    lab.control.add_faults({"action": "not_subscribed", "service": service})

    inventory = gather()

    assert inventory.problems == []
    assert [one.kind for one in inventory.resources] == ["ec2:vpc"]
    assert check("acme", acme(), ["resource"]) == []


def test_an_account_that_ec2_is_closed_to_is_not_an_empty_one(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:vpc"))
    lab.control.add_faults({"action": "not_subscribed", "service": "ec2"})

    inventory = gather()

    assert inventory.resources == []
    assert {(one.kind, one.cause) for one in inventory.problems} >= {("ec2:instance", Cause.CONFIG)}
    assert Cause.CONFIG in {one.cause for one in check("acme", acme(), ["resource"])}


def test_an_endpoint_that_knows_no_call_of_ec2_is_not_an_empty_region(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:vpc"))
    lab.control.add_faults({"action": "unknown_call", "service": "ec2"})

    inventory = gather()

    assert inventory.resources == []
    assert "ec2:instance" in {problem.kind for problem in inventory.problems}


def test_a_region_that_the_sdk_does_not_know_may_have_any_service(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_lab(fleet("ec2:vpc", region="ap-southeast-99"))
    nobody_at(monkeypatch, "AWS_ENDPOINT_URL_MEMORYDB")

    (problem,) = gather(acme(regions=["ap-southeast-99"])).problems

    assert (problem.kind, problem.cause) == ("memorydb:cluster", Cause.UNAVAILABLE)


def test_two_accounts_of_a_customer_keep_apart(start_lab: StartLab) -> None:
    second = {"id": "222222222222", "regions": ["us-east-1"], "fleets": [fleet("ec2:vpc", 2, subnets=0)]}
    start_lab(fleet("ec2:vpc", 3, subnets=0), accounts=(second,))
    other = AwsAccount(
        account_id="222222222222", role_arn="arn:aws:iam::222222222222:role/reader", regions=["us-east-1"]
    )

    inventory = gather(acme(), other)

    assert Counter(one.account_id for one in inventory.resources) == {ACME: 3, "222222222222": 2}


def test_listings_are_all_different() -> None:
    assert len({listing.kind for listing in LISTINGS}) == len(LISTINGS)


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An AWS that this project did not write."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        environment = {
            "ENDPOINT_URL": url,
            "ACCESS_KEY_ID": "k",
            "SECRET_ACCESS_KEY": "s",
            "DEFAULT_REGION": "us-east-1",
        }
        for name, value in environment.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield url
    finally:
        server.stop()


def test_another_implementation_of_the_apis_is_read_as_well(moto: str) -> None:
    def client(service: str) -> Any:
        return boto3.client(service, region_name="us-east-1")

    launched = client("ec2").run_instances(ImageId="ami-12c6146b", MinCount=2, MaxCount=2, InstanceType="t3.micro")
    client("ec2").terminate_instances(InstanceIds=[launched["Instances"][1]["InstanceId"]])
    client("rds").create_db_instance(
        DBInstanceIdentifier="orders",
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="root",
        MasterUserPassword="hunter2hunter2",
    )
    subnets = [one["SubnetId"] for one in client("ec2").describe_subnets()["Subnets"][:2]]
    tags = [{"Key": "env", "Value": "prod"}]
    client("elbv2").create_load_balancer(Name="shop", Subnets=subnets, Tags=tags)
    client("elb").create_load_balancer(
        LoadBalancerName="intranet",
        Listeners=[{"Protocol": "http", "LoadBalancerPort": 80, "InstancePort": 80}],
        AvailabilityZones=["us-east-1a"],
        Tags=tags,
    )
    client("eks").create_cluster(name="platform", roleArn="arn:aws:iam::123456789012:role/eks", resourcesVpcConfig={})

    inventory = gather(AwsAccount(account_id="123456789012", regions=["us-east-1"]))

    assert {problem.kind for problem in inventory.problems} == {"elasticache:serverless"}  # which Moto does not have
    counts = Counter(one.kind for one in inventory.resources)
    assert counts["ec2:instance"] == 2
    assert counts["ebs:volume"] >= 1
    assert counts["ec2:vpc"] == 1
    assert counts["ec2:subnet"] == 6
    assert {one.status for one in inventory.resources if one.kind == "ec2:instance"} == {
        Status.RUNNING,
        Status.TERMINATED,
    }
    assert only(inventory, "rds:db").capacity == 20
    assert only(inventory, "elbv2:application").tags == {"env": "prod"}
    assert only(inventory, "elb:classic").tags == {"env": "prod"}
    assert only(inventory, "eks:cluster").status is Status.RUNNING
    assert "hunter2" not in repr(inventory)


def test_when_the_time_is_up_nothing_more_is_listed(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("ec2:instance"))
    monkeypatch.setattr("optiinfra_dagster.providers.aws.inventory.SENDING_SECONDS", 0.0)

    inventory = gather()

    assert inventory.resources == []
    assert {problem.cause for problem in inventory.problems} == {Cause.UNAVAILABLE}
    assert all("took too long" in problem.message for problem in inventory.problems)
    assert {key.service for key in lab.control.calls().requests} <= {"sts"}


def test_an_address_that_nothing_uses_is_available_and_attached_to_nothing(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:address", 2, name="edge-{n}"))
    found = collect("acme", [acme()], Meter())
    assert found.problems == []
    used, idle = sorted(found.resources, key=lambda one: one.resource_name)
    assert (used.status, idle.status) == (Status.IN_USE, Status.AVAILABLE)
    assert str(used.metadata["attached_to"]).startswith("eni-")
    assert "attached_to" not in idle.metadata
    assert idle.resource_id.startswith("arn:aws:ec2:us-east-1:")
    assert ":elastic-ip/eipalloc-" in idle.resource_id


@pytest.mark.parametrize(("machine", "status"), [("i-1234567890abcdef0", Status.IN_USE), ("", Status.AVAILABLE)])
def test_an_address_that_was_not_allocated_to_a_vpc_is_known_by_itself(machine: str, status: Status) -> None:
    """The first example of the API reference: it has neither an allocation nor an association."""
    (listing,) = [one for one in LISTINGS if one.kind == "ec2:address"]
    item = {"Domain": "standard", "InstanceId": machine, "PublicIp": "198.51.100.0"}

    address = listing.to_resource(item, Place("aws", ACME, "us-east-1"))

    assert address.resource_id == f"arn:aws:ec2:us-east-1:{ACME}:elastic-ip/198.51.100.0"
    assert (address.status, address.metadata.get("attached_to", "")) == (status, machine)


def test_an_empty_account_is_a_call_for_each_listing(start_lab: StartLab) -> None:
    start_lab()
    meter = Meter()

    assert gather(meter=meter) == Inventory(regions={"111111111111": ["us-east-1"]})

    assert sum(meter.calls.values()) == len(LISTINGS) + 1  # and AssumeRole


def test_buckets_of_all_regions_are_one_call_and_those_of_other_regions_are_left_out(start_lab: StartLab) -> None:
    start_lab(*(fleet("s3:bucket", 2, region=region) for region in ("us-east-1", "eu-west-1", "ap-south-1")))
    meter = Meter()

    inventory = gather(acme(regions=["eu-west-1", "ap-south-1"]), meter=meter)

    assert Counter(one.region for one in inventory.resources) == {"eu-west-1": 2, "ap-south-1": 2}
    assert meter.calls["ListBuckets"] == 1


def test_a_bucket_whose_region_is_not_told_is_there_all_the_same(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the example of the API reference; nothing is asked of a region that is not known."""
    (listing,) = [one for one in LISTINGS if one.kind == "s3:bucket"]
    untold = replace(listing, items=lambda _s3: iter([{"Name": "logs"}]))
    monkeypatch.setattr(inventory_module, "LISTINGS", (LISTINGS[0], untold))
    start_lab()
    meter = Meter()

    found = gather(meter=meter)
    request = MetricsRequest("acme", [acme()], found.resources, NOW - timedelta(minutes=15), NOW, NOW)
    coverage = metrics.collect(request, meter).coverage

    assert found.problems == []
    assert (only(found, "s3:bucket").resource_id, only(found, "s3:bucket").region) == ("arn:aws:s3:::logs", "")
    assert {(one.metric_name, one.state) for one in coverage} == {
        ("storage_used", CoverageState.ERROR),
        ("object_count", CoverageState.ERROR),
    }
    assert meter.calls["GetResources"] == meter.calls["GetMetricData"] == 0


def test_snapshots_are_those_of_the_account_itself(start_lab: StartLab) -> None:
    start_lab(fleet("ebs:snapshot", 3, size=50))

    found = gather().resources

    assert [(one.capacity, one.status, one.resource_type) for one in found] == [
        (50, Status.AVAILABLE, ResourceType.SNAPSHOT)
    ] * 3
    assert all(one.created_at is not None and one.metadata["snapshot_of"] for one in found)


def test_services_and_domains_come_in_the_batches_that_their_calls_allow(start_lab: StartLab) -> None:
    start_lab(fleet("ecs:service", 101, tags={"env": "prod"}), fleet("opensearch:domain", 11))
    meter = Meter()

    inventory = gather(meter=meter)

    assert inventory.problems == []
    assert Counter(one.kind for one in inventory.resources) == {"ecs:service": 101, "opensearch:domain": 11}
    assert {one.tags.get("env") for one in inventory.resources if one.kind == "ecs:service"} == {"prod"}
    assert {name: meter.calls[name] for name in ("ListServices", "DescribeServices", "DescribeDomains")} == {
        "ListServices": 2,
        "DescribeServices": 11,
        "DescribeDomains": 3,
    }


def test_a_cluster_that_is_gone_by_now_costs_no_service_of_the_others(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("ecs:service", 3))
    (arn,) = {one.replace(":service/", ":cluster/").rpartition("/")[0] for one in expected(lab, "ecs:service")}
    clusters = {"clusterArns": [f"{arn}-of-before", arn]}
    monkeypatch.setattr(cloud, "OPERATIONS", {**OPERATIONS, ("ecs", "ListClusters"): lambda *_call: clusters})

    inventory = gather()

    assert inventory.problems == []
    assert len(inventory.resources) == 3


def test_what_new_listings_may_hold_never_comes_out(start_lab: StartLab) -> None:
    kinds = ("lambda:function", "ecs:service", "opensearch:domain", "memorydb:cluster", "fsx:filesystem")
    start_lab(*(fleet(kind, 2) for kind in (*kinds, "ebs:snapshot")))

    assert "planted" not in repr(gather())
