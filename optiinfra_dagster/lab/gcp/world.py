"""Google Cloud in a world file: projects and their fleets."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field, FilePath, field_validator

from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.gcp.fleet import Fleet, Strict
from optiinfra_dagster.lab.gcp.services import KINDS


class GcpFleet(Fleet):
    """A fleet of one of the lab's kinds."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        known = [name for name, each in KINDS.items() if each.in_fleets]
        if kind not in known:
            raise ValueError(f"{kind!r} is no kind of the lab's Google Cloud: write one of {', '.join(known)}")
        return kind


class GcpProject(Strict):
    """A project and what it runs."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    fleets: list[GcpFleet] = Field(default_factory=list)


class GcpReplay(Strict):
    """A recorded series served as the samples of one metric, in its unit: a CSV of `timestamp,value`, times naive UTC.

    The whole series moves by `shift_seconds`, or so that its last sample lies at `ends_at`; relative spacing stays.
    """

    metric: str  # the metric type
    resource: str  # the name of a resource of the world
    file: FilePath
    shift_seconds: int = 0
    ends_at: AwareDatetime | None = None


class GcpExport(Strict):
    """A billing export in BigQuery, of some projects. What is named in `omit` (`project.id`) is no column of it.

    `focus` is the view of FOCUS that Google publishes, or the table of FOCUS that it fills.
    """

    table: str  # project.dataset.table
    projects: list[str]
    detailed: bool = True
    focus: Literal["view", "table"] | None = None
    currency: str = "USD"
    omit: list[str] = Field(default_factory=list)


class GcpWorld(Strict):
    """Every Google Cloud project of the world, the recorded series among their metrics, and their billing exports.

    Without `exports`, every project has a detailed one, in its dataset `billing`. Rows arrive as `bills_arrive` says.
    """

    projects: list[GcpProject] = Field(default_factory=list)
    replay: list[GcpReplay] = Field(default_factory=list)
    exports: list[GcpExport] = Field(default_factory=list)
    bills_arrive: BillsArrive = BillsArrive()
