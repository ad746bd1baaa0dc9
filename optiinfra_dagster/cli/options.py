"""Arguments and options of the command line that say which rows are meant: `read` and `explain` take the same."""

from typing import Annotated

import typer

from optiinfra_dagster.cli.command import readers_help

ClusterOption = Annotated[
    str, typer.Option(help="A cluster of the servers, on whose replicas all is done. Default: that of the tables.")
]
FamilyArgument = Annotated[str, typer.Argument(help="resource, performance, cost or application")]
ReaderArgument = Annotated[str, typer.Argument(help=readers_help())]
CustomerOption = Annotated[str, typer.Option(help="The customer's id.")]
ProviderOption = Annotated[str | None, typer.Option(help="Only this one: aws, gcp, azure or vultr.")]
FromOption = Annotated[
    str | None, typer.Option("--from", help="From this time on: 2026-11-21T00:00Z. Default: the newest window.")
]
AsOfOption = Annotated[
    str | None, typer.Option(help="What was known at this time, as far as it is kept: 2026-11-21T00:00Z.")
]
ToOption = Annotated[str | None, typer.Option("--to", help="Before this time.")]
ResourceOption = Annotated[str | None, typer.Option(help="Only this resource; its full id.")]
