"""`python -m optiinfra_dagster.lab`: the lab as a process of its own, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import threading
from pathlib import Path

from optiinfra_dagster.lab.control import DEMO_WORLD, CloudLab
from optiinfra_dagster.model.errors import ConfigError


def serve(world: Path | None = None, port: int = 0, parent: int | None = None) -> None:
    """Serve `world` (None: the demo world) until told to stop, or until the process `parent` is gone.

    First the environment that points SDKs at it is printed, as shell exports; a comment ends them.

    Raises:
        ConfigError: the world file or the port cannot be used.
    """
    world = world or DEMO_WORLD
    try:
        lab = CloudLab(world, port)
    except OSError as error:
        raise ConfigError(f"The cloud lab cannot listen on port {port}: {error.strerror}. Choose another.") from error
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with lab:
        print(*(f"export {name}={shlex.quote(value)}" for name, value in lab.env.items()), sep="\n")
        print(f"# serving {world.name} on {lab.url} until SIGTERM or Ctrl-C", flush=True)
        while not stopped.wait(1.0 if parent else None):
            if os.getppid() != parent:
                break


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m optiinfra_dagster.lab", description=__doc__)
    parser.add_argument("--world", type=Path, help="the world file, YAML or JSON (default: the demo world)")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--parent", type=int, help="the process that started it, and that it ends with")
    chosen = parser.parse_args()
    try:
        serve(chosen.world, chosen.port, chosen.parent)
    except ConfigError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
