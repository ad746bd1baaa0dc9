"""The next smaller type of a machine or database, on every cloud: by the sizes that the clouds document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.aws import smaller_types as aws
from optiinfra_dagster.providers.azure import smaller_types as azure
from optiinfra_dagster.providers.gcp import smaller_types as gcp
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.providers.sizing import BURSTABLE, NO_FAMILY, SMALLEST, WITH_ACCELERATORS
from optiinfra_dagster.providers.vultr import smaller_types as vultr
from tests.support.samples import resource

if TYPE_CHECKING:
    from optiinfra_dagster.model.sizes import MachineType, SizeStep

# (type, vCPUs, GiB of memory, the smaller type, its vCPUs, its part of the memory)
Row = tuple[str, float, float | None, str, float, float | None]


def as_told(found: SizeStep | None) -> Row:
    assert found is not None
    assert found.smaller is not None, found.why_not
    assert found.smaller_vcpus is not None
    assert found.vcpus is not None
    return (
        found.type, found.vcpus, found.memory_gib, found.smaller_type, found.smaller_vcpus, found.memory_share,
    )  # fmt: skip


def why_not(found: SizeStep | None) -> str:
    assert found is not None
    assert (found.smaller, found.smaller_type, found.smaller_vcpus, found.memory_share) == (None, "", None, None)
    return found.why_not


# --- AWS ----------------------------------------------------------------------------------------------------------


def ec2(instance_type: str, **changes: Any) -> SizeStep | None:
    return aws.sized(resource("i", kind="ec2:instance", metadata={"instance_type": instance_type}, **changes))


def rds(instance_class: str) -> SizeStep | None:
    return aws.sized(resource("d", kind="rds:db", metadata={"class": instance_class, "engine": "postgres"}))


@pytest.mark.parametrize(
    "row",
    [
        ("m6i.xlarge", 4, 16, "m6i.large", 2, 0.5),
        ("m5.24xlarge", 96, 384, "m5.16xlarge", 64, 16 / 24),
        ("m7g.large", 2, 8, "m7g.medium", 1, 0.5),
        ("m7a.large", 2, 8, "m7a.medium", 1, 0.5),
        ("m7i-flex.2xlarge", 8, 32, "m7i-flex.xlarge", 4, 0.5),
        ("c5.9xlarge", 36, 72, "c5.4xlarge", 16, 4 / 9),  # there is no 8xlarge
        ("c5.12xlarge", 48, 96, "c5.9xlarge", 36, 0.75),
        ("c4.8xlarge", 36, None, "c4.4xlarge", 16, 0.5),  # not 32 vCPUs
        ("c5n.18xlarge", 72, None, "c5n.9xlarge", 36, 0.5),
        ("r6g.12xlarge", 48, 384, "r6g.8xlarge", 32, 8 / 12),
        ("m4.10xlarge", 40, None, "m4.4xlarge", 16, 0.4),
        ("i3.2xlarge", 8, None, "i3.xlarge", 4, 0.5),
        ("x1e.32xlarge", 128, None, "x1e.16xlarge", 64, 0.5),
    ],
    ids=lambda row: row[0],
)
def test_an_ec2_instance_has_the_next_smaller_size_of_its_family(row: Row) -> None:
    found = ec2(row[0])
    assert as_told(found) == row
    assert found is not None
    assert found.smaller is not None
    assert found.smaller.metadata == {"instance_type": row[3]}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m6i.large", SMALLEST), ("m7g.medium", SMALLEST), ("c5.large", SMALLEST),
        ("t3.large", BURSTABLE), ("t4g.2xlarge", BURSTABLE), ("t2.micro", BURSTABLE),
        ("g5.2xlarge", WITH_ACCELERATORS), ("p4d.24xlarge", WITH_ACCELERATORS), ("inf2.xlarge", WITH_ACCELERATORS),
        ("m5.metal", NO_FAMILY), ("u-6tb1.112xlarge", NO_FAMILY), ("mac2.metal", NO_FAMILY), ("q9.xlarge", NO_FAMILY),
        ("m5.10xlarge", NO_FAMILY), ("m1.xlarge", NO_FAMILY), ("large", NO_FAMILY),
    ],
)  # fmt: skip
def test_an_ec2_instance_without_a_smaller_size_says_why(name: str, reason: str) -> None:
    assert why_not(ec2(name)) == reason


def test_an_instance_with_cpu_options_of_its_own_is_not_sized_by_its_type() -> None:
    assert "CPU options" in why_not(ec2("m6i.xlarge", capacity=2.0, unit="vCPU"))
    assert as_told(ec2("m6i.xlarge", capacity=4.0, unit="vCPU"))[3] == "m6i.large"


@pytest.mark.parametrize(("name", "is_local"), [("m5d.xlarge", True), ("i4i.xlarge", True), ("m5.xlarge", False)])
def test_local_disks_that_shrink_with_the_type_are_told(name: str, is_local: bool) -> None:
    found = ec2(name)
    assert found is not None
    assert ("local disks" in found.note) == is_local


@pytest.mark.parametrize(
    "row",
    [
        ("db.r6g.xlarge", 4, 32, "db.r6g.large", 2, 0.5),
        ("db.m5.12xlarge", 48, 192, "db.m5.8xlarge", 32, 8 / 12),
    ],
)
def test_an_rds_database_has_the_next_smaller_class(row: Row) -> None:
    assert as_told(rds(row[0])) == row


def test_classes_without_a_smaller_one() -> None:
    assert why_not(rds("db.r6g.large")) == SMALLEST  # of a Graviton class RDS has no medium
    assert why_not(rds("db.t4g.medium")) == BURSTABLE
    assert why_not(rds("db.r5.2xlarge.tpc1.mem2x")) == NO_FAMILY
    assert rds("db.serverless") is None


# --- Google Cloud ---------------------------------------------------------------------------------------------------


def gce(machine_type: str, **facts: Any) -> SizeStep | None:
    return gcp.sized(resource("i", kind="gcp:instance", metadata={"machine_type": machine_type, **facts}))


def cloud_sql(tier: str) -> SizeStep | None:
    return gcp.sized(resource("d", kind="gcp:sql_instance", metadata={"class": tier, "engine": "POSTGRES_16"}))


@pytest.mark.parametrize(
    "row",
    [
        ("n2-standard-8", 8, 32, "n2-standard-4", 4, 0.5),
        ("n2-standard-48", 48, 192, "n2-standard-32", 32, 2 / 3),
        ("n1-standard-2", 2, 7.5, "n1-standard-1", 1, 0.5),
        ("c3-highcpu-22", 22, 44, "c3-highcpu-8", 8, 8 / 22),
        ("c2-standard-30", 30, 120, "c2-standard-16", 16, 16 / 30),
        ("e2-highmem-16", 16, 128, "e2-highmem-8", 8, 0.5),
        ("n2-custom-8-16384", 8, 16, "n2-custom-4-8192", 4, 0.5),
        ("custom-2-5120", 2, 5, "custom-1-2560", 1, 0.5),
        ("e2-custom-4-8192", 4, 8, "e2-custom-2-4096", 2, 0.5),
    ],
    ids=lambda row: row[0],
)
def test_a_machine_type_has_the_next_smaller_one_of_its_series(row: Row) -> None:
    found = gce(row[0])
    assert as_told(found) == row
    assert found is not None
    assert found.smaller is not None
    assert found.smaller.metadata["machine_type"] == row[3]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("n2-standard-2", SMALLEST), ("n1-highmem-2", SMALLEST), ("c3-standard-4", SMALLEST),
        ("e2-medium", BURSTABLE), ("f1-micro", BURSTABLE), ("e2-custom-small-2048", BURSTABLE),
        ("a2-highgpu-1g", WITH_ACCELERATORS), ("g2-standard-8", WITH_ACCELERATORS),
        ("m1-ultramem-40", NO_FAMILY), ("n2-standard-6", NO_FAMILY), ("c3-standard-8-lssd", NO_FAMILY),
        ("n2-custom-4-8192-ext", NO_FAMILY), ("z9-standard-8", NO_FAMILY),
        ("n2-custom-2-4096", "half of it, 1 vCPUs and 2 GiB, is no custom type"),
        ("n2-custom-6-8192", "half of it, 3 vCPUs and 4 GiB, is no custom type"),
        ("n2-custom-4-4352", "half of it, 2 vCPUs and 2.125 GiB, is no custom type"),
    ],
)  # fmt: skip
def test_a_machine_type_without_a_smaller_one_says_why(name: str, reason: str) -> None:
    assert why_not(gce(name)) == reason


def test_a_machine_with_gpus_attached_is_not_judged_by_its_cpu() -> None:
    assert why_not(gce("n1-standard-8", gpus=1, gpu_type="nvidia-tesla-t4")) == WITH_ACCELERATORS


@pytest.mark.parametrize(
    "row",
    [
        ("db-custom-4-15360", 4, 15, "db-custom-2-7680", 2, 0.5),
        ("db-custom-2-7680", 2, 7.5, "db-custom-1-3840", 1, 0.5),
        ("db-n1-standard-4", 4, 15, "db-n1-standard-2", 2, 0.5),
    ],
)
def test_a_cloud_sql_tier_has_the_next_smaller_one(row: Row) -> None:
    assert as_told(cloud_sql(row[0])) == row


def test_tiers_without_a_smaller_one() -> None:
    assert why_not(cloud_sql("db-f1-micro")) == BURSTABLE
    assert why_not(cloud_sql("db-perf-optimized-N-8")) == NO_FAMILY
    assert "is no custom type" in why_not(cloud_sql("db-custom-2-3840"))  # below 3.75 GiB
    assert "is no custom type" in why_not(cloud_sql("db-custom-1-3840"))


# --- Azure --------------------------------------------------------------------------------------------------------


def vm(size: str, kind: str = "azure:vm", **facts: Any) -> SizeStep | None:
    return azure.sized(resource("v", kind=kind, metadata={"instance_type": size, **facts}))


@pytest.mark.parametrize(
    "row",
    [
        ("Standard_D8s_v5", 8, 32, "Standard_D4s_v5", 4, 0.5),
        ("Standard_D96ads_v5", 96, 384, "Standard_D64ads_v5", 64, 64 / 96),
        ("Standard_E20s_v5", 20, 160, "Standard_E16s_v5", 16, 0.8),
        ("Standard_E64s_v3", 64, None, "Standard_E48s_v3", 48, None),  # has 432 GiB, not 512
        ("Standard_F72s_v2", 72, 144, "Standard_F64s_v2", 64, 64 / 72),
        ("Standard_D4lds_v5", 4, 8, "Standard_D2lds_v5", 2, 0.5),
        ("Standard_DS3_v2", 4, 14, "Standard_DS2_v2", 2, 0.5),
        ("Standard_D12_v2", 4, 28, "Standard_D11_v2", 2, 0.5),
        ("Standard_A4m_v2", 4, 32, "Standard_A2m_v2", 2, 0.5),
        ("Standard_L16s_v3", 16, 128, "Standard_L8s_v3", 8, 0.5),
    ],
    ids=lambda row: row[0],
)
def test_a_size_has_the_next_smaller_one_of_its_series(row: Row) -> None:
    found = vm(row[0], license="Windows_Server")
    assert as_told(found) == row
    assert found is not None
    assert found.smaller is not None
    assert found.smaller.metadata == {"instance_type": row[3], "license": "Windows_Server"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Standard_D2s_v5", SMALLEST), ("Standard_DS1_v2", SMALLEST), ("Standard_D11_v2", SMALLEST),
        ("Standard_B2ms", BURSTABLE), ("Standard_B4as_v2", BURSTABLE), ("Standard_NC6s_v3", WITH_ACCELERATORS),
        ("Standard_E8-4s_v5", NO_FAMILY), ("Standard_M128s", NO_FAMILY), ("Standard_D15_v2", NO_FAMILY),
        ("Standard_D6s_v5", NO_FAMILY), ("Basic_A2", NO_FAMILY), ("Custom", NO_FAMILY),
    ],
)  # fmt: skip
def test_a_size_without_a_smaller_one_says_why(name: str, reason: str) -> None:
    assert why_not(vm(name)) == reason


def test_a_scale_set_has_a_size_unless_its_machines_are_listed_themselves() -> None:
    found = vm("Standard_D4s_v5", "azure:vmss", instances=3.0, orchestration="Uniform")
    assert as_told(found)[3] == "Standard_D2s_v5"
    assert found is not None
    assert "means over its machines" in found.note
    assert vm("Standard_D4s_v5", "azure:vmss", instances=3.0, orchestration="Flexible") is None


def test_databases_of_azure() -> None:
    server = {"sku": "Standard_D4ds_v4", "tier": "GeneralPurpose"}
    found = azure.sized(resource("d", kind="azure:postgresql", metadata=server))
    assert as_told(found) == ("Standard_D4ds_v4", 4, 16, "Standard_D2ds_v4", 2, 0.5)
    assert why_not(azure.sized(resource("d", kind="azure:mysql", metadata={"sku": "Standard_B1ms"}))) == BURSTABLE
    cores = {"sku": "GP_Gen5", "units": 8.0, "tier": "GeneralPurpose"}
    found = azure.sized(resource("d", kind="azure:sql_database", metadata=cores))
    assert as_told(found) == ("GP_Gen5_8", 8, 8 * 5.1, "GP_Gen5_6", 6, 0.75)
    assert found is not None
    assert found.smaller is not None
    assert found.smaller.metadata["units"] == 6
    assert why_not(azure.sized(resource("d", kind="azure:sql_database", metadata=cores | {"units": 2.0}))) == SMALLEST
    dtu = {"sku": "S3", "units": 100.0, "tier": "Standard"}
    assert why_not(azure.sized(resource("d", kind="azure:sql_database", metadata=dtu))) == NO_FAMILY
    serverless = cores | {"sku": "GP_S_Gen5"}
    assert azure.sized(resource("d", kind="azure:sql_database", metadata=serverless)) is None
    pooled = cores | {"elastic_pool": "/subscriptions/1/pool"}
    assert azure.sized(resource("d", kind="azure:sql_database", metadata=pooled)) is None


# --- Vultr --------------------------------------------------------------------------------------------------------

# As `list-plans` and `list-database-plans` write them.
PLANS = [
    {"id": "vc2-1c-1gb", "vcpu_count": 1, "ram": 1024, "disk": 25, "type": "vc2", "locations": ["ewr", "fra"]},
    {"id": "vc2-1c-2gb", "vcpu_count": 1, "ram": 2048, "disk": 55, "type": "vc2", "locations": ["ewr", "fra"]},
    {"id": "vc2-2c-2gb", "vcpu_count": 2, "ram": 2048, "disk": 65, "type": "vc2", "locations": ["ewr", "fra"]},
    {"id": "vc2-2c-4gb", "vcpu_count": 2, "ram": 4096, "disk": 80, "type": "vc2", "locations": ["ewr"]},
    {"id": "vc2-4c-8gb", "vcpu_count": 4, "ram": 8192, "disk": 160, "type": "vc2", "locations": []},
    {"id": "vc2-1c-0.5gb-v6", "vcpu_count": 1, "ram": 512, "disk": 10, "type": "vc2", "locations": ["ewr"]},
    {"id": "vhp-2c-4gb-amd", "vcpu_count": 2, "ram": 4096, "disk": 100, "type": "vhp", "locations": ["ewr"]},
    {"id": "vhp-1c-2gb-intel", "vcpu_count": 1, "ram": 2048, "disk": 50, "type": "vhp", "locations": ["ewr"]},
    {"id": "voc-c-2c-4gb-75s-amd", "vcpu_count": 2, "ram": 4096, "disk": 75, "type": "voc", "locations": ["ewr"]},
    {"id": "voc-c-1c-2gb-25s-amd", "vcpu_count": 1, "ram": 2048, "disk": 25, "type": "voc", "locations": ["ewr"]},
    {"id": "voc-g-1c-4gb-30s-amd", "vcpu_count": 1, "ram": 4096, "disk": 30, "type": "voc", "locations": ["ewr"]},
    {"id": "vc2-no-size", "vcpu_count": None, "ram": "?", "type": "vc2"},
    "odd",
]  # fmt: skip
DATABASES = [
    {"id": "vultr-dbaas-startup-cc-1-55-2", "vcpu_count": 1, "ram": 2048, "disk": 55, "type": "startup",
     "number_of_nodes": 1, "locations": ["EWR"]},
    {"id": "vultr-dbaas-startup-cc-2-80-4", "vcpu_count": 2, "ram": 4096, "disk": 80, "type": "startup",
     "number_of_nodes": 1, "locations": ["EWR"]},
    {"id": "vultr-dbaas-business-cc-1-55-2", "vcpu_count": 1, "ram": 2048, "disk": 55, "type": "business",
     "number_of_nodes": 2, "locations": ["EWR"]},
]  # fmt: skip


def types() -> list[MachineType]:
    return [*vultr.read_plans("vultr:instance", PLANS), *vultr.read_plans("vultr:database", DATABASES)]


def planned(plan: str, kind: str = "vultr:instance", region: str = "ewr") -> SizeStep | None:
    return vultr.sized(resource("v", kind=kind, region=region, metadata={"plan": plan}), types())


@pytest.mark.parametrize(
    "row",
    [
        ("vc2-2c-4gb", 2, 4, "vc2-1c-2gb", 1, 0.5),
        ("vc2-4c-8gb", 4, 8, "vc2-2c-4gb", 2, 0.5),
        ("voc-c-2c-4gb-75s-amd", 2, 4, "voc-c-1c-2gb-25s-amd", 1, 0.5),
    ],
)
def test_a_plan_has_the_next_one_of_its_family_with_fewer_vcpus(row: Row) -> None:
    found = planned(row[0])
    assert as_told(found) == row
    assert found is not None
    assert re.fullmatch(r"it takes a new instance: .*; its disk of \d+ GiB would have \d+", found.note)


def test_plans_without_a_smaller_one_say_why() -> None:
    assert why_not(planned("vhp-2c-4gb-amd")) == SMALLEST  # the other one is of another maker's CPUs
    assert why_not(planned("vc2-1c-2gb")) == SMALLEST  # one with less memory has as many vCPUs
    assert "its region" in why_not(planned("vc2-2c-4gb", region="mia"))
    assert why_not(planned("vcg-a16-2c-8g-2vram")) == WITH_ACCELERATORS
    assert why_not(planned("no-such-plan")) == NO_FAMILY


def test_of_plans_those_count_that_can_be_had_in_the_region() -> None:
    assert as_told(planned("vc2-4c-8gb", region="fra"))[3] == "vc2-2c-2gb"


def test_a_database_stays_in_its_tier_and_number_of_nodes() -> None:
    found = planned("vultr-dbaas-startup-cc-2-80-4", "vultr:database")
    assert as_told(found) == ("vultr-dbaas-startup-cc-2-80-4", 2, 4, "vultr-dbaas-startup-cc-1-55-2", 1, 0.5)
    assert why_not(planned("vultr-dbaas-business-cc-1-55-2", "vultr:database")) == SMALLEST


def test_a_machine_of_a_group_says_that_its_type_is_the_group_s() -> None:
    tags = {"aws:autoscaling:groupName": "web", "Name": "web-1"}
    notes = [
        ec2("m5d.xlarge", tags=tags),
        gcp.sized(
            resource(
                "i",
                kind="gcp:instance",
                metadata={"machine_type": "n2-standard-4"},
                tags={"goog-k8s-node-pool-name": "pool"},
            )
        ),
        vm("Standard_D4s_v5", scale_set="/subscriptions/1/virtualmachinescalesets/workers"),
    ]
    assert [one and one.note for one in notes] == [
        "its type is that of its group web; its local disks are smaller, too",
        "its type is that of its group pool",
        "its type is that of its scale set workers",
    ]


# --- All ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_what_has_no_type_is_not_sized_and_asks_for_no_list(cloud: str) -> None:
    provider, meter = PROVIDERS[cloud], Meter(None)
    for kind in provider.kinds:
        assert provider.sized(resource("x", kind=kind), []) is None, kind
    assert provider.sized(resource("x", kind="no:such"), []) is None
    assert provider.machine_types("acme", [], {"no:such"}, meter).types == []
    assert meter.calls.total() == 0
