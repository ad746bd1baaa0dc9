from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from optiinfra_dagster.collection.cost import estimated
from optiinfra_dagster.lab.azure.prices import price_items
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure.inventory import collect
from optiinfra_dagster.providers.azure.prices import fetch, price_of
from optiinfra_dagster.providers.azure.services import KINDS, components
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage.bills import KnownPrice
from tests.providers.azure.conftest import SUBSCRIPTION, StartLab, account, fleet

FLEETS = (
    fleet("azure:vm", 2, type="Standard_D4s_v5", disks=2),
    fleet("azure:vm", name="off", state="deallocated", disks=0),
    fleet("azure:vmss", size=3),
    *(fleet("azure:disk", name=f"{sku}-{size}", type=sku, size=size)
      for sku, size in (("StandardSSD_ZRS", 65), ("Standard_LRS", 1), ("Premium_LRS", 32767))),
    fleet("azure:sql_server"),
    fleet("azure:postgresql"),
    fleet("azure:mysql", state="Stopped"),
    fleet("azure:postgresql", name="burst", type="Standard_B1ms"),
    *(fleet("azure:postgresql", name=size, type=f"Standard_D2{size}") for size in ("ds_v4", "ds_v5", "ads_v5")),
    fleet("azure:redis"),
    fleet("azure:redis", name="sharded", type="Premium", size=3),
    fleet("azure:load_balancer"),
    fleet("azure:application_gateway"),
    fleet("azure:nat_gateway"),
    fleet("azure:public_ip"),
    fleet("azure:aks"),
    fleet("azure:aks", name="asleep", state="Stopped"),
    fleet("azure:vnet"),
)  # fmt: skip
NOW = datetime(2026, 11, 20, tzinfo=UTC)
VM = "Virtual Machines | Standard_D4s_v5 | linux"


def thing(kind: str, status: Status = Status.RUNNING, **more: Any) -> Resource:
    """A resource as the inventory has it."""
    facts = {"cloud_status": "running", "resource_type": ResourceType.COMPUTE} | {
        name: more.pop(name) for name in ("cloud_status", "capacity") if name in more
    }
    return Resource("s", "westeurope", kind, "/id", "name", status=status, metadata=more, **facts)


def keys(resource: Resource) -> dict[str, Decimal]:
    return {part.key.partition(" | ")[2]: part.quantity for part in components(resource)}


def test_a_list_price_is_within_a_twentieth_of_the_bill_for_every_resource(start_lab: StartLab) -> None:
    lab = start_lab(*FLEETS, price_page=3)
    inventory = collect("acme", [account(lab)], Meter())
    wanted = {(one.region, part.key) for one in inventory.resources for part in components(one)}
    meter = Meter()

    given = fetch("acme", [account(lab)], wanted, meter)

    assert given.problems == []
    prices = {(one.region, one.key): one for one in given.prices}
    assert {one.currency for one in given.prices} == {"USD"}
    assert {one.key.split(" | ")[0] for one in given.prices if one.region == ""} == {
        "Load Balancer", "NAT Gateway", "SQL Database"
    }  # fmt: skip
    day = date(2026, 11, 20)
    billed: dict[str, Decimal] = {}
    for line in lab.azure.billing.expected(SUBSCRIPTION, day, day):
        if line.service not in {"Bandwidth", "Azure Monitor"}:
            billed[line.resource_id] = billed.get(line.resource_id, Decimal(0)) + line.amount
    for resource in inventory.resources:
        hourly = sum(
            (prices.get((resource.region, part.key)) or prices["", part.key]).hourly * part.quantity
            for part in components(resource)
        )
        assert 0 <= hourly * 24 - billed.pop(resource.resource_id, Decimal(0)) <= hourly * 24 / 20, resource
    assert billed == {}
    assert meter.calls["RetailPrices"] == lab.control.calls().count("retailprices") > 9
    assert meter.cost_usd == 0


