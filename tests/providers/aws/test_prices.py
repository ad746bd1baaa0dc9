"""AWS's price list, as it really is: many rows are nearly the one that is meant, and a list has each of them.

Usage types and attributes are those of the public list; the amounts are round figures near the real ones.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.collection.cost import estimated
from optiinfra_dagster.lab.aws.pricelist import Product
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.aws import inventory, prices
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage.bills import KnownPrice
from tests.providers.aws.conftest import NOW, StartLab, acme, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

REGION = "us-west-2"
MONTH = 730


def row(service: str, family: str, usage: str, unit: str, usd: str, **attributes: str) -> Product:
    """A product of the list in Oregon."""
    place = {"regionCode": REGION, "locationType": "AWS Region"}
    return Product(service, family, {**place, **attributes, "usagetype": usage}, unit, Decimal(usd))


def elb(family: str, usage: str, usd: str, **more: str) -> Product:
    return row("AWSELB", family, usage, "Hrs", usd, **more)


def db(usage: str, usd: str, engine: str, deployment: str = "Single-AZ", **more: str) -> Product:
    klass = usage.partition(":")[2]
    more = {"databaseEngine": engine, "deploymentOption": deployment, "instanceType": klass, **more}
    return row("AmazonRDS", "Database Instance", usage, "Hrs", usd, **more)


def store(
    usage: str, usd: str, deployment: str = "Single-AZ", engine: str = "Any", unit: str = "GB-Mo", **more: str
) -> Product:
    family = {"GB-Mo": "Database Storage", "IOPS-Mo": "Provisioned IOPS"}.get(unit, "Provisioned Throughput")
    more = {"databaseEngine": engine, "deploymentOption": deployment, **more}
    return row("AmazonRDS", family, usage, unit, usd, **more)


def ec2(usage: str, usd: str, **more: str) -> Product:
    machine = {
        "instanceType": "m5.large", "operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA",
        "capacitystatus": "Used", "licenseModel": "No License required",
    }  # fmt: skip
    return row("AmazonEC2", "Compute Instance", usage, "Hrs", usd, **machine | more)


def ebs(usage: str, unit: str, usd: str, kind: str, family: str = "System Operation") -> Product:
    return row("AmazonEC2", family, usage, unit, usd, volumeApiName=kind)


MIRROR, CLUSTER = "Multi-AZ (SQL Server Mirror)", "Multi-AZ (readable standbys)"
STANDARD = {"databaseEdition": "Standard", "licenseModel": "License included"}

LIST = [
    elb("Load Balancer-Application", "USW2-TS-LoadBalancerUsage", "0.0056"),
    elb("Load Balancer-Application", "USW2-LoadBalancerUsage", "0.0225"),
    elb("Load Balancer-Application", "USW2-Outposts-LoadBalancerUsage", "0.02", locationType="AWS Outposts"),
    elb("Load Balancer-Application", "USW2-LCUUsage", "0.008"),
    elb("Load Balancer-Network", "USW2-LoadBalancerUsage", "0.0226"),
    elb("Load Balancer-Gateway", "USW2-LoadBalancerUsage", "0.0125"),
    elb("Load Balancer", "USW2-LoadBalancerUsage", "0.025"),
    row("AmazonEC2", "NAT Gateway", "USW2-RegionalNatGateway-Hours", "Hrs", "0.04"),
    row("AmazonEC2", "NAT Gateway", "USW2-NatGateway-Hours", "Hrs", "0.045"),
    row("AmazonEC2", "NAT Gateway", "USW2-NatGateway-Bytes", "GB", "0.01"),
    row("AmazonEC2", "NAT Gateway", "USW2-NatGateway-Prvd-Hours", "Hrs", "0.03"),
    row("AmazonEKS", "Compute", "USW2-AmazonEKS-Hours:perCluster", "Hours", "0.10"),
    row("AmazonEKS", "Compute", "USW2-AmazonEKS-Hours:extendedSupport", "Hours", "0.5"),
    row("AmazonEKS", "Compute", "USW2-Outposts-AmazonEKS-Hours:perCluster", "Hours", "0.05",
        locationType="AWS Outposts"),
    row("AmazonVPC", "", "USW2-PublicIPv4:InUseAddress", "Hrs", "0.005", group="VPCPublicIPv4Address"),
    row("AmazonVPC", "", "USW2-PublicIPv4:IdleAddress", "Hrs", "0.004", group="VPCPublicIPv4Address"),
    ec2("USW2-BoxUsage:m5.large", "0.096"),
    ec2("USW2-LAX1-BoxUsage:m5.large", "0.09", locationType="AWS Local Zone"),
    ec2("USW2-WL1-BoxUsage:m5.large", "0.08", locationType="AWS Wavelength Zone"),
    ec2("USW2-HostBoxUsage:m5.large", "0.01"),
    ec2("USW2-UnusedBox:m5.large", "0.095", capacitystatus="UnusedCapacityReservation"),
    ec2("USW2-DedicatedUsage:m5.large", "0.102", tenancy="Dedicated"),
    ec2("USW2-DedicatedRes:m5.large", "0.05", tenancy="Dedicated", capacitystatus="AllocatedCapacityReservation"),
    ec2("USW2-BoxUsage:m5.large", "0.188", operatingSystem="Windows"),
    ebs("USW2-EBS:VolumeUsage.gp3", "GB-Mo", "0.08", "gp3", "Storage"),
    ebs("USW2-Outposts-EBS:VolumeUsage.gp3", "GB-Mo", "0.05", "gp3", "Storage"),
    ebs("USW2-EBS:VolumeP-IOPS.gp3", "IOPS-Mo", "0.005", "gp3"),
    ebs("USW2-EBS:VolumeP-Throughput.gp3", "GiBps-mo", "40.96", "gp3", "Provisioned Throughput"),
    ebs("USW2-EBS:VolumeUsage.piops", "GB-Mo", "0.125", "io1", "Storage"),
    ebs("USW2-EBS:VolumeP-IOPS.piops", "IOPS-Mo", "0.065", "io1"),
    ebs("USW2-EBS:VolumeUsage.io2", "GB-month", "0.126", "io2", "Storage"),
    ebs("USW2-EBS:VolumeP-IOPS.io2", "IOPS-Mo", "0.066", "io2"),
    ebs("USW2-EBS:VolumeP-IOPS.io2.tier2", "IOPS-Mo", "0.0455", "io2"),
    ebs("USW2-EBS:VolumeP-IOPS.io2.tier3", "IOPS-Mo", "0.03185", "io2"),
    ebs("USW2-EBS:VolumeUsage", "GB-Mo", "0.05", "standard", "Storage"),
    db("USW2-InstanceUsage:db.m5.large", "0.178", "PostgreSQL"),
    db("USW2-InstanceUsage:db.m5.large", "0.1", "PostgreSQL", deploymentModel="Custom"),
    db("USW2-Multi-AZUsage:db.m5.large", "0.356", "PostgreSQL", "Multi-AZ"),
    db("USW2-Multi-AZClusterUsage:db.m5.large", "0.3", "PostgreSQL", CLUSTER),
    db("USW2-InstanceUsage:db.r6g.large", "0.313", "Aurora PostgreSQL"),
    db("USW2-InstanceUsageIOOptimized:db.r6g.large", "0.407", "Aurora PostgreSQL"),
    db("USW2-InstanceUsage:db.m5.large", "0.95", "SQL Server", **STANDARD),
    db("USW2-Mirror:db.m5.large", "1.9", "SQL Server", MIRROR, **STANDARD),
    db("USW2-Mirror:db.m5.large", "2.6", "SQL Server", MIRROR, databaseEdition="Enterprise",
       licenseModel="License included"),
    *(
        store(f"USW2-RDS:{kind}", usd, engine=engine, unit=unit)
        for engine, kind, unit, usd in (
            ("Any", "GP3-Storage", "GB-Mo", "0.115"), ("SQL Server", "GP3-Storage", "GB-Mo", "0.116"),
            ("Any", "GP2-Storage", "GB-Mo", "0.117"), ("Any", "PIOPS-Storage", "GB-Mo", "0.125"),
            ("Any", "PIOPS-Storage-IO2", "GB-Mo", "0.126"), ("Any", "StorageUsage", "GB-Mo", "0.1"),
            ("Any", "PIOPS", "IOPS-Mo", "0.1"), ("Any", "IO2-PIOPS", "IOPS-Mo", "0.11"),
            ("Any", "GP3-PIOPS", "IOPS-Mo", "0.02"), ("Any", "GP3-Throughput", "MBps-Mo", "0.08"),
        )
    ),
    store("USW2-RDS:Multi-AZ-GP3-Storage", "0.23", "Multi-AZ"),
    store("USW2-RDS:Multi-AZCluster-GP3-Storage", "0.2", CLUSTER),
    store("USW2-RDS:Multi-AZ-PIOPS-Storage-IO2", "0.252", "Multi-AZ"),
    store("USW2-RDS:Multi-AZ-IO2-PIOPS", "0.22", "Multi-AZ", unit="IOPS-Mo"),
    store("USW2-RDS:Mirror-GP3-Storage", "0.232", MIRROR, "SQL Server"),
    store("USW2-Aurora:StorageUsage", "0.1", engine="Aurora PostgreSQL"),
    row("AmazonElastiCache", "Cache Instance", "USW2-NodeUsage:cache.r6g.large", "Hrs", "0.206",
        instanceType="cache.r6g.large", cacheEngine="Redis"),
    row("AmazonElastiCache", "Cache Instance", "USW2-NodeUsage:cache.r6g.large", "Hrs", "0.165",
        instanceType="cache.r6g.large", cacheEngine="Valkey"),
    row("AmazonElastiCache", "Cache Instance", "USW2-Outpost-NodeUsage:cache.r6g.large", "Hrs", "0.1",
        instanceType="cache.r6g.large", cacheEngine="Redis", locationType="AWS Outposts"),
    row("AmazonRedshift", "Compute Instance", "USW2-Node:ra3.xlplus", "Hrs", "1.086", instanceType="ra3.xlplus"),
    row("AmazonRedshift", "Redshift Concurrency Scaling", "USW2-CS:ra3.xlplus", "Seconds", "0.0003",
        instanceType="ra3.xlplus"),
    row("AmazonES", "Amazon OpenSearch Service Instance", "USW2-ESInstance:r6g.large", "Hrs", "0.167",
        instanceType="r6g.large.search"),
    row("AmazonMemoryDB", "Database Instance", "USW2-NodeUsage:db.r7g.large", "Hrs", "0.5",
        instanceType="db.r7g.large"),
    row("AmazonMemoryDB", "Database Instance", "USW2-NodeUsage:db.r7g.large", "Hrs", "0.35",
        instanceType="db.r7g.large", engine="Valkey"),
]  # fmt: skip


@pytest.fixture
def listed(start_lab: StartLab) -> CloudLab:
    """A lab with the price list above."""
    lab = start_lab()
    lab.aws.price_list.products = list(LIST)
    return lab


def asked(*keys: str, region: str = REGION, currency: str = "USD") -> dict[str, Decimal]:
    given = prices.fetch("acme", [acme()], {(region, key) for key in keys}, Meter(), currency)
    assert given.problems == []
    return {price.key: price.hourly for price in given.prices}


def monthly(usd: str) -> Decimal:
    return (Decimal(usd) / MONTH).quantize(Decimal("1e-18"))


BY_THE_HOUR: tuple[tuple[str, str | None], ...] = (
    ("application load balancer", "0.0225"),
    ("network load balancer", "0.0226"),
    ("gateway load balancer", "0.0125"),
    ("classic load balancer", "0.025"),
    ("nat gateway", "0.045"),
    ("eks cluster", "0.10"),
    ("public address", "0.005"),
    ("m5.large linux", "0.096"),
    ("m5.large linux dedicated", "0.102"),
    ("m5.large windows", "0.188"),
    ("m5.large rhel", None),
    ("db.m5.large postgres single-az", "0.178"),
    ("db.m5.large postgres multi-az", "0.356"),
    ("db.m5.large mysql single-az", None),
    ("db.r6g.large aurora-postgresql single-az", "0.313"),
    ("db.r6g.large aurora-postgresql io-optimized single-az", "0.407"),
    ("db.m5.large sqlserver-se license-included single-az", "0.95"),
    ("db.m5.large sqlserver-se license-included multi-az", "1.9"),
    ("db.m5.large sqlserver-ee license-included multi-az", "2.6"),
    ("cache.r6g.large redis", "0.206"),
    ("cache.r6g.large valkey", "0.165"),
    ("cache.r6g.large memcached", None),
    ("ra3.xlplus redshift", "1.086"),
    ("r6g.large.search opensearch", "0.167"),
    ("db.r7g.large memorydb redis", "0.5"),
    ("db.r7g.large memorydb valkey", "0.35"),
)


@pytest.mark.parametrize(("key", "usd"), BY_THE_HOUR)
def test_the_row_that_is_meant_counts_whatever_is_like_it(listed: CloudLab, key: str, usd: str | None) -> None:
    assert asked(key) == ({} if usd is None else {key: Decimal(usd)})


BY_THE_MONTH = (
    ("gp3 GiB", "0.08"),
    ("gp3 IOPS", "0.005"),
    ("gp3 MiB/s", "0.04"),
    ("io1 GiB", "0.125"),
    ("io1 IOPS", "0.065"),
    ("io2 GiB", "0.126"),
    ("io2 IOPS", "0.066"),
    ("io2.tier2 IOPS", "0.0455"),
    ("io2.tier3 IOPS", "0.03185"),
    ("standard GiB", "0.05"),
    ("rds gp3 GiB postgres single-az", "0.115"),
    ("rds gp3 GiB mysql multi-az", "0.23"),
    ("rds gp3 GiB sqlserver-se single-az", "0.116"),
    ("rds gp3 GiB sqlserver-se multi-az", "0.232"),
    ("rds gp2 GiB mariadb single-az", "0.117"),
    ("rds io1 GiB postgres single-az", "0.125"),
    ("rds io1 IOPS postgres single-az", "0.1"),
    ("rds io2 GiB postgres single-az", "0.126"),
    ("rds io2 GiB oracle-ee multi-az", "0.252"),
    ("rds io2 IOPS postgres single-az", "0.11"),
    ("rds io2 IOPS postgres multi-az", "0.22"),
    ("rds gp3 IOPS postgres single-az", "0.02"),
    ("rds gp3 MiB/s postgres single-az", "0.08"),
    ("rds standard GiB mysql single-az", "0.1"),
)


def test_every_question_to_the_list_is_tried_here() -> None:
    tried = [key for key, _ in (*BY_THE_HOUR, *BY_THE_MONTH)]
    for kind in KINDS.values():
        for pattern in kind.price_queries:
            found = any(re.fullmatch(pattern, key) for key in tried)
            assert found, f"add a key of '{pattern}' of {kind.name}, with its price, to BY_THE_HOUR or BY_THE_MONTH"


@pytest.mark.parametrize(("key", "usd"), BY_THE_MONTH)
def test_a_price_by_the_month_is_that_of_the_row_that_is_meant(listed: CloudLab, key: str, usd: str) -> None:
    assert asked(key) == {key: monthly(usd)}


def test_products_of_different_prices_that_may_both_be_meant_are_no_price(listed: CloudLab) -> None:
    listed.aws.price_list.products.append(row("AmazonEC2", "NAT Gateway", "USW2-NatGateway-Hours", "Hrs", "0.05"))

    assert asked("nat gateway", "eks cluster") == {"eks cluster": Decimal("0.10")}


@pytest.mark.parametrize("code", ["", "USE1-", "EU-", "EUW2-", "APN1-", "APS10-", "UGW1-", "CNN1-"])
def test_a_regions_code_may_stand_before_a_usage_type(listed: CloudLab, code: str) -> None:
    listed.aws.price_list.products = [row("AmazonEC2", "NAT Gateway", f"{code}NatGateway-Hours", "Hrs", "0.045")]

    assert asked("nat gateway") == {"nat gateway": Decimal("0.045")}


def test_a_list_in_another_currency_says_so(listed: CloudLab) -> None:
    """China's is in CNY; nothing is in EUR, whatever the bill is in."""
    place = {"regionCode": "cn-north-1", "usagetype": "CNN1-NatGateway-Hours"}
    listed.aws.price_list.products = [Product("AmazonEC2", "NAT Gateway", place, "Hrs", Decimal("0.4"), "CNY")]

    given = prices.fetch("acme", [acme()], {("cn-north-1", "nat gateway")}, Meter(), "EUR")

    assert [(one.hourly, one.currency) for one in given.prices] == [(Decimal("0.4"), "CNY")]


