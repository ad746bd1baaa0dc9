"""Compute Engine: virtual machines.

Not priced, so without an estimate: machines of other families or with other GPUs than those below, and those whose
system costs a licence beside the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import product

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.gcp.kind import (
    AGENT,
    AssetFacts,
    GcpKind,
    Place,
    PriceService,
    Sku,
    by_fact,
    digits,
    is_stopped,
    iso,
    last_part,
    length,
    metric_rows,
    short_link,
)
from optiinfra_dagster.providers.kind import stopped_since
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_dict,
    as_dicts,
    as_int,
    as_number,
    as_text,
    as_texts,
    facts,
)

# Regions describe the same SKU as `Compute optimized Core running` and `Compute optimized Instance Core running`, and
# spot capacity as `Spot Preemptible` or `Preemptible`.
_PREEMPTIBLE = re.compile(r"\b(?:spot )?preemptible\b")
_MAKERS = re.compile(r"\b(?:instance|amd|arm|intel|running)\b")


def _plain(text: str) -> str:
    return " ".join(_MAKERS.sub("", _PREEMPTIBLE.sub("spot", text.lower())).split())


PRICES = PriceService("6F81-5844-456A", plain=_plain)
BILL_SERVICE = "Compute Engine"

# --- Reading --------------------------------------------------------------------------------------------------------

SHARED_CORE = {"f1-micro": 1, "g1-small": 1, "e2-micro": 2, "e2-small": 2, "e2-medium": 2}
"""The types that share a core, with the vCPUs that they show."""

# Machine types with GPUs or TPUs are named after these.
_OF_ACCELERATED_TYPES = {
    "a2-highgpu-1g": 12, "a2-highgpu-2g": 24, "a2-highgpu-4g": 48, "a2-highgpu-8g": 96, "a2-megagpu-16g": 96,
    "a2-ultragpu-1g": 12, "a2-ultragpu-2g": 24, "a2-ultragpu-4g": 48, "a2-ultragpu-8g": 96,
    "a3-highgpu-1g": 26, "a3-highgpu-2g": 52, "a3-highgpu-4g": 104, "a3-highgpu-8g": 208,
    "a3-edgegpu-8g": 208, "a3-megagpu-8g": 208, "a3-ultragpu-8g": 224, "a4-highgpu-8g": 224,
    "a4x-highgpu-4g": 140, "a4x-maxgpu-4g-metal": 144,
    "ct4p-hightpu-4t": 240, "ct5lp-hightpu-1t": 24, "ct5lp-hightpu-4t": 112, "ct5lp-hightpu-8t": 224,
    "ct5p-hightpu-4t": 208, "ct6e-standard-1t": 44, "ct6e-standard-4t": 180, "ct6e-standard-8t": 180,
}  # fmt: skip
_WITHOUT_LOCAL_DISKS = "-nolssd"
_NUMBERED = re.compile(
    r"(?:[a-z]\w*-)?custom-(?:(?:micro|small|medium)-)?(\d+)-"  # custom-4-8192, n2-custom-4-8192-ext
    r"|[a-z]\w*-(?:standard|highmem|highcpu|ultramem|megamem|hypermem)-(\d+)(?:-|$)"  # n1-standard-4, c3-highcpu-8-lssd
)
_SHARED_CUSTOM = re.compile(r"e2-custom-(?:micro|small|medium)-\d+")


def vcpus(machine_type: str) -> int | None:
    """The virtual CPUs of a machine type, by its name; None for a name of another form.

    Source: Compute Engine's machine families resource and comparison guide.
    """
    if _SHARED_CUSTOM.fullmatch(machine_type):
        return 2
    known = SHARED_CORE.get(machine_type) or _OF_ACCELERATED_TYPES.get(machine_type.removesuffix(_WITHOUT_LOCAL_DISKS))
    numbered = _NUMBERED.match(machine_type)
    return known or (int(numbered[1] or numbered[2]) if numbered else None)


def _read_instance(data: Item, place: Place) -> AssetFacts:
    machine, state = last_part(data.get("machineType")), as_text(data.get("status"))
    scheduling = as_dict(data, "scheduling")
    interface: Item = next(iter(as_dicts(data.get("networkInterfaces"))), {})
    outside: Item = next(iter(as_dicts(interface.get("accessConfigs"))), {})
    accelerators = as_dicts(data.get("guestAccelerators"))
    return AssetFacts(
        cloud_status=state,
        capacity=as_number(vcpus(machine)),
        labels=data.get("labels"),
        metadata=facts(
            instance_id=digits(data.get("id")),
            machine_type=machine,
            zone=place.zone,
            cpu_platform=data.get("cpuPlatform"),
            network=short_link(interface.get("network")),
            subnetwork=short_link(interface.get("subnetwork")),
            private_ip=as_text(interface.get("networkIP")),
            public_ip=as_text(outside.get("natIP")),
            provisioning_model=scheduling.get("provisioningModel"),
            preemptible=as_bool(scheduling.get("preemptible")),
            sole_tenant=bool(scheduling.get("nodeAffinities")) or None,
            disks=length(data.get("disks")),
            gpus=sum(as_int(accelerator.get("acceleratorCount")) or 0 for accelerator in accelerators) or None,
            gpu_type=last_part(accelerators[0].get("acceleratorType")) if accelerators else None,
            local_ssd_gib=_local_ssd(as_dicts(data.get("disks"))),
            paid_license=any(map(_is_paid, as_dicts(data.get("disks")))) or None,
            deletion_protection=as_bool(data.get("deletionProtection")),
            last_started_at=iso(data.get("lastStartTimestamp")),
            stopped_at=iso(data.get("lastStopTimestamp")) if state in {"TERMINATED", "STOPPED"} else None,
        ),
    )


# Projects whose licences are paid by the hour: https://cloud.google.com/compute/disks-image-pricing#premiumimages
_PAID_PROJECTS = re.compile(r"/(?:windows|windows-sql|rhel|rhel-sap|suse|suse-sap|ubuntu-os-pro)-cloud/")
_SCRATCH_GIB = 375  # of a local disk that does not tell its size


def _is_paid(disk: Item) -> bool:
    return any(_PAID_PROJECTS.search(name) for name in as_texts(disk.get("licenses")))


def _local_ssd(disks: Sequence[Item]) -> float | None:
    """The GiB of disks that stand in the machine's host; they come and go with it, and cost as long as it runs."""
    scratch = [disk for disk in disks if disk.get("type") == "SCRATCH"]
    return sum(as_number(disk.get("diskSizeGb")) or _SCRATCH_GIB for disk in scratch) if scratch else None


