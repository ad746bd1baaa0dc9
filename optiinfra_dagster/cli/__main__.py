"""The program `optiinfra`, and `python -m optiinfra_dagster.cli`: the command line as a process of its own."""

from __future__ import annotations

import atexit
import gc
import os
import sys

# What a command loads stays until it ends. To look through it for garbage at every 700 new objects, as Python does by
# default, takes 0.04 CPU-s.
GARBAGE_THRESHOLD = 10_000


def start() -> None:
    """Run the command line, and end the process as soon as all is written and the engine is given back."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    _open_closed_streams()
    try:
        from optiinfra_dagster.cli.main import main
    except KeyboardInterrupt:  # to load it takes 0.5 s, in which Ctrl-C is likelier than at any other moment
        os.write(2, b"Interrupted. Nothing was begun.\n")
        os._exit(130)

    codes: list[int] = []
    atexit.register(_end, codes)  # the last to run of all that are registered from here on, the engine's among them
    try:
        main()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            codes.append(ended.code or 0)
        raise


def _open_closed_streams() -> None:
    """Let what is printed to a closed stream go nowhere, as after `>&-`.

    Python has None for such a stream, at which whoever prints fails, and the next file that is opened is that stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _end(codes: list[int]) -> None:
    """End with the code that is known, and leave it to the kernel to free what is loaded.

    Python would take it apart object by object, and the engine's library its threads and caches: 0.05 CPU-s, for
    nothing. By now no other thread runs a command, the engine is closed and its lock is given back. What cannot be
    written, and an error that nobody expected, Python reports in its own way.
    """
    if not codes:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(codes[0])


if __name__ == "__main__":
    start()