@pytest.mark.parametrize("usd", ["0", "-0.045", "NaN", "Infinity"])
def test_what_is_no_amount_is_no_price(listed: CloudLab, usd: str) -> None:
    place = {"regionCode": REGION, "usagetype": "NatGateway-Hours"}
    listed.aws.price_list.products = [Product("AmazonEC2", "NAT Gateway", place, "Hrs", Decimal(usd), "USD")]

    given = prices.fetch("acme", [acme()], {(REGION, "nat gateway")}, Meter())

    assert (given.prices, given.problems) == ([], [])


# --- Parts ------------------------------------------------------------------------------------------------------------


def parts(kind: str, capacity: float | None = None, status: Status = Status.AVAILABLE, **facts: Any) -> dict[str, int]:
    facts = {"class" if name == "klass" else name: value for name, value in facts.items()}
    one = Resource(
        "1", REGION, kind, "arn", "name", ResourceType.DATABASE, status, cloud_status="", capacity=capacity,
        metadata=facts,
    )  # fmt: skip
    return {part.key: int(part.quantity) for part in prices.components(one)}


POSTGRES: dict[str, Any] = {"klass": "db.m5.large", "engine": "postgres", "license_model": "postgresql-license"}
GP3: dict[str, Any] = {"storage_type": "gp3", "iops": 3000.0, "throughput_mib_s": 125.0}


