"""Resources that a customer runs, as its cloud listed them, in one vocabulary for all clouds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optiinfra_dagster.model.problems import Problem


class ResourceType(StrEnum):
    """The type of a resource, in one vocabulary for all clouds."""

    COMPUTE = "compute"
    VOLUME = "volume"
    DATABASE = "database"
    LOAD_BALANCER = "load_balancer"
    NETWORK = "network"
    KUBERNETES = "kubernetes"
    OBJECT_STORAGE = "object_storage"
    SERVERLESS = "serverless"
    ADDRESS = "address"
    SNAPSHOT = "snapshot"


class Status(StrEnum):
    """The state of a resource, in one vocabulary for all clouds; the cloud's own word is kept beside it."""

    RUNNING = "running"
    STOPPED = "stopped"
    STARTING = "starting"
    STOPPING = "stopping"
    TERMINATED = "terminated"
    AVAILABLE = "available"
    IN_USE = "in_use"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource: a machine, disk, database or network that a customer runs, as its cloud listed it.

    `resource_id` is the cloud's full, stable id (ARN, self link, ARM id, UUID), the same that metrics and costs use.
    `instance_uid` is the cloud's own id of this one thing, where another may be made later under the same `resource_id`
    (Google's numeric id, Azure's vmId, else the time of creation); empty where `resource_id` is never given twice.
    `kind` is the catalogue's key, e.g. `ec2:instance`. `capacity` is None where the listing does not tell it.
    `metadata` holds allow-listed, flat facts only: never a field that may carry a secret.
    """

    account_id: str
    region: str
    kind: str
    resource_id: str
    resource_name: str
    resource_type: ResourceType
    status: Status
    cloud_status: str
    created_at: datetime | None = None
    capacity: float | None = None
    unit: str = ""
    utilization: float | None = None
    instance_uid: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(slots=True)
class Inventory:
    """The resources of one customer on one provider, now. Complete only if `problems` is empty.

    `regions` are those that were listed, by account, where an account is listed region by region.
    """

    resources: list[Resource] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    regions: dict[str, list[str]] = field(default_factory=dict)
