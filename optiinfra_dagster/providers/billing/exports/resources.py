"""The inventory as exports name it: clouds spell ids in bills in other ways than in listings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.billing.matching import Matcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.providers.billing.matching import Name

_EC2_ID = re.compile(r"/([a-z]+-[0-9a-f]{8,17})$")  # of an ARN: a bill has it alone
_BUCKET = re.compile(r":s3:::([^/]+)$")
_HOST = re.compile(r"^(?:https?:)?//[a-z.]+/(?:compute/v1/)?")  # of Google's links
_NUMBERED = re.compile(r"/([a-zA-Z]+)/(\d{6,})$")  # the end of Google's global names
_NUMBERS = {"instance_id": "instances", "disk_id": "disks", "forwarding_rule_id": "forwardingrules"}


class KnownResources:
    """The resources of an inventory by what an export calls them."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._by_id = {resource.resource_id: resource for resource in resources}
        self._matcher = Matcher(resources, _names_of)
        self._matched_by: dict[str, str] = {}
        self._tag_keys = {key for resource in resources for key in resource.tags if _is_of_aws(resource)}
        spelled: dict[str, list[str]] = {}
        for key in sorted(self._tag_keys):
            spelled.setdefault(_as_aws_spells(key), []).append(key)
        self._key_of = {of_report: keys[0] for of_report, keys in spelled.items() if len(keys) == 1}

    def id_of(self, text: str) -> str:
        """The inventory's id of what a bill calls `text`, which itself is the id where nothing is known of it."""
        resource, by = self._matcher.match(_names_in(text))
        if resource is not None:
            self._matched_by.setdefault(resource.resource_id, by)
            return resource.resource_id
        # Azure's ids have no case, and its bills have them in several.
        return text.casefold() if text.startswith("/") else text

    def tag_key(self, key: str) -> str:
        """The key of a tag as the inventory has it: AWS' reports spell `CostCenter` as `cost_center`."""
        return key if key in self._tag_keys else self._key_of.get(key, key)

    def resource(self, resource_id: str) -> Resource | None:
        """The resource of the inventory with an id."""
        return self._by_id.get(resource_id)

    def matched_by(self, resource_id: str) -> str:
        """The name that a resource was matched by: `id`, `short id`, `path` or `number`; "" where it was not."""
        return self._matched_by.get(resource_id, "")


def _is_of_aws(resource: Resource) -> bool:
    return resource.resource_id.startswith("arn:")


def _as_aws_spells(key: str) -> str:
    """A tag's key by the rule of column names: https://docs.aws.amazon.com/cur/latest/userguide/cur-ate-run.html."""
    return re.sub("[^a-z0-9]+", "_", re.sub("([A-Z])", r"_\1", key).lower()).strip("_")


def _names_of(resource: Resource) -> Iterator[Name]:
    text = resource.resource_id.casefold()
    yield "id", text
    yield from _short_ids(text)
    if ":rds:" in text and resource.instance_uid:  # what an Aurora cluster stores is billed by its uid
        yield "id", f"{text.rpartition(':')[0]}:{resource.instance_uid.casefold()}"
    if (path := _HOST.sub("", text)) != text:
        yield "path", path
    for fact, collection in _NUMBERS.items():
        if number := resource.metadata.get(fact):
            yield "number", f"{collection}/{number}"


def _short_ids(text: str) -> Iterator[Name]:
    """What AWS' bills have in place of an ARN: the id of what is of EC2, and the name of a bucket."""
    if text.startswith("arn:") and (short := _EC2_ID.search(text) or _BUCKET.search(text)):
        yield "short id", short[1]


def _names_in(text: str) -> Iterator[Name]:
    """The names to look for, the surest first."""
    text = text.casefold()
    yield from (("id", text), ("short id", text), ("path", text), ("number", text))
    yield from _short_ids(text)  # of an ARN without the account, or with another word for the type
    if (path := _HOST.sub("", text)) != text:
        yield from (("id", path), ("path", path))
    if numbered := _NUMBERED.search(text):
        yield "number", f"{numbered[1]}/{numbered[2]}"
