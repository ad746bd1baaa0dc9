"""What each Vultr account of a world runs, with stable identifiers, and what the API shows of it.

Answers hold what the real ones hold, credentials included: whatever shall not leave a collector begins with `PLANTED`.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.world import World, digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.vultr.world import VultrAccount, VultrFleet

PLANTED = "planted-secret-"


@dataclass(frozen=True, slots=True, eq=False)
class LabResource:
    """One resource of the world. `index` counts within account and kind; a read replica has a `parent`."""

    account: str
    kind: str
    index: int
    name: str
    fleet: VultrFleet
    seed: int  # a number of its own, from which whatever else it shows is derived
    epoch: datetime
    parent: LabResource | None = None

    @property
    def id(self) -> str:
        """Its UUID."""
        return self.uuid("id")

    @property
    def region(self) -> str:
        """Where it is, such as `ewr`."""
        return self.fleet.region

    @property
    def created(self) -> datetime:
        """When it was created: as the fleet says, or a fixed time in the 400 days before the world's epoch."""
        return self.fleet.created or self.epoch - timedelta(seconds=self.seed % (400 * 86400))

    def uuid(self, what: str) -> str:
        """A UUID for something that belongs to this resource."""
        return str(uuid.UUID(int=digest(self.seed, what) << 64 | digest(what, self.seed), version=4))

    def secret(self, what: str) -> str:
        """A credential that no collector may keep."""
        return f"{PLANTED}{what}-{self.seed:016x}"

    def address(self, what: str) -> str:
        """An IPv4 address that nothing else of its account has: public ones are of a network for benchmarks."""
        return str(ipaddress.IPv4Address("10.0.0.0" if what == "internal" else "198.18.0.0") + self._number)

    @property
    def address6(self) -> str:
        """An IPv6 address, of a network that is set aside for documents."""
        return str(ipaddress.IPv6Address("2001:db8:5:4973::") + self._number)

    @property
    def _number(self) -> int:
        return 30_000 * list(_SHOWN).index(self.kind) % 120_000 + self.index + 1


class Estate:
    """The resources of one account, kind by kind."""

    def __init__(self, world: World, account: VultrAccount) -> None:
        self._world, self._account = world, account

    @cached_property
    def kinds(self) -> dict[str, list[LabResource]]:
        """The resources of each kind in listing order, worked out when first asked for; replicas are not among them."""
        found: dict[str, list[LabResource]] = {}
        for fleet in self._account.fleets:
            siblings = found.setdefault(fleet.kind, [])
            siblings += [self._make(fleet, n, len(siblings) + n - 1) for n in range(1, fleet.count + 1)]
        return found

    @cached_property
    def by_id(self) -> dict[str, LabResource]:
        """Every resource, read replicas included."""
        return {one.id: one for one in self.resources()}

    def _make(self, fleet: VultrFleet, n: int, index: int) -> LabResource:
        account = self._account.name
        name = fleet.name.format(kind=fleet.kind.partition(":")[2], n=n, index=index + 1)
        seed = digest(self._world.seed, "vultr", account, fleet.kind, index)
        return LabResource(account, fleet.kind, index, name, fleet, seed, self._world.epoch)

    def resources(self, kind: str | None = None) -> Iterator[LabResource]:
        """What a collector must find, read replicas included."""
        for listed in self.kinds.values():
            for one in listed:
                if kind in {None, one.kind}:
                    yield one
                    yield from replicas(one)

    def show(self, kind: str, start: int, stop: int) -> list[dict[str, Any]]:
        """A part of a listing, as the API answers it."""
        return [
            {key: value for key, value in _SHOWN[kind](one).items() if key not in one.fleet.omit}
            for one in self.kinds.get(kind, [])[start:stop]
        ]


def replicas(one: LabResource) -> list[LabResource]:
    """The read replicas of a database; nothing else has any."""
    wanted = one.fleet.replicas if one.kind == "vultr:database" else 0
    return [
        LabResource(one.account, one.kind, n, f"{one.name}-replica-{n}", one.fleet, digest(one.seed, n), one.epoch, one)
        for n in range(1, wanted + 1)
    ]


