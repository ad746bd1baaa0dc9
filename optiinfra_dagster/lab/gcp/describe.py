"""An asset as Cloud Asset Inventory shows it: the answer of the resource's own API, within Google's wrapper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.gcp.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.kind import LabAsset, Shown


def describe(asset: LabAsset) -> Shown:
    """The asset with its resource, without the keys that its fleet omits."""
    data = {key: value for key, value in KINDS[asset.kind].describe(asset).items() if key not in asset.fleet.omit}
    return wrap(asset.full_name, asset.asset_type, asset.location, data)


def wrap(name: str, asset_type: str, location: str, data: Shown) -> Shown:
    """A resource of some API as the asset that it is."""
    api, _, kind = asset_type.partition(".googleapis.com/")
    return {
        "name": name,
        "assetType": asset_type,
        "resource": {
            "version": "v1beta4" if api == "sqladmin" else "v1",
            "discoveryDocumentUri": f"https://{api}.googleapis.com/$discovery/rest",
            "discoveryName": {"RegionDisk": "Disk", "GlobalForwardingRule": "ForwardingRule"}.get(kind, kind),
            "parent": "//cloudresourcemanager.googleapis.com/projects/1",
            "data": data,
            "location": location,
        },
        "ancestors": ["projects/1"],
        "updateTime": "2024-06-01T00:00:00Z",
    }