# --- Price ----------------------------------------------------------------------------------------------------------

MEMORY_PER_CORE: Mapping[str, Mapping[str, str]] = {
    "n1": {"standard": "3.75", "highmem": "6.5", "highcpu": "0.9"},
    "n2": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "n2d": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "n4": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "e2": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "c2": {"standard": "4"},
    "c2d": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "c3": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "c3d": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "g2": {"standard": "4"},
    "t2d": {"standard": "4"},
    "t2a": {"standard": "4"},
}
"""Memory of a vCPU in GiB, by family and shape (Compute Engine's machine families guide)."""

# Cores and GiB of machines whose name does not tell: shared-core ones of E2 are billed for a part of a vCPU.
_NAMED = {
    "e2-micro": ("0.25", "1"), "e2-small": ("0.5", "2"), "e2-medium": ("1", "4"),
    "a2-highgpu-1g": ("12", "85"), "a2-highgpu-2g": ("24", "170"), "a2-highgpu-4g": ("48", "340"),
    "a2-highgpu-8g": ("96", "680"), "a2-megagpu-16g": ("96", "1360"),
}  # fmt: skip
_WITH_GPUS = {"a2", "g2"}  # families all of whose machines have some
_GPUS = {
    "nvidia-tesla-a100": "Nvidia Tesla A100 GPU", "nvidia-tesla-p100": "Nvidia Tesla P100 GPU",
    "nvidia-tesla-p4": "Nvidia Tesla P4 GPU", "nvidia-tesla-t4": "Nvidia Tesla T4 GPU",
    "nvidia-tesla-v100": "Nvidia Tesla V100 GPU", "nvidia-l4": "Nvidia L4 GPU",
}  # fmt: skip


def _price_parts(resource: Resource) -> list[Component]:
    """Cores, memory and GPUs; a stopped machine costs nothing but its disks.

    What is bought by another model, such as FLEX_START, has prices of its own, and on a node of one tenant the node is
    what is paid.
    """
    known = resource.metadata
    model = str(known.get("provisioning_model") or "STANDARD")
    if is_stopped(resource) or known.get("sole_tenant") or model not in {"STANDARD", "SPOT"}:
        return []
    machine = str(known.get("machine_type", ""))
    family, _, rest = machine.partition("-")
    shape, _, count = rest.partition("-")
    custom = re.fullmatch(r"(?:(\w+)-)?custom-(\d+)-(\d+)", machine)
    prefix = ""
    gpus, gpu = known.get("gpus"), str(known.get("gpu_type"))
    if (gpus and gpu not in _GPUS) or (family in _WITH_GPUS and not gpus) or known.get("paid_license"):
        return []
    if machine in _NAMED:
        cores, memory = map(Decimal, _NAMED[machine])
    elif custom:
        family, cores, memory = custom[1] or "n1", Decimal(custom[2]), Decimal(custom[3]) / 1024
        prefix = "" if family == "e2" else "custom "  # as dear as predefined ones
    elif count.isdigit() and shape in MEMORY_PER_CORE.get(family, {}):
        cores, memory = Decimal(count), Decimal(count) * Decimal(MEMORY_PER_CORE[family][shape])
    else:
        return []
    spot = " spot" if model == "SPOT" or known.get("preemptible") else ""
    parts = [Component(f"{family} {prefix}core{spot}", cores), Component(f"{family} {prefix}GiB RAM{spot}", memory)]
    if gpus:
        parts.append(Component(f"{gpu} gpu{spot}", Decimal(str(gpus))))
    if local := known.get("local_ssd_gib"):
        parts.append(Component(f"local ssd GiB{spot}", Decimal(str(local))))
    return parts


