"""A kind of AWS resource in the lab: how its resources are named, shown, measured and charged, in one object.

Each service's kinds are in services/<service>.py, under the names that the product has for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region
    from optiinfra_dagster.lab.aws.world import Fleet

Shown = dict[str, Any]
"""A resource as an API shows it: a dict of botocore's shape."""

Dimensions = tuple[tuple[str, str], ...]
"""Dimensions of a metric, (name, value)."""

Row = tuple[str, dict[str, str], str, str, Decimal]
"""A product of the price list: family, attributes, usage type without the region's prefix, unit and USD."""

PLANTED = "planted-secret-4Kd"
"""Stands in every field of an answer that may hold a secret: it must never come out of a collector."""

GIB = 1024.0**3


@dataclass(frozen=True, slots=True)
class LabMetric:
    """A metric as AWS publishes it: `low` to `high` in its unit per sample, `samples` of them in each `period`.

    `shape`: wave (a day's rise and fall), count (the same in whole numbers), level (one whole number that stays) or
    rare (0, and 1 now and then for 15 minutes). `dimension` is the one that holds the resource's id; `dimensions` are
    those beside it.
    """

    namespace: str
    name: str
    unit: str
    low: float
    high: float
    period: int
    samples: int
    shape: str = "wave"
    dimension: str = ""
    dimensions: Dimensions = ()


def published(
    dimension: str, namespace: str, period: int, samples: int, *rows: tuple[Any, ...]
) -> tuple[LabMetric, ...]:
    """Lay out rows of (name, unit, low, high[, shape[, period, samples]]); a name may say `Latency Operation=Get`."""
    metrics = []
    for words, unit, low, high, *more in rows:
        name, *narrowed = words.split()
        own_period, own_samples = more[1:] or (period, samples)
        metrics.append(
            LabMetric(
                namespace=namespace,
                name=name,
                unit=unit,
                low=low,
                high=high,
                period=own_period,
                samples=own_samples,
                shape=more[0] if more else "wave",
                dimension=dimension,
                dimensions=tuple((key, value) for key, _, value in (word.partition("=") for word in narrowed)),
            )
        )
    return tuple(metrics)


def _as_published(_resource: LabResource, metric: LabMetric) -> LabMetric | None:
    return metric


def _never_otherwise(_resource: LabResource, _metric: LabMetric) -> tuple[Dimensions, int] | None:
    return None


def _own_dimension(resource: LabResource, metric: LabMetric) -> Dimensions:
    return ((metric.dimension, resource.id),)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabKind:
    """A kind of resource of the lab.

    Identity: `arn` is service and path of its ARN, `ec2 volume/{id}`. An id is `id_prefix` and digits where there is a
    prefix, else the name; `identify` makes it of name, digits and parent in another way. `named_by_tag` is true where a
    tag is the only place for a name. `children` are the kinds that come with a resource, each with how many the fleet
    says; `in_fleets` is false for what only comes so, and `name_of_child` then gives its name, by parent and index.

    Inventory: `describe` writes a resource out as its Describe operation shows it.

    Metrics: `as_published` gives a metric as one resource publishes it, None where it does not; `dimensions_of` the
    dimensions that name the resource in it; `dimensions_before` those that did until a time, with that time in seconds
    since the epoch. What is stopped publishes nothing.

    Tags: `tagged_as` is the type by which the Resource Groups Tagging API knows the kind, "" where the lab's does not.

    Costs: `price_list` is the service code of `products`, which gives the products that a resource needs and those that
    are easily taken for it, from what is shown of it. `rate` is USD by the hour and by the month of one resource, on
    the bill as `bill_service`. `by_use` is a service and USD a day for each resource, which differ from day to day.
    """

    name: str
    arn: str
    describe: Callable[[LabResource, Region], Shown]
    id_prefix: str = ""
    identify: Callable[[str | None, str, LabResource | None], str] | None = None
    named_by_tag: bool = False
    in_fleets: bool = True
    children: tuple[tuple[str, Callable[[Fleet], int]], ...] = ()
    name_of_child: Callable[[LabResource, int], str] | None = None
    metrics: tuple[LabMetric, ...] = ()
    as_published: Callable[[LabResource, LabMetric], LabMetric | None] = _as_published
    dimensions_of: Callable[[LabResource, LabMetric], Dimensions] = _own_dimension
    dimensions_before: Callable[[LabResource, LabMetric], tuple[Dimensions, int] | None] = _never_otherwise
    tagged_as: str = ""
    price_list: str = ""
    products: Callable[[LabResource, Shown], Iterator[Row]] | None = None
    bill_service: str = ""
    rate: Callable[[LabResource, Region], tuple[Decimal, Decimal]] | None = None
    by_use: tuple[str, str] | None = None


FREE = Decimal(0)


def describe(resource: LabResource, region: Region) -> Shown:
    """The resource as its Describe operation shows it, without the keys that its fleet omits."""
    return without_omitted(resource, resource.definition.describe(resource, region))


def without_omitted(resource: LabResource, shown: Shown) -> Shown:
    """An answer without the keys that the resource's fleet omits, as real answers sometimes lack them."""
    for key in resource.fleet.omit:
        shown.pop(key, None)
    return shown


def runs(resource: LabResource) -> bool:
    """False for what is stopped or gone: it publishes no metrics."""
    return resource.state not in {"stopped", "stopping", "terminated", "shutting-down"}


def is_charged(resource: LabResource) -> bool:
    """False for what is stopped: its hours cost nothing."""
    return resource.state not in {"stopped", "paused", "terminated"}


# --- Parts of answers -------------------------------------------------------------------------------------------------

ZONES = "abc"


def tags_of(resource: LabResource) -> list[dict[str, str]]:
    """The tags as most services show them."""
    return [{"Key": key, "Value": value} for key, value in resource.tags.items()]


def zone_of(resource: LabResource) -> str:
    """The availability zone; a part stands where its owner does."""
    return resource.region + ZONES[(resource.parent or resource).index % len(ZONES)]


def address_of(resource: LabResource) -> str:
    """A private IP address."""
    return f"10.{resource.seed >> 8 & 63}.{resource.seed >> 16 & 255}.{4 + resource.index % 250}"


def device_of(n: int) -> str:
    """The device of an instance's n-th volume, of which the first holds the system."""
    return "/dev/xvda" if n == 0 else f"/dev/sd{chr(ord('e') + n)}"


def subnet_of(resource: LabResource, region: Region) -> tuple[str, str]:
    """The subnet and VPC that a resource stands in."""
    subnets = region.of("ec2:subnet")
    if not subnets:
        return "subnet-" + resource.hexid("subnet"), "vpc-" + resource.hexid("vpc")
    subnet = subnets[resource.index % len(subnets)]
    return subnet.id, subnet.parent.id if subnet.parent else ""


def security_groups_of(resource: LabResource) -> list[dict[str, str]]:
    """The security groups as databases show them."""
    return [{"VpcSecurityGroupId": "sg-" + resource.hexid("group"), "Status": "active"}]
