"""The command line: `optiinfra run | collect | read | report | export | migrate | lab serve | dev`.

`optiinfra status`, `metrics`, `grants`, `mcp` and `alerts` are in `operations.py`, `optiinfra explain` in
`explain.py`, `optiinfra golden` in `golden.py`, `optiinfra customers` in `customers.py`. Results go to standard
output, all else to standard error. Exit codes: 0 all went well, 1 something failed and is explained, 2 the command line
is wrong, 130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from optiinfra_dagster.cli import customers, explain, golden, operations
from optiinfra_dagster.cli.command import Command, examples
from optiinfra_dagster.cli.options import (
    AsOfOption,
    CustomerOption,
    FamilyArgument,
    FromOption,
    ProviderOption,
    ReaderArgument,
    ResourceOption,
    ToOption,
)
from optiinfra_dagster.cli.terminal import clickhouse_of, fail, say, terminated_as_interrupted, working
from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model.errors import OptiInfraError, UsageError

if TYPE_CHECKING:
    from optiinfra_dagster.cli.collect import RunReport


app = typer.Typer(
    name="optiinfra",
    help="Cloud inventory, performance, cost and LLM quality of your customers, collected by Dagster into ClickHouse.",
    epilog=examples("run", "customers check", "collect --customer acme", "read performance summary --customer acme"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
lab_app = typer.Typer(help="The cloud lab: local stand-ins of the clouds.", no_args_is_help=True)
export_app = typer.Typer(help="What is known, in files for other programs.", no_args_is_help=True)
app.add_typer(customers.app, name="customers")
app.add_typer(export_app, name="export")
app.add_typer(golden.app, name="golden")
app.add_typer(lab_app, name="lab")
app.add_typer(operations.app)  # nameless: its commands are commands here
app.add_typer(explain.app)

USAGE = 2  # what Typer makes of a command line that does not parse
INTERRUPTED = 130  # what Typer makes of a KeyboardInterrupt


class Format(StrEnum):
    """The output formats of `read`."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class FileFormat(StrEnum):
    """The formats of exported files."""

    CSV = "csv"
    PARQUET = "parquet"


class FocusVersion(StrEnum):
    """The versions of FOCUS that are exported."""

    V1_2 = "1.2"
    V1_3 = "1.3"
    V1_4 = "1.4"


class Cost(StrEnum):
    """The costs that `read` shows as the amount."""

    BILLED = "billed"
    EFFECTIVE = "effective"
    LIST = "list"


def main() -> None:
    """Run the command line; a failure that is explained by its message is printed as that message."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no error
    # A run's standard error goes through processes of Dagster, which Ctrl-C ends too.
    terminal = os.dup(2)
    # What it would say of a failure is in the failure's message.
    logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
    try:
        app(prog_name="optiinfra")
    except UsageError as error:
        fail(str(error), USAGE)
    except OptiInfraError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}. {_remedy(error)}")
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            _leave_interrupted(terminal)
        raise


def _leave_interrupted(terminal: int) -> NoReturn:
    """End at once: to wait for calls that are under way in other threads may take minutes, and is of no use."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    with suppress(OSError):
        os.write(terminal, b"Interrupted. What was done stays; run the same command again for the rest.\n")
    os._exit(INTERRUPTED)