@pytest.mark.parametrize(
    ("gib", "facts", "storage"),
    [
        (100, GP3, {"gp3 GiB": 100}),
        (100, GP3 | {"iops": 5000.0, "throughput_mib_s": 200.0}, {"gp3 GiB": 100, "gp3 IOPS": 2000, "gp3 MiB/s": 75}),
        (400, GP3 | {"iops": 12000.0, "throughput_mib_s": 500.0}, {"gp3 GiB": 400}),
        (400, GP3 | {"iops": 20000.0, "throughput_mib_s": 500.0}, {"gp3 GiB": 400, "gp3 IOPS": 8000}),
        (100, {"storage_type": "gp2"}, {"gp2 GiB": 100}),
        (100, {"storage_type": "io1", "iops": 1000.0}, {"io1 GiB": 100, "io1 IOPS": 1000}),
        (100, {"storage_type": "io2", "iops": 1000.0}, {"io2 GiB": 100, "io2 IOPS": 1000}),
    ],
)
def test_a_database_costs_its_instance_size_and_operations(
    gib: float, facts: dict[str, Any], storage: dict[str, int]
) -> None:
    listed = {f"rds {key} postgres single-az": quantity for key, quantity in storage.items()}

    assert parts("rds:db", gib, **POSTGRES, **facts) == {"db.m5.large postgres single-az": 1, **listed}
    assert parts("rds:db", gib, Status.STOPPED, **POSTGRES, **facts) == listed


