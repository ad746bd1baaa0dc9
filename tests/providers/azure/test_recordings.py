"""Answers that the real Azure once gave, and those of its specification: none is lost, doubled, or too odd to bear."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model.inventory import Inventory, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure.inventory import collect
from optiinfra_dagster.providers.azure.services import KINDS, KINDS_BY_TYPE
from tests.providers.azure.conftest import account


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    """One lab whose recordings are exchanged."""
    with CloudLab({"azure": {"quota": 10_000}}) as lab:
        yield lab


def replay(lab: CloudLab, *files: Path) -> Inventory:
    lab.azure.replay(files)
    return collect("acme", [account(lab)], Meter())


@pytest.mark.parametrize("folder", ["azure_recordings", "azure_examples"])
def test_every_recorded_resource_comes_out_once(shared_data: Path, lab: CloudLab, folder: str) -> None:
    kinds: Counter[str] = Counter()
    for file in sorted((shared_data / folder).rglob("*.json")):
        rows = [row for row in lab.azure.replay([file]) if row["type"] in KINDS_BY_TYPE]
        wanted = Counter(row["id"].lower() for row in rows if not row["id"].endswith("/databases/master"))
        if not wanted:
            continue

        inventory = replay(lab, file)

        found = Counter(one.resource_id for one in inventory.resources if KINDS[one.kind].listed)
        assert found == wanted, file
        assert inventory.problems == [], file
        for one in inventory.resources:
            assert one.status is not Status.UNKNOWN or not one.cloud_status, (file, one)
            assert "admin" not in repr(one).lower()
        kinds.update(one.kind for one in inventory.resources)
    some = {"azure:vm", "azure:disk", "azure:load_balancer", "azure:sql_server", "azure:vnet", "azure:postgresql"}
    other = {"azure:vmss", "azure:sql_database", "azure:aks", "azure:mysql", "azure:sql_instance", "azure:redis"}
    assert kinds.keys() >= (some if folder == "azure_recordings" else other)


def test_the_instance_view_tells_the_power_state(lab: CloudLab, tmp_path: Path) -> None:
    statuses = [{"code": "ProvisioningState/succeeded"}, {"code": "PowerState/deallocated"}]
    machine = {
        "id": "/subscriptions/s/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/vm1",
        "name": "vm1",
        "type": "Microsoft.Compute/virtualMachines",
        "location": "West US",
        "properties": {"instanceView": {"statuses": statuses}, "provisioningState": "Succeeded"},
    }
    file = tmp_path / "vm.json"
    file.write_text(json.dumps({"responses": {"200": {"body": {"value": [machine]}}}}))

    (one,) = replay(lab, file).resources

    assert (one.status, one.cloud_status, one.region) == (Status.STOPPED, "deallocated", "westus")
