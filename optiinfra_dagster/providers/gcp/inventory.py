"""The inventory of a customer on Google Cloud, now: every kind of `services`, in all projects and regions.

One listing of a project brings all kinds of all regions, mixed: where it breaks off, what is missing may be of any
kind in any region, so its problem names none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.inventory import Inventory, Resource
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.gcp.client import Asset, Project, open_project
from optiinfra_dagster.providers.gcp.kind import place_of
from optiinfra_dagster.providers.gcp.services import BY_ASSET_TYPE, KINDS
from optiinfra_dagster.providers.parsing import ODD, as_dict, as_text, dig, name_of

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

# Projects that are listed at once for one customer.
_AT_ONCE = 4

_KIND_NAMES = ", ".join(KINDS)


def collect(customer_id: str, accounts: Sequence[GcpAccount], meter: Meter) -> Inventory:
    """Everything that a customer runs, in all projects and regions.

    Args:
        customer_id: names the threads, for who looks at a process that hangs.
        accounts: the projects, with references not yet looked up.
        meter: counts every HTTP request.

    Returns:
        Each resource once. What could not be listed is a problem of the inventory, by project: the pages that came
        before a failure are kept. An asset that could not be read costs that asset.
    """
    resources: dict[str, Resource] = {}
    problems: list[Problem] = []
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"gcp-{customer_id}") as pool:
        for of_project in pool.map(lambda account: _list(account, meter), accounts):
            # A listing that shifts between pages names an asset twice: the later word counts.
            resources.update((resource.resource_id, resource) for resource in of_project.resources)
            problems += of_project.problems
    return Inventory([_labelled(resource, resources) for resource in resources.values()], list(dict.fromkeys(problems)))


def _labelled(resource: Resource, resources: Mapping[str, Resource]) -> Resource:
    """The resource, with the labels of the one that holds it where those are its own."""
    by = KINDS[resource.kind].labelled_by
    holder = resources.get(resource.resource_id.rsplit("/", 2)[0]) if by else None
    return replace(resource, tags=holder.tags) if holder is not None and holder.kind == by else resource


def _list(account: GcpAccount, meter: Meter) -> Inventory:
    """The inventory of one project; never raises for what a cloud may answer."""
    inventory = Inventory()
    try:
        _list_types(open_project(account, meter), list(BY_ASSET_TYPE), meter, inventory)
    except CollectionError as error:
        message = str(error)
        if inventory.resources:
            message += f" ({len(inventory.resources)} listed before; what is missing may be any of {_KIND_NAMES})"
        inventory.problems.append(Problem(account.project_id, "", "", error.cause, message))
    return inventory


def _list_types(project: Project, asset_types: list[str], meter: Meter, inventory: Inventory) -> None:
    """List some asset types; types that the cloud does not know are left out, and cost their kind only."""
    while True:
        try:
            for page in project.pages(asset_types, meter):
                for asset in page:
                    _read(asset, project.project_id, inventory)
        except CloudError as error:
            # A government or partner cloud offers fewer services, and refuses the whole call for one of them.
            unknown = [name for name in asset_types if re.search(rf"{re.escape(name)}(?![A-Za-z])", str(error))]
            if error.cause is not Cause.BUG or inventory.resources or not unknown or len(unknown) == len(asset_types):
                raise
            for asset_type in unknown:
                kind = BY_ASSET_TYPE[asset_type].name
                inventory.problems.append(Problem(project.project_id, "", kind, Cause.CONFIG, str(error)))
                asset_types.remove(asset_type)
        else:
            return


def _read(asset: Asset, project_id: str, inventory: Inventory) -> None:
    kind, region, name = None, "", "an asset without name"
    try:
        name = as_text(dig(asset, "name"))[:500] or name
        kind = BY_ASSET_TYPE.get(name_of(asset, "assetType"))
        if kind is None:
            return
        place = place_of(asset, project_id)
        region = place.region
        data = as_dict(asset, "resource", "data")
        if not data:  # without its facts it would pass for one that was changed
            raise ValueError("resource.data is missing")
        inventory.resources.append(kind.to_resource(data, place))
    except ODD as error:
        # Not the error's text: it may quote a value.
        message = f"{name} was skipped: it has another form than expected ({type(error).__name__})"
        inventory.problems.append(Problem(project_id, region, kind.name if kind else "", Cause.BUG, message))
