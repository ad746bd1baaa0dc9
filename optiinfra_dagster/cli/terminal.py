"""What commands share: notices on standard error, an end with a message, Ctrl-C, and the ClickHouse they work on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


def fail(message: str, code: int = 1) -> NoReturn:
    """Print `message` to standard error and exit."""
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    raise SystemExit(code)


def say(message: str) -> None:
    """Print a notice to standard error: standard output is for what was asked for."""
    typer.echo(message, err=True)


@contextmanager
def working() -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """Two ways to tell of long work on standard error: for what stays, and for how far it is.

    On a terminal the second is one line that moves, elsewhere lines like the first's. Meanwhile SIGTERM and SIGHUP are
    like Ctrl-C: what was started beside it is ended, too.
    """
    with terminated_as_interrupted():
        yield from _notices()


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP are like Ctrl-C."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        # What is ignored, as under nohup, stays so; but Dagster ends helpers with SIGTERM, which would ignore it too.
        if handler is not signal.SIG_IGN or number is signal.SIGTERM:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, handler)


def _interrupt(*_: object) -> NoReturn:
    """Raise KeyboardInterrupt, once: a second signal would interrupt what the first began, and `timeout` sends two."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, at which Python complains of one that is on its way
    raise KeyboardInterrupt


def _notices() -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    if not sys.stderr.isatty():
        yield say, say
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("Starting ...") as status:
        yield lambda text: console.print(text, markup=False), lambda text: status.update(text.replace("[", r"\["))


def clickhouse_of(settings: Settings) -> ClickHouse:
    """The ClickHouse of the settings, kept open between the sessions of a command; no connection is made yet."""
    from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, ClickHouse

    return ClickHouse.of(settings, linger=LINGER_SECONDS)
