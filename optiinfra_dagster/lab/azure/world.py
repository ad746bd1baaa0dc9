"""The part of a world that is on Azure: subscriptions and what they run."""

from __future__ import annotations

from datetime import date

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FilePath, field_validator

from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.azure.services import FLEET_KINDS


class _Strict(BaseModel):
    """A part of the world file: a misspelt key is an error, never silently another world."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AzureFleet(_Strict):
    """`count` like resources of one kind in one region. What a kind does not have, it ignores."""

    kind: str
    region: str
    count: int = Field(default=1, ge=0)
    name: str = "{kind}-{n:03d}"  # {n} counts from 1 within the fleet, {kind} is the kind's last word, with dashes
    group: str = "main"  # the resource group
    type: str | None = None  # size of a machine, SKU of a disk or database
    state: str | None = None  # Azure's own word
    created: AwareDatetime | None = None  # default: a fixed time per resource in the 400 days before the world's epoch
    replaces: AwareDatetime | None = None  # when one of the same name was made, which gave way at `created`
    tags: dict[str, str] = Field(default_factory=dict)
    size: int | None = None  # GiB of a disk or database, instances of a scale set, nodes of a cluster
    disks: int = Field(default=1, ge=0)  # attached to each machine
    databases: int = Field(default=1, ge=0)  # on each SQL server, beside its `master`
    unmeasured: list[str] = Field(default_factory=list)  # metrics that these have not, though others of the kind have
    omit: list[str] = Field(default_factory=list)  # properties that the answer lacks, as real answers sometimes do

    @field_validator("kind")
    @classmethod
    def _kind_has_fleets(cls, kind: str) -> str:
        if kind not in FLEET_KINDS:
            raise ValueError(f"the kind is {kind!r}, and must be one of {', '.join(FLEET_KINDS)}")
        return kind

    @field_validator("name")
    @classmethod
    def _name_can_be_filled_in(cls, name: str) -> str:
        try:
            name.format(kind="", n=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"the name {name!r} may use {{kind}} and {{n}} only") from error
        return name


class AzureSubscription(_Strict):
    """A subscription. What may not be read of it is left out of every answer, without an error."""

    id: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    name: str = "lab"
    actions: list[str] = Field(default_factory=lambda: ["*/read"])  # what the role of the collector allows there
    currency: str = "USD"
    currency_change: tuple[date, str] | None = None  # from this day on, charges are in another currency
    fleets: list[AzureFleet] = Field(default_factory=list)


class AzureReplay(_Strict):
    """A recorded series served as the samples of one metric: a CSV of `timestamp,value`, times naive UTC.

    Values are in Azure's unit. The whole series moves by `shift_seconds`, or so that its last sample lies at `ends_at`.
    """

    metric: str  # Azure's name of it
    resource: str  # the name or id of a resource of the world
    file: FilePath
    shift_seconds: int = 0
    ends_at: AwareDatetime | None = None


class AzureWorld(_Strict):
    """Every subscription of the world, how many queries in how many seconds are taken, and the largest pages.

    Bills arrive as `bills_arrive` says.
    """

    subscriptions: list[AzureSubscription] = Field(default_factory=list)
    replay: list[AzureReplay] = Field(default_factory=list)
    quota: int = 15
    quota_seconds: float = 5.0
    cost_queries: int = 4
    cost_seconds: float = 60.0
    cost_page: int = Field(default=5000, ge=1)
    price_page: int = Field(default=1000, ge=1)
    bills_arrive: BillsArrive = BillsArrive()
