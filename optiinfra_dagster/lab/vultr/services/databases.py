"""Managed databases, and their read replicas."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.kind import LabCall, LabKind, LabPlans, LabResource, common, plan_price


def _replicas(one: LabResource) -> list[LabResource]:
    """The read replicas of a database, which have none themselves."""
    return [
        LabResource(
            account=one.account,
            kind=one.kind,
            index=n,
            name=f"{one.name}-replica-{n}",
            fleet=one.fleet,
            seed=digest(one.seed, n),
            epoch=one.epoch,
            place=one.place,
            parent=one,
        )
        for n in range(1, one.fleet.replicas + 1)
    ]


def _show(one: LabResource) -> dict[str, Any]:
    host = f"vultr-prod-{one.uuid('host')}.vultrdb.com"
    shown = {
        **common(one),
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
        shown["read_replicas"] = [_show(replica) for replica in _replicas(one)]
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
        call=LabCall("get-database-usage", "usage", "usage", lambda figures, one, _days, now: figures.usage(one, now)),
        plans=LabPlans("databases/plans", "list-database-plans", "plans", _PRICE, paged=False),
        product="Managed Database",
        monthly=lambda one: _PRICE(one.fleet.plan),
    ),
)
