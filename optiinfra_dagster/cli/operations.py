"""The commands for who keeps it running: `optiinfra status`, `metrics`, `grants`, `mcp` and `alerts`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from optiinfra_dagster.automation.status.items import Kind
from optiinfra_dagster.cli.command import Command, end_silently, examples
from optiinfra_dagster.cli.options import ClusterOption
from optiinfra_dagster.cli.terminal import say
from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model.errors import UsageError


class StatusFormat(StrEnum):
    """The output formats of `status`."""

    TABLE = "table"
    JSON = "json"


THIS_MACHINE = "127.0.0.1"
AddressOption = Annotated[
    str, typer.Option(help="With --serve: the address to serve at; by default this machine alone.")
]

app = typer.Typer()
alerts = typer.Typer(help="The incidents that go on, who was told, and what is silenced.", no_args_is_help=True)
app.add_typer(alerts, name="alerts")


@app.command(cls=Command, epilog=examples("status", "status --details", "status --format json | jq '.items[]'"))
def status(
    format_: Annotated[StatusFormat, typer.Option("--format", help="How to print it.")] = StatusFormat.TABLE,
    details: Annotated[bool, typer.Option("--details", help="Also the parts of each item.")] = False,
) -> None:
    """Say how everything stands, a line an item; ends with 1 where anything is red."""
    from optiinfra_dagster.cli.status import print_status

    as_json = format_ is StatusFormat.JSON
    if not print_status(load_settings(), typer.echo, as_json=as_json, details=details):
        raise SystemExit(1)


@app.command(
    cls=Command,
    epilog=examples("metrics > optiinfra.prom", "metrics --serve 9464", "metrics --by-customer | grep api_cost"),
)
def metrics(
    port: Annotated[
        int | None, typer.Option("--serve", min=0, max=65535, help="Serve them at this port; 0 chooses a free one.")
    ] = None,
    address: AddressOption = THIS_MACHINE,
    by_customer: Annotated[
        bool, typer.Option("--by-customer", help="Counters and gaps of each customer: many more series.")
    ] = False,
) -> None:
    """Print the metrics of this installation itself in Prometheus' text format, or serve them to it."""
    from optiinfra_dagster.cli.metrics import serve, text

    _check_address(port, address)
    if port is not None:
        end_silently()
        serve(load_settings(), say, address, port, by_customer=by_customer)
        return
    printed = text(load_settings(), lambda line: say(f"warning: {line}"), by_customer=by_customer)
    typer.echo(printed, nl=False)


@app.command(cls=Command, epilog=examples("grants writer", "grants reader --user grafana | clickhouse-client"))
def grants(
    role: Annotated[str | None, typer.Argument(help="migrator, writer or reader. Default: all three.")] = None,
    user: Annotated[str, typer.Option(help="A user of ClickHouse who gets the role.")] = "",
    cluster: ClusterOption = "",
) -> None:
    """Print the statements that give `migrate`, the runs, or who only reads the rights in ClickHouse that it takes."""
    from optiinfra_dagster.cli.grants import tell_grants

    tell_grants(load_settings(), role, user, typer.echo, cluster)


@app.command(
    cls=Command, epilog=examples("mcp --customer acme", "mcp --serve 8765", "mcp --serve 8765 --address 10.0.0.5")
)
def mcp(
    customer: Annotated[
        list[str] | None,
        typer.Option(help="Whom this machine's assistant may ask about, without a token; may be repeated."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--serve", min=0, max=65535, help="Serve at this port over HTTP; 0 chooses a free one."),
    ] = None,
    address: AddressOption = THIS_MACHINE,
) -> None:
    """Let an AI assistant ask the readers, read-only: over standard input and output, or over HTTP with a token."""
    from optiinfra_dagster.cli.assistant import serve

    _check_address(port, address)
    end_silently()
    serve(load_settings(), say, tuple(dict.fromkeys(customer or ())), port, address)


def _check_address(port: int | None, address: str) -> None:
    if port is None and address != THIS_MACHINE:
        raise UsageError("--address is of use with --serve only: add --serve and a port, or leave it out.")


@alerts.command("list", cls=Command)
def alerts_list() -> None:
    """List the incidents that go on, the sinks that cannot be reached, and what is silenced."""
    from optiinfra_dagster.cli.alerts import known

    for line in known(load_settings()):
        typer.echo(line)


@alerts.command("test", cls=Command)
def alerts_test() -> None:
    """Send a test message to every sink, those of customers too; ends with 1 where one does not take it."""
    from optiinfra_dagster.cli.alerts import try_sinks

    refused = False
    for name, reason in try_sinks(load_settings()):
        typer.echo(f"{name}: {reason or 'taken'}")
        refused = refused or bool(reason)
    if refused:
        raise SystemExit(1)


@alerts.command(
    "silence",
    cls=Command,
    epilog=examples(
        "alerts silence --customer acme --until 2026-12-01T08:00Z --why 'their key is being replaced'",
        "alerts silence --kind cost_unusual --until 2026-12-01T00:00Z",
    ),
)
def alerts_silence(
    until: Annotated[str, typer.Option(help="When it ends: 2026-12-01T08:00Z, in 90 days at most.")],
    customer: Annotated[str, typer.Option(help="Only of this customer.")] = "",
    provider: Annotated[str, typer.Option(help="Only of this one: aws, gcp, azure or vultr.")] = "",
    family: Annotated[str, typer.Option(help="Only of this one: resource, performance, cost or application.")] = "",
    kind: Annotated[Kind | None, typer.Option(help="Only of this kind.")] = None,
    why: Annotated[str, typer.Option(help="For those who read `optiinfra status`.")] = "",
) -> None:
    """Keep alerts back until a moment; what still goes on then is told then."""
    from optiinfra_dagster.cli.alerts import silence

    typer.echo(silence(load_settings(), until, customer, provider, family, kind, why))


@alerts.command("unsilence", cls=Command)
def alerts_unsilence() -> None:
    """End every silence now."""
    from optiinfra_dagster.cli.alerts import end_silences

    for line in end_silences(load_settings()):
        typer.echo(line)