def test_what_the_list_does_not_have_is_left_out(start_lab: StartLab) -> None:
    wanted = {("westeurope", VM), ("westeurope", "Storage | Premium SSD Managed Disks | P99 LRS Disk")}

    given = fetch("acme", [account(start_lab())], wanted, Meter())

    assert ([one.key for one in given.prices], given.problems) == ([VM], [])


def test_a_list_that_cannot_be_read_is_told(start_lab: StartLab, waits: list[float]) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "unavailable", "service": "retailprices", "skip": 1})

    given = fetch("acme", [account(lab)], {("eastus", VM), ("westeurope", VM)}, Meter())

    assert [one.region for one in given.prices] == ["eastus"]
    assert [(one.account_id, one.cause) for one in given.problems] == [("acme", Cause.UNAVAILABLE)]


@pytest.mark.parametrize(
    "odd",
    [None, "item", [], {}, {"unitOfMeasure": []}, {"retailPrice": True}, {"retailPrice": -2},
     {"currencyCode": None}],
)  # fmt: skip
def test_an_odd_item_costs_itself_and_not_the_list(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    lab = start_lab()
    shown = item("9") | {"retailPrice": 9, "tierMinimumUnits": 0} | odd if isinstance(odd, dict) and odd else odd
    monkeypatch.setattr("optiinfra_dagster.lab.azure.billing.price_items", lambda *of: [shown, *price_items(*of)])

    given = fetch("acme", [account(lab)], {("westeurope", VM), ("eastus", VM)}, Meter())

    assert given.problems == []
    assert {one.region: one.currency for one in given.prices} == {"westeurope": "USD", "eastus": "USD"}


def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    assert fetch("acme", [], [], Meter()).prices == []


def item(price: str, **more: Any) -> dict[str, Any]:
    """An item of the list for Linux on a machine."""
    return {
        "serviceName": "Virtual Machines", "productName": "Virtual Machines Dsv5 Series", "skuName": "D4s v5",
        "armSkuName": "Standard_D4s_v5", "armRegionName": "westeurope", "meterName": "D4s v5", "type": "Consumption",
        "unitOfMeasure": "1 Hour", "tierMinimumUnits": Decimal("0.0"), "retailPrice": Decimal(price),
        "currencyCode": "USD", "isPrimaryMeterRegion": True, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("others", "hourly"),
    [
        ([item("0.4", productName="Virtual Machines Dsv5 Series Windows")], "0.2"),
        (
            [item("0.4", productName="Virtual Machines Dsv5 Series Windows "), item("0.02", skuName="D4s v5 Spot ")],
            "0.2",
        ),
        ([item("0.02", skuName="D4s v5 Spot"), item("0.03", skuName="D4s v5 Low Priority")], "0.2"),
        ([item("0.4", productName="Dsv5 Series CloudServices")], "0.2"),
        ([item("900", type="Reservation"), item("0.1", type="DevTestConsumption")], "0.2"),
        ([item("0.1", tierMinimumUnits=Decimal(100))], "0.2"),
        ([item("0.1", armRegionName="Global"), item("0.3", isPrimaryMeterRegion=False)], "0.2"),
        ([item("5", unitOfMeasure="1 Fortnight"), item("5", retailPrice=None)], "0.2"),
        ([item("0.2")], "0.2"),
        ([item("0.21")], None),
        ([item("0.21", effectiveStartDate="2099-01-01T00:00:00Z")], "0.2"),  # announced
        ([item("0.19", effectiveStartDate="2020-01-01T00:00:00Z", effectiveEndDate="2026-01-01T00:00:00Z")], "0.2"),
        ([item("0.21", effectiveStartDate="2026-01-01T00:00:00Z", effectiveEndDate="2099-01-01T00:00:00Z")], None),
    ],
)
def test_of_many_items_the_one_that_is_meant_counts(others: list[dict[str, Any]], hourly: str | None) -> None:
    price = price_of("westeurope", VM, [*others, item("0.2")])

    assert (price and price.hourly) == (None if hourly is None else Decimal(hourly))


POSTGRES = "Azure Database for PostgreSQL"
GENERAL = f"{POSTGRES} Flexible Server General Purpose"
CORES = f"{POSTGRES} | {GENERAL} Ddsv5 Series Compute | vCore"
STORED = f"{POSTGRES} | Server Storage | Storage Data Stored"
P1 = "Redis Cache | Azure Redis Cache Premium | P1 Cache"
SQL = "SQL Database | SQL Database Single/Elastic Pool General Purpose - Compute Gen5 | vCore"


def listed(service: str, product: str, sku: str, meter: str, price: str, unit: str = "1 Hour", **more: Any) -> Any:
    """An item of the list for another service than machines."""
    names = {"serviceName": service, "productName": product, "skuName": sku, "meterName": meter}
    return item(price, unitOfMeasure=unit, armSkuName="", **names, **more)


@pytest.mark.parametrize(
    ("key", "items", "hourly"),
    [
        # The list writes a series in several ways.
        (CORES, [listed(POSTGRES, f"{GENERAL} Ddsv5 Series Compute", "vCore", "vCore", "0.1")], "0.1"),
        (CORES, [listed(POSTGRES, f"{GENERAL} - Ddsv5 Series Compute", "vCore", "vCore", "0.1")], "0.1"),
        (CORES, [listed(POSTGRES, f"{GENERAL} - Ddsv5-series Compute", "vCore", "VCore", "0.1")], "0.1"),
        (CORES, [listed(POSTGRES, f"{GENERAL} Ddsv5 Compute", "1 vCore", "vcore", "0.1")], "0.1"),
        (CORES, [listed(POSTGRES, f"{GENERAL} Dadsv5 Series Compute", "vCore", "vCore", "0.09"),
                 listed(POSTGRES, f"{GENERAL} Ddsv4 Series Compute", "vCore", "vCore", "0.08"),
                 listed(POSTGRES, f"{POSTGRES} Flexible Server Memory Optimized Ddsv5 Series Compute", "vCore", "vCore",
                        "0.07"),
                 listed(POSTGRES, f"{GENERAL} Ddsv5 Series Compute", "vCore", "vCore", "70", type="Reservation"),
                 listed(POSTGRES, f"{GENERAL} Ddsv5 Series Compute", "vCore", "vCore", "0")], None),
        (STORED, [listed(POSTGRES, f"{POSTGRES} Flex Server Storage", "Storage", "Storage Data Stored", "73",
                         "1 GB/Month"),
                  listed(POSTGRES, f"{POSTGRES} Single Server Storage", "Storage", "Storage Data Stored", "7.3",
                         "1 GB/Month")], "0.1"),
        (STORED, [listed(POSTGRES, "Az DB for PostgreSQL Flexible Server Storage", "Storage", "Storage Data stored",
                         "73", "1 GB/Month")], "0.1"),
        (P1, [listed("Redis Cache", "Azure Redis Cache Premium", "P1", "P1 cache", "0.555"),
              listed("Redis Cache", "Azure Redis Cache Premium", "P1", "P1 Cache Instance", "0.277"),
              listed("Redis Cache", "Azure Redis Cache Premium", "P1", "P1 Cache", "2000", type="Reservation"),
              listed("Redis Cache", "Azure Redis Cache Enterprise", "E1", "P1 Cache", "9")], "0.555"),
        (SQL, [listed("SQL Database", "SQL Database Single/Elastic Pool General Purpose - Compute Gen5", "1 vCore",
                      "vCore", "0.152"),
               listed("SQL Database", "SQL Database General Purpose - Serverless - Compute Gen5", "1 vCore", "vCore",
                      "0.5"),
               listed("SQL Database", "SQL Database Single/Elastic Pool General Purpose - Compute Gen5", "vCore Zone",
                      "Zone Redundancy vCore", "0.09"),
               listed("SQL Database", "SQL Database Single/Elastic Pool Business Critical - Compute Gen5", "1 vCore",
                      "vCore", "0.3")], "0.152"),
        (VM, [item("0.2", armSkuName="standard_d4s_v5"), item("0.1", armSkuName="Standard_D4_v5")], "0.2"),
        (VM, [item("0.2"), item("0.05", meterName="D4s v5 Spot"), item("0.1", meterName="D4s v5 Expired")], "0.2"),
        ("Storage | Premium SSD Managed Disks | P10 LRS Disk",
         [listed("Storage", "Premium SSD Managed Disks", "P10 LRS", "P10 LRS disk", "73", "1/Month"),
          listed("Storage", "Premium SSD Managed Disks", "P10 LRS", "P10 LRS Disk Mount", "3.65", "1/Month"),
          listed("Storage", "Premium SSD Managed Disks", "P10 ZRS", "P10 ZRS Disk", "109", "1/Month"),
          listed("Storage", "Standard SSD Managed Disks", "E10 LRS", "E10 LRS Disk", "36", "1/Month")], "0.1"),
        ("Azure Kubernetes Service | Azure Kubernetes Service | Standard Uptime SLA",
         [listed("Azure Kubernetes Service", "Azure Kubernetes Service", "Standard", "Standard Uptime SLA", "0.1"),
          listed("Azure Kubernetes Service", "Azure Kubernetes Service", "Standard", "Standard Long Term Support",
                 "0.6"),
          listed("Azure Kubernetes Service", "Azure Kubernetes Service - Automatic", "Automatic",
                 "Hosted Control Plane", "0.16")], "0.1"),
        ("Load Balancer | Load Balancer | Standard Included LB Rules and Outbound Rules",
         [listed("Load Balancer", "Load Balancer", "Standard", "Standard Included LB Rules and Outbound Rules", "0.025",
                 armRegionName="Global"),
          listed("Load Balancer", "Load Balancer", "Global", "Global Included LB Rules and Outbound Rules", "0.03",
                 armRegionName="Global"),
          listed("Load Balancer", "Load Balancer", "Standard", "Standard Included LB Rules and Outbound Rules - Free",
                 "0", armRegionName="Global")], "0.025"),
        ("Application Gateway | Application Gateway WAF v2 | Standard Fixed Cost",
         [listed("Application Gateway", "Application Gateway WAF v2", "Standard", "Standard Fixed Cost", "0.443",
                 "1/Hour"),
          listed("Application Gateway", "Application Gateway Standard v2", "Standard", "Standard Fixed Cost", "0.246",
                 "1/Hour"),
          listed("Application Gateway", "Application Gateway Basic v2", "Basic", "Basic Fixed Cost", "0.02", "1/Hour")],
         "0.443"),
        ("NAT Gateway | NAT Gateway | Standard Gateway",
         [listed("NAT Gateway", "Azure NAT Gateway", "Standard", "Standard gateway", "0.045", armRegionName="Global"),
          listed("NAT Gateway", "NAT Gateway", "Standard", "Standard Data Processed", "0.044", "1 GB")], "0.045"),
    ],
)  # fmt: skip
def test_a_name_is_known_in_each_way_the_list_writes_it(key: str, items: list[Any], hourly: str | None) -> None:
    price = price_of("westeurope", key, items)

    assert (price and price.hourly) == (None if hourly is None else Decimal(hourly))


def test_a_meter_in_another_case_is_found_in_the_whole_service(start_lab: StartLab) -> None:
    lab = start_lab()
    burst = f"{POSTGRES} | {POSTGRES} Flexible Server Burstable BS Series Compute | B1MS"  # the lab lists B1ms

    given = fetch("acme", [account(lab)], {("westeurope", burst), ("westeurope", STORED)}, Meter())

    assert {one.key for one in given.prices} == {burst, STORED}
    assert lab.control.calls().count("retailprices") == 2


@pytest.mark.parametrize(("currency", "listed_in", "rate"), [("EUR", "EUR", "0.9"), ("ZAR", "USD", "1")])
def test_prices_are_in_the_currency_that_is_asked_for_or_in_dollars(
    start_lab: StartLab, currency: str, listed_in: str, rate: str
) -> None:
    accounts, wanted = [account(start_lab(price_page=1))], {("westeurope", VM), ("westeurope", STORED)}
    dollars = {one.key: one.hourly for one in fetch("acme", accounts, wanted, Meter()).prices}

    given = fetch("acme", accounts, wanted, Meter(), currency)

    assert given.problems == []
    assert {one.currency for one in given.prices} == {listed_in}
    assert len(dollars) == 2
    for one in given.prices:
        assert abs(one.hourly - dollars[one.key] * Decimal(rate)) < Decimal("1e-9")


def test_an_estimate_is_whole_or_absent_for_every_kind(start_lab: StartLab) -> None:
    """The list lacks one price after the other: what needs it has no estimate, and all else has the same one."""
    lab = start_lab(*FLEETS)
    found = collect("acme", [account(lab)], Meter()).resources
    needs = {one.resource_id: {part.key for part in components(one)} for one in found}
    wanted = {(one.region, key) for one in found for key in needs[one.resource_id]}
    given = fetch("acme", [account(lab)], wanted, Meter()).prices
    priced = {one.kind for one in found if needs[one.resource_id]}
    assert priced == {name for name, kind in KINDS.items() if kind.price_parts} - {"azure:sql_pool"}  # as databases

    def estimates(without: str = "") -> dict[str, Decimal]:
        known = {(p.region, p.key): KnownPrice(p, NOW, NOW) for p in given if p.key != without}
        told = [estimated(one, PROVIDERS["azure"], known) for one in found]
        return {one.resource.resource_id: one.amount for one in told if one is not None}

    whole = estimates()
    assert whole.keys() == {name for name, keys in needs.items() if keys}
    for key in {key for _, key in wanted}:
        assert estimates(key) == {name: amount for name, amount in whole.items() if key not in needs[name]}


@pytest.mark.parametrize(
    ("facts", "caches"),
    [
        ({"sku": "Standard", "units": 1}, "1"),
        ({"sku": "Standard", "units": 1, "shards": 3.0}, "1"),  # only Premium has any
        ({"sku": "Premium", "units": 1}, "1"),
        ({"sku": "Premium", "units": 1, "shards": 0.0}, "1"),
        ({"sku": "Premium", "units": 1, "shards": 3.0}, "3"),
        ({"sku": "Premium", "units": 1, "shards": 3.0, "replicas": 2.0}, "4.5"),
    ],
)
def test_a_premium_cache_costs_its_shards_and_further_replicas(facts: dict[str, Any], caches: str) -> None:
    assert list(keys(thing("azure:redis", **facts)).values()) == [Decimal(caches)]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("standard_d4s_v5", "Standard_D4s_v5"),
        ("STANDARD_NC4AS_T4_V3", "Standard_NC4as_T4_v3"),
        ("Standard_DS11-1_v2", "Standard_DS11-1_v2"),
        ("Standard_ND96isr_MI300X_v5", "Standard_ND96isr_MI300X_v5"),
        ("basic_a1", "Basic_A1"),
    ],
)
def test_a_size_is_asked_for_as_the_list_writes_it(written: str, size: str) -> None:
    assert list(keys(thing("azure:vm", instance_type=written, platform="Linux"))) == [f"{size} | linux"]