# --- What the API shows ---------------------------------------------------------------------------------------------


def _common(one: LabResource) -> dict[str, Any]:
    return {
        "id": one.id,
        "date_created": one.created.isoformat(timespec="seconds"),
        "region": one.region,
        "label": one.name,
    }


def _server(one: LabResource) -> dict[str, Any]:
    return {
        **_common(one),
        "os": "Ubuntu 24.04 LTS x64",
        "main_ip": one.address("main"),
        "plan": one.fleet.plan,
        "netmask_v4": "255.255.254.0",
        "gateway_v4": "198.51.100.1",
        "default_password": one.secret("default_password"),
        "v6_network": "2001:db8:5:4973::",
        "v6_main_ip": one.address6,
        "v6_network_size": 64,
        "os_id": 2284,
        "app_id": 0,
        "image_id": "",
        "features": ["ipv6"],
        "tags": one.fleet.tags,
        "user_scheme": "root",
    }


def _instance(one: LabResource) -> dict[str, Any]:
    return {
        **_server(one),
        "ram": 2048 * one.fleet.vcpus,
        "disk": 40 * one.fleet.vcpus,
        "vcpu_count": one.fleet.vcpus,
        "status": "active",
        "allowed_bandwidth": 3000,
        "power_status": one.fleet.state or "running",
        "server_status": one.fleet.server,
        "internal_ip": one.address("internal"),
        "kvm": f"https://my.vultr.com/subs/vps/novnc/api.php?data={one.secret('kvm')}",
        "hostname": one.name,
        "tag": one.fleet.tags[0] if one.fleet.tags else "",
        "firewall_group_id": "",
    }


def _bare_metal(one: LabResource) -> dict[str, Any]:
    return {
        **_server(one),
        "ram": f"{8192 * one.fleet.vcpus} MB",
        "disk": "2x 240GB SSD",
        "cpu_count": one.fleet.vcpus,
        "status": one.fleet.state or "active",
        "mac_address": digest(one.seed, "mac") % 2**48,
    }


def _block(one: LabResource) -> dict[str, Any]:
    return {
        **_common(one),
        "cost": one.fleet.size / 10,
        "pending_charges": 1.25,
        "status": one.fleet.state or "active",
        "size_gb": one.fleet.size,
        "attached_to_instance": one.uuid("instance") if one.fleet.attached else "",
        "mount_id": f"{one.region}-{digest(one.seed, 'mount'):x}",
        "block_type": "high_perf",
        "bootable": False,
    }


def _file_system(one: LabResource) -> dict[str, Any]:
    return {
        **_common(one),
        "status": one.fleet.state or "active",
        "tags": one.fleet.tags,
        "disk_type": "nvme",
        "storage_size": {"bytes": one.fleet.size * 2**30, "gb": one.fleet.size},
        "storage_used": {"bytes": one.fleet.used * 2**30, "gb": one.fleet.used},
        "billing": {"charges": 0.42, "monthly": one.fleet.size / 10},
    }


def _object_storage(one: LabResource) -> dict[str, Any]:
    return {
        **_common(one),
        "cluster_id": 2,
        "status": one.fleet.state or "active",
        "s3_hostname": f"{one.region}1.vultrobjects.com",
        "s3_access_key": one.secret("s3_access_key"),
        "s3_secret_key": one.secret("s3_secret_key"),
    }


