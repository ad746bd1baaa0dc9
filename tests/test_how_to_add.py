"""The tables that a metric, a kind, a provider, a reader or a field is added to fit each other.

Each test collects sentences, one for each thing that is missing, which say what to write where.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, get_args

import pytest

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.config.secrets import DeferredValue, Section
from optiinfra_dagster.config.settings import DEMO_CUSTOMERS, Settings
from optiinfra_dagster.lab.control import DEMO_WORLD
from optiinfra_dagster.lab.world import World
from optiinfra_dagster.model.metrics import STATISTICS, CoverageState
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.providers.registry import CUSTOMERS_FILE, PROVIDERS
from optiinfra_dagster.storage import sql
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pydantic import BaseModel

CLOUDS = pytest.mark.parametrize("cloud", PROVIDERS)


@CLOUDS
def test_a_metric_has_a_statistic_a_unit_and_a_condition_that_are_known(cloud: str) -> None:
    missing = []
    for kind in PROVIDERS[cloud].kinds.values():
        for metric in kind.metrics:
            row = f"{metric.name} of {kind.name}"
            missing += [
                f"{row}: model/metrics.py: STATISTICS has no name for {statistic}"
                for statistic in metric.statistics
                if statistic not in STATISTICS
            ]
            if metric.kind != kind.name or metric.provider != cloud:
                missing.append(f"{row}: its row says {metric.provider} {metric.kind}")
    assert missing == []


@CLOUDS
def test_a_kind_is_in_the_lab_too(cloud: str) -> None:
    """Else no test lists, reads or prices one."""
    product = set(PROVIDERS[cloud].kinds)
    lab = set(importlib.import_module(f"optiinfra_dagster.lab.{cloud}.services").KINDS)
    folder = f"lab/{cloud}/services"
    assert [f"{name}: write its lab kind in {folder}" for name in sorted(product - lab)] == []
    assert [f"{name}: {folder} has it, providers/{cloud}/services does not" for name in sorted(lab - product)] == []


@CLOUDS
def test_every_family_names_permissions(cloud: str) -> None:
    provider = PROVIDERS[cloud]
    missing = [
        f"{cloud} {family}: Provider.permissions names nothing that a credential must be allowed"
        for family in ("resource", "performance", "cost")
        if family in provider.families and not provider.permissions([family])
    ]
    assert missing == []


@CLOUDS
def test_a_provider_has_a_lab_and_a_customer_of_the_demo(cloud: str) -> None:
    customers = CUSTOMERS_FILE.load(DEMO_CUSTOMERS)
    world = World.load(DEMO_WORLD)
    missing = []
    if not any(customer.accounts(cloud) for customer in customers):
        missing.append(f"{DEMO_CUSTOMERS.name}: give a customer an account of {cloud}")
    if not any(getattr(world, cloud).model_dump(exclude_defaults=True).values()):
        missing.append(f"{DEMO_WORLD.name}: describe something of {cloud}")
    assert missing == []


def test_every_word_of_a_state_can_be_stored() -> None:
    schema = "".join(file.read_text(encoding="utf-8") for file in sorted(sql.SQL.glob("schema/*.sql")))
    missing = []
    for column, words in (("coverage.state", CoverageState), ("metric_batches.status", SliceStatus)):
        stored = re.findall(rf"\b{column.partition('.')[2]}\s+Enum8\((.*?)\)", schema, re.DOTALL)
        known = set(re.findall(r"'(\w+)'", "".join(stored)))  # migrations only add words
        missing += [
            f"{column} cannot hold {word}: write a migration in sql/schema that adds it"
            for word in words
            if word not in known
        ]
    assert missing == []


def sections(of: type[Section]) -> dict[str, type[Section]]:
    """A part of the customers file and those within it, by name; a reference is told where it stands."""
    found: dict[str, type[Section]] = {of.__name__: of}
    for field in of.model_fields.values():
        within = [field.annotation]
        for kind in within:
            within += get_args(kind)
            if isinstance(kind, type) and issubclass(kind, Section) and not issubclass(kind, DeferredValue):
                found |= sections(kind)
    return found


def test_every_key_and_setting_says_what_to_write() -> None:
    """A wrong value is answered with it, and it is the reference page."""
    of_customers = sections(CUSTOMERS_FILE.customer_type)
    assert {"Customer", "AwsAccount", "Rubric", "FeedbackScale", "CustomerAlerts"} <= of_customers.keys()
    models: list[type[BaseModel]] = [Settings, *of_customers.values()]
    missing = [
        f"{section.__module__}: {name} needs a Field(description=...) that says what to write"
        for section in models
        for name, field in section.model_fields.items()
        if not field.description
    ]
    page = (PROJECT / "docs/reference/customers.md").read_text()
    missing += [
        f"docs/generate.py: customers.md needs {name}"
        for name, section in of_customers.items()
        if (section.__doc__ or "?").partition("\n")[0] not in page
    ]
    assert missing == []


def test_a_reader_is_of_a_family_and_says_what_it_is() -> None:
    missing = []
    for (family, name), reader in sql.readers().items():
        if family not in FAMILIES:
            missing.append(f"sql/readers/{family}_{name}.sql: name it <family>_<reader>, with one of {FAMILIES}")
        if not reader.description.endswith("."):
            missing.append(
                f"sql/readers/{family}_{name}.sql: begin with a comment that says in a sentence what it shows"
            )
    assert missing == []
