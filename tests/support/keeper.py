"""ZooKeeper for tests, and an embedded engine that makes its replicated tables by it.

Debian's packages libzookeeper-java and default-jre-headless have what is needed. The engine has no port for other
replicas, so its replicated tables stay read-only: that they are made, with their nodes, is what can be tried.

The engine has a process of its own: `python -m tests.support.keeper <port of ZooKeeper> <folder>`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

JAR = Path("/usr/share/java/zookeeper.jar")
CONFIG = """<clickhouse>
  <zookeeper><node><host>127.0.0.1</host><port>{port}</port></node></zookeeper>
  <macros><shard>01</shard><replica>r1</replica></macros>
  <default_replica_path>/clickhouse/bare/{{shard}}/{{database}}/{{table}}</default_replica_path>
  <default_replica_name>{{replica}}</default_replica_name>
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <interserver_http_port>9009</interserver_http_port>
</clickhouse>
"""


def lacking() -> str:
    """What is not installed here; empty where everything is."""
    if not shutil.which("java"):
        return "java is not installed: apt-get install default-jre-headless"
    return "" if JAR.exists() else "ZooKeeper is not installed: apt-get install libzookeeper-java"


class ZooKeeper:
    """A ZooKeeper of its own: a context manager that starts it and ends it. `port` is on 127.0.0.1."""

    def __init__(self) -> None:
        self.port = 0
        self._folder = tempfile.TemporaryDirectory(prefix="zookeeper-")

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            ["java", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.admin.enableServer=false",
             "-cp", f"{JAR}:/usr/share/java/slf4j-nop.jar", "org.apache.zookeeper.server.ZooKeeperServerMain",
             str(self.port), self._folder.name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 120
        while self._process.poll() is None and time.monotonic() < until:
            if self._serves():
                return self
            time.sleep(0.1)  # Java is starting, and nothing but an answer tells that it has
        self.__exit__(None, None, None)
        raise RuntimeError("ZooKeeper did not start")

    def _serves(self) -> bool:
        """True if it answers; where its port is open only, it cuts off the first that want a session."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"srvr")
            return connection.recv(100).startswith(b"Zookeeper version")
        return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


def refused(port: int, statements: list[tuple[str, str]], folder: Path) -> tuple[list[str], list[str]]:
    """What an engine in `folder` says against statements, each with its database, and the paths of tables it made."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.keeper", str(port), str(folder)],
        cwd=Path(__file__).parents[2],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    against, paths = json.loads(done.stdout)
    return against, paths


def _main(port: int, folder: Path) -> None:
    """Make and exchange the tables of standard input, and have the rest parsed; an engine has its own process."""
    import chdb

    config = folder / "config.xml"
    config.write_text(CONFIG.format(port=port))
    connect: Callable[[str], Any] = chdb.connect
    engine = connect(f"{folder}/engine?config-file={config}")
    against = []
    for database, statement in json.load(sys.stdin):
        try:
            if " ON CLUSTER " in statement:
                engine.query(f"EXPLAIN AST {statement}", "Null")
            if statement.startswith(("CREATE TABLE", "EXCHANGE TABLES")):
                engine.query(f"CREATE DATABASE IF NOT EXISTS {database}")
                engine.query(f"USE {database}")
                engine.query(re.sub(r" ON CLUSTER '\w+'", "", statement, count=1))
        except RuntimeError as error:
            against.append(f"{statement[:100]}: {str(error)[:300]}")
    paths = engine.query("SELECT zookeeper_path FROM system.replicas", "TabSeparated").bytes().decode()
    print(json.dumps([against, paths.splitlines()]), flush=True)
    os._exit(0)  # without the engine's own farewell


if __name__ == "__main__":
    _main(int(sys.argv[1]), Path(sys.argv[2]))
