"""The LLM applications of a world file: the provider each runs on, the location of its logs, and their content."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FilePath


class LlmApplication(BaseModel):
    """An application, which logs `per_window` interactions in each window of 15 minutes, in a file of their own.

    `location` is a bucket or a container of Azure, and a folder, `s3://bucket/{provider}/{yyyy}/{mm}/{dd}/{hh}/`, with
    the same placeholders as in the customers file. `shape` is that of the lines: flat records in several spellings,
    OpenTelemetry spans as an SDK writes them, or OTLP/JSON. `bad_lines` useless lines are mixed in. With `file`, flat
    records of JSON lines are told instead of made-up ones, `per_window` of them in turn, with times and ids that fit
    the window.

    Delivery is as unkind as is said: `late_minutes` after it would be usual; `doubled`, with each file once more under
    another name a window later; `cut`, with half of the bytes until a window after the rest is there; `growing`, with
    one file for an hour, to which each window is added.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str = ""
    provider: Literal["aws", "gcp", "azure", "vultr"]
    location: str = Field(
        pattern=r"^((s3|gs)://[a-z0-9][a-z0-9._-]+|https://[a-z0-9]+\.blob\.core\.[a-z0-9.-]+/[a-z0-9-]+)/.*$"
    )
    models: list[str] = Field(default=["gpt-4o-mini"], min_length=1)
    per_window: int = Field(default=20, ge=0)
    shape: Literal["flat", "otel", "otlp"] = "flat"
    says_provider: bool = True
    compressed: bool = True
    bad_lines: int = Field(default=0, ge=0)
    history_hours: int = Field(default=48, ge=1)  # how long a file is kept
    file: FilePath | None = None
    late_minutes: int = Field(default=0, ge=0)
    doubled: bool = False
    cut: bool = False
    growing: bool = False
