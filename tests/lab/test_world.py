"""Worlds: one file, everything else from its seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.control import DEMO_WORLD
from optiinfra_dagster.lab.world import World
from optiinfra_dagster.model.errors import ConfigError
from tests.lab.conftest import WORLD


def ids(world: Any) -> list[str]:
    lab = CloudLab(world)
    try:
        return [one.arn for one in lab.resources()]
    finally:
        lab.close()


def test_identifiers_follow_from_the_seed_and_are_unique() -> None:
    first = ids(WORLD)
    assert ids(WORLD) == first
    assert len(set(first)) == len(first)
    assert not set(ids({**WORLD, "seed": 8})) >= set(first)


def test_a_growing_fleet_keeps_the_resources_it_had() -> None:
    def world(count: int) -> dict[str, Any]:
        fleets = [{"kind": "ec2:instance", "region": "us-east-1", "count": count}]
        return {"aws": {"accounts": [{"id": "111111111111", "fleets": fleets}]}}

    assert set(ids(world(3))) < set(ids(world(5)))


def test_fleets_of_one_kind_share_no_identifier_unless_told_to() -> None:
    fleet = {"kind": "rds:db", "region": "us-east-1", "count": 2}

    def world(*fleets: dict[str, Any]) -> dict[str, Any]:
        return {"aws": {"accounts": [{"id": "111111111111", "fleets": fleets}]}}

    assert len(set(ids(world(fleet, fleet)))) == 4
    with pytest.raises(ValueError, match="two rds:db named same"):
        ids(world({**fleet, "name": "same"}))


@pytest.mark.parametrize(("name", "write"), [("world.yaml", yaml.safe_dump), ("world.json", json.dumps)])
def test_yaml_and_json_files_and_dicts_are_the_same_world(tmp_path: Path, name: str, write: Any) -> None:
    (tmp_path / name).write_text(write(WORLD))
    assert World.load(tmp_path / name) == World.load(WORLD)


@pytest.mark.parametrize(
    ("account", "message"),
    [
        ({"fleets": [{"kind": "ec2:instance", "region": "us-east-1", "cuont": 3}]}, "cuont"),
        ({"fleets": [{"kind": "ec2:instance", "region": "eu-north-1"}]}, "eu-north-1"),
        ({"fleets": [{"kind": "ec2:instanze", "region": "us-east-1"}]}, "ec2:instanze"),
        ({"fleets": [{"kind": "ec2:instance", "region": "us-east-1", "name": "{number}"}]}, "number"),
        ({"id": "1"}, "id"),
    ],
)
def test_a_mistake_in_a_world_is_named(account: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        World.load({"aws": {"accounts": [{"id": "111111111111", **account}]}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aws: [", "expected"),
        ("aws: {accounts: [{id: '1'}]}", "accounts.0.id"),
        ("just text", "no mapping"),
        (None, "No such"),
    ],
)
def test_a_file_that_is_no_world_is_refused_by_name(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "text.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=f"{file}: .*{message}") as refused:
        World.load(file)
    assert "\n" not in str(refused.value)


def test_the_demo_world_has_three_customers_and_every_kind_that_is_collected() -> None:
    world = World.load(DEMO_WORLD)
    lab = CloudLab(world)
    counts = Counter(one.kind for one in lab.resources())
    lab.close()
    assert len(world.aws.accounts) == 3
    assert 55 <= sum(counts.values()) <= 80
    assert set(counts) >= {"ec2:instance", "ebs:volume", "rds:db", "rds:cluster", "elb:classic", "elbv2:application"}
    assert set(counts) >= {"elbv2:network", "ec2:vpc", "ec2:subnet", "eks:cluster"}


def test_the_demo_customers_refer_to_what_the_lab_exports() -> None:
    customers = DEMO_WORLD.with_name("demo_customers.yaml").read_text()
    names = {part.split("}")[0].strip() for part in customers.split("{env:")[1:]}
    with CloudLab(DEMO_WORLD) as lab:
        assert names <= set(lab.env)