def test_what_costs_more_than_its_parts_tell_has_no_estimate() -> None:
    server: dict[str, Any] = {"sku": "Standard_D4ds_v5", "tier": "GeneralPurpose", "capacity": 100.0}
    machine: dict[str, Any] = {"instance_type": "Standard_D4s_v5", "platform": "Linux"}

    assert keys(thing("azure:postgresql", storage_type="PremiumV2_LRS", **server)) == {}
    assert len(keys(thing("azure:mysql", iops=600.0, **server))) == 2
    assert keys(thing("azure:mysql", iops=601.0, **server)) == {}
    assert keys(thing("azure:vm", image="RedHat:RHEL:9_4", **machine)) == {}
    assert len(keys(thing("azure:vm", image="RedHat:RHEL:9_4", license="RHEL_BYOS", **machine))) == 1
    assert keys(thing("azure:load_balancer", sku="Standard", tier="Global", rules=1)) == {}


def test_a_month_has_730_hours_and_a_price_of_many_vcores_is_shared_out() -> None:
    monthly = item("73", serviceName="Storage", productName="Disks", meterName="P10 LRS Disk", unitOfMeasure="1/Month")
    cores = [
        item(price, serviceName="SQL Database", productName="Compute", meterName="vCore", skuName=sku)
        for price, sku in (("0.8", "4 vCore"), ("0.4", "2 vCore"), ("7", "vCore Zone"))
    ]

    assert price_of("westeurope", "Storage | Disks | P10 LRS Disk", [monthly]).hourly == Decimal("0.1")  # type: ignore[union-attr]
    assert price_of("westeurope", "SQL Database | Compute | vCore", cores).hourly == Decimal("0.2")  # type: ignore[union-attr]


