"""Answers that the real Vultr once gave, and its documents show: no resource is lost, doubled, or too odd to bear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.vultr.cloud import ROUTES
from optiinfra_dagster.lab.vultr.recordings import Recordings, load_answers
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.vultr.inventory import collect
from tests.providers.vultr.conftest import KINDS, acme

Replay = Callable[..., Inventory]


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    with CloudLab({"vultr": {"limit": 10**6}}) as lab:
        yield lab


@pytest.fixture
def replay(lab: CloudLab, monkeypatch: pytest.MonkeyPatch) -> Replay:
    for name, value in {**lab.env, "ACME_VULTR_KEY": "ANY-KEY"}.items():
        monkeypatch.setenv(name, value)

    def replayed(*files: Path) -> Inventory:
        lab.vultr.recordings = Recordings(files)
        return collect("acme", [acme()], Meter())

    return replayed


def files_with_listings(shared_data: Path) -> list[Path]:
    files = sorted((shared_data / "vultr").rglob("*.json"))
    return [file for file in files if any(True for _ in load_answers(file))]


KIND_OF = {route.key: route.kind for route in ROUTES.values()}


def recorded(*files: Path) -> set[tuple[str, str]]:
    """Kind and id of every resource in the recordings; documents give the same id to things of several kinds."""
    return {
        (KIND_OF[key], str(one["id"]))
        for file in files
        for key, body in load_answers(file)
        if key in KIND_OF  # bills are recorded as well
        for item in body[key]
        for one in [item, *(part for part in item.get("read_replicas", []) if isinstance(part, dict))]
    }


def test_every_recorded_resource_comes_out_once(shared_data: Path, replay: Replay) -> None:
    files = files_with_listings(shared_data)
    assert len(files) >= 12
    for file in files:
        inventory = replay(file)

        found = [(one.kind, one.resource_id) for one in inventory.resources]
        assert len(found) == len(set(found)), file
        assert set(found) == recorded(file), file
        # A document shows `"read_replicas": ["..."]`, and one address on two pages of which the total counts both.
        of_documents = {("vultr:database", Cause.BUG), ("vultr:address", Cause.INCOMPLETE)}
        for problem in inventory.problems:
            assert "openapi" in file.name
            assert (problem.kind, problem.cause) in of_documents
        for one in inventory.resources:
            assert one.status is not Status.UNKNOWN or not one.cloud_status, (file, one)
            assert one.region or one.kind == "vultr:snapshot"
            assert "password" not in repr(one).lower()


def test_all_recordings_together_are_one_account(shared_data: Path, replay: Replay) -> None:
    files = files_with_listings(shared_data)

    inventory = replay(*files)

    assert {(one.kind, one.resource_id) for one in inventory.resources} == recorded(*files)
    unrecorded = {"vultr:vfs", "vultr:registry", "vultr:inference"}
    assert {one.kind for one in inventory.resources} == set(KINDS) - unrecorded
