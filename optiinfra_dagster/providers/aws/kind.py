"""A kind of resource on AWS: how it is listed, read, measured and priced. Each service's are in services/<service>.py.

No SDK is imported at the top, because the definitions and the documentation read the kinds too. Facts are taken by
name, because answers also carry user names, endpoints and certificates; what changes by itself all the time, such as a
table's size, is left out, so that a change of a resource is something that somebody did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Metric
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import Item, as_text, as_texts

Thing = TypeVar("Thing")

DAY_SECONDS = 86_400  # the period of what is told of whole days

AGENT = "agent"
"""The condition of a metric that only an agent inside an instance publishes; the agent is seen by ListMetrics."""

ADD_ON = "add_on"
"""The condition of a metric that only an add-on of the customer publishes; the add-on is seen by its points."""


@dataclass(frozen=True, slots=True)
class Place:
    """The partition, account and region of a listing, which the ARN of an item is built from."""

    partition: str
    account_id: str
    region: str

    def arn(self, service: str, path: str, *, owner: object = None, listed: object = None) -> str:
        """The ARN of an item: `arn:aws:ec2:us-east-1:123456789012:instance/i-0abc`.

        It is `listed`, the one in the answer, where that is an ARN; else it is built, with `owner` as its account where
        that is the number of one.
        """
        if _ARN.fullmatch(as_text(listed)):
            return as_text(listed)
        account = as_text(owner) if _ACCOUNT.fullmatch(as_text(owner)) else self.account_id
        return f"arn:{self.partition}:{service}:{self.region}:{account}:{path}"


Probe = Callable[[Any], object]
"""A small call with a service's client that AWS refuses where a permission is missing."""

NOBODY = "optiinfra-permission-probe"
"""A name that nothing has: AWS checks the permission first, so `not found` proves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A listing of one service in a region. It may yield several kinds, such as clusters and their node groups.

    `kind` names it in problems. `service` is the name of the SDK's client, `id_key` the key of an item that names it in
    messages. `actions` are the permissions in IAM, separated by spaces; `probes` try those that `items` does not use in
    an empty account. `items` calls the client and yields what the answers hold; `to_resource` reads one of them and
    raises one of `parsing.ODD` for an item that cannot be told from others. `of_account` is true where one call lists
    what there is in all regions.
    """

    kind: str
    service: str
    id_key: str
    actions: str
    items: Callable[[Any], Iterator[Item]]
    to_resource: Callable[[Item, Place], Resource]
    probes: tuple[Probe, ...] = ()
    of_account: bool = False


@dataclass(frozen=True, slots=True)
class PriceQuery:
    """A search in the price list: service code, filters, and a pattern of the wanted product's usage type.

    The pattern is that of the whole usage type after the region's code, `USW2-`: it tells the product from its
    neighbours. `among` holds attributes of which one of several values will do, the best first; "" is none.
    """

    service: str
    filters: Mapping[str, str]
    usage: str
    among: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class AwsKind(Kind):
    """A kind of resource on AWS; see `providers.kind.Kind` for the facts that all clouds share.

    `price_queries` find the prices of `price_parts`: a pattern of a part's key -> the query, made of the pattern's
    groups. The patterns of all kinds exclude each other. `published_as` gives a metric under the names that a resource
    publishes it. `dimensions_of` gives the dimensions that name a resource in a metric, from what its ARN ends with.
    `tagged_as` is the Resource Groups Tagging API's word for it where the listing has no tags: `dynamodb:table`.
    """

    price_queries: Mapping[str, Callable[..., PriceQuery]] = field(default_factory=lambda: MappingProxyType({}))
    published_as: Callable[[Resource, Metric], Metric] = lambda _resource, metric: metric
    dimensions_of: Callable[[Resource, Metric, str], list[dict[str, str]]] = lambda _resource, metric, name: [
        {"Name": metric.dimension, "Value": name}
    ]
    tagged_as: str = ""


def metric_rows(
    kind: str,
    namespace: str,
    dimension: str,
    source: str,
    *rows: tuple[str, ...],
    scale: float = 1.0,
    offset: float = 0.0,
    narrowed_to: str = "",
) -> tuple[Metric, ...]:
    """Lay out rows of (our name, type, unit, API metric, API statistics, condition) as metrics of the catalogue.

    A sum whose unit is per second is divided by its period. The period is 300 s: every metric here has it at no cost
    to the customer, and a finer one multiplies the rows. `narrowed_to` is a further dimension, `Operation=GetItem`.
    """
    return tuple(
        Metric(
            provider="aws",
            kind=kind,
            name=name,
            metric_type=metric_type,
            unit=unit,
            namespace=namespace,
            api_metric=api_metric,
            statistics=tuple(statistics.split()),
            period=300,
            dimension=dimension,
            scale=scale,
            offset=offset,
            per_second=statistics == "Sum" and unit.endswith("/s"),
            filter=narrowed_to,
            condition="".join(condition),
            source=source,
        )
        for name, metric_type, unit, api_metric, statistics, *condition in rows
    )


def daily_rows(
    kind: str, namespace: str, dimension: str, source: str, *rows: tuple[str, str, str, str], narrowed_to: str = ""
) -> tuple[Metric, ...]:
    """Lay out rows of (our name, type, unit, API metric) that AWS tells once a day: the average of the whole day."""
    averages = ((*row, "Average") for row in rows)
    metrics = metric_rows(kind, namespace, dimension, source, *averages, narrowed_to=narrowed_to)
    return tuple(replace(metric, period=DAY_SECONDS) for metric in metrics)


# --- Reading ----------------------------------------------------------------------------------------------------------

