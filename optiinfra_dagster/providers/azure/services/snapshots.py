"""Snapshots of managed disks, and images. How much of a disk one stores is not listed, so that they have no price."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.azure.kind import AzureKind, Facts, Row, arm_id, state_word
from optiinfra_dagster.providers.parsing import as_bool, as_number, facts


def _read(row: Row) -> Facts:
    # `diskState` is that of an access to it; a snapshot is there from its making on.
    return Facts(
        word=state_word(row),
        silent=Status.AVAILABLE,
        capacity=as_number(row.get("storageGB")),  # of the disk: at most so much is stored
        unit="GiB",
        metadata=facts(
            # Whose copy it is; the disk may be gone, and is named all the same.
            snapshot_of=arm_id(row.get("snapshotOf")).rpartition("/")[2] or "an unknown disk",
            volume_type=row.get("size"),
            incremental=as_bool(row.get("incremental")),
        ),
    )


def _read_image(row: Row) -> Facts:
    return Facts(
        word=state_word(row),
        capacity=as_number(row.get("storageGB")),  # of its system disk
        unit="GiB",
        metadata=facts(
            snapshot_of=arm_id(row.get("snapshotOf")).rpartition("/")[2] or "an unknown machine",
            platform=row.get("osType"),
        ),
    )


KINDS = (
    AzureKind(
        name="azure:snapshot",
        azure_type="Microsoft.Compute/snapshots",
        resource_type=ResourceType.SNAPSHOT,
        columns={
            "uid": ("properties.uniqueId",),
            "created": ("properties.timeCreated",),
            "size": ("sku.name",),
            "storageGB": ("properties.diskSizeGB",),
            "snapshotOf": ("properties.creationData.sourceResourceId",),
            "incremental": ("properties.incremental",),
        },
        read=_read,
    ),
    AzureKind(
        name="azure:image",
        azure_type="Microsoft.Compute/images",
        resource_type=ResourceType.SNAPSHOT,
        columns={
            "storageGB": ("properties.storageProfile.osDisk.diskSizeGB",),
            "osType": ("properties.storageProfile.osDisk.osType",),
            "snapshotOf": ("properties.sourceVirtualMachine.id",),
        },
        read=_read_image,
    ),
)