def test_a_machine_that_is_shut_down_but_kept_is_paid_for() -> None:
    machine: dict[str, Any] = {"instance_type": "Standard_D4s_v5", "platform": "Windows", "priority": "Spot"}

    assert keys(thing("azure:vm", Status.STOPPED, cloud_status="stopped", **machine)) == {
        "Standard_D4s_v5 | windows spot": 1
    }
    assert keys(thing("azure:vm", Status.STOPPED, cloud_status="deallocated", **machine)) == {}
    assert keys(thing("azure:vm", license="Windows_Server", **machine)) == {"Standard_D4s_v5 | linux spot": 1}


@pytest.mark.parametrize("kind", ["azure:vm", "azure:vmss"])
@pytest.mark.parametrize(
    ("platform", "image", "licence", "system"),
    [
        ("Windows", "MicrosoftWindowsServer", "", "windows"),
        ("Windows", "MicrosoftWindowsServer", "None", "windows"),  # what was brought was taken back
        ("Windows", "MicrosoftWindowsServer", "Windows_Server", "linux"),
        ("Windows", "MicrosoftWindowsDesktop", "Windows_Client", "linux"),
        ("Linux", "Canonical", "None", "linux"),
        ("Linux", "Canonical", "UBUNTU_PRO", None),
        ("Linux", "RedHat", "RHEL_BYOS", "linux"),
        ("Linux", "RedHat", "RHEL_BASE", None),  # by the hour, on a machine that was made with a subscription
        ("Linux", "RedHat", "", None),
        ("Linux", "RedHat", "None", None),
        ("Linux", "SUSE", "SLES_BYOS", "linux"),
    ],
)
def test_a_machine_pays_for_the_licence_that_is_not_brought(
    kind: str, platform: str, image: str, licence: str, system: str | None
) -> None:
    row = {
        "size": "Standard_D4s_v5", "units": 1, "osType": platform, "licenseType": licence, "imagePublisher": image,
        "imageOffer": "x", "imageSku": "y", "orchestrationMode": "Uniform", "state": "PowerState/running",
    }  # fmt: skip

    def parts(**more: str) -> dict[str, Decimal]:
        facts: dict[str, Any] = dict(KINDS[kind].read(row | more).metadata)
        return keys(thing(kind, **facts))

    assert parts() == ({} if system is None else {f"Standard_D4s_v5 | {system}": 1})
    assert parts(hostId="/subscriptions/S/hostGroups/G/hosts/H") == {}  # the host is paid


