"""Virtual machines and scale sets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Facts,
    MetricRow,
    Parts,
    Row,
    arm_id,
    fact_number,
    fact_text,
    is_provisioned,
    not_among,
    price_part,
    state_word,
)
from optiinfra_dagster.providers.azure.sizes import as_listed, vcpus
from optiinfra_dagster.providers.parsing import as_number, as_text, as_texts, facts

VIRTUAL_MACHINES = "Virtual Machines"
"""The price list's and the bill's name of the service."""


def _licence(row: Row) -> Mapping[str, object]:
    """What tells which licences a machine pays for; where one was brought and is no more, Azure says None."""
    brought = as_text(row.get("licenseType"))
    return {
        "license": None if brought.lower() == "none" else brought,
        "image": ":".join(as_texts([row.get("imagePublisher"), row.get("imageOffer"), row.get("imageSku")])),
    }


def _read_machine(row: Row) -> Facts:
    # One that is provisioned may run or not: Resource Graph has not looked into it yet.
    word = state_word(row)
    return Facts(
        word="" if is_provisioned(word) else word,
        capacity=as_number(row.get("cpus")) or as_number(vcpus(row.get("size"))),
        unit="vCPU",
        metadata=facts(
            instance_type=row.get("size"),
            platform=row.get("osType"),
            priority=row.get("priority"),
            **_licence(row),
            scale_set=arm_id(row.get("scaleSetId")),
            host=arm_id(row.get("hostId")),
        ),
    )


def _read_scale_set(row: Row) -> Facts:
    cpus, instances = vcpus(row.get("size")), as_number(row.get("units"))
    # The instances of a flexible scale set are listed as machines, and counted there.
    flexible = as_text(row.get("orchestrationMode")).lower() == "flexible"
    return Facts(
        word=state_word(row),
        capacity=None if flexible or cpus is None or instances is None else cpus * instances,
        unit="vCPU",
        metadata=facts(
            instance_type=row.get("size"),
            instances=instances,
            orchestration=row.get("orchestrationMode"),
            platform=row.get("osType"),
            priority=row.get("priority"),
            **_licence(row),
            host=arm_id(row.get("hostId")),
        ),
    )


# Publishers of images that cost a licence for each hour, which the machine's price is without, unless one is brought.
_LICENSED = ("redhat:", "suse:", "microsoftsqlserver:")
# Other types of licences, such as RHEL_BASE and UBUNTU_PRO, are paid for by the hour too.
_BROUGHT = {"windows_server", "windows_client", "rhel_byos", "sles_byos"}


def _parts(resource: Resource, count: float = 1) -> Parts:
    size = as_listed(fact_text(resource, "instance_type"))
    licence = fact_text(resource, "license").lower()
    if "host" in resource.metadata:  # which is what is paid
        return
    if licence not in _BROUGHT and (licence or fact_text(resource, "image").lower().startswith(_LICENSED)):
        return
    # Who brings a licence of Windows pays what Linux costs.
    windows = fact_text(resource, "platform").lower() == "windows" and not licence
    spot = " spot" if fact_text(resource, "priority").lower() in {"spot", "low"} else ""
    if size and count:
        yield price_part(VIRTUAL_MACHINES, size, f"{'windows' if windows else 'linux'}{spot}", count)


def _machine_parts(resource: Resource) -> Parts:
    # A machine that was only shut down from within is kept, and paid for: `stopped` and not `deallocated`.
    if resource.cloud_status.lower() not in {"deallocated", "deallocating", "hibernated"}:
        yield from _parts(resource)


def _scale_set_parts(resource: Resource) -> Parts:
    if fact_text(resource, "orchestration").lower() != "flexible":  # its instances are listed as machines
        yield from _parts(resource, fact_number(resource, "instances"))


def _switched_off(resource: Resource, _start: datetime) -> str:
    """The reason not to ask about a machine that has no host now, since an unknown time; "" where it has one."""
    word = resource.cloud_status.lower()
    return f"the vm is {word}" if word in {"deallocated", "hibernated"} else ""


# The memory of a machine is a platform metric: no agent. `Network In` and `Network Out` are deprecated.
_CPU_AND_MEMORY = (
    MetricRow("cpu_utilization", "cpu", "percent", "Percentage CPU", "Average"),
    MetricRow(
        "memory_utilization", "memory", "percent", "Available Memory Percentage", "Average", scale=-1, offset=100
    ),
    MetricRow("memory_free", "memory", "bytes", "Available Memory Bytes", "Average"),
)
_DISK_BYTES = (
    MetricRow("disk_read", "disk", "bytes/s", "Disk Read Bytes", "Total"),
    MetricRow("disk_write", "disk", "bytes/s", "Disk Write Bytes", "Total"),
)
_NETWORK = (
    MetricRow("network_in", "network", "bytes/s", "Network In Total", "Total"),
    MetricRow("network_out", "network", "bytes/s", "Network Out Total", "Total"),
)

KINDS = (
    AzureKind(
        name="azure:vm",
        azure_type="Microsoft.Compute/virtualMachines",
        resource_type=ResourceType.COMPUTE,
        columns={
            "state": ("properties.extended.instanceView.powerState.code",),
            "uid": ("properties.vmId",),
            "created": ("properties.timeCreated",),
            "size": ("properties.hardwareProfile.vmSize",),
            "cpus": ("properties.hardwareProfile.vmSizeProperties.vCPUsAvailable",),
            "osType": ("properties.storageProfile.osDisk.osType",),
            "imagePublisher": ("properties.storageProfile.imageReference.publisher",),
            "imageOffer": ("properties.storageProfile.imageReference.offer",),
            "imageSku": ("properties.storageProfile.imageReference.sku",),
            "priority": ("properties.priority",),
            "licenseType": ("properties.licenseType",),
            "scaleSetId": ("properties.virtualMachineScaleSet.id",),
            "hostId": ("properties.host.id", "properties.hostGroup.id"),
        },
        read=_read_machine,
        metric_rows=(
            *_CPU_AND_MEMORY,
            *_DISK_BYTES,
            MetricRow("disk_read_ops", "disk", "ops/s", "Disk Read Operations/Sec", "Average"),
            MetricRow("disk_write_ops", "disk", "ops/s", "Disk Write Operations/Sec", "Average"),
            *_NETWORK,
            MetricRow("uptime", "uptime", "percent", "VmAvailabilityMetric", "Average", scale=100),
        ),
        idle_since=_switched_off,
        price_parts=_machine_parts,
        bill_service=VIRTUAL_MACHINES,
        not_offered=not_among("Microsoft.Compute/virtualMachines", "response_time"),
    ),
    AzureKind(
        name="azure:vmss",
        azure_type="Microsoft.Compute/virtualMachineScaleSets",
        resource_type=ResourceType.COMPUTE,
        columns={
            "uid": ("properties.uniqueId",),
            "created": ("properties.timeCreated",),
            "size": ("sku.name",),
            "units": ("sku.capacity",),
            "osType": ("properties.virtualMachineProfile.storageProfile.osDisk.osType",),
            "imagePublisher": ("properties.virtualMachineProfile.storageProfile.imageReference.publisher",),
            "imageOffer": ("properties.virtualMachineProfile.storageProfile.imageReference.offer",),
            "imageSku": ("properties.virtualMachineProfile.storageProfile.imageReference.sku",),
            "priority": ("properties.virtualMachineProfile.priority",),
            "licenseType": ("properties.virtualMachineProfile.licenseType",),
            "hostId": ("properties.hostGroup.id",),
            "orchestrationMode": ("properties.orchestrationMode",),
        },
        read=_read_scale_set,
        # Averages are those of one machine of the set, totals those of all. Operations a second are averages, and
        # would be misread beside totals.
        metric_rows=(
            *_CPU_AND_MEMORY,
            *_DISK_BYTES,
            *_NETWORK,
            MetricRow("uptime", "uptime", "percent", "VmAvailabilityMetric", "Average", scale=100),
        ),
        price_parts=_scale_set_parts,
        bill_service=VIRTUAL_MACHINES,
        not_offered=not_among("Microsoft.Compute/virtualMachineScaleSets", "response_time"),
    ),
)