def _remedy(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "Free some space and run the same command again; what was published stays."
    return "Set DAGSTER_HOME to a folder that this user may write to, on a disk with space."


def _report(outcome: RunReport) -> None:
    """Print what came of a collection: results to standard output, troubles to standard error."""
    for line in outcome.lines:
        typer.echo(line)
    for warning in outcome.warnings:
        say(f"warning: {warning}")


@app.command(cls=Command, epilog=examples("run", "run --window 2026-11-21T10:15Z"))
def run(
    window: Annotated[
        str | None, typer.Option(help="The window, as its start: 2026-11-21T10:15Z. Default: the newest.")
    ] = None,
) -> None:
    """Collect one window of every asset, refresh the readers, and say what came of it."""
    from optiinfra_dagster.cli import subprocesses
    from optiinfra_dagster.cli.collect import chosen_window, run_window

    settings = load_settings()
    chosen_window(settings, window)  # what cannot be meant is refused before the lab is started for it
    with working() as (tell, progress), subprocesses.for_demo(settings, tell) as settings:
        outcome = run_window(settings, clickhouse_of(settings), window, tell, progress)
    _report(outcome)
    if outcome.errors:
        fail("\n".join(outcome.errors))


@app.command(cls=Command)
def dev() -> None:
    """The same as `run`, then the Dagster UI and daemon on http://127.0.0.1:3000 with the schedules running."""
    from optiinfra_dagster.cli import subprocesses
    from optiinfra_dagster.cli.collect import chosen_window, run_window

    settings, port = load_settings(), subprocesses.ui_port()
    chosen_window(settings, None)
    with terminated_as_interrupted(), subprocesses.for_demo(settings, say) as settings:
        with working() as (tell, progress):
            outcome = run_window(settings, clickhouse_of(settings), None, tell, progress)
        _report(outcome)
        for error in outcome.errors:
            say(f"error: {error}")
        subprocesses.dagster_dev(settings, port)


@app.command(
    cls=Command,
    epilog=examples(
        "collect --customer acme",
        "collect --provider aws --family performance --from 2026-11-21T00:00Z --to 2026-11-21T06:00Z",
        "collect --customer acme --refresh",
    ),
)
def collect(
    customer: Annotated[list[str] | None, typer.Option(help="Only this customer; may be repeated.")] = None,
    provider: Annotated[
        list[str] | None, typer.Option(help="Only this one: aws, gcp, azure or vultr; may be repeated.")
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="Only this one: resource, performance, cost or application; may be repeated."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Windows from this time on: 2026-11-21T00:00Z. Default: the newest.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Windows that start before this time. Default: now.")] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Collect again what is published, and replace it.")
    ] = False,
) -> None:
    """Trigger a collection: real Dagster runs, one per provider and stretch of windows, seen in the UI."""
    from optiinfra_dagster.cli import subprocesses
    from optiinfra_dagster.cli.collect import Request, asked_for, collect_windows

    settings = load_settings()
    request = Request(
        customers=tuple(dict.fromkeys(customer or ())),
        providers=tuple(dict.fromkeys(provider or ())),
        families=tuple(dict.fromkeys(family or ())),
        from_=from_,
        to=to,
        refresh=refresh,
    )
    asked_for(settings, request)
    with working() as (tell, progress), subprocesses.for_demo(settings, tell) as settings:
        outcome = collect_windows(settings, clickhouse_of(settings), request, tell, progress)
    _report(outcome)
    if outcome.errors:
        fail("\n".join(outcome.errors))


@app.command(
    cls=Command,
    epilog=examples(
        "read performance trends --customer acme",
        "read cost by_service --customer acme --provider aws --limit 20",
        "read cost allocation --customer acme --cost effective",
        "read cost metrics --customer acme --from 2026-11-01T00:00Z --format csv > costs.csv",
        "read resource inventory --customer acme --format json | jq '.[].resource_id'",
        "read cost summary --customer acme --as-of 2026-11-20T17:00Z",
    ),
)
def read(  # noqa: PLR0913, PLR0917 - these are its options
    family: FamilyArgument,
    reader: ReaderArgument,
    customer: CustomerOption,
    provider: ProviderOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    resource_id: ResourceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many rows.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
    cost: Annotated[Cost, typer.Option(help="Which cost the amount is: what is billed, effective, or listed.")] = (
        Cost.BILLED
    ),
    as_of: AsOfOption = None,
) -> None:
    """Print what a reader says of a customer."""
    from optiinfra_dagster.cli.printing import print_rows
    from optiinfra_dagster.storage.reading import Query, source_of

    settings = load_settings()
    source_of(family, reader)  # refuse what is not there before anything is opened
    query = Query(family, reader, customer, provider, from_, to, resource_id, limit, cost.value, as_of)
    found = print_rows(clickhouse_of(settings).existing(), settings, query, format_.value, sys.stdout)
    for warning in found.warnings:
        say(f"warning: {warning}")
    if found.note:
        say(found.note)
    if found.rows is None:
        raise SystemExit(1)