def test_instances_of_a_flexible_scale_set_are_not_counted_twice() -> None:
    machine: dict[str, Any] = {"instance_type": "Standard_D4s_v5", "platform": "Linux", "instances": 3.0}

    assert keys(thing("azure:vmss", orchestration="Uniform", **machine)) == {"Standard_D4s_v5 | linux": 3}
    assert keys(thing("azure:vmss", orchestration="Flexible", **machine)) == {}


@pytest.mark.parametrize(
    ("sku", "size", "meter"),
    [
        ("Premium_LRS", 4.0, "P1 LRS Disk"),
        ("Premium_ZRS", 5.0, "P2 ZRS Disk"),
        ("StandardSSD_LRS", 1024.0, "E30 LRS Disk"),
        ("Standard_LRS", 4.0, "S4 LRS Disk"),
        ("UltraSSD_LRS", 100.0, None),
        ("PremiumV2_LRS", 100.0, None),
        ("Premium_LRS", None, None),
        ("Premium_LRS", 65536.0, None),
    ],
)
def test_a_disk_is_of_the_tier_that_holds_it(sku: str, size: float | None, meter: str | None) -> None:
    told = keys(thing("azure:disk", volume_type=sku, capacity=size))

    assert [key.rpartition(" | ")[2] for key in told] == ([meter] if meter else [])


