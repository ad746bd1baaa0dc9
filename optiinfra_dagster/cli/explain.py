"""The command `optiinfra explain`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from optiinfra_dagster.cli.command import Command, examples
from optiinfra_dagster.cli.options import (
    CustomerOption,
    FamilyArgument,
    FromOption,
    ProviderOption,
    ReaderArgument,
    ResourceOption,
    ToOption,
)
from optiinfra_dagster.cli.terminal import clickhouse_of
from optiinfra_dagster.config.settings import load_settings

app = typer.Typer()


class TextFormat(StrEnum):
    """The output formats of `explain`."""

    TEXT = "text"
    JSON = "json"


_EXAMPLE = "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc"


@app.command(
    cls=Command,
    epilog=examples(
        "explain cost summary --customer acme --provider aws --where period=yesterday",
        "explain performance summary --customer acme --where metric_name=cpu_utilization --row 1",
        f"explain performance metrics --customer acme --resource-id {_EXAMPLE} --row 1 --format json | jq .reasons",
        f"explain resource inventory --customer acme --resource-id {_EXAMPLE} --recompute",
    ),
)
def explain(  # noqa: PLR0913, PLR0917 - these are its options
    family: FamilyArgument,
    reader: ReaderArgument,
    customer: CustomerOption,
    provider: ProviderOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    resource_id: ResourceOption = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only rows with this value: period=today; may be repeated.")
    ] = None,
    row: Annotated[int | None, typer.Option(min=1, help="Of the rows that are left the one with this number.")] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Run the reader's SELECT again and compare the row.")
    ] = False,
    format_: Annotated[TextFormat, typer.Option("--format", help="How to print the explanation.")] = TextFormat.TEXT,
) -> None:
    """Say where a row that `read` prints comes from, whether it may be trusted, and how to check it."""
    from optiinfra_dagster.cli.explained_text import print_explanation
    from optiinfra_dagster.storage.explanation.explain import explain_row
    from optiinfra_dagster.storage.reading import Query, source_of

    settings = load_settings()
    source_of(family, reader)  # refuse what is not there before anything is opened
    query = Query(family, reader, customer, provider, from_, to, resource_id)
    clickhouse = clickhouse_of(settings).existing()
    explanation = explain_row(clickhouse, settings, query, where=where or (), row=row, recompute=recompute)
    print_explanation(explanation, format_.value, sys.stdout)
