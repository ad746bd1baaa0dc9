"""What there is on Vultr: the listing of each kind, and how an item of its answer becomes a `Resource`.

One more kind is a line in `LISTINGS` and a function. Facts are taken by name, because the answers also carry
passwords, S3 keys, user names and console links that need no login; what changes by itself all the time, such as
charges, is left out, so that a change of a resource is something that somebody did. Shapes: Vultr's OpenAPI document,
and govultr where that is behind (VFS, tags).

Vultr's GB are 2^30 bytes: a snapshot of a 10 GB block is 10737418240 bytes in govultr's recorded answers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_dict,
    as_dicts,
    as_labels,
    as_number,
    as_text,
    as_texts,
    dig,
    facts,
    name_of,
    network,
    percent,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.client import Account

PAGE_SIZE = 500  # the most that any listing gives at once


@dataclass(frozen=True, slots=True)
class Listing:
    """How one kind is listed, in all regions at once.

    `operation` and `permission` are Vultr's own names; `key` is where its answer holds the items; `to_resource` reads
    one of them; `held` gives what else an item holds.
    """

    kind: str
    operation: str
    path: str
    key: str
    permission: str
    to_resource: Callable[[Item, str], Resource]
    held: Callable[[Item], Iterator[Item]] = lambda _item: iter(())

    def items(self, account: Account, meter: Meter) -> Iterator[Item]:
        """List page by page, with what the items hold.

        Raises:
            CloudError: a page was not to be had, or the pages do not end as they should.
        """
        for item in pages(account, meter, self.operation, self.path, self.key, self.permission):
            yield item
            if isinstance(item, Mapping):
                yield from self.held(item)


def pages(
    account: Account, meter: Meter, operation: str, path: str, key: str, permission: str = "", *, money: bool = False
) -> Iterator[Any]:
    """The items of a listing, page by page: what its answers hold under `key`.

    Raises:
        CloudError: a page was not to be had, or the pages do not end as they should.
    """
    seen, listed, cursor = set[str](), 0, ""
    while True:
        asked: dict[str, str | int] = {"per_page": PAGE_SIZE}
        if cursor:
            asked["cursor"] = cursor
            seen.add(cursor)
        answer = (account.get_money if money else account.get)(operation, path, meter, permission, **asked)
        items = items_of(answer, operation, key)
        yield from items
        listed += len(items)
        total, cursor = _paging(answer)
        if not cursor:
            return
        if cursor in seen or not items:
            if total is not None and listed >= total:
                return
            what = "the same page again" if items else "an empty page"
            raise CloudError(Cause.INCOMPLETE, f"{operation}: page {len(seen) + 1} is {what}, not the last")


def items_of(answer: Item, operation: str, key: str) -> list[Any]:
    """The list that an answer holds under `key`.

    Raises:
        CloudError: it holds none.
    """
    items = _list(answer, key)
    if answer.get(key, "") not in (items, None):  # null is an empty list, no such key is another answer
        raise CloudError(Cause.BUG, f"{operation}: the answer holds no list `{key}`")
    return items


def _paging(answer: Item) -> tuple[float | None, str]:
    """The number of items in all pages, where it is told, and the cursor of the next page."""
    return as_number(dig(answer, "meta", "total")), as_text(dig(answer, "meta", "links", "next"))


# --- Values ---------------------------------------------------------------------------------------------------------


def _list(item: Item, key: str) -> list[Any]:
    found = item.get(key)
    return found if isinstance(found, list) else []


def _number(value: object) -> float | None:
    """Read `4`, `"4"` and `"32768 MB"`."""
    leading = re.match(r"\s*(\d+(?:\.\d+)?)", value) if isinstance(value, str) else None
    return as_number(leading[1] if leading else value)


def _whole(value: object) -> int | None:
    found = _number(value)
    return None if found is None else int(found)


def _tags(item: Item) -> dict[str, str]:
    """Vultr's tags are words without a value: `tags`, and where there was one only, `tag`."""
    return as_labels([*_list(item, "tags"), item.get("tag")])


def _address(value: object) -> str:
    """An address in its usual form; empty for none, which Vultr writes as `0.0.0.0` or ``."""
    try:
        address = ipaddress.ip_address(as_text(value))
    except ValueError:
        return ""
    return "" if address.is_unspecified else str(address)


# The words of all kinds, in lower case, with dashes. What `active` means differs.
_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "running rebalancing updating upgrading",
    Status.STOPPED: "stopped suspended halted off powered-off poweroff",
    Status.STARTING: (
        "pending installing installingbooting booting creating starting rebooting provisioning initializing "
        "configuring rebuilding resizing restoring reinstalling"
    ),
    Status.STOPPING: "stopping halting deleting destroying pending-delete",
    Status.TERMINATED: "deleted destroyed terminated",
    Status.AVAILABLE: "available",
    Status.IN_USE: "in-use attached",
    Status.ERROR: "error failed locked",
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}


def _status(word: str, active: Status) -> Status:
    plain = word.lower().replace(" ", "-").replace("_", "-")
    return active if plain == "active" else _STATUSES.get(plain, Status.UNKNOWN)


