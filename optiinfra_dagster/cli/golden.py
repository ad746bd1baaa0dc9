"""The command `optiinfra golden add`: a file of judged interactions for people to label."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optiinfra_dagster.cli.command import Command, examples
from optiinfra_dagster.cli.terminal import clickhouse_of, say
from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.model.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.quality.labelling import Selection
    from optiinfra_dagster.storage.clickhouse import ClickHouse

USUAL = timedelta(days=7)

app = typer.Typer(
    help="The golden set: interactions labelled by people, which tell how far to trust the judge.", no_args_is_help=True
)


@app.callback()
def _golden() -> None:
    """Keep `add` a command of its own: a Typer with one command only would be that command."""


@app.command(
    "add",
    cls=Command,
    epilog=examples(
        "golden add --customer acme --out to_label.jsonl",
        "golden add --customer acme --count 60 --from 2026-11-01T00:00Z --to 2026-11-15T00:00Z --out to_label.jsonl",
    ),
)
def add(
    customer: Annotated[str, typer.Option(help="The customer's id.")],
    out: Annotated[Path, typer.Option(help="The file to write; one that is there is left alone.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many interactions.")] = 30,
    from_: Annotated[
        str | None, typer.Option("--from", help="Judged from this time on: 2026-11-21T00:00Z. Default: a week before.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Judged before this time. Default: now.")] = None,
) -> None:
    """Write judged interactions that are worth a label to a file, which people fill in and add to the golden set."""
    settings = load_settings()
    clickhouse = clickhouse_of(settings).existing()
    for line in add_cases(clickhouse, settings, customer, out, count, (from_, to)):
        say(line)


def add_cases(
    clickhouse: ClickHouse,
    settings: Settings,
    customer_id: str,
    out: Path,
    count: int,
    times: tuple[str | None, str | None],
) -> Iterator[str]:
    """Write the file; what there is to say of it, the first line once it is written.

    Raises:
        UsageError: what was typed cannot be meant.
        CloudError, ConfigError: nothing was judged, or the logs cannot be read.
        StorageError: ClickHouse cannot be read.
    """
    from optiinfra_dagster.config.customers import select
    from optiinfra_dagster.providers.registry import load_customers
    from optiinfra_dagster.quality import golden, labelling

    customers = load_customers(settings.customers_path)
    (customer,) = select(customers, [customer_id])
    from_, to = times
    end = windows.parse_time(to, "--to") if to else datetime.now(UTC)
    begin = windows.parse_time(from_, "--from") if from_ else end - USUAL
    if begin >= end:
        raise UsageError("--from is not before --to: exchange the two.")
    if out.exists():
        raise labelling.is_there(out)
    known = (
        golden.load(settings.golden_set, customers) if settings.golden_set and settings.golden_set.exists() else None
    )
    chosen = labelling.cases_to_label(clickhouse, customer, begin, end, count, known)
    if not chosen.lines:
        raise ConfigError(_nothing(customer_id, begin, end, chosen))
    labelling.write(out, chosen.lines)
    parts = ", ".join(f"{number} {reason.value}" for reason, number in sorted(chosen.reasons.items()))
    its_place = str(settings.golden_set or "a file that you name in OPTIINFRA_GOLDEN_SET")
    yield (
        f"{customer_id}: {counted(len(chosen.lines), 'interaction')} to be labelled in {out}: {parts}. Fill in the "
        f"labels you are sure of, remove the others, and append the lines to {its_place}."
    )
    if customer.application is None or not customer.application.store_text:
        yield (
            f"Their texts are not in the file, because store_text of {customer_id} is false in the customers file: put "
            "prompt, response, context and reference into each line from your logs."
        )
    if len(chosen.lines) < count:
        yield f"That is fewer than {count}: no more were judged from {begin:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}."
    if chosen.known:
        yield f"{chosen.known} are in the golden set already, or have the texts of another one."
    if chosen.gone:
        yield f"{chosen.gone} were left out: they are no longer in the logs."


def _nothing(customer_id: str, begin: datetime, end: datetime, chosen: Selection) -> str:
    time = f"from {begin:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}"
    if chosen.known or chosen.gone:
        return (
            f"{customer_id}: of what was judged {time}, {chosen.known} are in the golden set already and {chosen.gone} "
            "are no longer in the logs. Choose another time with --from and --to."
        )
    return (
        f"{customer_id}: nothing was judged {time}. Choose another time with --from and --to, or run "
        f"`optiinfra collect --customer {customer_id} --family application` and look at what it says."
    )
