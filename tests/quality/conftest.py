"""What tests of judging share: an engine with every table, a cache of verdicts, and the lab's judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.verdicts import Verdicts
from tests.support.engines import copy_migrated
from tests.support.judging import lab_of

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """An embedded engine, opened once; its customers are the tests' own."""
    clickhouse = ClickHouse(f"chdb://{copy_migrated(tmp_path_factory.mktemp('quality') / 'clickhouse')}")
    with clickhouse.session():
        yield clickhouse


@pytest.fixture
def verdicts(clickhouse: ClickHouse) -> Verdicts:
    """The cache, empty."""
    with clickhouse.session() as client:
        client.command("TRUNCATE TABLE application_verdicts")
        client.command("TRUNCATE TABLE judge_spend")
    return Verdicts(clickhouse)


@pytest.fixture(scope="module")
def module_lab() -> Iterator[CloudLab]:
    """A lab with nothing in it but Groq."""
    with lab_of() as lab:
        yield lab


@pytest.fixture
def lab(module_lab: CloudLab) -> CloudLab:
    """The lab without labels, counts and faults."""
    module_lab.control.reset()
    module_lab.groq.labels = {}
    module_lab.groq.answered.clear()
    module_lab.groq.tokens = 0
    return module_lab
