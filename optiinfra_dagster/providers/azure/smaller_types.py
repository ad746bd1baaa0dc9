"""The next smaller size of Azure's machines, scale sets, flexible servers and vCore databases.

Sizes of a series: https://learn.microsoft.com/azure/virtual-machines/sizes/overview. From the third version on a name
has the vCPUs, and within a series memory goes with them; the largest of E have less, and are left out of that.
vCores of databases: https://learn.microsoft.com/azure/azure-sql/database/resource-limits-vcore-single-databases
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from optiinfra_dagster.model.sizes import SizeStep
from optiinfra_dagster.providers.azure.sizes import vcpus
from optiinfra_dagster.providers.parsing import as_number, as_text
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

_SIZE = re.compile(r"(Standard_)([A-Z])(\d+)(-\d+)?([a-z]*)_v(\d+)", re.IGNORECASE)
# vCPUs of the sizes of a series, by letter, features but for `s`, and version.
_D: Sequence[int] = (2, 4, 8, 16, 32, 48, 64, 96)
_E: Sequence[int] = (2, 4, 8, 16, 20, 32, 48, 64, 96)
_OF: Mapping[str, Sequence[int]] = {
    "D v3": _D[:7], "D v4": _D[:7], "D v5": _D, "Dd v4": _D[:7], "Dd v5": _D, "Da v4": _D, "Da v5": _D, "Dad v5": _D,
    "Dl v5": _D, "Dld v5": _D, "Dp v5": _D[:7], "Dpd v5": _D[:7], "Dpl v5": _D[:7], "Dpld v5": _D[:7],
    "Da v6": _D, "Dad v6": _D, "Dal v6": _D, "Dald v6": _D,
    "E v3": _E[:8], "E v4": _E[:8], "E v5": _E, "Ed v4": _E[:8], "Ed v5": _E, "Ea v4": _E, "Ea v5": _E, "Ead v5": _E,
    "Ep v5": (2, 4, 8, 16, 20, 32), "Epd v5": (2, 4, 8, 16, 20, 32), "Ea v6": _E, "Ead v6": _E,
    "F v2": (2, 4, 8, 16, 32, 48, 64, 72), "A v2": (1, 2, 4, 8), "Am v2": (2, 4, 8),
    "L v2": (8, 16, 32, 48, 64, 80), "L v3": (8, 16, 32, 48, 64, 80), "La v3": (8, 16, 32, 48, 64, 80),
}  # fmt: skip
_MEMORY = {"D": 4, "E": 8, "F": 2, "A": 2, "L": 8}  # GiB for a vCPU
_LESS_MEMORY = 64  # vCPUs of E from which on a size may have less memory than its share
# The second version of D counts its sizes: each of both rows has half of the next one.
_COUNTED = re.compile(r"(Standard_)(DS?)([1-5]|1[1-4])_v2", re.IGNORECASE)
_OF_SQL: Sequence[int] = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 32, 40, 80)  # vCores of a Gen5 database
_GIB_OF_SQL = 5.1  # of memory for a vCore
_ACCELERATED = re.compile(r"Standard_N", re.IGNORECASE)
_BURSTABLE = re.compile(r"Standard_B", re.IGNORECASE)

_MACHINES = {"azure:vm", "azure:vmss"}
_SERVERS = {"azure:postgresql", "azure:mysql"}


def sized(resource: Resource) -> SizeStep | None:
    """A machine or database with its size and the next smaller one; None for other kinds, and for what is in a pool."""
    if resource.kind == "azure:sql_database":
        return _database(resource)
    fact = "instance_type" if resource.kind in _MACHINES else "sku" if resource.kind in _SERVERS else ""
    size = as_text(resource.metadata.get(fact))
    # The machines of a flexible scale set are resources of their own.
    if not size or as_text(resource.metadata.get("orchestration")).lower() == "flexible":
        return None
    cores = vcpus(size)
    if _BURSTABLE.match(size):
        return SizeStep(resource, size, cores, why_not=BURSTABLE)
    if _ACCELERATED.match(size):
        return SizeStep(resource, size, cores, why_not=WITH_ACCELERATORS)
    if counted := _COUNTED.fullmatch(size):
        return _counted(resource, fact, cores, counted)
    return _of_series(resource, fact, size, cores)


def _of_series(resource: Resource, fact: str, size: str, cores: int | None) -> SizeStep:
    """A size whose name has its vCPUs."""
    named = _SIZE.fullmatch(size)
    if named is None or cores is None:
        return SizeStep(resource, size, cores, why_not=NO_FAMILY)
    start, letter, number, constrained, features, version = named.groups()
    sizes = _OF.get(f"{letter.upper()}{features.lower().replace('s', '')} v{version}", ())
    if constrained or int(number) not in sizes:
        return SizeStep(resource, size, cores, why_not=NO_FAMILY)
    count, below = int(number), next_below(sizes, int(number))
    memory = _memory(letter.upper(), features.lower(), count)
    if below is None:
        return SizeStep(resource, size, cores, memory, why_not=SMALLEST)
    smaller = f"{start}{letter}{below:g}{features}_v{version}"
    share = below / count if memory is not None else None
    local = letter.upper() == "L" or "d" in features.lower() or version in {"2", "3"}
    return SizeStep(
        resource,
        size,
        count,
        memory,
        retyped(resource, **{fact: smaller}),
        smaller,
        below,
        share,
        note=notes(resource, *_notes(resource, local=local)),
    )


def _notes(resource: Resource, *, local: bool) -> Iterator[str]:
    if scale_set := as_text(resource.metadata.get("scale_set")):
        yield f"its type is that of its scale set {scale_set.rpartition('/')[2]}"
    if local and resource.kind in _MACHINES:
        yield "its temporary disk is smaller, too"
    if resource.kind == "azure:vmss":
        yield "the figures are means over its machines"


def _memory(letter: str, features: str, cores: int) -> float | None:
    """The GiB of memory of a size; None where its name does not guarantee it."""
    if letter == "E" and cores >= _LESS_MEMORY:
        return None
    each = 2 if letter == "D" and "l" in features else 8 if "m" in features else _MEMORY[letter]
    return float(cores * each)


def _counted(resource: Resource, fact: str, cores: int | None, counted: re.Match[str]) -> SizeStep:
    start, letters, number = counted[1], counted[2], int(counted[3])
    row = 10 if number > 10 else 0
    memory = 14.0 * 2 ** (number - 11) if row else 3.5 * 2 ** (number - 1)
    if number - row == 1:
        return SizeStep(resource, counted[0], cores, memory, why_not=SMALLEST)
    smaller = f"{start}{letters}{number - 1}_v2"
    to, note = retyped(resource, **{fact: smaller}), "its temporary disk is smaller, too"
    return SizeStep(resource, counted[0], cores, memory, to, smaller, vcpus(smaller), 0.5, note=note)


def _database(resource: Resource) -> SizeStep | None:
    """A database of a number of vCores; None for one in a pool, which has none of its own, and for a serverless one."""
    known = resource.metadata
    sku, cores = as_text(known.get("sku")), as_number(known.get("units"))
    if "elastic_pool" in known or not sku or "_s_" in sku.lower():
        return None
    if sku.lower() not in {"gp_gen5", "bc_gen5"} or cores is None or cores not in _OF_SQL:
        return SizeStep(resource, sku, why_not=NO_FAMILY)
    name, memory, below = f"{sku}_{cores:g}", cores * _GIB_OF_SQL, next_below(_OF_SQL, cores)
    if below is None:
        return SizeStep(resource, name, cores, memory, why_not=SMALLEST)
    to = retyped(resource, units=below)
    return SizeStep(resource, name, cores, memory, to, f"{sku}_{below:g}", below, below / cores)
