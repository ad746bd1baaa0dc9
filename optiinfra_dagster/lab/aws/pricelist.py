"""The price list of the lab's AWS: GetProducts, with the products that the world's resources need and their neighbours.

Prices are by the hour or the month, in USD; where only one region is known, other regions are a tenth dearer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.describe import Shown, describe, vcpus
from optiinfra_dagster.lab.aws.wire import AwsError, Call
from optiinfra_dagster.lab.world import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource

# USD in us-east-1: volumes by GiB and month, the rest by hour.
VOLUMES = {
    "gp3": "0.08", "gp2": "0.10", "io1": "0.125", "io2": "0.125", "st1": "0.045", "sc1": "0.015", "standard": "0.05",
}  # fmt: skip
IOPS = {"gp3": "0.005", "io1": "0.065"}
DB_VOLUMES = {
    "gp3": ("General Purpose-GP3", "0.115"), "gp2": ("General Purpose", "0.115"), "io1": ("Provisioned IOPS", "0.125"),
}  # fmt: skip
BALANCERS = {
    "elbv2:application": ("Load Balancer-Application", "0.0225"),
    "elbv2:network": ("Load Balancer-Network", "0.0225"),
    "elbv2:gateway": ("Load Balancer-Gateway", "0.0125"),
    "elb:classic": ("Load Balancer", "0.025"),
}
NAT, CLUSTER = "0.045", "0.10"
DATABASE_VCPU, CACHE_VCPU, WAREHOUSE_VCPU = "0.09", "0.034", "0.25"
_DB_ENGINES = {
    "postgres": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB",
    "aurora-postgresql": "Aurora PostgreSQL", "aurora-mysql": "Aurora MySQL",
}  # fmt: skip
_CACHES = {"redis": "Redis", "valkey": "Valkey", "memcached": "Memcached"}


def usd_in(region: str, usd: str | Decimal) -> Decimal:
    """A price in a region: other regions are a tenth dearer than us-east-1."""
    return Decimal(usd) * (1 if region == "us-east-1" else Decimal("1.1"))


def machine_usd(region: str, kind: str, *, of: str = "0.048") -> Decimal:
    """What a machine of a type (`m6i.large`, `db.r6g.xlarge`) costs by the hour: by virtual CPU and family."""
    plain = kind.removeprefix("db.").removeprefix("cache.")
    family = Decimal(80 + digest("price", plain.partition(".")[0]) % 60) / 100
    return usd_in(region, (vcpus(plain) * Decimal(of) * family).quantize(Decimal("0.0001")))


@dataclass(frozen=True, slots=True)
class Product:
    """One line of the price list."""

    service: str
    family: str
    attributes: Mapping[str, str]
    unit: str
    usd: Decimal

    @property
    def shown(self) -> str:
        """The product as GetProducts shows it: JSON in a string, with its on-demand term and a reserved one."""
        sku = f"{digest(self.service, self.family, json.dumps(self.attributes, sort_keys=True)):016X}"

        def terms(usd: Decimal, code: str) -> dict[str, Any]:
            dimension = {
                "unit": self.unit, "beginRange": "0", "endRange": "Inf", "appliesTo": [],
                "rateCode": f"{sku}.{code}.6YS6EN2CT7",
                "description": f"${usd:f} per {self.unit}", "pricePerUnit": {"USD": f"{usd:.10f}"},
            }  # fmt: skip
            return {
                f"{sku}.{code}": {
                    "priceDimensions": {dimension["rateCode"]: dimension},
                    "sku": sku, "effectiveDate": "2024-01-01T00:00:00Z", "offerTermCode": code, "termAttributes": {},
                }
            }  # fmt: skip

        return json.dumps(
            {
                "product": {"productFamily": self.family, "attributes": dict(self.attributes), "sku": sku},
                "serviceCode": self.service,
                "terms": {
                    "OnDemand": terms(self.usd, "JRTCKXETXF"),
                    "Reserved": terms(self.usd / 2, "4NA7Y494T4"),
                },
                "version": "20240101000000",
                "publicationDate": "2024-01-01T00:00:00Z",
            }
        )

    def value(self, field: str) -> str:
        """What a filter compares with."""
        return self.family if field == "productFamily" else self.attributes.get(field, "")


def _usage(region: str, what: str) -> str:
    short = "".join(part[:2] for part in region.split("-")).upper()
    return {"us-east-1": what, "eu-west-1": f"EU-{what}"}.get(region, f"{short}-{what}")


# Family, attributes, usage type, unit and price of what a resource needs, and of what is easily taken for it.
Row = tuple[str, dict[str, str], str, str, Decimal]
Rows = Iterator[Row]


def _instances(one: LabResource, shown: Shown) -> Rows:
    kind = shown["Instances"][0]["InstanceType"]
    for system, software, tenancy, status, factor in (
        ("Linux", "NA", "Shared", "Used", "1"),
        ("Linux", "NA", "Shared", "UnusedCapacityReservation", "1.01"),
        ("Linux", "NA", "Dedicated", "Used", "1.1"),
        ("Linux", "SQL Std", "Shared", "Used", "4"),
        ("Windows", "NA", "Shared", "Used", "1.9"),
    ):
        attributes = {
            "instanceType": kind, "operatingSystem": system, "preInstalledSw": software, "tenancy": tenancy,
            "capacitystatus": status, "licenseModel": "No License required",
        }  # fmt: skip
        yield "Compute Instance", attributes, f"BoxUsage:{kind}", "Hrs", machine_usd(one.region, kind) * Decimal(factor)


def _volumes(one: LabResource, shown: Shown) -> Rows:
    kind = shown["VolumeType"]
    usd = usd_in(one.region, VOLUMES[kind])
    yield "Storage", {"volumeApiName": kind}, f"EBS:VolumeUsage.{kind}", "GB-Mo", usd
    if kind in IOPS:
        usage = f"EBS:VolumeP-IOPS.{'piops' if kind == 'io1' else kind}"
        usd = usd_in(one.region, IOPS[kind])
        yield "System Operation", {"volumeApiName": kind, "group": "EBS IOPS"}, usage, "IOPS-Mo", usd


def _databases(one: LabResource, shown: Shown) -> Rows:
    kind, engine = shown["DBInstanceClass"], str(_DB_ENGINES.get(shown["Engine"], shown["Engine"]))
    usd = machine_usd(one.region, kind, of=DATABASE_VCPU)
    for deployment, factor in (("Single-AZ", 1), ("Multi-AZ", 2)):
        common = {"databaseEngine": engine, "deploymentOption": deployment}
        machine = {**common, "instanceType": kind, "licenseModel": "No license required"}
        usage = f"{'Instance' if factor == 1 else 'Multi-AZ'}Usage:{kind}"
        yield "Database Instance", machine, usage, "Hrs", usd * factor
        if engine.startswith("Aurora"):
            yield "Database Instance", machine, f"InstanceUsageIOOptimized:{kind}", "Hrs", usd * Decimal("0.9")
        for short, (name, price) in DB_VOLUMES.items():
            usage = f"RDS:{'' if factor == 1 else 'Multi-AZ-'}{short.upper()}-Storage"
            yield "Database Storage", {**common, "volumeType": name}, usage, "GB-Mo", usd_in(one.region, price) * factor


def _nat_gateways(one: LabResource, _shown: Shown) -> Rows:
    yield "NAT Gateway", {"group": "NGW:NatGateway"}, "NatGateway-Hours", "Hrs", usd_in(one.region, NAT)
    yield "NAT Gateway", {"group": "NGW:NatGateway"}, "NatGateway-Bytes", "GB", usd_in(one.region, NAT)


def _clusters(_one: LabResource, _shown: Shown) -> Rows:
    yield "Compute", {}, "AmazonEKS-Hours:perCluster", "Hours", Decimal(CLUSTER)
    yield "Compute", {}, "AmazonEKS-Hours:extendedSupport", "Hours", Decimal(CLUSTER) * 6


def _caches(one: LabResource, shown: Shown) -> Rows:
    kind = shown["CacheNodeType"]
    attributes = {"instanceType": kind, "cacheEngine": _CACHES[shown["Engine"]]}
    yield "Cache Instance", attributes, f"NodeUsage:{kind}", "Hrs", machine_usd(one.region, kind, of=CACHE_VCPU)


def _warehouses(one: LabResource, shown: Shown) -> Rows:
    kind = shown["NodeType"]
    usd = machine_usd(one.region, kind, of=WAREHOUSE_VCPU)
    yield "Compute Instance", {"instanceType": kind}, f"Node:{kind}", "Hrs", usd


def _balancers(one: LabResource, _shown: Shown) -> Rows:
    family, usd = BALANCERS[one.kind]
    yield family, {}, "LoadBalancerUsage", "Hrs", usd_in(one.region, usd)
    yield family, {}, "LCUUsage", "LCU-Hrs", usd_in(one.region, "0.008")


_PRODUCTS: Mapping[str, tuple[str, Callable[[LabResource, Shown], Rows]]] = {
    "ec2:instance": ("AmazonEC2", _instances),
    "ebs:volume": ("AmazonEC2", _volumes),
    "ec2:natgateway": ("AmazonEC2", _nat_gateways),
    "rds:db": ("AmazonRDS", _databases),
    "eks:cluster": ("AmazonEKS", _clusters),
    "elasticache:cluster": ("AmazonElastiCache", _caches),
    "redshift:cluster": ("AmazonRedshift", _warehouses),
    **dict.fromkeys(BALANCERS, ("AWSELB", _balancers)),
}


class PriceList:
    """The price list, as far as a world's resources come near it."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def get_products(self, call: Call) -> dict[str, Any]:
        """One page of GetProducts: the products of a service whose attributes are as the filters say."""
        params = call.params
        if call.region not in {"us-east-1", "eu-central-1", "ap-south-1"}:
            raise AwsError(400, "InvalidParameterException", "The price list is not offered in this region.")
        size = int(params.get("MaxResults", 100))
        if not params.get("ServiceCode") or not 1 <= size <= 100:
            raise AwsError(400, "InvalidParameterException", "Input Parameters are invalid: ServiceCode, MaxResults")
        found = [one for one in self.products if one.service == params["ServiceCode"]]
        for wanted in params.get("Filters") or []:
            if wanted.get("Type") != "TERM_MATCH":
                raise AwsError(400, "InvalidParameterException", "The cloud lab knows the filter TERM_MATCH only")
            found = [one for one in found if one.value(wanted["Field"]).lower() == wanted["Value"].lower()]
        start = int(str(params.get("NextToken") or 0))
        more = {"NextToken": str(start + size)} if start + size < len(found) else {}
        return {"FormatVersion": "aws_v1", "PriceList": [one.shown for one in found[start : start + size]], **more}

    @cached_property
    def products(self) -> list[Product]:
        """Every product, each once."""
        found: dict[str, Product] = {}
        for one in self._estate.resources():
            if one.kind not in _PRODUCTS:
                continue
            service, rows = _PRODUCTS[one.kind]
            for family, attributes, usage, unit, usd in rows(
                one, describe(one, self._estate.region(one.account, one.region))
            ):
                place = {"regionCode": one.region, "servicecode": service, "locationType": "AWS Region"}
                product = Product(
                    service, family, {**place, **attributes, "usagetype": _usage(one.region, usage)}, unit, usd
                )
                found.setdefault(f"{service} {family} {sorted(product.attributes.items())}", product)
        return list(found.values())
