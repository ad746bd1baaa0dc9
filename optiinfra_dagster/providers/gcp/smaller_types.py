"""The next smaller machine type of Compute Engine, and tier of Cloud SQL.

The sizes of each series: https://cloud.google.com/compute/docs/machine-resource. A custom type is halved, as far as
the rules for custom types allow: an even number of vCPUs, and memory in steps of 256 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from optiinfra_dagster.model.sizes import SizeStep
from optiinfra_dagster.providers.gcp.services.compute import MEMORY_PER_CORE, SHARED_CORE, vcpus
from optiinfra_dagster.providers.parsing import as_text
from optiinfra_dagster.providers.sizing import (
    BURSTABLE,
    NO_FAMILY,
    SMALLEST,
    WITH_ACCELERATORS,
    next_below,
    notes,
    retyped,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource

# vCPUs of the predefined types, by series and shape; "" for any shape.
_CORES: Mapping[tuple[str, str], Sequence[int]] = {
    ("n1", "standard"): (1, 2, 4, 8, 16, 32, 64, 96),
    ("n1", ""): (2, 4, 8, 16, 32, 64, 96),
    ("n2", "highcpu"): (2, 4, 8, 16, 32, 48, 64, 80, 96),
    ("n2", ""): (2, 4, 8, 16, 32, 48, 64, 80, 96, 128),
    ("n2d", "standard"): (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224),
    ("n2d", "highcpu"): (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224),
    ("n2d", "highmem"): (2, 4, 8, 16, 32, 48, 64, 80, 96),
    ("n4", ""): (2, 4, 8, 16, 32, 48, 64, 80),
    ("e2", "highmem"): (2, 4, 8, 16),
    ("e2", ""): (2, 4, 8, 16, 32),
    ("c2", "standard"): (4, 8, 16, 30, 60),
    ("c2d", ""): (2, 4, 8, 16, 32, 56, 112),
    ("c3", ""): (4, 8, 22, 44, 88, 176),
    ("c3d", ""): (4, 8, 16, 30, 60, 90, 180, 360),
    ("t2d", "standard"): (1, 2, 4, 8, 16, 32, 48, 60),
    ("t2a", "standard"): (1, 2, 4, 8, 16, 32, 48),
}
_PREDEFINED = re.compile(r"([a-z]\w*)-(standard|highmem|highcpu)-(\d+)")
_CUSTOM = re.compile(r"(?:(\w+)-)?custom-(\d+)-(\d+)")
_ACCELERATED = ("a2-", "a3-", "a4-", "g2-", "g4-")
_MIB_STEP = 256
_LEAST_OF_DATABASE = 3840  # MiB

_GROUPS = ("goog-k8s-node-pool-name", "goog-k8s-cluster-name")  # labels that GKE writes

_KINDS = {"gcp:instance": "machine_type", "gcp:sql_instance": "class"}


def sized(resource: Resource) -> SizeStep | None:
    """A machine or database with its size and the next smaller one; None for other kinds."""
    fact = _KINDS.get(resource.kind)
    name = as_text(resource.metadata.get(fact)) if fact else ""
    if fact is None or not name:
        return None
    prefix, plain = ("db-", name.removeprefix("db-")) if fact == "class" else ("", name)
    cores = vcpus(plain)
    if plain in SHARED_CORE or re.match(r"e2-custom-(micro|small|medium)-", plain):
        return SizeStep(resource, name, cores, why_not=BURSTABLE)
    if resource.metadata.get("gpus") or plain.startswith(_ACCELERATED):
        return SizeStep(resource, name, cores, why_not=WITH_ACCELERATORS)
    if custom := _CUSTOM.fullmatch(plain):
        return _custom(resource, fact, prefix, custom)
    predefined = _PREDEFINED.fullmatch(plain)
    if predefined is None:
        return SizeStep(resource, name, cores, why_not=NO_FAMILY)
    series, shape, count = predefined[1], predefined[2], int(predefined[3])
    sizes = _CORES.get((series, shape)) or _CORES.get((series, ""), ())
    each = MEMORY_PER_CORE.get(series, {}).get(shape)
    if count not in sizes or each is None:
        return SizeStep(resource, name, cores, why_not=NO_FAMILY)
    memory, below = count * float(each), next_below(sizes, count)
    if below is None:
        return SizeStep(resource, name, count, memory, why_not=SMALLEST)
    smaller = f"{prefix}{series}-{shape}-{below:g}"
    to = retyped(resource, **{fact: smaller})
    note = notes(resource, groups=_GROUPS)
    return SizeStep(resource, name, count, memory, to, smaller, below, below / count, note=note)


def _custom(resource: Resource, fact: str, prefix: str, custom: re.Match[str]) -> SizeStep:
    """A custom type in half, or the reason why it has none."""
    name, series, cores, mib = f"{prefix}{custom[0]}", custom[1] or "n1", int(custom[2]), int(custom[3])
    half, memory = cores // 2, mib // 2
    # N1 and Cloud SQL know a custom type of one vCPU.
    whole = cores % 2 == 0 and (half == 1 or half % 2 == 0)
    enough = half >= (1 if series == "n1" else 2) and memory >= (_LEAST_OF_DATABASE if prefix else 1)
    if not whole or not enough or memory % _MIB_STEP or mib % 2:
        why_not = f"half of it, {cores / 2:g} vCPUs and {mib / 2 / 1024:g} GiB, is no custom type"
        return SizeStep(resource, name, cores, mib / 1024, why_not=why_not)
    smaller = f"{prefix}{f'{custom[1]}-' if custom[1] else ''}custom-{half}-{memory}"
    return SizeStep(
        resource, name, cores, mib / 1024, retyped(resource, **{fact: smaller}), smaller, half, memory / mib
    )
