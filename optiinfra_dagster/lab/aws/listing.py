"""The listings: pages of resources, under the key and in the sizes of the real API, and single resources by name.

Keys, tokens and page parameters come from botocore's paginators; the limits from the API references. A parameter that
an operation does not understand here is refused: a lab that ignored a filter would answer something else than AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import describe
from optiinfra_dagster.lab.aws.wire import AwsError, Call, paginator, refusal

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region

Answer = Callable[["Estate", Call, "Region"], dict[str, Any]]
"""The answer to a call, from the region that it was made in."""

Operation = tuple[str, str]
"""The name of boto3's client, and the operation."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A paged operation: the kinds it shows, its page sizes, and the parameter that picks resources by id or name."""

    kinds: tuple[str, ...]
    smallest: int
    largest: int
    pick: str = ""  # the parameter's wire name
    missing: str = ""  # the error code where a picked one does not exist; "{id}" in its message
    show: Callable[[LabResource, Region], Any] = describe

    def __call__(self, _estate: Estate, call: Call, region: Region) -> dict[str, Any]:
        """Answer a page."""
        pages = paginator(call.service, call.operation)
        refuse_unknown(
            call, {self.pick, pages["input_token"], pages["limit_key"], "ShowCacheNodeInfo", "IncludeShared"}
        )
        resources: Sequence[LabResource] = [resource for kind in self.kinds for resource in region.of(kind)]
        if picked := as_list(call.params.get(self.pick)):
            if call.params.get(pages["limit_key"]) and call.operation == "DescribeInstances":
                raise AwsError(
                    400, "InvalidParameterCombination", "The parameter instancesSet cannot be used with maxResults"
                )
            resources = [self.find(call, region, key) for key in picked]
        size = self._page_size(call, pages["limit_key"])
        start, token = _start(call, resources), {}
        if start + size < len(resources):
            page = page_of(call) + 1
            by_name = call.service == "dynamodb"
            last = resources[start + size - 1].name if by_name else f"{page}.{start + size}.{call.operation}"
            token = {pages["output_token"]: last}
        return {pages["result_key"]: [self.show(each, region) for each in resources[start : start + size]], **token}

    def find(self, call: Call, region: Region, key: str) -> LabResource:
        """The resource of an id, name or ARN.

        Raises:
            AwsError: there is none, in the words of the service.
        """
        for kind in self.kinds:
            if (kind, key) in region.by_name:
                return region.by_name[kind, key]
        status = 400 if call.protocol == "ec2" or call.service.startswith("elb") else 404
        raise AwsError(status, self.missing, f"The resource '{key}' does not exist")

    def _page_size(self, call: Call, limit_key: str) -> int:
        try:
            size = int(call.params.get(limit_key, self.largest))
        except ValueError:
            size = -1
        if not self.smallest <= size <= self.largest:
            text = (
                f"Value ({size}) for parameter {limit_key} is invalid. Expecting a value between {self.smallest} and "
            )
            raise refusal(call, "invalid", f"{text}{self.largest}.")
        return size


def name_only(resource: LabResource, _region: Region) -> str:
    """An entry of a listing that shows nothing but names."""
    return str(resource.name)


def token_of(call: Call) -> str:
    """The page token that a call carries, or an empty string."""
    name = paginator(call.service, call.operation).get("input_token", "")
    token = "" if isinstance(name, list) else call.params.get(name)
    return str(token or "")


def page_of(call: Call) -> int:
    """The number of the page that a call asks for, 1 for the first, by the lab's own tokens."""
    page = token_of(call).partition(".")[0]
    return int(page) if page.isdigit() else 1


def _start(call: Call, resources: Sequence[LabResource]) -> int:
    token = token_of(call)
    if not token:
        return 0
    if call.service == "dynamodb":
        return 1 + next((n for n, each in enumerate(resources) if each.name == token), len(resources))
    _, start, operation = (*token.split("."), "", "")[:3]
    if not start.isdigit() or operation != call.operation or int(start) >= len(resources):
        raise refusal(call, "invalid", f"The page token {token} is invalid.")
    return int(start)


def as_list(value: Any) -> list[str]:
    """A parameter that may be a list, as one."""
    return value if isinstance(value, list) else [value] if value else []


def refuse_unknown(call: Call, known: set[str]) -> None:
    """Refuse a call with a parameter that is not `known`."""
    if unknown := {name for name, value in call.params.items() if value != ""} - known:
        raise refusal(
            call, "invalid", f"The cloud lab does not know {call.operation} with {', '.join(sorted(unknown))}."
        )


def single(kind: str, parameter: str, key: str, missing: tuple[int, str]) -> Answer:
    """An operation that shows one resource, named by `parameter`, under `key`; `missing` is the error for no such."""

    def answer(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
        name = str(call.params.get(parameter, ""))
        if (kind, name) not in region.by_name:
            raise AwsError(*missing, f"No {kind} found for name: {name}.")
        return {key: describe(region.by_name[kind, name], region)}

    return answer
