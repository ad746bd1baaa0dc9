"""Prices of the lab's AWS, in USD: of machines by their size, and in other regions than us-east-1."""

from __future__ import annotations

import re
from decimal import Decimal

from optiinfra_dagster.lab.values import digest

_SIZES = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4, "metal": 96}


def vcpus(instance_type: str) -> int:
    """Virtual CPUs of an instance type such as `m6i.4xlarge`."""
    size = instance_type.partition(".")[2]
    many = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(many[1]) if many else _SIZES.get(size, 2)


def of_family(instance_type: str) -> list[str]:
    """The types of a family that the price list has, the given one among them: most begin at `large`."""
    name, _, size = instance_type.rpartition(".")
    return sorted({f"{name}.{other}" for other in ("large", "xlarge", "2xlarge", "4xlarge", size)})


def usd_in(region: str, usd: str | Decimal) -> Decimal:
    """A price in a region: other regions are a tenth dearer than us-east-1."""
    return Decimal(usd) * (1 if region == "us-east-1" else Decimal("1.1"))


def machine_usd(region: str, kind: str, *, of: str = "0.048") -> Decimal:
    """The price of a machine of a type (`m6i.large`, `db.r6g.xlarge`), in USD an hour: by virtual CPU and family."""
    plain = kind.removeprefix("db.").removeprefix("cache.")
    family = Decimal(80 + digest("price", plain.partition(".")[0]) % 60) / 100
    return usd_in(region, (vcpus(plain) * Decimal(of) * family).quantize(Decimal("0.0001")))
