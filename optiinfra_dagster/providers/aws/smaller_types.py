"""The next smaller type of EC2 instances and RDS databases, by the rules of their names.

Sizes of a family follow their names: an `xlarge` has 4 vCPUs, a `large` half of it, a `12xlarge` twelve times as much,
and memory goes with them. Which sizes a family has: https://docs.aws.amazon.com/ec2/latest/instancetypes/. A size that
a family, region or engine does not have after all has no price, and is not offered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from optiinfra_dagster.model.sizes import SizeStep
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

_TYPE = re.compile(r"([a-z]+)(\d+)([a-z]*(?:-flex)?)\.(medium|large|(\d*)xlarge)")
_IN_XLARGE = {"medium": 0.25, "large": 0.5}
_CORES = 4  # vCPUs of an xlarge

_ACCELERATED = {"p", "g", "gr", "inf", "trn", "dl", "vt", "f"}
_GENERAL = {"m", "c", "r"}  # of these, types from the fifth generation on have the usual sizes
_USUAL: Sequence[float] = (0.5, 1, 2, 4, 8, 12, 16, 24, 32, 48)
# Families with other sizes, in xlarge.
_SIZES: Mapping[str, Sequence[float]] = {
    "m3": (0.25, 0.5, 1, 2), "m4": (0.5, 1, 2, 4, 10, 16), "m5zn": (0.5, 1, 2, 3, 6, 12),
    "c3": (0.5, 1, 2, 4, 8), "c4": (0.5, 1, 2, 4, 8), "c5": (0.5, 1, 2, 4, 9, 12, 18, 24),
    "c5d": (0.5, 1, 2, 4, 9, 12, 18, 24), "c5n": (0.5, 1, 2, 4, 9, 18),
    "r3": (0.5, 1, 2, 4, 8), "r4": (0.5, 1, 2, 4, 8, 16),
    "z1d": (0.5, 1, 2, 3, 6, 12), "x1": (16, 32), "x1e": (1, 2, 4, 8, 16, 32), "x2idn": (16, 24, 32),
    "x2iedn": (1, 2, 4, 8, 16, 24, 32), "x2gd": (0.25, 0.5, 1, 2, 4, 8, 12, 16), "a1": (0.25, 0.5, 1, 2, 4),
    "i2": (1, 2, 4, 8), "i3": (0.5, 1, 2, 4, 8, 16), "i3en": (0.5, 1, 2, 3, 6, 12, 24),
    "i4i": (0.5, 1, 2, 4, 8, 12, 16, 24, 32), "d2": (1, 2, 4, 8), "d3": (1, 2, 4, 8), "d3en": (1, 2, 4, 6, 8, 12),
    "h1": (2, 4, 8, 16),
}  # fmt: skip
_ODD_CORES = {"c4.8xlarge": 36, "d2.8xlarge": 36}
# GiB of memory for a vCPU, from the fifth generation on; those with a fast network of the fifth have more in `c`.
_MEMORY = {"m": 4, "c": 2, "r": 8}
_WITH_DISKS = {"i", "d", "h", "x", "z"}

_GROUPS = ("eks:nodegroup-name", "aws:autoscaling:groupName")  # tags that AWS writes

_KINDS = {"ec2:instance": "instance_type", "rds:db": "class"}


def sized(resource: Resource) -> SizeStep | None:
    """A machine or database with its size and the next smaller one; None for other kinds, and for serverless ones."""
    fact = _KINDS.get(resource.kind)
    name = as_text(resource.metadata.get(fact)) if fact else ""
    if fact is None or name in {"", "db.serverless"}:
        return None
    prefix, plain = ("db.", name.removeprefix("db.")) if name.startswith("db.") else ("", name)
    if re.match(r"t\d", plain):
        return SizeStep(resource, name, why_not=BURSTABLE)
    named = _TYPE.fullmatch(plain)
    if named is None:
        return SizeStep(resource, name, why_not=NO_FAMILY)
    letters, generation, features, size, times = named[1], int(named[2]), named[3], named[4], named[5]
    if letters in _ACCELERATED:
        return SizeStep(resource, name, why_not=WITH_ACCELERATORS)
    family = f"{letters}{generation}{features}"
    sizes = _SIZES.get(family)
    if sizes is None and letters in _GENERAL and generation >= 5:
        sizes = (0.25, *_USUAL) if _has_medium(generation, features) and not prefix else _USUAL
    units = _IN_XLARGE.get(size) or float(times or 1)
    if sizes is None or units not in sizes:
        return SizeStep(resource, name, why_not=NO_FAMILY)
    cores = _ODD_CORES.get(plain, units * _CORES)
    memory = cores * _MEMORY[letters] if letters in _GENERAL and generation >= 5 and family != "c5n" else None
    below = next_below(sizes, units)
    if resource.kind == "ec2:instance" and resource.capacity not in {None, cores}:
        why_not = "its CPU options give it other vCPUs than its type has"
        return SizeStep(resource, name, resource.capacity, memory, why_not=why_not)
    if below is None:
        return SizeStep(resource, name, cores, memory, why_not=SMALLEST)
    smaller = f"{prefix}{family}.{_size_name(below)}"
    local = letters in _WITH_DISKS or generation <= 3 or "d" in features
    return SizeStep(
        resource,
        name,
        cores,
        memory,
        retyped(resource, **{fact: smaller}),
        smaller,
        below * _CORES,
        below / units,
        note=notes(resource, "its local disks are smaller, too" if local and not prefix else "", groups=_GROUPS),
    )


def _has_medium(generation: int, features: str) -> bool:
    """True for types whose vCPUs are whole cores: Graviton's, and AMD's from the seventh generation on."""
    return features.startswith("g") or (features.startswith("a") and generation >= 7)


def _size_name(units: float) -> str:
    names = {value: name for name, value in _IN_XLARGE.items()}
    return names.get(units) or ("xlarge" if units == 1 else f"{units:g}xlarge")
