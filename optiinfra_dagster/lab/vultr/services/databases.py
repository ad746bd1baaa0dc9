"""Managed databases, and their read replicas."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.kind import LabCall, LabKind, LabPlans, LabResource, common, plan_price


def _replicas(resource: LabResource) -> list[LabResource]:
    """The read replicas of a database, which have none themselves."""
    return [
        LabResource(
            account=resource.account,
            kind=resource.kind,
            index=n,
            name=f"{resource.name}-replica-{n}",
            fleet=resource.fleet,
            seed=digest(resource.seed, n),
            epoch=resource.epoch,
            place=resource.place,
            parent=resource,
        )
        for n in range(1, resource.fleet.replicas + 1)
    ]


def _show(resource: LabResource) -> dict[str, Any]:
    host = f"vultr-prod-{resource.uuid('host')}.vultrdb.com"
    shown = {
        **common(resource),
        "date_created": f"{resource.created:%Y-%m-%d %H:%M:%S}",  # as this listing alone writes it
        "region": resource.region.upper(),
        "plan": resource.fleet.plan,
        "plan_disk": resource.fleet.size,
        "plan_ram": 2048 * resource.fleet.vcpus,
        "plan_vcpus": resource.fleet.vcpus,
        "plan_replicas": 0,
        "database_engine": resource.fleet.engine,
        "database_engine_version": "8",
        "vpc_id": "",
        "status": resource.fleet.state or "Running",
        "tag": resource.fleet.tags[0] if resource.fleet.tags else "",
        "dbname": resource.secret("dbname"),
        "host": host,
        "public_host": f"public-{host}",
        "user": resource.secret("user"),
        "password": resource.secret("password"),
        "access_key": resource.secret("access_key"),
        "access_cert": resource.secret("access_cert"),
        "port": "16751",
        "ferretdb_credentials": {
            "host": host,
            "user": resource.secret("user"),
            "password": resource.secret("ferretdb"),
        },
        "pending_charges": 3.5,
        "latest_backup": "2024-05-31 01:02:03",
        "trusted_ips": [],
        "cluster_time_zone": "America/New_York",
    }
    if resource.parent is None:
        shown["read_replicas"] = [_show(replica) for replica in _replicas(resource)]
    return shown


_PRICE = plan_price("7.5", per_core=1)

KINDS = (
    LabKind(
        name="vultr:database",
        operation="list-databases",
        path="databases",
        key="databases",
        single="database",
        paged=False,
        show=_show,
        children=_replicas,
        call=LabCall(
            "get-database-usage", "usage", "usage", lambda figures, resource, _days, now: figures.usage(resource, now)
        ),
        plans=LabPlans("databases/plans", "list-database-plans", "plans", _PRICE, paged=False),
        product="Managed Database",
        monthly=lambda resource: _PRICE(resource.fleet.plan),
    ),
)
