"""The AWS part of a world file: accounts and their fleets."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, field_validator, model_validator

from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.aws.services import KINDS
from optiinfra_dagster.lab.values import Time


class _Strict(BaseModel):
    """A part of the world file: a misspelt key is an error, never silently another world."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _known(kind: str) -> str:
    names = [name for name, known in KINDS.items() if known.in_fleets]
    if kind not in names:
        raise ValueError(f"{kind} is none of {', '.join(names)}")
    return kind


class Fleet(_Strict):
    """`count` like resources of one kind in one region. What a kind does not have, it ignores."""

    kind: Annotated[str, AfterValidator(_known)]
    region: str
    count: int = Field(default=1, ge=0)
    name: str | None = "{kind}-{index:03d}"  # None: without a name; {n} counts from 1 within the fleet, {index} within
    # the kind in the account's region, {kind} is its last word
    type: str | None = None  # instance type, database class, node type or load balancer type
    engine: str | None = None  # of a database or cache; of an instance `windows`
    state: str | None = None  # the cloud's own word; a stopped instance has no metrics
    created: Time | None = None  # default: a fixed time per resource in the 400 days before the world's epoch
    tags: dict[str, str] = Field(default_factory=dict)
    restarted: Time | None = None  # the last start of an instance; default: with its creation
    resized: Time | None = None  # until then an instance was of the type `type_before`
    type_before: str | None = None
    agent: bool | list[str] = False  # the CloudWatch agent runs; a list names the dimensions that it sends
    detailed: bool = False  # detailed monitoring: one-minute points of an instance
    volumes: int = 1  # attached to each instance
    nodegroups: int = 1  # of each Kubernetes cluster
    subnets: int = 2  # of each VPC
    size: int | None = None  # GiB of a volume or database, nodes of a cluster
    omit: list[str] = Field(default_factory=list)  # keys that the answer lacks, as real answers sometimes do

    @field_validator("name")
    @classmethod
    def _name_can_be_filled_in(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                name.format(kind="", n=1, index=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"the name {name!r} may use {{kind}}, {{n}} and {{index}} only") from error
        return name


class AwsAccount(_Strict):
    """An AWS account: its credentials and roles, its enabled regions, its billing, and what it runs."""

    id: str = Field(pattern=r"^\d{12}$")
    external_id: str | None = None  # demanded by AssumeRole
    roles: list[str] | None = None  # names that may be assumed; default: any
    access_keys: list[str] = Field(default_factory=list)  # long-lived keys of the account
    regions: list[str] = Field(default_factory=lambda: ["us-east-1", "eu-west-1"])  # enabled regions
    fleets: list[Fleet] = Field(default_factory=list)
    payer: str | None = Field(default=None, pattern=r"^\d{12}$")  # the account whose bill has this one's charges too
    support_usd: Decimal | None = None  # a month's support plan, charged to the account itself on the first
    cost_explorer: bool | Literal["preparing"] = True  # was enabled once in the console; its data takes a day to come
    cost_recording: FilePath | None = None  # a recorded answer of GetCostAndUsage, served as the account's bill
    name: str = ""  # that the bill of its payer gives it
    cost_recording_begins: date | None = None  # the day that its first day is shown as; default: as recorded

    @model_validator(mode="after")
    def _fleets_stand_in_enabled_regions(self) -> AwsAccount:
        if lost := {fleet.region for fleet in self.fleets} - set(self.regions):
            raise ValueError(f"account {self.id} has fleets in regions that it has not enabled: {sorted(lost)}")
        return self


class Replay(_Strict):
    """A recorded series served as the points of one metric: a CSV of `timestamp,value`, times naive UTC.

    The whole series moves by `shift_seconds`, or so that its last point lies at `ends_at`; relative spacing stays.
    """

    namespace: str
    metric: str
    resource: str  # the id or name of a resource of the world
    file: FilePath
    shift_seconds: int = 0
    ends_at: Time | None = None


class AwsWorld(_Strict):
    """Every AWS account of the world, the recorded series among their metrics, and how their bills arrive."""

    accounts: list[AwsAccount] = Field(default_factory=list)
    collector: str = Field(default="000000000000", pattern=r"^\d{12}$")  # the account of the access key `lab`
    replay: list[Replay] = Field(default_factory=list)
    bills_arrive: BillsArrive = BillsArrive()