def _resource(  # noqa: PLR0913 - a row has these columns
    item: Item,
    account_id: str,
    *,
    kind: str,
    of_type: ResourceType,
    state: str,
    status: Status,
    name: str = "",
    capacity: float | None = None,
    unit: str = "",
    utilization: float | None = None,
    **told: object,
) -> Resource:
    """What the kinds have in common. Databases write their regions large (`EWR`), all others small."""
    return Resource(
        account_id=account_id,
        region=as_text(item.get("region")).lower(),
        kind=kind,
        resource_id=name_of(item, "id"),
        resource_name=name or as_text(item.get("label")) or name_of(item, "id"),
        resource_type=of_type,
        status=status,
        cloud_status=state,
        created_at=as_datetime(item.get("date_created")),
        capacity=capacity,
        unit=unit,
        utilization=utilization,
        tags=_tags(item),
        metadata=facts(**told),
    )


# --- Items ----------------------------------------------------------------------------------------------------------


def _features(item: Item) -> str:
    return ",".join(sorted(as_texts(_list(item, "features"))))


def _instance(item: Item, account_id: str) -> Resource:
    # `status` tells of the subscription, `server_status` of the installation, `power_status` of the machine: the
    # first that is not as it should be is the instance's word.
    state = as_text(item.get("status"))
    if state.lower() in {"active", ""}:
        server = as_text(item.get("server_status"))
        power = as_text(item.get("power_status"))
        not_well = server == "installingbooting" or (server == "locked" and power == "running")
        state = server if not_well else power or state
    return _resource(
        item,
        account_id,
        kind="vultr:instance",
        of_type=ResourceType.COMPUTE,
        state=state,
        status=_status(state, active=Status.RUNNING),
        capacity=_number(item.get("vcpu_count")),
        unit="vCPU",
        main_ip=_address(item.get("main_ip")),
        internal_ip=_address(item.get("internal_ip")),
        v6_main_ip=_address(item.get("v6_main_ip")),
        hostname=as_text(item.get("hostname")),
        plan=as_text(item.get("plan")),
        ram_mib=_whole(item.get("ram")),
        disk_gib=_whole(item.get("disk")),
        os=as_text(item.get("os")),
        allowed_bandwidth_gb=_whole(item.get("allowed_bandwidth")),
        features=_features(item),
        firewall_group_id=as_text(item.get("firewall_group_id")),
    )


def _bare_metal(item: Item, account_id: str) -> Resource:
    state = as_text(item.get("status"))
    return _resource(
        item,
        account_id,
        kind="vultr:bare_metal",
        of_type=ResourceType.COMPUTE,
        state=state,
        status=_status(state, active=Status.RUNNING),
        capacity=_number(item.get("cpu_count")),
        unit="vCPU",
        main_ip=_address(item.get("main_ip")),
        v6_main_ip=_address(item.get("v6_main_ip")),
        plan=as_text(item.get("plan")),
        ram_mib=_whole(item.get("ram")),
        disks=as_text(item.get("disk")),  # `2x 240GB SSD`
        os=as_text(item.get("os")),
        features=_features(item),
    )


def _block(item: Item, account_id: str) -> Resource:
    state, attached_to = as_text(item.get("status")), as_text(item.get("attached_to_instance"))
    return _resource(
        item,
        account_id,
        kind="vultr:block",
        of_type=ResourceType.VOLUME,
        state=state,
        status=_status(state, active=Status.IN_USE if attached_to else Status.AVAILABLE),
        capacity=_number(item.get("size_gb")),
        unit="GiB",
        volume_type=as_text(item.get("block_type")),
        attached_to=attached_to,
        bootable=as_bool(item.get("bootable")),
        monthly_cost_usd=_number(item.get("cost")),
    )


def _size(item: Item, key: str) -> float | None:
    """A size in GiB: from the bytes where they are told, since `gb` is rounded."""
    size = as_dict(item, key)
    exact = _number(size.get("bytes"))
    return exact / 2**30 if exact else _number(size.get("gb"))


def _file_system(item: Item, account_id: str) -> Resource:
    state, size, used = as_text(item.get("status")), _size(item, "storage_size"), _size(item, "storage_used")
    return _resource(
        item,
        account_id,
        kind="vultr:vfs",
        of_type=ResourceType.VOLUME,
        state=state,
        status=_status(state, active=Status.AVAILABLE),
        capacity=size,
        unit="GiB",
        utilization=percent(used, size),
        volume_type=as_text(item.get("disk_type")),
        monthly_cost_usd=_number(as_dict(item, "billing").get("monthly")),
    )


def _object_storage(item: Item, account_id: str) -> Resource:
    state = as_text(item.get("status"))
    return _resource(
        item,
        account_id,
        kind="vultr:object_storage",
        of_type=ResourceType.VOLUME,
        state=state,
        status=_status(state, active=Status.AVAILABLE),
        unit="GiB",  # it has no size of its own
        cluster=as_text(item.get("cluster_id")),
    )


def _read_replicas(item: Item) -> Iterator[Item]:
    for replica in _list(item, "read_replicas"):
        yield {**replica, "replica_of": item.get("id")} if isinstance(replica, Mapping) else replica


