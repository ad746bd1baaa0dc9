"""EC2 instances."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    AGENT,
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    fact,
    metric_rows,
    paged,
    part,
    status_of,
)
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.kind import stopped_since
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_dicts,
    as_labels,
    as_number,
    as_text,
    dig,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.metrics import Metric


def _items(ec2: Any) -> Iterator[Item]:
    for reservation in paged("describe_instances", 1000, "Reservations")(ec2):
        for instance in as_dicts(dig(reservation, "Instances")):
            yield {**instance, "OwnerId": reservation.get("OwnerId")}


# `User initiated (2024-05-01 10:20:30 GMT)`
_STOPPED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")


def _created_at(item: Item) -> datetime | None:
    """The time at which the primary network interface was attached: it stays for the instance's life.

    LaunchTime is that of the last start. An instance that is terminated has no interface any more, and no such time.
    """
    for interface in as_dicts(item.get("NetworkInterfaces")):
        if dig(interface, "Attachment", "DeviceIndex") == 0:
            return as_datetime(dig(interface, "Attachment", "AttachTime"))
    return None


def _instance(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "InstanceId"), as_labels(item.get("Tags")), as_text(dig(item, "State", "Name"))
    cores, threads = (
        as_number(dig(item, "CpuOptions", "CoreCount")),
        as_number(dig(item, "CpuOptions", "ThreadsPerCore")),
    )
    monitoring = as_text(dig(item, "Monitoring", "State"))
    stop_reason = _STOPPED_AT.search(as_text(item.get("StateTransitionReason")))
    stopped, launched = as_datetime(stop_reason[1]) if stop_reason else None, as_datetime(item.get("LaunchTime"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=INSTANCE.name,
        resource_id=place.arn("ec2", f"instance/{name}", owner=item.get("OwnerId")),
        resource_name=tags.get("Name") or name,
        resource_type=INSTANCE.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=_created_at(item),
        capacity=cores * threads if cores and threads else None,
        unit="vCPU",
        tags=tags,
        metadata=facts(
            instance_type=item.get("InstanceType"),
            hypervisor=item.get("Hypervisor"),
            architecture=item.get("Architecture"),
            platform=as_text(item.get("PlatformDetails")) or item.get("Platform"),
            lifecycle=item.get("InstanceLifecycle"),
            tenancy=dig(item, "Placement", "Tenancy"),
            availability_zone=dig(item, "Placement", "AvailabilityZone"),
            vpc_id=item.get("VpcId"),
            subnet_id=item.get("SubnetId"),
            image_id=item.get("ImageId"),
            private_ip=item.get("PrivateIpAddress"),
            public_ip=item.get("PublicIpAddress"),
            ebs_optimized=as_bool(item.get("EbsOptimized")),
            detailed_monitoring=monitoring in {"enabled", "pending"} if monitoring else None,
            launched_at=launched.isoformat() if launched else None,  # the last start
            stopped_at=stopped.isoformat() if stopped else None,
        ),
    )


# --- Metrics ----------------------------------------------------------------------------------------------------------

_XEN_FAMILIES = "c1 c3 c4 cc1 cc2 cg1 cr1 d2 f1 g2 g3 g3s h1 hi1 hs1 i2 i3 m1 m2 m3 m4 p2 p3 r3 r4 t1 t2 x1 x1e"
_XEN = frozenset(_XEN_FAMILIES.split())


def _without_ebs_totals(resource: Resource) -> str:
    """The reason why an instance has no EBS totals; "" for Nitro, except bare metal (EC2 user guide: EBS metrics)."""
    family, _, size = str(resource.metadata.get("instance_type", "")).partition(".")
    if size.startswith("metal"):
        return "bare metal instances have no EBS totals: see the metrics of the volumes"
    return "Xen instances have no EBS totals: see the metrics of the volumes" if family in _XEN else ""


# The agent's names on Windows are those of its performance counters (amazon-cloudwatch-agent: windows configuration).
_ON_WINDOWS: Mapping[str, Mapping[str, Any]] = {
    "mem_used_percent": {"api_metric": "Memory % Committed Bytes In Use"},
    "disk_used_percent": {
        "api_metric": "LogicalDisk % Free Space", "filter": "instance=C:", "scale": -1.0, "offset": 100.0,
    },
}  # fmt: skip


def _published_as(resource: Resource, metric: Metric) -> Metric:
    names = _ON_WINDOWS.get(metric.api_metric)
    return replace(metric, **names) if names and fact(resource, "platform").lower().startswith("windows") else metric


# --- Prices -----------------------------------------------------------------------------------------------------------

# PlatformDetails of an instance -> word in our keys and operatingSystem of the price list.
_SYSTEMS = {
    "": ("linux", "Linux"),
    "Linux/UNIX": ("linux", "Linux"),
    "Windows": ("windows", "Windows"),
    "windows": ("windows", "Windows"),
    "Red Hat Enterprise Linux": ("rhel", "RHEL"),
    "SUSE Linux": ("suse", "SUSE"),
}
_OPERATING_SYSTEMS = dict(_SYSTEMS.values())


def _price_parts(resource: Resource) -> Iterator[Component]:
    instance_type, system = fact(resource, "instance_type"), _SYSTEMS.get(fact(resource, "platform"))
    tenancy = fact(resource, "tenancy") or "default"
    bought_otherwise = fact(resource, "lifecycle") or tenancy == "host"  # spot, or the host is what is paid
    if resource.status is Status.RUNNING and instance_type and system and not bought_otherwise:
        yield part(f"{instance_type} {system[0]}" + (" dedicated" if tenancy == "dedicated" else ""))


def _price_query(instance_type: str, system: str, tenancy: str | None) -> PriceQuery:
    filters = {
        "instanceType": instance_type,
        "operatingSystem": _OPERATING_SYSTEMS[system],
        "tenancy": "Dedicated" if tenancy else "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
    }
    return PriceQuery("AmazonEC2", filters, r"(BoxUsage|DedicatedUsage)(:.*)?")


# --- The kind ---------------------------------------------------------------------------------------------------------

INSTANCE = AwsKind(
    name="ec2:instance",
    resource_type=ResourceType.COMPUTE,
    metrics=(
        # DiskReadBytes and its kin tell of instance store volumes only, so they are not asked for; the EBS totals exist
        # on Nitro instances that are not bare metal.
        *metric_rows(
            "ec2:instance", "AWS/EC2", "InstanceId", "EC2 user guide: CloudWatch metrics available for your instances",
            ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
            ("disk_read", "disk", "bytes/s", "EBSReadBytes", "Sum", "nitro"),
            ("disk_write", "disk", "bytes/s", "EBSWriteBytes", "Sum", "nitro"),
            ("disk_read_ops", "disk", "ops/s", "EBSReadOps", "Sum", "nitro"),
            ("disk_write_ops", "disk", "ops/s", "EBSWriteOps", "Sum", "nitro"),
            ("network_in", "network", "bytes/s", "NetworkIn", "Sum"),
            ("network_out", "network", "bytes/s", "NetworkOut", "Sum"),
        ),
        # 0 or 1 for each minute in which the checks ran: the mean is the share of the minutes in which they failed.
        *metric_rows(
            "ec2:instance", "AWS/EC2", "InstanceId", "EC2 user guide: status check metrics",
            ("uptime", "uptime", "percent", "StatusCheckFailed", "Average"), scale=-100, offset=100,
        ),
        # The hypervisor sees neither memory nor file systems; which dimensions an agent writes is configured in it.
        *metric_rows(
            "ec2:instance", "CWAgent", "InstanceId", "CloudWatch user guide: metrics collected by the CloudWatch agent",
            ("memory_utilization", "memory", "percent", "mem_used_percent", "Average", AGENT),
        ),
        # The root file system: the only one that every Linux instance has.
        *metric_rows(
            "ec2:instance", "CWAgent", "InstanceId", "CloudWatch user guide: metrics collected by the CloudWatch agent",
            ("disk_utilization", "disk", "percent", "disk_used_percent", "Average", AGENT), narrowed_to="path=/",
        ),
    ),
    conditions={"nitro": _without_ebs_totals},
    published_as=_published_as,
    idle_since=stopped_since,
    price_parts=_price_parts,
    price_queries={rf"(\S+\.\S+) ({'|'.join(_OPERATING_SYSTEMS)})( dedicated)?": _price_query},
    bill_service=service_names.EC2,
    not_offered={"response_time": "EC2 user guide: CloudWatch metrics available for your instances"},
)  # fmt: skip

KINDS = (INSTANCE,)
LISTINGS = (
    Listing(
        kind="ec2:instance",
        service="ec2",
        id_key="InstanceId",
        actions="ec2:DescribeInstances",
        items=_items,
        to_resource=_instance,
    ),
)
