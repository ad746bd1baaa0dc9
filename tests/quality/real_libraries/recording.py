"""Makes a library write its log, and keeps it for the tests that run without the library.

`python -m tests.quality.real_libraries.recording [WAY ...]` records anew, all ways if none is named.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.quality.real_libraries.calls import CLAUDE, DEGREES, EMBEDDER, MODEL, Kind
from tests.quality.real_libraries.environments import HERE, environment, version
from tests.quality.real_libraries.libraries import WAYS, Way
from tests.quality.real_libraries.server import Model
from tests.quality.real_libraries.telemetry import NAME

RECORDED = HERE.parent / "recorded"
PROJECT = HERE.parents[2]

# What a library writes of the machine it runs on.
_OF_THE_MACHINE = (
    (re.compile(rb"[^\s\"'(=]*/site-packages/"), b"site-packages/"),
    (re.compile(rb"[^\s\"'(=]*/(lib/python3\.\d+|node_modules)/"), rb"\1/"),
    (re.compile(re.escape(str(PROJECT)).encode()), b"/srv"),
    (re.compile(rb"127\.0\.0\.1:\d+"), b"127.0.0.1:8080"),
    (re.compile(rb'("server\.port", ?"value": ?\{"intValue": ?"?|"server\.port": )\d+'), rb"\g<1>8080"),
    (re.compile(rb'("revision_id": ")[^"]*'), rb"\g<1>1"),
    (re.compile(rb"Linux-[\w.-]+"), b"Linux"),
)


def write(way: Way, path: Path) -> str:
    """Make the library write its log of the calls; its version."""
    folder = environment(way.environment)
    with Model() as model:
        if way.driver.endswith(".mjs"):
            driver = folder / Path(way.driver).name  # Node looks for packages from where the program is
            driver.write_bytes((HERE / way.driver).read_bytes())
            command = ["node", str(driver), model.url, str(path), _calls_as_json(way)]
        else:
            module = f"tests.quality.real_libraries.{way.driver}"
            command = [str(folder / "bin/python"), "-m", module, way.name, model.url, str(path)]
        variables = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, check=False, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, f"{way.name}: {done.stderr[-2000:]}"
    if model.stored and not path.exists():  # the library keeps its log in a store: a line is an object
        path.write_bytes(b"".join(body.strip() + b"\n" for _, body in model.stored))
    return version(folder, way.package)


def _calls_as_json(way: Way) -> str:
    made = [
        {**asdict(call), "asked": call.asked} for call in way.calls() if call.kind is not Kind.STEP
    ]  # the call that ends with an answer makes the step before it too
    models = {"gpt": MODEL, "claude": CLAUDE, "embedder": EMBEDDER}
    return json.dumps({"calls": made, "degrees": DEGREES, "models": models, "service": NAME})


def recording(way: Way) -> Path:
    """The recording of a way; there is one, of one version."""
    (found,) = RECORDED.glob(f"{way.name}@*.jsonl.gz")
    return found


def main() -> None:
    """Record."""
    RECORDED.mkdir(exist_ok=True)
    for way in WAYS:
        if way.name not in sys.argv[1:] and sys.argv[1:]:
            continue
        with TemporaryDirectory() as folder:
            path = Path(folder) / "log"
            written = write(way, path)
            content = path.read_bytes()
        for pattern, instead in _OF_THE_MACHINE:
            content = pattern.sub(instead, content)
        for old in RECORDED.glob(f"{way.name}@*"):
            old.unlink()
        # Compressed: most of it is repetition (0.1 to 0.6 MB become 5 to 30 kB).
        (RECORDED / f"{way.name}@{written}.jsonl.gz").write_bytes(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    main()