@export_app.command(
    "focus",
    cls=Command,
    epilog=examples(
        "export focus --customer acme --from 2026-10-01 --to 2026-11-01 --out costs.csv",
        "export focus --customer acme --from 2026-10-01 --to 2026-11-01 --version 1.4 --format parquet "
        "--out costs.parquet",
    ),
)
def export_focus(
    customer: Annotated[str, typer.Option(help="The customer's id.")],
    from_: Annotated[str, typer.Option("--from", help="Charges of this day on: 2026-10-01.")],
    to: Annotated[str, typer.Option("--to", help="Charges before this day: 2026-11-01.")],
    out: Annotated[Path, typer.Option(help="The file to write; one that is there is replaced.")],
    provider: Annotated[str | None, typer.Option(help="Only this one: aws, gcp, azure or vultr.")] = None,
    version: Annotated[FocusVersion, typer.Option(help="The version of FOCUS.")] = FocusVersion.V1_2,
    format_: Annotated[FileFormat, typer.Option("--format", help="The format of the file.")] = FileFormat.CSV,
    as_of: AsOfOption = None,
) -> None:
    """Write what was billed to a file as FOCUS has it: settled bills of every cloud, and no estimates."""
    from optiinfra_dagster.cli import export

    settings = load_settings()
    request = export.Request(customer, from_, to, version.value, format_.value, out, provider, as_of)
    done = export.export_focus(clickhouse_of(settings).existing(), settings, request)
    typer.echo(done.said)
    for note in done.notes:
        say(f"note: {note}")


@app.command(
    cls=Command,
    epilog=examples(
        "report --customer acme --out report.html",
        "report --customer acme --as-of 2026-11-27T17:00Z --out friday.html",
    ),
)
def report(
    customer: Annotated[str, typer.Option(help="The customer's id.")],
    out: Annotated[Path, typer.Option(help="The file to write, such as report.html; replaced if it is there.")],
    as_of: AsOfOption = None,
) -> None:
    """Write what the readers say of a customer as one page with plots, to be opened in a browser without a network."""
    from optiinfra_dagster.cli.report import write_report

    settings = load_settings()
    write_report(clickhouse_of(settings).existing(), settings, customer, out, as_of)
    say(f"Wrote {out}")


@app.command(cls=Command)
def migrate(
    status: Annotated[bool, typer.Option("--status", help="Only say which files are applied.")] = False,
) -> None:
    """Bring the ClickHouse tables up to date with sql/schema."""
    from optiinfra_dagster.storage import migrations

    settings = load_settings()
    clickhouse = clickhouse_of(settings)
    if status:
        clickhouse.existing()
    with clickhouse.session(migrated=False) as client:
        if not status:
            topology = clickhouse.topology(client)
            for name in migrations.migrate(client, alone=clickhouse.embedded, topology=topology, say=say):
                typer.echo(f"applied {name}")
        state = migrations.status(client)
    for migration, done in state:
        typer.echo(f"{'applied' if done else 'pending'}  {migration.name}")
    if status and not all(done for _, done in state):
        raise SystemExit(1)


@lab_app.command("serve", cls=Command)
def lab_serve(
    world: Annotated[Path | None, typer.Option(help="A world file; default: the demo world.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 chooses a free port.")] = 0,
) -> None:
    """Serve the cloud lab alone; prints the environment that points the SDKs at it."""
    from optiinfra_dagster.lab.__main__ import serve

    serve(world, port)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("optiinfra-dagster"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of every command."""
