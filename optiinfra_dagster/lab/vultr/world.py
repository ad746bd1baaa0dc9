"""The part of a world file that is Vultr's: accounts, their API keys, and what they run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FilePath, field_validator, model_validator

from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.vultr.services import KINDS

# What get-account calls permissions.
ACLS = (
    "abuse",
    "alerts",
    "billing",
    "dns",
    "firewall",
    "loadbalancer",
    "manage_users",
    "objstore",
    "provisioning",
    "subscriptions",
    "subscriptions_view",
    "support",
    "upgrade",
)


class _Strict(BaseModel):
    """A part of the world file: a misspelt key is an error, never silently another world."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VultrFleet(_Strict):
    """`count` like resources of one kind in one region. What a kind does not have, it ignores."""

    kind: str
    region: str = "ewr"
    count: int = Field(default=1, ge=0)
    name: str = "{kind}-{index:03d}"  # {n} counts from 1 within the fleet, {index} within the kind in the account
    plan: str = "vc2-2c-4gb"
    vcpus: int = 2
    engine: str = "mysql"
    state: str | None = None  # the cloud's own word: power_status of an instance, else status
    created: datetime | None = None  # default: a fixed time per resource in the 400 days before the world's epoch
    tags: list[str] = Field(default_factory=list)
    size: int = 80  # GB of a volume or database, nodes of a load balancer or of each node pool
    used: int = 20  # GB of a file system
    attached: bool = True  # a block is, to an instance
    replicas: int = 0  # read replicas of each database
    pools: int = 1  # node pools of each Kubernetes cluster
    pending_nodes: int = 0  # of the first pool: an active cluster has them while it grows
    server: str = "ok"  # server_status of an instance
    # The agent that writes to the account's Prometheus, and the name of the machine in its labels; v-agent's hold the
    # label and the id.
    agent: Literal["node_exporter", "opentelemetry", "v-agent", "blackbox_exporter"] | None = None
    named_by: Literal["main_ip", "internal_ip", "v6_main_ip", "label", "id"] = "main_ip"
    omit: list[str] = Field(default_factory=list)  # keys that the answer lacks, as real answers sometimes do

    @field_validator("kind")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"there is no kind {value}: it is one of {', '.join(KINDS)}")
        return value

    @field_validator("created")
    @classmethod
    def _zoned(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class VultrAccount(_Strict):
    """A Vultr account: the keys that lead into it, what they may do, and what it runs. Faults name it by `name`."""

    name: str
    keys: list[str] = Field(default_factory=list)
    allows_address: bool = True  # the lab's callers are in the keys' access control list
    acls: list[str] = Field(default_factory=lambda: list(ACLS))
    prometheus_token: str | None = None  # demanded by its Prometheus
    fleets: list[VultrFleet] = Field(default_factory=list)


class VultrReplay(_Strict):
    """A recorded series served as one figure: a CSV of `timestamp,value`, times naive UTC.

    `metric` is `cpu.percentage` or its like of a database, or the name of a figure of an agent, such as
    `cpu_utilization`. The whole series moves by `shift_seconds`, or so that its last point lies at `ends_at`.
    """

    metric: str
    resource: str  # the id or name of a resource of the world
    file: FilePath
    shift_seconds: int = 0
    ends_at: datetime | None = None

    @field_validator("ends_at")
    @classmethod
    def _zoned(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class VultrWorld(_Strict):
    """Every Vultr account of the world, how many requests one source address may send, and how late charges are."""

    accounts: list[VultrAccount] = Field(default_factory=list)
    replay: list[VultrReplay] = Field(default_factory=list)
    limit: int = Field(default=30, ge=1)  # requests ...
    second: float = Field(default=1.0, gt=0)  # ... in this many seconds; less in tests that shall not take long
    bills_arrive: BillsArrive = BillsArrive()

    @model_validator(mode="after")
    def _accounts_differ(self) -> VultrWorld:
        keys = [key for account in self.accounts for key in account.keys]
        if len(set(keys)) != len(keys):
            raise ValueError("a Vultr API key stands in two accounts")
        if len({account.name for account in self.accounts}) != len(self.accounts):
            raise ValueError("two Vultr accounts have the same name")
        return self
