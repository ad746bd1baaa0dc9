"""Finds the resource of the inventory that a line of a bill is of, by whatever the bill calls it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource

Name: TypeAlias = tuple[str, str]
"""The kind of a name, and the name: `("address", "192.0.2.1")`."""


def _any(_resource: Resource) -> bool:
    return True


class Matcher:
    """The resources of an inventory by their names. What several resources are called is the name of none of them."""

    def __init__(self, resources: Sequence[Resource], names_of: Callable[[Resource], Iterable[Name]]) -> None:
        self._by_name: defaultdict[Name, list[Resource]] = defaultdict(list)
        for resource in resources:
            for name in dict.fromkeys(names_of(resource)):
                self._by_name[name].append(resource)

    def match(self, names: Iterable[Name], fits: Callable[[Resource], bool] = _any) -> tuple[Resource | None, str]:
        """The resource that the first telling name is of, and what it is called by there; (None, "") for none.

        Args:
            names: the names of one thing, the surest first.
            fits: False for a resource that the thing cannot be, whatever its name.
        """
        for name in names:
            candidates = [resource for resource in self._by_name.get(name, ()) if fits(resource)]
            if len(candidates) == 1:
                return candidates[0], name[0]
        return None, ""
