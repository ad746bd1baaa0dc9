"""Which resource of the inventory a line of a bill names: clouds spell ids in bills in other ways than in listings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optiinfra_dagster.model.inventory import Resource

_EC2_ID = re.compile(r"/([a-z]+-[0-9a-f]{8,17})$")  # of an ARN: a bill has it alone
_HOST = re.compile(r"^(?:https?:)?//[a-z.]+/(?:compute/v1/)?")  # of Google's links
_NUMBERED = re.compile(r"/([a-zA-Z]+)/(\d{6,})$")  # the end of Google's global names
_NUMBERS = {"instance_id": "instances", "disk_id": "disks", "forwarding_rule_id": "forwardingrules"}


class Matcher:
    """Finds a resource by what a bill calls it; what several resources could be called is of none of them."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._by_id = {one.resource_id: one for one in resources}
        self._how: dict[str, str] = {}
        self._forms: dict[str, tuple[Resource, str] | None] = {}
        for resource in resources:
            for form, how in _forms(resource):
                other = self._forms.get(form, (resource, how))
                self._forms[form] = (resource, how) if other and other[0] is resource else None

    def id_of(self, text: str) -> str:
        """The inventory's id of what a bill calls `text`, which itself is the id where nothing is known of it."""
        for form in _spellings(text):
            if found := self._forms.get(form):
                self._how.setdefault(found[0].resource_id, found[1])
                return found[0].resource_id
        # Azure's ids have no case, and its bills have them in several.
        return text.casefold() if text.startswith("/") else text

    def resource(self, resource_id: str) -> Resource | None:
        """The resource of the inventory with an id."""
        return self._by_id.get(resource_id)

    def how(self, resource_id: str) -> str:
        """What a resource was found by: `id`, `short id`, `path` or `number`; "" where it is not known."""
        return self._how.get(resource_id, "")


def _forms(resource: Resource) -> Iterator[tuple[str, str]]:
    """The spellings that may stand for a resource, and what each is."""
    text = resource.resource_id.casefold()
    yield text, "id"
    if text.startswith("arn:") and (short := _EC2_ID.search(text)):
        yield short[1], "short id"
    if (path := _HOST.sub("", text)) != text:
        yield path, "path"
    for name, collection in _NUMBERS.items():
        if number := resource.metadata.get(name):
            yield f"{collection}/{number}", "number"


def _spellings(text: str) -> Iterator[str]:
    """The forms to look for, the surest first."""
    text = text.casefold()
    yield text
    if (path := _HOST.sub("", text)) != text:
        yield path
    if numbered := _NUMBERED.search(text):
        yield f"{numbered[1]}/{numbered[2]}"
