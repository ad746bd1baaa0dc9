"""The kinds of `services`, and what is derived from them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.catalog import METRICS
from optiinfra_dagster.providers.vultr.bill_lines import product_of
from optiinfra_dagster.providers.vultr.provider import Vultr
from optiinfra_dagster.providers.vultr.services import KINDS, LISTINGS


def test_machines_are_listed_first_and_every_kind_by_its_name() -> None:
    assert LISTINGS[0].name == "vultr:instance"
    assert list(KINDS) == [kind.name for kind in LISTINGS]


def test_the_rows_of_a_kind_are_its_own_and_stand_in_the_catalogue() -> None:
    rows = [metric for metric in METRICS if metric.provider == "vultr"]

    assert rows == [metric for kind in LISTINGS for metric in kind.metrics]
    assert all(metric.kind == kind.name for kind in LISTINGS for metric in kind.metrics)


@pytest.mark.parametrize(
    ("families", "permissions"),
    [
        (("resource",), ("loadbalancer", "objstore", "subscriptions_view")),
        (("performance",), ("subscriptions_view",)),
        (("cost",), ("billing", "subscriptions_view")),
        (("application",), ()),
    ],
)
def test_permissions_are_those_of_the_families(families: tuple[str, ...], permissions: tuple[str, ...]) -> None:
    assert Vultr().permissions(families) == permissions


def test_a_kind_whose_service_the_bill_does_not_name_goes_by_its_own_name() -> None:
    assert Vultr().bill_service("vultr:vfs") == "Vultr File System"
    assert Vultr().bill_service("vultr:vpc") == "vultr:vpc"
    assert Vultr().bill_service("vultr:unheard_of") == "vultr:unheard_of"


def test_blocks_and_addresses_cost_money_while_they_are_attached_to_nothing() -> None:
    assert [kind.name for kind in LISTINGS if kind.attachable] == ["vultr:block", "vultr:address"]


@pytest.mark.parametrize(
    ("product", "kinds", "cost_type"),
    [
        ("Vultr Cloud Compute", ("vultr:instance",), ResourceType.COMPUTE),
        ("Bare Metal Compute", ("vultr:bare_metal",), ResourceType.COMPUTE),
        ("Cloud GPU", ("vultr:instance",), ResourceType.COMPUTE),
        ("Load Balancer", ("vultr:load_balancer",), ResourceType.LOAD_BALANCER),
        ("Kubernetes Load Balancer", ("vultr:load_balancer",), ResourceType.LOAD_BALANCER),
        ("Block Storage", ("vultr:block",), ResourceType.VOLUME),
        ("Vultr File System", ("vultr:vfs",), ResourceType.VOLUME),
        ("Object Storage", ("vultr:object_storage",), ResourceType.OBJECT_STORAGE),
        ("Snapshot", ("vultr:snapshot",), ResourceType.SNAPSHOT),
        ("Reserved IP", ("vultr:address",), ResourceType.ADDRESS),
        ("Container Registry", ("vultr:registry",), ResourceType.OBJECT_STORAGE),
        ("Serverless Inference", ("vultr:inference",), ResourceType.SERVERLESS),
        ("Managed Database", ("vultr:database",), ResourceType.DATABASE),
        ("Bandwidth overage", ("vultr:instance", "vultr:bare_metal"), ResourceType.NETWORK),
        ("NAT Gateway", ("vultr:vpc",), ResourceType.NETWORK),
        ("Kubernetes", ("vultr:kubernetes",), ResourceType.KUBERNETES),
        ("Support", (), "other"),
    ],
)
def test_a_product_of_the_bill_is_known_by_a_word(product: str, kinds: tuple[str, ...], cost_type: str) -> None:
    assert product_of(product) == (kinds, cost_type)


def test_reading_the_kinds_loads_no_http_client() -> None:
    code = "import sys, optiinfra_dagster.providers.vultr.provider; assert 'httpx' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
