"""The commands for who keeps it running: `optiinfra status` and `optiinfra alerts`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from optiinfra_dagster.cli.command import Command, examples
from optiinfra_dagster.config.settings import load_settings


class StatusFormat(StrEnum):
    """The output formats of `status`."""

    TABLE = "table"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(cls=Command, epilog=examples("status", "status --details", "status --format json | jq '.items[]'"))(
        status
    )


def status(
    format_: Annotated[StatusFormat, typer.Option("--format", help="How to print it.")] = StatusFormat.TABLE,
    details: Annotated[bool, typer.Option("--details", help="Also the parts of each item.")] = False,
) -> None:
    """Say how everything stands, a line an item; ends with 1 where anything is red."""
    from optiinfra_dagster.cli.status import print_status

    as_json = format_ is StatusFormat.JSON
    if not print_status(load_settings(), typer.echo, as_json=as_json, details=details):
        raise SystemExit(1)
