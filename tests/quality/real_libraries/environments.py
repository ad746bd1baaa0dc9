"""The environments that the libraries are installed in, each from its pinned list, kept between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optiinfra"


def environment(name: str) -> Path:
    """The folder of an environment, made if it is not there: a Python one, or Node's where the list is a package.json.

    Raises:
        subprocess.CalledProcessError: If something could not be installed.
    """
    wanted = HERE / f"{name}.txt"
    npm = not wanted.exists()
    if npm:
        wanted = HERE / name / "package-lock.json"
    folder = CACHE / f"llm-libraries-{name}-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    made = folder.with_name(f"{folder.name}.{os.getpid()}")
    if npm:
        made.mkdir(parents=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name / file, made)
        _run("npm", "ci", "--no-audit", "--no-fund", "--silent", cwd=made)
    else:
        _run(sys.executable, "-m", "venv", str(made))
        _run(str(made / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(wanted))
    try:
        made.rename(folder)
    except OSError:  # another process has made it meanwhile
        shutil.rmtree(made)
    return folder


def version(folder: Path, package: str) -> str:
    """The version of a package that is installed in an environment."""
    if (folder / "node_modules").exists():
        import json

        return str(json.loads((folder / "node_modules" / package / "package.json").read_text("utf-8"))["version"])
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    said = subprocess.run([folder / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True)
