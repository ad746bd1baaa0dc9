"""The world that the lab's clouds show: customers' accounts and fleets, written in one YAML or JSON file or a dict.

A world says little (`count: 200, type: m6i.large`) and the rest follows from its seed: identifiers, addresses, ages,
tags and every metric value are functions of seed, account, region, kind and index, so that a restarted lab shows the
same cloud and a test can compute what a collector must find.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optiinfra_dagster.lab.aws.world import AwsWorld
from optiinfra_dagster.lab.azure.world import AzureWorld
from optiinfra_dagster.lab.gcp.world import GcpWorld
from optiinfra_dagster.lab.groq.world import GroqWorld
from optiinfra_dagster.lab.llm.world import LlmApplication
from optiinfra_dagster.lab.values import Time
from optiinfra_dagster.lab.vultr.world import VultrWorld
from optiinfra_dagster.model.errors import ConfigError


class _Strict(BaseModel):
    """A part of the world file: a misspelt key is an error, never silently another world."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
        except ValidationError as error:
            mistakes = (
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
                for one in error.errors(include_url=False, include_input=False)
            )
            raise ConfigError(f"The lab cannot use the world file {path}: {'; '.join(mistakes)}.") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            why = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
            raise ConfigError(f"The lab cannot use the world file {path}: {why}.") from error


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