_ARN = re.compile(r"arn:[^:\s]+:[^:\s]+:[^:\s]*:[^:\s]*:\S+")
_ACCOUNT = re.compile(r"\d{12}")

# The words of all services: in lower case, cut at a comma, with dashes.
_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "running active active-impaired activenoninvocable updating degraded replication-not-authorized",
    Status.STOPPED: "stopped paused archived deactivated",
    Status.STARTING: "pending creating starting rebooting rebooting-cluster-nodes provisioning resuming",
    Status.STOPPING: (
        "shutting-down stopping pausing archiving deactivating deleting draining delete-precheck final-snapshot"
    ),
    Status.TERMINATED: "terminated deleted",
    Status.AVAILABLE: (
        "available inactive backing-up backtracking completed recoverable recovering upgradingengineversion "
        "updatingservicesoftware cancelling-resize configuring-associated-roles "
        "configuring-enhanced-monitoring configuring-iam-database-auth configuring-log-exports converting-to-vpc "
        "failing-over maintenance migrating modifying moving-to-vpc preparing-data-migration promoting renaming "
        "resetting-master-credentials resizing rotating-keys scaling-capacity scaling-compute scaling-storage "
        "snapshotting storage-config-upgrade storage-initialization storage-optimization update-iam-db-auth "
        "updating-hsm upgrading"
    ),
    Status.IN_USE: "in-use",
    Status.ERROR: (
        "cloning-failed create-failed delete-failed error failed failed-insufficient-capacity hardware-failure "
        "inaccessible-encryption-credentials inaccessible-encryption-credentials-recoverable incompatible-create "
        "incompatible-hsm incompatible-network incompatible-option-group incompatible-parameters incompatible-restore "
        "insufficient-capacity insufficient-resource-limits isolated "
        "misconfigured misconfigured-unavailable migration-failed restore-error restore-failed storage-full "
        "unavailable"
    ),
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}


def status_of(word: str) -> Status:
    """The status that a service's own word means; unknown for a word that is not listed here."""
    plain = word.lower().partition(",")[0].replace(" ", "-").replace("_", "-")
    return _STATUSES.get(plain, Status.UNKNOWN)


def count_of(value: object) -> int | None:
    """The length of a list; None for anything else."""
    return len(value) if isinstance(value, list) else None


def fact(resource: Resource, name: str) -> str:
    """A fact of a resource's metadata as text; "" where it is not known."""
    return str(resource.metadata.get(name) or "")


def fact_number(resource: Resource, name: str) -> float:
    """A fact of a resource's metadata as a number; 0 where it is not known."""
    value = resource.metadata.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def dimensions(**named: str) -> list[dict[str, str]]:
    """Dimensions as CloudWatch's requests have them."""
    return [{"Name": name, "Value": value} for name, value in named.items()]


def made_at(moment: datetime | None) -> str:
    """What tells a resource from another that has its name later: the time at which it was made; "" if not known."""
    return "" if moment is None else moment.isoformat()


def part(key: str, quantity: float = 1) -> Component:
    """A part of a resource that has a price by the hour."""
    return Component(key, Decimal(str(quantity)))


def always(key: str) -> Callable[[Resource], Iterator[Component]]:
    """The price parts of a kind whose resources cost one unit of `key`, whatever they are like."""
    return lambda _resource: iter([part(key)])


# --- Calls ------------------------------------------------------------------------------------------------------------


def pages_of(client: Any, operation: str, page_size: int = 0, **parameters: object) -> Iterator[Item]:
    """The pages of the SDK's paginator; page tokens that go round end the listing.

    The paginator itself ends at a token that comes twice in a row only (https://github.com/boto/botocore/issues/3778).

    Raises:
        CloudError: a page token comes again (`Cause.INCOMPLETE`).
    """
    paginator = client.get_paginator(operation)
    token_key = paginator._pagination_cfg["output_token"]  # which the SDK tells nowhere else
    meta = client.meta
    called = f"{meta.service_model.service_name}.{meta.method_to_api_mapping[operation]}"
    guard = PageGuard(f"{called} in {meta.region_name}")
    sized = {"PaginationConfig": {"PageSize": page_size}} if page_size else {}
    for page in paginator.paginate(**parameters, **sized):
        yield page
        if token := as_text(page.get(token_key)):
            guard.check(token)


def paged(operation: str, page_size: int, key: str, **parameters: object) -> Callable[[Any], Iterator[Item]]:
    """List by the SDK's paginator, with the largest page that the API reference allows; `key` holds the items."""

    def items(client: Any) -> Iterator[Item]:
        for page in pages_of(client, operation, page_size, **parameters):
            yield from page.get(key) or ()

    return items


def batches(items: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """The items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def listed_names(client: Any, operation: str, key: str, **parameters: str) -> Iterator[str]:
    """The names that a listing of nothing but names gives, 100 to a page."""
    for page in pages_of(client, operation, 100, **parameters):
        yield from as_texts(page.get(key))


MOST_REFUSALS = 20  # a role that lacks the action altogether is refused so many calls, of a window, region and service


def described(
    names: Iterable[str], describe: Callable[[str], Iterator[Item]], failures: list[Exception]
) -> Iterator[Item]:
    """Describe one by one what the API lists by name only; a call's ClientError goes to `failures`.

    What was deleted in between is no loss. A failure costs the one name: a policy may allow the action for some of them
    only. Where `MOST_REFUSALS` in a row are refused, the rest is not asked for.
    """
    from botocore.exceptions import ClientError

    refusals = 0
    for name in names:
        try:
            yield from describe(name)
            refusals = 0
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if "NotFound" not in code:
                failures.append(error)
            refusals = refusals + 1 if "AccessDenied" in code else 0
            if refusals == MOST_REFUSALS:
                return
