"""The Resource Groups Tagging API: the tags of what has or once had any, whatever service it is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import LabKind, tags_of
from optiinfra_dagster.lab.aws.listing import Answer, Operation, as_list, refuse_unknown
from optiinfra_dagster.lab.aws.wire import AwsError, Call

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, Region

_PAGE = 100  # ResourcesPerPage, at most


def _resources(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    refuse_unknown(call, {"ResourceTypeFilters", "ResourcesPerPage", "PaginationToken"})
    size = int(call.params.get("ResourcesPerPage", _PAGE))
    if not 1 <= size <= _PAGE:
        raise AwsError(400, "InvalidParameterException", f"ResourcesPerPage must be between 1 and {_PAGE}")
    wanted = as_list(call.params.get("ResourceTypeFilters"))
    tagged = [one for one in region.all if one.tags and one.definition.tagged_as and _is_of(one.definition, wanted)]
    start = int(call.params.get("PaginationToken") or 0)
    token = str(start + size) if start + size < len(tagged) else ""  # the last page has an empty one
    page = [{"ResourceARN": one.arn, "Tags": tags_of(one)} for one in tagged[start : start + size]]
    return {"ResourceTagMappingList": page, "PaginationToken": token}


def _is_of(kind: LabKind, wanted: list[str]) -> bool:
    """True for a kind that one of the filters names, by service or by service and type."""
    return not wanted or any(kind.tagged_as in {name, f"{name}:{kind.tagged_as.partition(':')[2]}"} for name in wanted)


KINDS: tuple[LabKind, ...] = ()
OPERATIONS: Mapping[Operation, Answer] = {("resourcegroupstaggingapi", "GetResources"): _resources}