def _database(one: LabResource) -> dict[str, Any]:
    host = f"vultr-prod-{one.uuid('host')}.vultrdb.com"
    shown = {
        **_common(one),
        "date_created": f"{one.created:%Y-%m-%d %H:%M:%S}",  # as this listing alone writes it
        "region": one.region.upper(),
        "plan": one.fleet.plan,
        "plan_disk": one.fleet.size,
        "plan_ram": 2048 * one.fleet.vcpus,
        "plan_vcpus": one.fleet.vcpus,
        "plan_replicas": 0,
        "database_engine": one.fleet.engine,
        "database_engine_version": "8",
        "vpc_id": "",
        "status": one.fleet.state or "Running",
        "tag": one.fleet.tags[0] if one.fleet.tags else "",
        "dbname": one.secret("dbname"),
        "host": host,
        "public_host": f"public-{host}",
        "user": one.secret("user"),
        "password": one.secret("password"),
        "access_key": one.secret("access_key"),
        "access_cert": one.secret("access_cert"),
        "port": "16751",
        "ferretdb_credentials": {"host": host, "user": one.secret("user"), "password": one.secret("ferretdb")},
        "pending_charges": 3.5,
        "latest_backup": "2024-05-31 01:02:03",
        "trusted_ips": [],
        "cluster_time_zone": "America/New_York",
    }
    if one.parent is None:
        shown["read_replicas"] = [_database(replica) for replica in replicas(one)]
    return shown


def _load_balancer(one: LabResource) -> dict[str, Any]:
    rule = {"frontend_protocol": "https", "frontend_port": 443, "backend_protocol": "http", "backend_port": 80}
    return {
        **_common(one),
        "status": one.fleet.state or "active",
        "ipv4": one.address("main"),
        "ipv6": one.address6,
        "generic_info": {
            "balancing_algorithm": "roundrobin",
            "ssl_redirect": True,
            "sticky_sessions": {"cookie_name": one.secret("cookie_name")},
            "proxy_protocol": False,
            "vpc": one.uuid("vpc"),
        },
        "health_check": {"protocol": "http", "port": 80, "path": f"/health?token={one.secret('path')}"},
        "has_ssl": True,
        "ssl": {"private_key": one.secret("private_key"), "certificate": one.secret("certificate")},
        "http2": True,
        "nodes": one.fleet.size,
        "forwarding_rules": [{"id": f"{digest(one.seed, 'rule'):016x}", **rule}],
        "firewall_rules": [],
        "instances": [one.uuid("instance")],
    }


def _vpc(one: LabResource) -> dict[str, Any]:
    shown = _common(one)
    return {
        "id": shown["id"],
        "region": shown["region"],
        "date_created": shown["date_created"],
        "description": one.name,
        "v4_subnet": f"10.{one.index % 250 + 1}.96.0",
        "v4_subnet_mask": 20,
    }


def _kubernetes(one: LabResource) -> dict[str, Any]:
    state = one.fleet.state or "active"
    pools = []
    for n in range(one.fleet.pools):
        nodes = [
            {"id": one.uuid(f"node-{n}-{m}"), "label": f"{one.name}-{n}-{m}", "status": state}
            for m in range(one.fleet.size)
        ]
        pools.append(
            {
                "id": one.uuid(f"pool-{n}"),
                "date_created": one.created.isoformat(timespec="seconds"),
                "label": f"{one.name}-{n}",
                "plan": one.fleet.plan,
                "status": state,
                "node_quantity": one.fleet.size,
                "min_nodes": 1,
                "max_nodes": one.fleet.size * 2,
                "auto_scaler": True,
                "tag": "",
                "user_data": one.secret("user_data"),
                "nodes": nodes,
            }
        )
    return {
        **_common(one),
        "cluster_subnet": "10.244.0.0/16",
        "service_subnet": "10.96.0.0/12",
        "ip": one.address("main"),
        "endpoint": f"{one.id}.vultr-k8s.com",
        "version": "v1.33.0+1",
        "status": state,
        "ha_controlplanes": False,
        "kube_config": one.secret("kube_config"),
        "node_pools": pools,
    }


_SHOWN: dict[str, Callable[[LabResource], dict[str, Any]]] = {
    "vultr:instance": _instance,
    "vultr:bare_metal": _bare_metal,
    "vultr:block": _block,
    "vultr:vfs": _file_system,
    "vultr:object_storage": _object_storage,
    "vultr:database": _database,
    "vultr:load_balancer": _load_balancer,
    "vultr:vpc": _vpc,
    "vultr:kubernetes": _kubernetes,
}
