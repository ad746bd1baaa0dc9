"""The page for operators names every item, kind of alert and setting, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optiinfra_dagster.automation.status.items import TOLD_BY, Item, Kind
from optiinfra_dagster.config.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def column(head: str) -> list[str]:
    """The first cells of the table whose head begins so."""
    (table,) = re.findall(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [line.split("|")[1].strip().strip("`") for line in table.splitlines()]


@pytest.mark.parametrize(("head", "names"), [("item", list(Item)), ("kind", list(Kind))])
def test_its_tables_have_every_name_in_order(head: str, names: list[str]) -> None:
    assert column(head) == names


def test_its_settings_exist_and_those_of_alerts_are_there() -> None:
    known = {field.alias for field in Settings.model_fields.values()}
    named = set(re.findall(r"OPTIINFRA_\w+", PAGE))
    assert named <= known
    assert {name for name in known if name and ("ALERT" in name or "HEARTBEAT" in name)} <= named


def test_every_kind_is_told_by_an_item() -> None:
    assert TOLD_BY.keys() == set(Kind)
