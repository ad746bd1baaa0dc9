"""Recorded answers of Google's own APIs, served as the assets that they would be.

A recording is a file `<method>-<path>_<n>.json` with {headers, body}. Cloud Asset Inventory wraps exactly what the API
of a resource answers, so each resource in a body becomes an asset; answers of other things, and of operations, hold
none. The same resource in several recordings is one asset, as the first in order of names shows it, and the resources
of all folders are one project's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.gcp.describe import wrap

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.kind import Shown

# `kind` of Compute Engine and Cloud SQL -> asset type, collection
_KINDS = {
    "compute#instance": ("compute.googleapis.com/Instance", "instances"),
    "compute#disk": ("compute.googleapis.com/Disk", "disks"),
    "compute#forwardingRule": ("compute.googleapis.com/ForwardingRule", "forwardingRules"),
    "compute#network": ("compute.googleapis.com/Network", "networks"),
    "compute#subnetwork": ("compute.googleapis.com/Subnetwork", "subnetworks"),
    "compute#router": ("compute.googleapis.com/Router", "routers"),
    "sql#instance": ("sqladmin.googleapis.com/Instance", "instances"),
}
_HOSTS = {"sqladmin": "cloudsql", "bigtableadmin": "bigtable"}  # of full names, where it is not that of the asset type
_REGIONAL = {"compute.googleapis.com/Disk": "compute.googleapis.com/RegionDisk"}
_GLOBAL = {"compute.googleapis.com/ForwardingRule": "compute.googleapis.com/GlobalForwardingRule"}
_AT = r"(projects/[^/]+/(?:locations|zones)/[^/]+"
_GKE = r"https://container\.googleapis\.com/\w+/" + _AT
# What names itself by its path: asset type, form of selfLink or name, and a key that tells it from its like.
_FORMS = (
    ("container.googleapis.com/Cluster", _GKE + "/clusters/[^/]+)", ""),
    ("container.googleapis.com/NodePool", _GKE + "/clusters/[^/]+/nodePools/[^/]+)", ""),
    ("redis.googleapis.com/Cluster", _AT + "/clusters/[^/]+)", "shardCount"),
    ("redis.googleapis.com/Instance", _AT + "/instances/[^/]+)", "redisVersion"),
    ("memorystore.googleapis.com/Instance", _AT + "/instances/[^/]+)", "engineVersion"),
    ("memcache.googleapis.com/Instance", _AT + "/instances/[^/]+)", "memcacheVersion"),
    ("bigtableadmin.googleapis.com/Cluster", "(projects/[^/]+/instances/[^/]+/clusters/[^/]+)", "serveNodes"),
    ("file.googleapis.com/Instance", _AT + "/instances/[^/]+)", "fileShares"),
    ("alloydb.googleapis.com/Cluster", _AT + "/clusters/[^/]+)", "clusterType"),
    ("alloydb.googleapis.com/Instance", _AT + "/clusters/[^/]+/instances/[^/]+)", "instanceType"),
    ("spanner.googleapis.com/Instance", "(projects/[^/]+/instances/[^/]+)", "config"),
)
_PROJECT = re.compile(r"-projects-([a-z][a-z0-9-]*?)-(?:zones|regions|global|aggregated|locations|instances)\b")


class GcpRecordings:
    """The assets of a folder of recordings, with its subfolders, or of a chosen list of files."""

    def __init__(self, source: Path | Iterable[Path]) -> None:
        files = source.rglob("*.json") if isinstance(source, Path) else source
        self.assets: dict[str, Shown] = {}
        for file in sorted(files):
            body = json.loads(file.read_text(encoding="utf-8")).get("body")
            project = _PROJECT.search(file.stem)
            for asset in _assets(body, project[1] if project else "recorded", ""):
                self.assets.setdefault(asset["name"], asset)


def _assets(part: Any, project: str, scope: str) -> Iterator[Shown]:
    """Every asset in a part of an answer. `scope` is the key of an aggregated list: `zones/us-central1-a`."""
    if isinstance(part, list):
        for item in part:
            yield from _assets(item, project, scope)
    elif isinstance(part, dict):
        identity = _identify(part, project, scope)
        if identity is not None:
            asset_type, name = identity
            yield wrap(name, asset_type, _location(name, part), part)
            for pool in part.get("nodePools") or ():
                at = f"{name}/nodePools/{pool.get('name')}"
                yield wrap(at, "container.googleapis.com/NodePool", _location(at, pool), pool)
            return
        for key, value in part.items():
            yield from _assets(value, project, key if "/" in key else scope)


def _identify(part: dict[str, Any], project: str, scope: str) -> tuple[str, str] | None:
    """Asset type and full name of a resource; None for what is none."""
    link, name = str(part.get("selfLink") or ""), str(part.get("name") or "")
    if not name:
        return None
    if part.get("kind") in _KINDS:
        asset_type, collection = _KINDS[part["kind"]]
        # Recorders cut links short to hide names.
        path = link[link.find("/projects/") + 1 :] if "/projects/" in link and link.endswith(f"/{name}") else ""
        at = scope or _scope_of(part, asset_type)
        path = path or "/".join(word for word in (f"projects/{project}", at, collection, name) if word)
        if "/regions/" in path:
            asset_type = _REGIONAL.get(asset_type, asset_type)
        elif "/global/" in path:
            asset_type = _GLOBAL.get(asset_type, asset_type)
    elif "currentMasterVersion" in part and "/clusters/" not in link:
        at = str(part.get("location") or part.get("zone"))
        asset_type, path = "container.googleapis.com/Cluster", f"projects/{project}/locations/{at}/clusters/{name}"
    else:
        identity = _by_form(part, link, name)
        if identity is None:
            return None
        asset_type, path = identity
    api = asset_type.partition(".")[0]
    return asset_type, f"//{_HOSTS.get(api, api)}.googleapis.com/{path}"


def _by_form(part: dict[str, Any], link: str, name: str) -> tuple[str, str] | None:
    for asset_type, form, key in _FORMS:
        match = re.fullmatch(form, link) or re.fullmatch(form, name)
        if match and (not key or key in part):
            return asset_type, match[1]
    return None


def _scope_of(part: dict[str, Any], asset_type: str) -> str:
    for key in ("zone", "region"):
        if part.get(key) and asset_type.startswith("compute"):
            return f"{key}s/{str(part[key]).rpartition('/')[2]}"
    return "global" if asset_type.startswith("compute") else ""


def _location(name: str, part: dict[str, Any]) -> str:
    at = re.search(r"/(?:zones|regions|locations)/([^/]+)", name)
    return at[1] if at else str(part.get("region") or "global").rpartition("/")[2]
