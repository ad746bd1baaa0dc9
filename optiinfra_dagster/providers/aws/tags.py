"""The tags of resources whose own listing tells none, from the Resource Groups Tagging API.

GetResources gives a hundred resources of any kind a page, and only what is or once was tagged: what it does not name
has no tags. The services' own calls for tags take one for each resource.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.providers.aws.kind import pages_of
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.parsing import as_dicts, as_labels, as_text, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource

_PER_PAGE = 100


def untagged(resources: Sequence[Resource]) -> dict[str, list[Resource]]:
    """The resources whose listing has no tags, by region."""
    found: dict[str, list[Resource]] = {}
    for resource in resources:
        kind = KINDS.get(resource.kind)
        if kind is not None and kind.tagged_as and resource.region:
            found.setdefault(resource.region, []).append(resource)
    return found


def read(tagging: Any, kinds: Collection[str]) -> Mapping[str, dict[str, str]]:
    """The tags of all tagged resources of some kinds in a region, by ARN."""
    types = sorted({KINDS[kind].tagged_as for kind in kinds})
    pages = pages_of(tagging, "get_resources", _PER_PAGE, ResourceTypeFilters=types)
    entries = (entry for page in pages for entry in as_dicts(dig(page, "ResourceTagMappingList")))
    return {as_text(entry.get("ResourceARN")): as_labels(entry.get("Tags")) for entry in entries}
