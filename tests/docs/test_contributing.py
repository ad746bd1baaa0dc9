"""What CONTRIBUTING.md says to write for a new provider works as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
CUSTOMERS = """
customers:
  - id: acme
    name: Acme
    families: [resource]
    hetzner:
      - token: {env: HETZNER_TOKEN}
"""
SHOW = """
import json
from pathlib import Path
from optiinfra_dagster.definitions import defs
from optiinfra_dagster.providers.registry import load_customers
keys = [node.key.to_user_string() for node in defs.get_repository_def().asset_graph.asset_nodes]
(customer,) = load_customers(Path("customers.yaml"))
print(json.dumps([keys, customer.collects("hetzner", "resource"), customer.collects("hetzner", "cost")]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the package with the provider that the page adds: its files, and the added lines of the registry."""
    for folder in ("optiinfra_dagster", "sql"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)  # with what is compiled, which stays valid
    for path, code in re.findall(r"```python\n# (providers/\S+)\n(.*?)```", TEXT, re.DOTALL):
        file = tmp_path / "optiinfra_dagster" / path
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(code, encoding="utf-8")
    (lines,) = re.findall(r"\+\+\+ optiinfra_dagster/providers/registry.py\n(.*?)```", TEXT, re.DOTALL)
    imported, listed = [line[1:] for line in lines.splitlines() if line.startswith("+")]
    registry = tmp_path / "optiinfra_dagster/providers/registry.py"
    code = registry.read_text(encoding="utf-8")
    assert code.count("    Vultr(),\n") == 1
    code = code.replace("    Vultr(),\n", f"    Vultr(),\n{listed}\n")
    registry.write_text(code.replace("from optiinfra", f"{imported}\nfrom optiinfra", 1), encoding="utf-8")
    return tmp_path


def test_the_provider_that_is_shown_becomes_assets_and_a_section_of_the_customers_file(project: Path) -> None:
    (project / "customers.yaml").write_text(CUSTOMERS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=project, capture_output=True, text=True, check=False,
        env={"DAGSTER_HOME": str(project), "PATH": "", "PYTHONPATH": str(project), "HETZNER_TOKEN": "secret"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    keys, collects_resources, collects_costs = json.loads(done.stdout.splitlines()[-1])
    assert [key for key in keys if key.startswith("hetzner/")] == ["hetzner/resource"]
    assert (collects_resources, collects_costs) == (True, False)