@pytest.mark.parametrize(
    "facts",
    [
        {},  # what it stores on is not known
        {"storage_type": "gp3"},
        {"storage_type": "gp3", "iops": 3000.0},
        {"storage_type": "io1"},
        {"storage_type": "a-new-type", "iops": 1.0},
        GP3 | {"cluster": "c"},
        GP3 | {"log_volume": True},
    ],
)
def test_a_database_with_a_part_that_is_not_known_has_no_parts(facts: dict[str, Any]) -> None:
    assert parts("rds:db", 100, **POSTGRES, **facts) == {}


def test_an_aurora_instance_costs_more_where_operations_are_included() -> None:
    aurora: dict[str, Any] = {"klass": "db.r6g.large", "engine": "aurora-postgresql", "cluster": "c", "multi_az": True}

    assert parts("rds:db", **aurora, storage_type="aurora") == {"db.r6g.large aurora-postgresql single-az": 1}
    assert parts("rds:db", **aurora, storage_type="aurora-iopt1") == {
        "db.r6g.large aurora-postgresql io-optimized single-az": 1
    }


def test_a_volume_of_sql_server_includes_as_little_whatever_its_size() -> None:
    server: dict[str, Any] = {
        "klass": "db.m5.large",
        "engine": "sqlserver-se",
        "license_model": "license-included",
        "multi_az": True,
    }

    assert parts("rds:db", 1000, **server, **GP3 | {"iops": 4000.0}) == {
        "db.m5.large sqlserver-se license-included multi-az": 1,
        "rds gp3 GiB sqlserver-se multi-az": 1000,
        "rds gp3 IOPS sqlserver-se multi-az": 1000,
    }


