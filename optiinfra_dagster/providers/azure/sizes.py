"""Sizes of machines: the virtual CPUs that the name of a size tells."""

from __future__ import annotations

import re
from collections.abc import Mapping

from optiinfra_dagster.providers.parsing import as_text

# Virtual CPUs of the series that were named before names told them.
# https://learn.microsoft.com/azure/virtual-machines/sizes/previous-gen-sizes-list
_OLD_SIZES: Mapping[str, int] = {
    **dict.fromkeys(("A0", "A1", "D1", "DS1"), 1),
    **dict.fromkeys(("A2", "A5", "D2", "DS2", "D11", "DS11", "G1", "GS1"), 2),
    **dict.fromkeys(("A3", "A6", "D3", "DS3", "D12", "DS12", "G2", "GS2"), 4),
    **dict.fromkeys(("A4", "A7", "A8", "A10", "D4", "DS4", "D13", "DS13", "G3", "GS3"), 8),
    **dict.fromkeys(("A9", "A11", "D5", "DS5", "D14", "DS14", "G4", "GS4"), 16),
    **dict.fromkeys(("D15", "DS15"), 20),
    **dict.fromkeys(("G5", "GS5"), 32),
}
# Family, virtual CPUs, of which usable, features, accelerators or a confidential child (`cc`), version:
# https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions
_SIZE = re.compile(r"(?:standard|basic)_(([a-z]+)(\d+)(?:-(\d+))?([a-z]*))(?:_[a-z0-9]+)*?(?:_v(\d+))?")


def as_listed(size: str) -> str:
    """A size as the price list writes it, `Standard_NC4as_T4_v3`: who makes a machine may write it in any case."""
    tier, *parts = size.split("_")
    if not parts:
        return size
    family = re.match(r"[A-Za-z]*", parts[0])
    letters = family[0] if family else ""
    named = letters.upper() + parts[0][len(letters) :].lower()
    more = [part.lower() if re.fullmatch(r"[Vv]\d+|[Cc]{2}", part) else part.upper() for part in parts[1:]]
    return "_".join((tier.capitalize(), named, *more)).replace("_PROMO", "_Promo")


def vcpus(size: object) -> int | None:
    """The virtual CPUs of a size of machine: 4 of `Standard_D4s_v5`. None for other names."""
    named = _SIZE.fullmatch(as_text(size).lower().removesuffix("_promo"))
    if named is None:
        return None
    whole, family, number, usable, features, version = named.groups()
    if family in {"a", "d", "ds", "g", "gs"} and not features and int(version or 1) <= (1 if family == "a" else 2):
        return int(usable) if usable else _OLD_SIZES.get(whole.upper())
    return int(usable or number)
