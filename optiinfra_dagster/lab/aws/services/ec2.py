"""EC2 instances, and the regions of an account."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import (
    FREE,
    PLANTED,
    Dimensions,
    LabKind,
    LabMetric,
    Row,
    Shown,
    address_of,
    device_of,
    is_charged,
    published,
    subnet_of,
    tags_of,
    without_omitted,
    zone_of,
)
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation, as_list, refuse_unknown
from optiinfra_dagster.lab.aws.rates import machine_usd, of_family, vcpus

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region
    from optiinfra_dagster.lab.aws.wire import Call

_TYPE = "m6i.large"  # of a fleet that names none
_XEN = re.compile(r"(t1|t2|m[1-4]|c[1-4]|r[34]|i[23]|d2|p[23]|g[23]|x1e?)\.")
_STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def _is_nitro(instance_type: str) -> bool:
    """True where instances of a type run on Nitro, not on the older hypervisor."""
    return not _XEN.match(instance_type)


def _is_windows(resource: LabResource) -> bool:
    return resource.fleet.engine == "windows"


def _instance(resource: LabResource, region: Region) -> Shown:
    """An EC2 instance."""
    kind = resource.fleet.type or _TYPE
    state = resource.state or "running"
    nitro, count = _is_nitro(kind), vcpus(kind)
    arm = bool(re.match(r"(a1|\w+\d+g[a-z]*)\.", kind))
    threads = 1 if arm or count == 1 else 2
    subnet, vpc = subnet_of(resource, region)
    address = address_of(resource)
    group = [{"GroupId": "sg-" + resource.hexid("group"), "GroupName": "default"}]
    launched = resource.fleet.restarted or resource.created
    alive = state not in {"terminated", "shutting-down"}
    shown: Shown = {
        "AmiLaunchIndex": 0,
        "ImageId": "ami-" + resource.hexid("image"),
        "InstanceId": resource.id,
        "InstanceType": kind,
        "LaunchTime": launched,
        "Monitoring": {"State": "enabled" if resource.fleet.detailed else "disabled"},
        "Placement": {"AvailabilityZone": zone_of(resource), "GroupName": "", "Tenancy": "default"},
        "PrivateDnsName": f"ip-{address.replace('.', '-')}.ec2.internal" if alive else "",
        "ProductCodes": [],
        "PublicDnsName": "",
        "State": {"Code": _STATES.get(state, 16), "Name": state},
        "StateTransitionReason": ""
        if state in {"running", "pending"}
        else f"User initiated by {PLANTED} (2024-05-31 04:05:06 GMT)",
        "Architecture": "arm64" if arm else "x86_64",
        "BlockDeviceMappings": [
            {
                "DeviceName": device_of(n),
                "Ebs": {
                    "AttachTime": resource.created + timedelta(seconds=1),
                    "DeleteOnTermination": n == 0,
                    "Status": "attached",
                    "VolumeId": volume.id,
                },
            }
            for n, volume in enumerate(region.children.get(resource, []))
        ],
        "ClientToken": f"{PLANTED}-{resource.index}",
        "EbsOptimized": nitro,
        "EnaSupport": True,
        "Hypervisor": "xen",  # what the API says of Nitro too, whatever runs underneath
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "SecurityGroups": group if alive else [],
        "SourceDestCheck": True,
        "Tags": tags_of(resource),
        "VirtualizationType": "hvm",
        "CpuOptions": {"CoreCount": max(1, count // threads), "ThreadsPerCore": threads},
        "CapacityReservationSpecification": {"CapacityReservationPreference": "open"},
        "HibernationOptions": {"Configured": False},
        "MetadataOptions": {
            "State": "applied",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2,
            "HttpEndpoint": "enabled",
            "HttpProtocolIpv6": "disabled",
            "InstanceMetadataTags": "disabled",
        },
        "EnclaveOptions": {"Enabled": False},
        "PlatformDetails": "Windows" if _is_windows(resource) else "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "UsageOperationUpdateTime": launched,
        "MaintenanceOptions": {"AutoRecovery": "default"},
        "CurrentInstanceBootMode": "uefi" if nitro else "legacy-bios",
    }
    if alive:
        shown |= {"PrivateIpAddress": address, "SubnetId": subnet, "VpcId": vpc}
        attachments = enumerate((resource.created + timedelta(days=3), resource.created))  # a second one, and the first
        shown["NetworkInterfaces"] = [
            {
                "NetworkInterfaceId": "eni-" + resource.hexid(f"interface {n}"),
                "PrivateIpAddress": address,
                "Attachment": {"AttachTime": time, "DeviceIndex": 1 - n, "NetworkCardIndex": 0, "Status": "attached"},
            }
            for n, time in attachments
        ]
    if _is_windows(resource):
        shown["Platform"] = "windows"
    if state in {"stopped", "stopping"}:
        shown["StateReason"] = {
            "Code": "Client.UserInitiatedShutdown",
            "Message": f"Client.UserInitiatedShutdown: {PLANTED}",
        }
    return shown


def _reservation(resource: LabResource, region: Region) -> Shown:
    """The reservation around an instance: each was launched on its own."""
    return {
        "Groups": [],
        "Instances": [without_omitted(resource, _instance(resource, region))],
        "OwnerId": resource.account,
        "ReservationId": "r-" + resource.hexid("reservation"),
    }


# --- Metrics ----------------------------------------------------------------------------------------------------------

_AGENT = "CWAgent"
_AGENT_DIMENSIONS = ["ImageId", "InstanceId", "InstanceType"]  # of the agent's standard configuration

_METRICS = (
    *published(
        "InstanceId", "AWS/EC2", 300, 5,
        ("CPUUtilization", "Percent", 0.5, 97.0),
        ("NetworkIn", "Bytes", 1e4, 3e8, "count"),
        ("NetworkOut", "Bytes", 1e4, 5e8, "count"),
        ("EBSReadBytes", "Bytes", 0, 8e7, "count"),
        ("EBSWriteBytes", "Bytes", 1e4, 2e8, "count"),
        ("EBSReadOps", "Count", 0, 3e3, "count"),
        ("EBSWriteOps", "Count", 1, 9e3, "count"),
        ("StatusCheckFailed", "Count", 0, 1, "rare", 60, 1),
    ),
    *published(  # the agent's: memory, and two file systems of a Linux instance
        "InstanceId", _AGENT, 60, 1,
        ("mem_used_percent", "Percent", 4, 96),
        ("disk_used_percent path=/ device=nvme0n1p1 fstype=xfs", "Percent", 2, 99),
        ("disk_used_percent path=/data device=nvme1n1 fstype=ext4", "Percent", 2, 99),
    ),
    *(  # the agent's on Windows: performance counters, whose names have spaces
        LabMetric(_AGENT, name, "Percent", low, high, 60, 1, "wave", "InstanceId", dimensions)
        for name, low, high, dimensions in (
            ("Memory % Committed Bytes In Use", 4, 96, (("objectname", "Memory"),)),
            ("LogicalDisk % Free Space", 2, 99, (("instance", "C:"), ("objectname", "LogicalDisk"))),
            ("LogicalDisk % Free Space", 2, 99, (("instance", "D:"), ("objectname", "LogicalDisk"))),
        )
    ),
)  # fmt: skip


def _as_published(resource: LabResource, metric: LabMetric) -> LabMetric | None:
    """CloudWatch has EBS metrics of an instance as a whole on Nitro only, unless it is bare metal."""
    if metric.namespace == _AGENT:
        return metric if resource.fleet.agent and _is_windows(resource) == ("%" in metric.name) else None
    instance_type = resource.fleet.type or _TYPE
    if metric.name.startswith("EBS") and (not _is_nitro(instance_type) or instance_type.endswith(".metal")):
        return None
    return replace(metric, period=60, samples=1) if resource.fleet.detailed else metric


def _dimensions_before(resource: LabResource, metric: LabMetric) -> tuple[Dimensions, int] | None:
    """What an agent says of an instance that had another type."""
    changed, named = resource.fleet.resized, dict(_dimensions_of(resource, metric))
    if metric.namespace != _AGENT or changed is None or "InstanceType" not in named:
        return None
    named["InstanceType"] = str(resource.fleet.type_before)
    return tuple(named.items()), int(changed.timestamp())


def _dimensions_of(resource: LabResource, metric: LabMetric) -> Dimensions:
    if metric.namespace != _AGENT:
        return ((metric.dimension, resource.id),)
    names = resource.fleet.agent if isinstance(resource.fleet.agent, list) else _AGENT_DIMENSIONS
    values = {
        "InstanceId": resource.id,
        "ImageId": "ami-" + resource.hexid("image"),
        "InstanceType": resource.fleet.type or _TYPE,
        "AutoScalingGroupName": f"{resource.fleet.kind}-group",
    }
    return tuple((name, values[name]) for name in names)


# --- Costs ------------------------------------------------------------------------------------------------------------


def _products(resource: LabResource, shown: Shown) -> Iterator[Row]:
    for instance_type in of_family(shown["Instances"][0]["InstanceType"]):
        yield from _products_of(resource, instance_type)


def _products_of(resource: LabResource, instance_type: str) -> Iterator[Row]:
    usd = machine_usd(resource.region, instance_type)
    for system, software, tenancy, status, factor in (
        ("Linux", "NA", "Shared", "Used", "1"),
        ("Linux", "NA", "Shared", "UnusedCapacityReservation", "1.01"),
        ("Linux", "NA", "Dedicated", "Used", "1.1"),
        ("Linux", "SQL Std", "Shared", "Used", "4"),
        ("Windows", "NA", "Shared", "Used", "1.9"),
    ):
        attributes = {
            "instanceType": instance_type, "operatingSystem": system, "preInstalledSw": software, "tenancy": tenancy,
            "capacitystatus": status, "licenseModel": "No License required",
        }  # fmt: skip
        usage = "DedicatedUsage" if tenancy == "Dedicated" else "UnusedBox" if status != "Used" else "BoxUsage"
        yield "Compute Instance", attributes, f"{usage}:{instance_type}", "Hrs", usd * Decimal(factor)


def _rate(resource: LabResource, _region: Region) -> tuple[Decimal, Decimal]:
    return machine_usd(resource.region, resource.fleet.type or _TYPE) if is_charged(resource) else FREE, FREE


# --- Regions ----------------------------------------------------------------------------------------------------------

_REGIONS = [
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
_OPT_IN_REGIONS = ["af-south-1", "ap-east-1", "eu-south-1", "il-central-1", "me-central-1", "me-south-1"]


def _regions(estate: Estate, call: Call, _region: Region) -> dict[str, Any]:
    refuse_unknown(call, {"AllRegions", "RegionName"})
    account = estate.accounts.get(call.account)
    enabled = set(account.regions if account else _REGIONS)
    everything = call.params.get("AllRegions") == "true"
    wanted = set(as_list(call.params.get("RegionName")))
    names = sorted({*_REGIONS, *_OPT_IN_REGIONS, *enabled} if everything else enabled)
    return {
        "Regions": [
            {
                "RegionName": name,
                "Endpoint": f"ec2.{name}.amazonaws.com",
                "OptInStatus": "not-opted-in"
                if name not in enabled
                else "opted-in"
                if name in _OPT_IN_REGIONS
                else "opt-in-not-required",
            }
            for name in names
            if not wanted or name in wanted
        ]
    }


INSTANCE = LabKind(
    name="ec2:instance",
    arn="ec2 instance/{id}",
    describe=_reservation,
    id_prefix="i-",
    named_by_tag=True,
    children=(("ebs:volume", lambda fleet: fleet.volumes),),
    metrics=_METRICS,
    as_published=_as_published,
    dimensions_of=_dimensions_of,
    dimensions_before=_dimensions_before,
    price_list="AmazonEC2",
    products=_products,
    bill_service="Amazon Elastic Compute Cloud - Compute",
    rate=_rate,
    by_use=("EC2 - Other", "0.35"),
)

KINDS = (INSTANCE,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("ec2", "DescribeInstances"): Listing(("ec2:instance",), 5, 1000, "InstanceId", "InvalidInstanceID.NotFound"),
    ("ec2", "DescribeRegions"): _regions,
}
