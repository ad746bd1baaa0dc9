"""The world that the lab's clouds show: customers' accounts and fleets, written in one YAML or JSON file or a dict.

A world says little (`count: 200, type: m6i.large`) and the rest follows from its seed: identifiers, addresses, ages,
tags and every metric value are functions of seed, account, region, kind and index, so that a restarted lab shows the
same cloud and a test can compute what a collector must find.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    ValidationError,
    field_validator,
    model_validator,
)

from optiinfra_dagster.lab.azure.world import AzureWorld
from optiinfra_dagster.lab.digest import digest as digest  # noqa: PLC0414 - others import it from here
from optiinfra_dagster.lab.gcp.world import GcpWorld
from optiinfra_dagster.lab.groq.world import GroqWorld
from optiinfra_dagster.lab.llm.world import LlmApplication
from optiinfra_dagster.lab.vultr.world import VultrWorld
from optiinfra_dagster.model.errors import ConfigError


def _zoned(value: Any) -> Any:
    """Read a time without a zone as UTC, which is what YAML makes of `2026-01-01T00:00:00Z`."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


Time = Annotated[datetime, BeforeValidator(_zoned)]


class _Strict(BaseModel):
    """A part of the world file: a misspelt key is an error, never silently another world."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AwsKind = Literal[
    "ec2:instance",
    "ebs:volume",
    "ec2:vpc",
    "ec2:natgateway",
    "rds:db",
    "rds:cluster",
    "elb:classic",
    "elbv2:application",
    "elbv2:network",
    "elbv2:gateway",
    "eks:cluster",
    "elasticache:cluster",
    "redshift:cluster",
    "dynamodb:table",
    "efs:filesystem",
]


class Fleet(_Strict):
    """`count` like resources of one kind in one region. What a kind does not have, it ignores."""

    kind: AwsKind
    region: str
    count: int = Field(default=1, ge=0)
    name: str | None = "{kind}-{index:03d}"  # None: without a name; {n} counts from 1 within the fleet, {index} within
    # the kind in the account's region, {kind} is its last word
    type: str | None = None  # instance type, database class, node type or load balancer type
    engine: str | None = None
    state: str | None = None  # the cloud's own word; a stopped instance has no metrics
    created: Time | None = None  # default: a fixed time per resource in the 400 days before the world's epoch
    tags: dict[str, str] = Field(default_factory=dict)
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
    """One AWS account: who may enter it, where it is enabled, and what it runs."""

    id: str = Field(pattern=r"^\d{12}$")
    external_id: str | None = None  # demanded by AssumeRole
    roles: list[str] | None = None  # names that may be assumed; default: any
    access_keys: list[str] = Field(default_factory=list)  # long-lived keys of the account
    regions: list[str] = Field(default_factory=lambda: ["us-east-1", "eu-west-1"])  # enabled regions
    fleets: list[Fleet] = Field(default_factory=list)
    payer: str | None = Field(default=None, pattern=r"^\d{12}$")  # the account whose bill has this one's charges too
    cost_explorer: bool | Literal["preparing"] = True  # was enabled once in the console; its data takes a day to come
    cost_recording: FilePath | None = None  # a recorded answer of GetCostAndUsage, served as the account's bill
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
    """Every AWS account of the world, and the recorded series among their metrics."""

    accounts: list[AwsAccount] = Field(default_factory=list)
    collector: str = Field(default="000000000000", pattern=r"^\d{12}$")  # the account of the access key `lab`
    replay: list[Replay] = Field(default_factory=list)


class World(_Strict):
    """Everything that the lab shows. `load` is the way in."""

    seed: int = 1
    epoch: Time = datetime(2024, 6, 1, tzinfo=UTC)
    secrets: dict[str, str] = Field(default_factory=dict)  # environment variables that customers files refer to
    aws: AwsWorld = Field(default_factory=AwsWorld)
    gcp: GcpWorld = Field(default_factory=GcpWorld)
    azure: AzureWorld = Field(default_factory=AzureWorld)
    vultr: VultrWorld = Field(default_factory=VultrWorld)
    applications: list[LlmApplication] = Field(default_factory=list)
    groq: GroqWorld = Field(default_factory=GroqWorld)

    @classmethod
    def load(cls, source: World | Path | str | dict[str, Any]) -> World:
        """Read a world from a YAML or JSON file, a dict of the same form, or pass one through.

        Paths inside a file are relative to it.

        Raises:
            ConfigError: the file cannot be read or does not describe a world; the message names each mistake.
            pydantic.ValidationError: the dict does not.
        """
        if isinstance(source, World):
            return source
        if isinstance(source, dict):
            return cls.model_validate(source)
        path = Path(source)
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
            if not isinstance(data, dict):
                raise ConfigError(f"The lab cannot use the world file {path}: it holds no mapping.")
            _place_files(data, path.parent)
            return cls.model_validate(data)
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise ConfigError(f"The lab cannot use the world file {path}: {error}") from error


def _place_files(data: dict[str, Any], folder: Path) -> None:
    """Make the paths in a world file relative to its folder."""
    for cloud in ("aws", "gcp", "azure", "vultr"):
        for replay in data.get(cloud, {}).get("replay", []):
            replay["file"] = folder / replay["file"]
    for account in data.get("aws", {}).get("accounts", []):
        if "cost_recording" in account:
            account["cost_recording"] = folder / account["cost_recording"]
    for application in data.get("applications") or ():
        if "file" in application:
            application["file"] = folder / application["file"]
