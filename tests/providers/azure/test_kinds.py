from __future__ import annotations

from typing import Any

import pytest

from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.providers.azure.kind import COMMON_COLUMNS, AzureKind, Facts, status_of
from optiinfra_dagster.providers.azure.services import KINDS, KINDS_BY_TYPE, QUERY, to_resources
from optiinfra_dagster.providers.azure.sizes import vcpus
from optiinfra_dagster.providers.registry import PROVIDERS


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("Standard_D4s_v5", 4),
        ("Standard_B2ts_v2", 2),
        ("Standard_DS1_v2", 1),
        ("Standard_DS13-2_v2", 2),
        ("Standard_D14_v2", 16),
        ("Standard_D2_v3", 2),
        ("Standard_A2m_v2", 2),
        ("Basic_A3", 4),
        ("Standard_F8s", 8),
        ("Standard_M8-2ms_v3", 2),
        ("Standard_NC24ads_A100_v4", 24),
        ("Standard_HB120-16rs_v3", 16),
        ("Standard_D2_v2_Promo", 2),
        ("Standard_DC4as_cc_v5", 4),
        ("Standard_EC16ads_cc_v5", 16),
        ("Standard_ND128isr_NDR_GB200_v6", 128),
        ("Standard_ND96isr_H100_v5", 96),
        ("Standard_NC24rs_v3", 24),
        ("standard_e96ias_v4", 96),
        ("Standard_LRS", None),
        ("Experimental", None),
        ("", None),
        (None, None),
    ],
)
def test_the_name_of_a_size_tells_its_virtual_cpus(size: str | None, count: int | None) -> None:
    assert vcpus(size) == count


def test_the_query_names_every_kind_and_pages_stably() -> None:
    assert all((f"'{azure_type}'" in QUERY) is kind.listed for azure_type, kind in KINDS_BY_TYPE.items())
    assert QUERY.endswith("| order by id asc")
    assert "project id, " in QUERY
    assert "properties," not in QUERY  # never all of them


def test_what_is_not_of_our_kinds_is_left_out() -> None:
    group = "/subscriptions/s/resourceGroups/g/providers"
    assert to_resources({"id": f"{group}/Microsoft.KeyVault/vaults/a", "type": "microsoft.keyvault/vaults"}) == []
    master = f"{group}/Microsoft.Sql/servers/s/databases/master"
    assert to_resources({"id": master, "type": "microsoft.sql/servers/databases"}) == []


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2017-06-07T04:41:33.937Z", "2017-06-07T04:41:33.937000+00:00"),
        ("2019-05-01T22:23:59.3496189+00:00", "2019-05-01T22:23:59.349618+00:00"),
        ("2017-02-10T01:27:21.32", "2017-02-10T01:27:21.320000+00:00"),
        ("2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00+00:00"),
        (None, None),
    ],
)
def test_times_are_zoned_however_they_are_written(written: str | None, read: str | None) -> None:
    (disk,) = to_resources({"id": "/subscriptions/s/d", "type": "microsoft.compute/disks", "created": written})

    assert (disk.created_at and disk.created_at.isoformat()) == read


def test_every_kind_has_a_name_a_type_and_an_action_of_its_own() -> None:
    assert all(name == kind.name and name.startswith("azure:") for name, kind in KINDS.items())
    assert len(KINDS) == len(KINDS_BY_TYPE) == len({kind.read_action for kind in KINDS.values()})
    assert KINDS["azure:vm"].read_action == "microsoft.compute/virtualmachines/read"


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.listed], ids=lambda kind: kind.name)
def test_a_kind_reads_only_what_its_columns_bring(kind: AzureKind) -> None:
    class Noting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            read.add(key)
            return super().get(key, default)

    read: set[str] = set()
    kind.to_resource(Noting(id="/subscriptions/s/x", type=kind.azure_type))

    assert read - COMMON_COLUMNS.keys() - {"state", "created", "uid"} <= kind.columns.keys()
    assert kind.columns.keys() <= read  # what nobody reads is sent and paid for in CPU all the same


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_metrics_of_a_kind_name_it_and_conditions_that_it_has(kind: AzureKind) -> None:
    assert {metric.kind for metric in kind.metrics} <= {kind.name}
    assert {metric.condition for metric in kind.metrics} - {""} == kind.conditions.keys()
    assert bool(kind.price_parts) == bool(kind.bill_service)
    assert not any(kind.not_offered[figure] == "" for figure in kind.not_offered)