_FAMILY_WORDS = {
    "n1": "N1 Predefined Instance", "n2": "N2 Instance", "n2d": "N2D AMD Instance", "n4": "N4 Instance",
    "e2": "E2 Instance", "c2": "Compute optimized", "c2d": "C2D AMD Instance", "c3": "C3 Instance",
    "c3d": "C3D Instance", "t2d": "T2D AMD Instance", "t2a": "T2A Arm Instance", "a2": "A2 Instance",
    "g2": "G2 Instance",
}  # fmt: skip
_CUSTOM_WORDS = {"n1": "Custom Instance", "n2": "N2 Custom Instance", "n2d": "N2D AMD Custom Instance",
                 "n4": "N4 Custom Instance"}  # fmt: skip


def _skus() -> Iterator[Sku]:
    predefined = [(family, word, "") for family, word in _FAMILY_WORDS.items()]
    custom = [(family, word, "custom ") for family, word in _CUSTOM_WORDS.items()]
    for (family, word, prefix), (part, name) in product(predefined + custom, (("core", "Core"), ("GiB RAM", "Ram"))):
        yield Sku(f"{family} {prefix}{part}", PRICES, f"{word} {name} running")
        yield Sku(f"{family} {prefix}{part} spot", PRICES, f"Spot Preemptible {word} {name} running")
    for gpu, word in _GPUS.items():
        yield Sku(f"{gpu} gpu", PRICES, f"{word} running")
        yield Sku(f"{gpu} gpu spot", PRICES, f"{word} attached to Spot Preemptible VMs running")
    yield Sku("local ssd GiB", PRICES, "SSD backed Local Storage")
    yield Sku("local ssd GiB spot", PRICES, "SSD backed Local Storage attached to Spot Preemptible VMs")


# --- The kind -------------------------------------------------------------------------------------------------------

INSTANCE = GcpKind(
    name="gcp:instance",
    resource_type=ResourceType.COMPUTE,
    asset_types=("compute.googleapis.com/Instance",),
    read=_read_instance,
    unit="vCPU",
    collection="instances",
    number="instance_id",
    series_labels=by_fact("instance_id"),
    # Utilizations are fractions. Counts are rates a second already, summed over disks, interfaces and traffic classes.
    # `uptime` counts the seconds that an instance ran: a sum of 300 in a period is 100 percent.
    metrics=(
        *metric_rows(
            "gce_instance", "instance_id", "compute.googleapis.com/instance/",
            "Cloud Monitoring: Google Cloud metrics, compute",
            ("cpu_utilization", "cpu", "percent", "cpu/utilization", "ALIGN_MEAN", 100),
            ("disk_read", "disk", "bytes/s", "disk/read_bytes_count", "ALIGN_RATE"),
            ("disk_write", "disk", "bytes/s", "disk/write_bytes_count", "ALIGN_RATE"),
            ("disk_read_ops", "disk", "ops/s", "disk/read_ops_count", "ALIGN_RATE"),
            ("disk_write_ops", "disk", "ops/s", "disk/write_ops_count", "ALIGN_RATE"),
            ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
            ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
            ("uptime", "uptime", "percent", "uptime", "ALIGN_SUM", 100 / 300),
        ),
        # The hypervisor sees the memory of E2 instances only, and counts the guest's caches as used: not the same
        # figure.
        *metric_rows(
            "gce_instance", "instance_id", "agent.googleapis.com/", "Cloud Monitoring: Ops Agent metrics",
            ("memory_utilization", "memory", "percent", "memory/percent_used", "ALIGN_MEAN", 1,
             'metric.labels.state = "used"', AGENT),
        ),
    ),
    conditions={AGENT: lambda _resource: ""},
    not_offered={"response_time": "Cloud Monitoring: Google Cloud metrics, compute"},
    idle_since=stopped_since,
    price_parts=_price_parts,
    skus=tuple(_skus()),
    bill_service=BILL_SERVICE,
)  # fmt: skip

KINDS = (INSTANCE,)
