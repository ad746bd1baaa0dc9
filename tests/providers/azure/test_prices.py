from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure.inventory import collect
from optiinfra_dagster.providers.azure.prices import fetch, price_of
from optiinfra_dagster.providers.azure.services import components
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
    fleet("azure:redis"),
    fleet("azure:load_balancer"),
    fleet("azure:application_gateway"),
    fleet("azure:nat_gateway"),
    fleet("azure:aks"),
    fleet("azure:aks", name="asleep", state="Stopped"),
    fleet("azure:vnet"),
)  # fmt: skip
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
        ([item("0.02", skuName="D4s v5 Spot"), item("0.03", skuName="D4s v5 Low Priority")], "0.2"),
        ([item("0.4", productName="Dsv5 Series CloudServices")], "0.2"),
        ([item("900", type="Reservation"), item("0.1", type="DevTestConsumption")], "0.2"),
        ([item("0.1", tierMinimumUnits=Decimal(100))], "0.2"),
        ([item("0.1", armRegionName="Global"), item("0.3", isPrimaryMeterRegion=False)], "0.2"),
        ([item("5", unitOfMeasure="1 Fortnight"), item("5", retailPrice=None)], "0.2"),
        ([item("0.2")], "0.2"),
        ([item("0.21")], None),
    ],
)
def test_of_many_items_the_one_that_is_meant_counts(others: list[dict[str, Any]], hourly: str | None) -> None:
    price = price_of("westeurope", VM, [*others, item("0.2")])

    assert (price and price.hourly) == (None if hourly is None else Decimal(hourly))


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