def test_a_disk_costs_its_performance_and_none_is_estimated_without_a_part() -> None:
    disk: dict[str, Any] = {"volume_type": "Premium_LRS", "capacity": 128.0}

    def meters(**facts: Any) -> list[str]:
        return [key.rpartition(" | ")[2] for key in keys(thing("azure:disk", **disk, **facts))]

    assert meters(performance_tier="P10", shares=1) == ["P10 LRS Disk"]
    assert meters(performance_tier="P30") == ["P30 LRS Disk"]
    assert meters(shares=2) == []
    assert meters(bursts=True) == []


def test_a_standby_costs_as_much_again_and_a_stopped_server_its_storage() -> None:
    server: dict[str, Any] = {"sku": "Standard_D4ds_v5", "tier": "GeneralPurpose", "capacity": 128.0}
    compute = "Azure Database for PostgreSQL Flexible Server General Purpose Ddsv5 Series Compute | vCore"
    storage = "Server Storage | Storage Data Stored"

    assert keys(thing("azure:postgresql", **server)) == {compute: 4, storage: 128}
    assert keys(thing("azure:postgresql", high_availability="ZoneRedundant", **server)) == {compute: 8, storage: 256}
    assert keys(thing("azure:postgresql", Status.STOPPED, **server)) == {storage: 128}
    burst = keys(thing("azure:mysql", sku="Standard_B1ms", tier="Burstable", capacity=20.0))
    assert "Azure Database for MySQL Flexible Server Burstable BS Series Compute | B1MS" in burst


def test_a_database_brings_its_licence_or_pays_for_it() -> None:
    database: dict[str, Any] = {"sku": "GP_Gen5", "tier": "GeneralPurpose", "units": 2.0, "capacity": 32.0}

    assert len(keys(thing("azure:sql_database", **database))) == 3
    assert len(keys(thing("azure:sql_database", license="BasePrice", **database))) == 2
    assert keys(thing("azure:sql_database", elastic_pool="/pool", **database)) == {}
    assert keys(thing("azure:sql_database", **database | {"sku": "GP_S_Gen5"})) == {}
    assert keys(thing("azure:sql_database", **database | {"sku": "S0", "tier": "Standard"})) == {}


def test_rules_beyond_the_fifth_of_a_load_balancer_are_paid_for() -> None:
    assert keys(thing("azure:load_balancer", sku="Standard", rules=7)) == {
        "Load Balancer | Standard Included LB Rules and Outbound Rules": 1,
        "Load Balancer | Standard Overage LB Rules and Outbound Rules": 2,
    }
    assert keys(thing("azure:load_balancer", sku="Basic", rules=7)) == {}
    assert keys(thing("azure:load_balancer", sku="Standard", rules=0)) == {}
