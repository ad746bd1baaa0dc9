"""The commands about customers: `optiinfra customers check | grant | policy | remove | revoke | show`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from optiinfra_dagster.cli.command import Command, examples
from optiinfra_dagster.cli.options import ClusterOption
from optiinfra_dagster.cli.terminal import clickhouse_of, say, working
from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model.errors import OptiInfraError, UsageError
from optiinfra_dagster.model.text import counted

app = typer.Typer(
    help="The customers: what may be read of them, what is known, and how they are removed.", no_args_is_help=True
)


@app.command(
    "policy",
    cls=Command,
    epilog=examples(
        "customers policy aws > policy.json",
        "customers policy gcp --customer acme",
        "customers policy azure --family resource --family performance",
    ),
)
def policy(
    cloud: Annotated[str, typer.Argument(help="aws, gcp, azure or vultr")],
    customer: Annotated[
        str | None, typer.Option(help="For the accounts of this customer. Default: for any account.")
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="Only for this one: resource, performance, cost or application; may be repeated."),
    ] = None,
) -> None:
    """Print what a cloud has to allow and no more: an IAM policy, gcloud commands, a custom role, settings of a key."""
    from optiinfra_dagster.cli.policies import tell_policies

    tell_policies(load_settings(), cloud, customer, tuple(dict.fromkeys(family or ())), typer.echo, say)


@app.command(
    "check", cls=Command, epilog=examples("customers check", "customers check --customer acme --customer globex")
)
def check(
    customer: Annotated[list[str] | None, typer.Option(help="Only this customer; may be repeated.")] = None,
) -> None:
    """Prove every credential and permission, per customer and provider, before the first run."""
    from optiinfra_dagster.cli import subprocesses
    from optiinfra_dagster.cli.check import check_customers
    from optiinfra_dagster.config.customers import select
    from optiinfra_dagster.providers.registry import load_customers

    settings = load_settings()
    ids, lines = tuple(customer or ()), list[str]()
    select(load_customers(settings.customers_path), ids)  # before the lab is started
    if sys.stderr.isatty():  # one line moves there, and what stays comes after it
        with working() as (note, progress), subprocesses.for_demo(settings, note) as settings:
            found = check_customers(settings, clickhouse_of(settings), ids, lines.append, progress)
    else:
        with subprocesses.for_demo(settings, say) as settings:
            found = check_customers(settings, clickhouse_of(settings), ids, typer.echo)
    for line in lines:
        typer.echo(line)
    if found:
        raise OptiInfraError(f"{counted(found, 'problem')} found.")


@app.command(
    "grant", cls=Command, epilog=examples("customers grant acme", "customers grant acme --user acme_grafana --print")
)
def grant(
    customer: Annotated[str, typer.Argument(help="The customer's id.")],
    user: Annotated[str, typer.Option(help="A user of ClickHouse who gets the role.")] = "",
    only_print: Annotated[bool, typer.Option("--print", help="Print the statements, and change nothing.")] = False,
    cluster: ClusterOption = "",
) -> None:
    """Make a role in ClickHouse that reads this customer's rows and no others; after an upgrade, once more."""
    from optiinfra_dagster.cli.grants import grant_customer

    settings = load_settings()
    grant_customer(
        settings, clickhouse_of(settings), customer, user, typer.echo, only_print=only_print, cluster=cluster
    )


@app.command("revoke", cls=Command, epilog=examples("customers revoke acme", "customers revoke acme --print"))
def revoke(
    customer: Annotated[str, typer.Argument(help="The customer's id.")],
    only_print: Annotated[bool, typer.Option("--print", help="Print the statements, and change nothing.")] = False,
    cluster: ClusterOption = "",
) -> None:
    """Drop the role that `customers grant` made, and its row policies."""
    from optiinfra_dagster.cli.grants import revoke_customer

    settings = load_settings()
    revoke_customer(settings, clickhouse_of(settings), customer, typer.echo, only_print=only_print, cluster=cluster)


@app.command("remove", cls=Command, epilog=examples("customers remove acme", "customers remove acme --erase --yes"))
def remove(
    customer: Annotated[str, typer.Argument(help="The customer's id.")],
    erase: Annotated[
        bool, typer.Option("--erase", help="Delete every row of the customer, once it is out of the customers file.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the customer's id before it is erased.")] = False,
) -> None:
    """Say what stops the collection of a customer and what is stored of it; with --erase, delete that for good."""
    from optiinfra_dagster.cli import removal

    settings = load_settings()
    if not erase:
        if yes:
            raise UsageError("--yes is of use with --erase only: add --erase, or leave it out.")
        removal.describe_removal(settings, clickhouse_of(settings), customer, typer.echo)
        return

    def is_sure(what: str) -> bool:
        say(what)
        return yes or typer.prompt(f"Type {customer} to go on", err=True, default="", show_default=False) == customer

    if not removal.erase_customer(settings, clickhouse_of(settings), customer, is_sure, typer.echo):
        raise OptiInfraError("Nothing was erased: what was typed is not the customer's id.")


@app.command("show", cls=Command, epilog=examples("customers show", "customers show acme"))
def show(
    customer: Annotated[list[str] | None, typer.Argument(help="Only these customers. Default: all.")] = None,
) -> None:
    """Print what the customers file says of each customer, secrets as references, and what is stored of it."""
    from optiinfra_dagster.cli.shown_customers import show_customers

    settings = load_settings()
    show_customers(settings, clickhouse_of(settings), tuple(customer or ()), typer.echo)