@pytest.mark.parametrize(
    ("facts", "listed"),
    [
        ({"volume_type": "io2", "iops": 100_000.0},
         {"io2 GiB": 50, "io2 IOPS": 32_000, "io2.tier2 IOPS": 32_000, "io2.tier3 IOPS": 36_000}),
        ({"volume_type": "io2", "iops": 40_000.0}, {"io2 GiB": 50, "io2 IOPS": 32_000, "io2.tier2 IOPS": 8_000}),
        ({"volume_type": "io1", "iops": 40_000.0}, {"io1 GiB": 50, "io1 IOPS": 40_000}),
        ({"volume_type": "gp3", "iops": 3000.0, "throughput_mib_s": 250.0}, {"gp3 GiB": 50, "gp3 MiB/s": 125}),
        ({"volume_type": "st1"}, {"st1 GiB": 50}),
        ({"volume_type": "io2"}, {}),  # how many operations is not known
        ({"volume_type": "gp3", "iops": 3000.0}, {}),
    ],
)  # fmt: skip
def test_a_volume_costs_its_size_and_operations(facts: dict[str, Any], listed: dict[str, int]) -> None:
    assert parts("ebs:volume", 50, **facts) == listed


# --- Whole or absent --------------------------------------------------------------------------------------------------

FLEETS = (
    *(fleet(kind) for kind in (
        "ec2:nat_gateway", "ec2:address", "elb:classic", "elbv2:application", "elbv2:network", "elbv2:gateway",
        "eks:cluster", "elasticache:cluster", "redshift:cluster", "ec2:instance", "memorydb:cluster",
    )),
    fleet("opensearch:domain", type="i4g.large.search"),
    *(fleet("ebs:volume", type=kind, size=500) for kind in ("gp3", "gp2", "io1", "io2", "st1", "sc1", "standard")),
    *(fleet("rds:db", 2, engine=engine) for engine in ("postgres", "mariadb", "sqlserver-se", "aurora-postgresql")),
)  # fmt: skip