def test_a_disk_can_be_attached_and_nothing_is_idle_because_it_is_silent() -> None:
    assert KINDS["azure:disk"].attachable
    assert not KINDS["azure:vm"].attachable
    assert not any(kind.silent_when_idle for kind in KINDS.values())


def test_a_provider_tells_its_kinds_and_the_roles_that_each_family_takes() -> None:
    azure = PROVIDERS["azure"]

    assert azure.kinds.keys() == KINDS.keys()
    assert azure.permissions(["resource"]) == ("Reader",)
    assert azure.permissions(["application"]) == ()
    assert azure.permissions(["resource", "performance", "cost"]) == (
        "Cost Management Reader", "Monitoring Reader", "Reader", "Storage Blob Data Reader"
    )  # fmt: skip
    assert (azure.bill_service("azure:disk"), azure.bill_service("azure:vnet")) == ("Storage", "azure:vnet")


def test_a_shared_disk_is_attached_though_resource_graph_does_not_name_its_machines() -> None:
    """Those stand in `managedByExtended`, which is no column there."""
    (disk,) = to_resources(
        {
            "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d",
            "type": "Microsoft.Compute/disks",
            "managedBy": None,
            "state": "Attached",
            "maxShares": 2,
        }
    )

    assert disk.status is Status.IN_USE
    assert KINDS["azure:disk"].why_no_points(disk) == ""


# The enumerations of the REST references, of what `state_word` reads.
STATES = {
    "VM power state": "starting running stopping stopped deallocating deallocated hibernating hibernated",
    "DiskState": "Unattached Attached Reserved Frozen ActiveSAS ActiveSASFrozen ReadyToUpload ActiveUpload",
    "DatabaseStatus": "Online Restoring RecoveryPending Recovering Suspect Offline Standby Shutdown EmergencyMode "
    "AutoClosed Copying Creating Inaccessible OfflineSecondary Pausing Paused Resuming Scaling Disabled Stopping "
    "Stopped Starting",
    "PostgreSQL ServerState": "Ready Dropping Disabled Starting Stopping Stopped Updating Restarting Inaccessible "
    "Provisioning",
    "Redis ProvisioningState": "Creating Deleting Disabled Failed Linking Provisioning RecoveringScaleFailure Scaling "
    "Succeeded Unlinking Unprovisioning Updating ConfiguringAAD",
    "Redis Enterprise ResourceState": "Running Creating CreateFailed Updating UpdateFailed Deleting DeleteFailed "
    "Enabling EnableFailed Disabling DisableFailed Disabled Scaling ScalingFailed Moving",
    "AKS provisioning": "Succeeded Failed Canceled Creating Updating Deleting Starting Stopping Upgrading Scaling "
    "UpgradingNodeImageVersion ReconcilingClusterCertificates",
    "OpenShift ProvisioningState": "AdminUpdating Canceled Creating Deleting Failed Succeeded Updating",
    "Container App": "Progressing Running Stopped Suspended Ready InProgress Succeeded Failed Canceled Deleting",
    "Storage account": "available unavailable Creating ResolvingDNS Succeeded",
    "Cosmos DB": "Uninitialized Initializing InternallyReady Online Deleting Succeeded Failed Canceled Updating "
    "Creating Offline DeletionFailed",
    "Front Door ResourceState": "Creating Active Deleting Disabled Migrating Migrated PendingMigrationCommit "
    "CommittingMigration AbortingMigration Enabling Enabled Disabling",
    "NetApp": "Accepted Creating Patching Updating Deleting Moving Failed Succeeded",
}


@pytest.mark.parametrize("enumeration", STATES)
def test_every_state_of_the_references_has_a_status(enumeration: str) -> None:
    assert [word for word in STATES[enumeration].split() if status_of(Facts(word)) is Status.UNKNOWN] == []
