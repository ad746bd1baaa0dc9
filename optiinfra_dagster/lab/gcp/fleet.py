"""A fleet of a world file: like resources of one kind."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator


class Strict(BaseModel):
    """A part of the world file: a misspelt key is an error, never silently another world."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fleet(Strict):
    """`count` like resources of one kind in one region. What a kind does not have, it ignores.

    Networks are global, whatever their region; it is where their first subnetwork stands.
    """

    kind: str
    region: str  # `global` for a global forwarding rule
    count: int = Field(default=1, ge=0)
    name: str = "{kind}-{index:03d}"  # {n} counts from 1 within the fleet, {index} within the kind in the project
    type: str | None = None  # machine type, disk type, tier, node type or load balancing scheme
    engine: str | None = None  # version of a database or cluster; target of a forwarding rule; Spanner's config
    state: str | None = None  # the cloud's own word
    created: AwareDatetime | None = None  # default: a fixed time per resource in the 400 days before the world's epoch
    replaced: AwareDatetime | None = None  # the time when each was deleted and another made under its name
    tags: dict[str, str] = Field(default_factory=dict)  # labels
    regional: bool = False  # disks in two zones, clusters in a whole region
    disks: int = 1  # attached to each instance
    subnets: int = 2  # of each network, each in another region
    node_pools: int = 1  # of each Kubernetes cluster
    pending: int = 0  # nodes of each Kubernetes cluster that are not ready
    size: int | None = None  # GiB of a disk or database, nodes of a cluster's zone
    agent: bool = False  # the Ops Agent runs in each instance
    insights: bool = False  # Query Insights is on for each database
    omit: list[str] = Field(default_factory=list)  # keys that the answer lacks, as real answers sometimes do

    @field_validator("name")
    @classmethod
    def _name_can_be_filled_in(cls, name: str) -> str:
        try:
            name.format(kind="", n=1, index=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"the name {name!r} may use {{kind}}, {{n}} and {{index}} only") from error
        return name

    @property
    def is_stopped(self) -> bool:
        """True for resources that are switched off."""
        return self.state in {"TERMINATED", "STOPPED"}