def _database(item: Item, account_id: str) -> Resource:
    state = as_text(item.get("status"))
    return _resource(
        item,
        account_id,
        kind="vultr:database",
        of_type=ResourceType.DATABASE,
        state=state,
        status=_status(state, active=Status.RUNNING),
        capacity=_number(item.get("plan_disk")),  # engines that keep all in memory have none
        unit="GiB",
        engine=as_text(item.get("database_engine")),
        engine_version=as_text(item.get("database_engine_version")),
        plan=as_text(item.get("plan")),
        vcpus=_whole(item.get("plan_vcpus")),
        ram_mib=_whole(item.get("plan_ram")),
        replica_nodes=_whole(item.get("plan_replicas")),
        replica_of=as_text(item.get("replica_of")),
        vpc_id=as_text(item.get("vpc_id")),
    )


def _load_balancer(item: Item, account_id: str) -> Resource:
    state, settings, check = as_text(item.get("status")), as_dict(item, "generic_info"), as_dict(item, "health_check")
    rules = _list(item, "forwarding_rules") or _list(item, "forward_rules")
    return _resource(
        item,
        account_id,
        kind="vultr:load_balancer",
        of_type=ResourceType.LOAD_BALANCER,
        state=state,
        status=_status(state, active=Status.RUNNING),
        capacity=_number(item.get("nodes")),
        unit="nodes",
        main_ip=_address(item.get("ipv4")),
        v6_main_ip=_address(item.get("ipv6")),
        algorithm=as_text(settings.get("balancing_algorithm")),
        vpc_id=as_text(settings.get("vpc")) or as_text(settings.get("private_network")),
        ssl=as_bool(item.get("has_ssl")),
        health_check=":".join(filter(None, (as_text(check.get("protocol")), as_text(check.get("port"))))),
        forwarding_rules=len(rules),
        instances=len(_list(item, "instances")),
    )


def _vpc(item: Item, account_id: str) -> Resource:
    cidr = f"{as_text(item.get('v4_subnet'))}/{as_text(item.get('v4_subnet_mask'))}"
    return _resource(
        item,
        account_id,
        kind="vultr:vpc",
        of_type=ResourceType.NETWORK,
        state="",
        status=Status.AVAILABLE,  # the API tells no state: while it is listed, it can be used
        name=as_text(item.get("description")),  # the portal shows it as the name
        cidr=network(cidr),
    )


def _kubernetes(item: Item, account_id: str) -> Resource:
    """A cluster with its node pools, which are part of it: `vc2-2c-4gb:3,vc2-4c-8gb:1` are plans and their nodes."""
    state = as_text(item.get("status"))
    pools = as_dicts(item.get("node_pools"))
    nodes = [_nodes(pool) for pool in pools]
    sizes = sorted(f"{as_text(pool.get('plan'))}:{count:.0f}" for pool, count in zip(pools, nodes, strict=True))
    return _resource(
        item,
        account_id,
        kind="vultr:kubernetes",
        of_type=ResourceType.KUBERNETES,
        state=state,
        status=_status(state, active=Status.RUNNING),
        capacity=sum(nodes) if isinstance(item.get("node_pools"), list) else None,
        unit="nodes",
        version=as_text(item.get("version")),
        high_availability=as_bool(item.get("ha_controlplanes")),
        node_pools=len(pools),
        node_plans=",".join(sizes),
        auto_scaler=any(pool.get("auto_scaler") is True for pool in pools),
        firewall_group_id=as_text(item.get("firewall_group_id")),
    )


def _nodes(pool: Item) -> float:
    wanted = _number(pool.get("node_quantity"))
    return float(len(_list(pool, "nodes"))) if wanted is None else wanted


# --- The table ------------------------------------------------------------------------------------------------------

# Permissions are the words of `acls` in the answer of get-account. VPC 2.0 (/vpc2) is deprecated and not listed; a NAT
# gateway is told only by a call for each VPC.
LISTINGS: tuple[Listing, ...] = (
    Listing("vultr:instance", "list-instances", "instances", "instances", "subscriptions_view", _instance),
    Listing("vultr:bare_metal", "list-baremetals", "bare-metals", "bare_metals", "subscriptions_view", _bare_metal),
    Listing("vultr:block", "list-blocks", "blocks", "blocks", "subscriptions_view", _block),
    Listing("vultr:vfs", "list-vfs", "vfs", "vfs", "subscriptions_view", _file_system),
    Listing("vultr:object_storage", "list-object-storages", "object-storage", "object_storages", "objstore",
            _object_storage),
    Listing("vultr:database", "list-databases", "databases", "databases", "subscriptions_view", _database,
            _read_replicas),
    Listing("vultr:load_balancer", "list-load-balancers", "load-balancers", "load_balancers", "loadbalancer",
            _load_balancer),
    Listing("vultr:vpc", "list-vpcs", "vpcs", "vpcs", "subscriptions_view", _vpc),
    Listing("vultr:kubernetes", "list-kubernetes-clusters", "kubernetes/clusters", "vke_clusters",
            "subscriptions_view", _kubernetes),
)  # fmt: skip
