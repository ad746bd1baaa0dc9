"""What a world file says of Google Cloud: projects and their fleets."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FilePath, field_validator

GcpKind = Literal[
    "gcp:instance",
    "gcp:disk",
    "gcp:filestore_instance",
    "gcp:sql_instance",
    "gcp:redis_instance",
    "gcp:redis_cluster",
    "gcp:valkey_instance",
    "gcp:memcache_instance",
    "gcp:bigtable_cluster",
    "gcp:spanner_instance",
    "gcp:alloydb_cluster",
    "gcp:forwarding_rule",
    "gcp:network",
    "gcp:router",
    "gcp:gke_cluster",
]


class _Strict(BaseModel):
    """A part of the world file: a misspelt key is an error, never silently another world."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GcpFleet(_Strict):
    """`count` like resources of one kind in one region. What a kind does not have, it ignores.

    Networks are global, whatever their region; it is where their first subnetwork stands.
    """

    kind: GcpKind
    region: str  # `global` for a global forwarding rule
    count: int = Field(default=1, ge=0)
    name: str = "{kind}-{index:03d}"  # {n} counts from 1 within the fleet, {index} within the kind in the project
    type: str | None = None  # machine type, disk type, tier, node type or load balancing scheme
    engine: str | None = None  # database version, or version of a cluster
    state: str | None = None  # the cloud's own word
    created: AwareDatetime | None = None  # default: a fixed time per resource in the 400 days before the world's epoch
    tags: dict[str, str] = Field(default_factory=dict)  # labels
    regional: bool = False  # disks in two zones, clusters in a whole region
    disks: int = 1  # attached to each instance
    subnets: int = 2  # of each network, each in another region
    node_pools: int = 1  # of each Kubernetes cluster
    size: int | None = None  # GiB of a disk or database, nodes of a cluster's zone
    agent: bool = False  # the Ops Agent runs in each instance
    omit: list[str] = Field(default_factory=list)  # keys that the answer lacks, as real answers sometimes do

    @field_validator("name")
    @classmethod
    def _name_can_be_filled_in(cls, name: str) -> str:
        try:
            name.format(kind="", n=1, index=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"the name {name!r} may use {{kind}}, {{n}} and {{index}} only") from error
        return name


class GcpProject(_Strict):
    """One project and what it runs."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    fleets: list[GcpFleet] = Field(default_factory=list)


class GcpReplay(_Strict):
    """A recorded series served as the samples of one metric, in its unit: a CSV of `timestamp,value`, times naive UTC.

    The whole series moves by `shift_seconds`, or so that its last sample lies at `ends_at`; relative spacing stays.
    """

    metric: str  # the metric type
    resource: str  # the name of a resource of the world
    file: FilePath
    shift_seconds: int = 0
    ends_at: AwareDatetime | None = None


class GcpExport(_Strict):
    """A billing export in BigQuery, of some projects. What is named in `omit` (`project.id`) is no column of it."""

    table: str  # project.dataset.table
    projects: list[str]
    detailed: bool = True
    currency: str = "USD"
    omit: list[str] = Field(default_factory=list)


class GcpWorld(_Strict):
    """Every Google Cloud project of the world, the recorded series among their metrics, and their billing exports.

    Without `exports`, every project has a detailed one, in its dataset `billing`.
    """

    projects: list[GcpProject] = Field(default_factory=list)
    replay: list[GcpReplay] = Field(default_factory=list)
    exports: list[GcpExport] = Field(default_factory=list)
