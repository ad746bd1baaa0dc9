"""What every command of the command line has: no option twice, a quiet end when its reader goes away, examples."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

from typer.core import TyperCommand

from optiinfra_dagster.model.errors import UsageError
from optiinfra_dagster.storage.readers import sources

PIPE_CLOSED = 141  # what a shell gives for a program that SIGPIPE ended


class Command(TyperCommand):
    """A command that refuses an option given twice, where the parser would let the last one win.

    It ends with `PIPE_CLOSED` where the reader of the output goes away: of that, Typer would make a silent 1.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run it, and print what is still to be printed."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            leave_pipe()
        return result

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse what is given twice."""
        *_, given = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in {one.name: one for one in given}.values():
            if parameter.param_type_name == "option" and not parameter.multiple and given.count(parameter) > 1:
                raise UsageError(f"{parameter.opts[0]} is given {given.count(parameter)} times; it takes one value.")
        return super().parse_args(ctx, args)


def examples(*commands: str) -> str:
    """Text below a command's help, set apart by an empty line: a single line break is none there."""
    return "Examples:\n\n" + "\n\n".join(f"  optiinfra {command}" for command in commands)


def readers_help() -> str:
    """The readers of each family, for the help of commands that take one."""
    return " ".join(f"{family}: {', '.join(of_family)}." for family, of_family in sources().items())


def leave_pipe() -> NoReturn:
    """End because the reader of the output went away, as `head` does; what is still buffered has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(PIPE_CLOSED)


def end_silently() -> None:
    """From now on Ctrl-C ends at once with 130, without a word: of a server that only answers nothing is left undone.

    SIGTERM ends it as it ends any process, which a supervisor takes for a good end.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
