"""Google's price list, as it really is: SKUs that are told apart by their descriptions, which regions word differently.

The descriptions are those of the catalogue; the amounts are round figures.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from optiinfra_dagster.collection.cost import estimated
from optiinfra_dagster.lab.gcp import pricelist, services
from optiinfra_dagster.lab.gcp import prices as lab_prices
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp import inventory, prices
from optiinfra_dagster.providers.gcp.kind import Place
from optiinfra_dagster.providers.gcp.provider import Gcp
from optiinfra_dagster.providers.gcp.services import compute
from optiinfra_dagster.storage.bills import KnownPrice
from tests.providers.gcp.conftest import StartLab, account, fleet
from tests.support.samples import resource

GCP = Gcp()
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def rate(usd: str, start: int = 0, currency: str = "USD") -> dict[str, Any]:
    whole = int(Decimal(usd))
    nanos = int((Decimal(usd) - whole) * 10**9)
    price = {"currencyCode": currency, "units": str(whole), "nanos": nanos}
    return {"startUsageAmount": start, "unitPrice": price}


def sku(text: str, *rates: dict[str, Any], unit: str = "h", usage: str = "OnDemand") -> dict[str, Any]:
    return {
        "description": text, "category": {"usageType": usage}, "serviceRegions": ["me-central2"],
        "pricingInfo": [{"pricingExpression": {"usageUnit": unit, "tieredRates": list(rates or [rate("0.5")])}}],
    }  # fmt: skip


def told(*skus: dict[str, Any]) -> dict[str, Decimal]:
    return {one.key: one.hourly for each in skus for one in prices.prices_of(compute.PRICES.id, each)}


@pytest.mark.parametrize(
    ("text", "usage", "key"),
    [
        ("N1 Predefined Instance Core running in Americas", "OnDemand", "n1 core"),
        ("Custom Instance Core running in Americas", "OnDemand", "n1 custom core"),
        ("N2 Instance Core running in Dammam", "OnDemand", "n2 core"),
        ("N2 Instance Ram running in me-central2", "OnDemand", "n2 GiB RAM"),
        ("N2D AMD Instance Ram running in Dammam", "OnDemand", "n2d GiB RAM"),
        ("N2D Instance Ram running in Dammam", "OnDemand", "n2d GiB RAM"),
        ("N2D AMD Custom Instance Core running in EMEA", "OnDemand", "n2d custom core"),
        ("E2 Instance Core running in Madrid", "OnDemand", "e2 core"),
        ("E2 Instance Core", "OnDemand", "e2 core"),
        ("Compute optimized Core running in Frankfurt", "OnDemand", "c2 core"),
        ("Compute optimized Instance Core running in Madrid", "OnDemand", "c2 core"),
        ("Compute optimized Instance Ram running in Mexico", "OnDemand", "c2 GiB RAM"),
        ("C2D AMD Instance Core running in Doha", "OnDemand", "c2d core"),
        ("C3D Instance Core running in Taiwan", "OnDemand", "c3d core"),
        ("C3D AMD Instance Core running in Taiwan", "OnDemand", "c3d core"),
        ("T2A Arm Instance Core running in Netherlands", "OnDemand", "t2a core"),
        ("Spot Preemptible E2 Instance Core running in Paris", "Preemptible", "e2 core spot"),
        ("Preemptible E2 Instance Core running in Paris", "Preemptible", "e2 core spot"),
        ("Spot Preemptible Compute optimized Instance Core running in Johannesburg", "Preemptible", "c2 core spot"),
        ("Storage Image in Belgium", "OnDemand", "image GiB"),
        ("Storage Machine Image in Iowa", "OnDemand", "machine image GiB"),
        ("Nvidia Tesla T4 GPU running in Dammam", "OnDemand", "nvidia-tesla-t4 gpu"),
        ("Nvidia L4 GPU attached to Spot Preemptible VMs running in Iowa", "Preemptible", "nvidia-l4 gpu spot"),
        ("SSD backed Local Storage in Bangkok", "OnDemand", "local ssd GiB"),
        ("SSD backed Local Storage running in Paris", "OnDemand", "local ssd GiB"),
        ("SSD backed Local Storage attached to Spot Preemptible VMs in Paris", "Preemptible", "local ssd GiB spot"),
        ("Storage PD Capacity in Los Angeles", "OnDemand", "pd-standard GiB"),
        ("Storage PD Capacity", "OnDemand", "pd-standard GiB"),
        ("Regional SSD backed PD Capacity in Paris", "OnDemand", "regional pd-ssd GiB"),
        # What is nearly one of these.
        ("N2 Sole Tenancy Instance Core running in Dammam", "OnDemand", None),
        ("Sole Tenancy Premium for N2 Sole Tenancy Instance Core running in Iowa", "OnDemand", None),
        ("Compute-optimized Sole Tenancy Instance Core running in Iowa", "OnDemand", None),
        ("N2 Custom Extended Instance Ram running in Dammam", "OnDemand", None),
        ("Custom Extended Instance Ram running in Dammam", "OnDemand", None),
        ("N2 Instance Core running Windows in Iowa", "OnDemand", None),
        ("Memory-optimized Instance Core running in Tokyo", "OnDemand", None),
        ("Memory Optimized Upgrade Premium for Memory-optimized Instance Core running in Singapore", "OnDemand", None),
        ("M3 Memory-optimized Instance Core running in Warsaw", "OnDemand", None),
        ("Micro Instance with burstable CPU running in Iowa", "OnDemand", None),
        ("Commitment v1: N2 Cpu in Montreal for 1 Year", "Commit1Yr", None),
        ("Commitment: Compute optimized Core running in Iowa for 1 Year", "Commit1Yr", None),
        ("Nvidia Tesla A100 80GB GPU running in Iowa", "OnDemand", None),
        ("DWS Defined Duration N2 Instance Core running in Iowa", "OnDemand", None),
        ("N2 Instance Core running in Dammam", "Preemptible", None),
        ("Extreme PD Capacity in Paris", "OnDemand", None),
        ("C4 Instance Core running in Paris", "OnDemand", None),
    ],
)
def test_a_sku_is_known_in_the_words_of_every_region(text: str, usage: str, key: str | None) -> None:
    assert list(told(sku(text, usage=usage))) == ([key] if key else [])


@pytest.mark.parametrize(
    ("rates", "usd"),
    [
        ([rate("0"), rate("0.04", 30)], "0.04"),  # after what is free
        ([rate("0.04"), rate("0.03", 1000)], "0.04"),  # not what much of it costs
        ([rate("0.03", 1000), rate("0.04", 30), rate("0")], "0.04"),
        ([rate("0")], None),
        ([], None),
    ],
)
def test_of_a_price_in_tiers_the_first_that_costs_anything_counts(rates: list[Any], usd: str | None) -> None:
    of_month = sku("Storage PD Capacity in Oregon", unit="GiBy.mo")
    of_month["pricingInfo"][0]["pricingExpression"]["tieredRates"] = rates

    assert told(of_month) == (
        {} if usd is None else {"pd-standard GiB": (Decimal(usd) / 730).quantize(Decimal("1e-15"))}
    )


FLEETS = (
    *(fleet("gcp:instance", type=kind, region="europe-north1", name=kind) for kind in (
        "n1-standard-4", "n2d-standard-4", "c2-standard-4", "e2-medium", "c3-highcpu-8",
    )),
    *(fleet("gcp:disk", type=kind, size=100, name=kind) for kind in ("pd-standard", "pd-balanced", "pd-ssd")),
    fleet("gcp:sql_instance"),
    fleet("gcp:sql_instance", name="off", state="STOPPED"),
    fleet("gcp:redis_instance", size=5),
    fleet("gcp:forwarding_rule"),
    fleet("gcp:gke_cluster"),
    fleet("gcp:address", 2),
    fleet("gcp:image"), fleet("gcp:machine_image"), fleet("gcp:snapshot"),
)  # fmt: skip


def test_skus_of_different_prices_that_may_both_be_meant_are_no_price(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab()
    wanted = {("us-central1", "n2 core"), ("us-central1", "n2 GiB RAM")}
    twice = pricelist.LabSku(
        pricelist.PriceService(compute.PRICES.id), "N2 Instance Core running in Iowa", "h", "9", ("us-central1",)
    )
    monkeypatch.setattr("optiinfra_dagster.lab.gcp.prices.SKUS", (*services.SKUS, twice))

    given = prices.fetch("acme", [account(lab)], wanted, Meter())

    assert [one.key for one in given.prices] == ["n2 GiB RAM"]


@pytest.mark.parametrize(
    "change",
    [
        {"pricingInfo": [None]},
        {"pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": [None]}}]},
        {"pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": [rate("1") | {"unitPrice": "1"}]}}]},
        {
            "pricingInfo": [
                {"pricingExpression": {"usageUnit": "h", "tieredRates": [rate("1") | {"startUsageAmount": "x"}]}}
            ]
        },
        {"pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": [{"unitPrice": {"units": "1,5"}}]}}]},
        {"pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": [{"unitPrice": {"units": "NaN"}}]}}]},
        {"category": "Compute"},
        {"serviceRegions": 1},
    ],
)
def test_an_odd_sku_costs_itself_and_not_the_list(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    lab = start_lab()
    wanted = {("us-central1", "n2 core"), ("us-central1", "n2 GiB RAM"), ("me-central2", "n2 core")}
    odd = sku("N2 Instance Core running in Dammam") | change
    monkeypatch.setattr("optiinfra_dagster.lab.gcp.cloud.skus", lambda *which: [odd, None, *lab_prices.skus(*which)])

    given = prices.fetch("acme", [account(lab)], wanted, Meter())

    assert given.problems == []
    assert {(one.region, one.key) for one in given.prices} == wanted - {("me-central2", "n2 core")}


@pytest.mark.parametrize("code", ["", None])
def test_a_price_without_a_currency_is_none(code: str | None) -> None:
    listed = rate("0.5")
    assert told(sku("N2 Instance Core running in Dammam", listed)) == {"n2 core": Decimal("0.5")}
    listed["unitPrice"]["currencyCode"] = code
    assert told(sku("N2 Instance Core running in Dammam", listed)) == {}
    del listed["unitPrice"]["currencyCode"]
    assert told(sku("N2 Instance Core running in Dammam", listed)) == {}


@pytest.mark.parametrize(("currency", "listed_in", "factor"), [("EUR", "EUR", "0.9"), ("XXX", "USD", "1")])
def test_prices_are_in_the_currency_that_is_asked_for_or_in_dollars(
    start_lab: StartLab, currency: str, listed_in: str, factor: str
) -> None:
    accounts, wanted = [account(start_lab())], {("us-central1", "n2 core"), ("us-central1", "gke zonal")}
    dollars = {one.key: one.hourly for one in prices.fetch("acme", accounts, wanted, Meter()).prices}

    given = prices.fetch("acme", accounts, wanted, Meter(), currency)

    assert given.problems == []
    assert len(dollars) == 2
    assert {one.currency for one in given.prices} == {listed_in}
    for one in given.prices:
        assert abs(one.hourly - dollars[one.key] * Decimal(factor)) < Decimal("1e-9")


def test_an_estimate_is_whole_or_absent_for_every_kind(start_lab: StartLab) -> None:
    """The list lacks one price after the other: what needs it has no estimate, and all else has the same one."""
    accounts = [account(start_lab(*FLEETS))]
    found = inventory.collect("acme", accounts, Meter()).resources
    needs = {one.resource_id: {part.key for part in GCP.components(one)} for one in found}
    wanted = {(one.region, key) for one in found for key in needs[one.resource_id]}
    given = prices.fetch("acme", accounts, wanted, Meter()).prices
    priced = {one.kind for one in found if needs[one.resource_id]}
    assert priced == {name for name, kind in GCP.kinds.items() if kind.price_parts}

    def estimates(without: str = "") -> dict[str, Decimal]:
        known = {(p.region, p.key): KnownPrice(p, NOW, NOW) for p in given if p.key != without}
        whole = [estimated(one, GCP, known) for one in found]
        return {one.resource.resource_id: one.amount for one in whole if one is not None}

    all_of_them = estimates()
    assert all_of_them.keys() == {name for name, keys in needs.items() if keys}
    for key in {key for _, key in wanted}:
        assert estimates(key) == {name: amount for name, amount in all_of_them.items() if key not in needs[name]}


# --- Parts ------------------------------------------------------------------------------------------------------------


def parts(kind: str, capacity: float | None = None, **facts: Any) -> dict[str, Decimal]:
    one = replace(resource("//x/one"), kind=kind, capacity=capacity, metadata=facts)
    return {part.key: part.quantity for part in GCP.components(one)}


def test_a_machine_costs_its_local_disks_and_has_no_estimate_with_a_paid_licence() -> None:
    machine: dict[str, Any] = {"machine_type": "n2-standard-2"}

    assert parts("gcp:instance", **machine, local_ssd_gib=750.0) == {
        "n2 core": 2, "n2 GiB RAM": 8, "local ssd GiB": 750,
    }  # fmt: skip
    assert parts("gcp:instance", **machine, paid_license=True) == {}


def test_a_machine_that_is_bought_otherwise_has_no_estimate() -> None:
    machine: dict[str, Any] = {"machine_type": "n2-standard-2"}

    assert len(parts("gcp:instance", **machine, provisioning_model="STANDARD")) == 2
    for model in ("FLEX_START", "RESERVATION_BOUND"):
        assert parts("gcp:instance", **machine, provisioning_model=model) == {}
    assert parts("gcp:instance", **machine, sole_tenant=True) == {}  # the node is paid


def test_a_database_of_unknown_size_has_no_parts() -> None:
    assert parts("gcp:sql_instance", None, engine="POSTGRES_16", **{"class": "db-custom-2-7680"}) == {}


def test_local_disks_and_licences_are_read_of_a_machine() -> None:
    data: dict[str, Any] = {
        "scheduling": {"nodeAffinities": [{"key": "compute.googleapis.com/node-group-name", "operator": "IN"}]},
        "disks": [
            {
                "type": "PERSISTENT",
                "licenses": ["https://x/compute/v1/projects/debian-cloud/global/licenses/debian-12"],
            },
            {"type": "SCRATCH", "diskSizeGb": "375"},
            {"type": "SCRATCH"},
        ],
    }
    place = Place("p", "//compute.googleapis.com/projects/p/zones/z/instances/i", "r", "z")
    facts = compute.INSTANCE.to_resource(data, place).metadata
    assert (facts["local_ssd_gib"], "paid_license" in facts, facts["sole_tenant"]) == (750, False, True)
    data["disks"][0]["licenses"] = ["https://x/compute/v1/projects/rhel-cloud/global/licenses/rhel-9-server"]
    assert compute.INSTANCE.to_resource(data, place).metadata["paid_license"] is True