def test_an_estimate_is_whole_or_absent_for_every_kind(start_lab: StartLab) -> None:
    """The list lacks one price after the other: what needs it has no estimate, and all else has the same one."""
    start_lab(*FLEETS)
    found = inventory.collect("acme", [acme()], Meter()).resources
    needs = {one.resource_id: {part.key for part in prices.components(one)} for one in found}
    wanted = {(one.region, key) for one in found for key in needs[one.resource_id]}
    given = prices.fetch("acme", [acme()], wanted, Meter()).prices
    assert {(price.region, price.key) for price in given} == wanted
    priced = {one.kind for one in found if needs[one.resource_id]}
    missing = {name for name, kind in PROVIDERS["aws"].kinds.items() if kind.price_parts} - priced
    assert not missing, f"add a fleet of {', '.join(sorted(missing))} to FLEETS in this file"

    def estimates(*without: str) -> dict[str, Decimal]:
        known = {(p.region, p.key): KnownPrice(p, NOW, NOW) for p in given if p.key not in without}
        told = [estimated(one, PROVIDERS["aws"], known) for one in found]
        return {one.resource.resource_id: one.amount for one in told if one is not None}

    whole = estimates()
    assert whole.keys() == {name for name, keys in needs.items() if keys}
    for key in {key for _, key in wanted}:
        assert estimates(key) == {name: amount for name, amount in whole.items() if key not in needs[name]}
