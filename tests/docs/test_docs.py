"""The documentation is true: generated pages are current, links lead somewhere, named files and commands exist."""

from __future__ import annotations

import importlib.util
import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest

from optiinfra_dagster.cli.command import PIPE_CLOSED
from optiinfra_dagster.cli.main import INTERRUPTED, USAGE
from optiinfra_dagster.quality.interactions import Reason
from tests.support.engines import copy_migrated

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [
    PROJECT / "README.md",
    *sorted((PROJECT / "docs").rglob("*.md")),
    *sorted((PROJECT / ".github").glob("*.md")),
]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", PROJECT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate, tables = generator(), copy_migrated(tmp_path / "clickhouse")
    monkeypatch.setattr(generate, "TemporaryDirectory", lambda: nullcontext(str(tables)))  # where it would make them
    written = {path.name: path.read_text(encoding="utf-8") for path in (PROJECT / "docs/reference").glob("*.md")}
    generated = generate.pages()
    stale = [name for name, text in generated.items() if written.get(name) != text]
    assert stale == [], f"run `make docs` and commit docs/reference: {stale}"
    assert written.keys() == generated.keys()
    columns = generate.READER_COLUMNS.read_text(encoding="utf-8")
    assert columns == generate.reader_columns(), "run `make docs` and commit sql/readers/columns.json"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} links to {target}"
        if heading:
            heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert heading in slugs, f"{page.name} links to {target}"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "CHANGELOG.md"],  # which names what was
    ids=lambda page: str(page.relative_to(PROJECT)),
)
def test_files_that_are_named_exist(page: Path) -> None:
    """Names in code quotes that look like a file of this repository."""
    text = page.read_text(encoding="utf-8")
    shown = re.sub(r"<!-- old paths -->.*?<!-- end -->", "", text, flags=re.DOTALL)
    for name in re.findall(r"`((?:optiinfra_dagster|sql|tests|docs|\.github|\.ci)/[\w./-]*)`", shown):
        assert (PROJECT / name).exists(), f"{page.name} names {name}"


def test_the_readme_is_a_front_door_and_not_a_book() -> None:
    assert len((PROJECT / "README.md").read_bytes()) <= 13_500


def test_the_readme_tells_every_exit_code() -> None:
    text = " ".join((PROJECT / "README.md").read_text(encoding="utf-8").split())
    (told,) = re.findall(r"Exit codes: (.*?)\.", text)
    assert [int(code) for code in re.findall(r"\d+", told)] == [1, USAGE, INTERRUPTED, PIPE_CLOSED]


def test_log_formats_are_those_of_the_examples() -> None:
    text = (PROJECT / "docs/log_formats.md").read_text(encoding="utf-8")
    lines = (PROJECT / "tests/quality/formats.jsonl").read_text(encoding="utf-8").splitlines()
    shapes = [json.loads(line)["shape"] for line in lines]
    for pattern in re.findall(
        r"`([a-z_0-9]+\*?)`", "".join(re.findall(r"^\|.*\|$", text.split("## What counts")[0], re.MULTILINE))
    ):
        if pattern.endswith("*"):
            assert any(shape.startswith(pattern[:-1]) for shape in shapes), pattern


def test_log_formats_tell_every_reason_and_its_remedy() -> None:
    text = (PROJECT / "docs/log_formats.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", text, re.MULTILINE))
    assert rows.keys() == {reason.value for reason in Reason}
