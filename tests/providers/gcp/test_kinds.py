"""The kinds of Google Cloud, as one table: what is derived from them, and that no file of them is odd."""

from __future__ import annotations

from collections import Counter

from optiinfra_dagster.lab.gcp import services as lab
from optiinfra_dagster.providers.gcp.services import BY_ASSET_TYPE, KINDS, METRICS, SKUS
from optiinfra_dagster.providers.registry import PROVIDERS

GCP = PROVIDERS["gcp"]


def test_a_kind_and_an_asset_type_are_stated_once() -> None:
    types = [asset_type for kind in KINDS.values() for asset_type in kind.asset_types]

    assert {name for name, kind in KINDS.items() if kind.name != name} == set()
    assert Counter(types) == Counter(list(BY_ASSET_TYPE))
    assert {name for name in KINDS if not name.startswith("gcp:")} == set()


def test_the_lab_names_its_kinds_as_the_product_does() -> None:
    assert list(lab.KINDS) == list(KINDS)
    assert BY_ASSET_TYPE.keys() == lab.ASSET_TYPES


def test_metrics_carry_the_name_of_their_kind() -> None:
    assert {metric.kind for metric in METRICS} <= KINDS.keys()
    assert all(metric.kind == kind.name for kind in KINDS.values() for metric in kind.metrics)


def test_what_has_a_price_has_rules_for_it_and_a_service_on_the_bill() -> None:
    for kind in KINDS.values():
        priced = (kind.price_parts is not None, bool(kind.skus), bool(kind.bill_service))
        assert len(set(priced)) == 1, kind.name
    assert len({(sku.service.id, sku.text.lower()) for sku in SKUS}) == len(SKUS)
    assert len({sku.key for sku in SKUS}) == len(SKUS)
    assert len({sku.service.id for sku in SKUS}) == len({sku.service for sku in SKUS}), "a service is read in two ways"


def test_the_provider_answers_from_its_kinds() -> None:
    assert GCP.kinds is KINDS
    assert GCP.bill_service("gcp:disk") == "Compute Engine"
    assert GCP.bill_service("gcp:network") == "gcp:network"
    assert GCP.bill_service("gcp:of_yesterday") == "gcp:of_yesterday"


def test_disks_are_attachable_and_forwarding_rules_are_silent_when_idle() -> None:
    disk, network, rule = (KINDS[f"gcp:{name}"] for name in ("disk", "network", "forwarding_rule"))
    assert (disk.attachable, network.attachable, rule.attachable) == (True, False, False)
    assert (disk.silent_when_idle, network.silent_when_idle, rule.silent_when_idle) == (False, False, True)


def test_roles_are_those_of_the_families() -> None:
    assert GCP.permissions({"resource"}) == ("roles/cloudasset.viewer",)
    assert GCP.permissions({"performance"}) == ("roles/cloudasset.viewer", "roles/monitoring.viewer")
    assert GCP.permissions(["resource", "cost", "application"]) == (
        "roles/bigquery.dataViewer",
        "roles/bigquery.jobUser",
        "roles/cloudasset.viewer",
    )
