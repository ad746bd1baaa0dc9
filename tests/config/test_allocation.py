"""`allocate_by` and `shared_costs` of the customers file: what they give, and what people read for a wrong one."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.config.allocation import FixedShares, SharedCosts
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.registry import load_customers

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.config.customers import Customer


def load(folder: Path, fields: str) -> Customer:
    file = folder / "customers.yaml"
    file.write_text(f"customers:\n  - id: acme\n    name: A\n    vultr: [{{api_key: {{env: K}}}}]\n    {fields}\n")
    [customer] = load_customers(file)
    return customer


def test_costs_are_allocated_by_keys_in_their_own_case_and_shared_ones_in_proportion(tmp_path: Path) -> None:
    customer = load(tmp_path, "allocate_by: [team, Team, 'cost center']\n    shared_costs: {categories: [Tax]}")
    assert customer.allocate_by == ("team", "Team", "cost center")
    assert customer.shared_costs == SharedCosts(categories=("Tax",), by="proportional")
    fixed = load(tmp_path, "allocate_by: [team]\n    shared_costs: {services: [S], by: {team: {web: 0.6, data: 0.4}}}")
    assert fixed.shared_costs is not None
    assert fixed.shared_costs.by == FixedShares("team", (("web", Decimal("0.6")), ("data", Decimal("0.4"))))
    of_account = load(tmp_path, "shared_costs: {services: [S], by: {account: {123456789012: 1}}}").shared_costs
    assert of_account is not None
    assert of_account.by == FixedShares("account", (("123456789012", Decimal(1)),))
    nothing = load(tmp_path, "paused: false")
    assert (nothing.allocate_by, nothing.shared_costs) == ((), None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("allocate_by: [team, team]", "holds a tag key twice. Write a list of up to 10 tag keys"),
        ("allocate_by: [team, '']", "holds an empty tag key. Write a list"),
        ("allocate_by: team", "must be a list. Write a list"),
        ("allocate_by: [1]", "must be text, and YAML reads this as something else"),
        (f"allocate_by: [{', '.join('abcdefghijk')}]", "names more than 10 tag keys. Write a list"),
        ("shared_costs: {by: even}", "names no charges to spread. Add services or categories"),
        ("shared_costs: {}", "names no charges to spread. Add services or categories"),
        ("shared_costs: {categories: [Taxes]}", "(did you mean 'Tax'?). Write a list of Purchase, Tax, Credit"),
        ("shared_costs: {categories: [Usage]}", "is not a word that is known here. Write a list of Purchase, Tax"),
        ("shared_costs: {services: [S], by: evenly}", "(did you mean 'even'?). Write proportional, even, or shares"),
        ("shared_costs: {services: [S], by: {team: {a: 0.6, b: 0.3}}}", "has shares that add up to 0.9, and not to 1"),
        ("shared_costs: {services: [S], by: {team: {a: 0}}}", "has a share that is no number above 0 and up to 1"),
        ("shared_costs: {services: [S], by: {team: {a: true}}}", "has a share that is no number above 0 and up to 1"),
        ("shared_costs: {services: [S], by: {team: {a: 1}, env: {b: 1}}}", "must name one dimension. Write"),
        (
            "shared_costs: {services: [S], by: {team: }}",
            "must name one dimension, and beneath it a share of each value",
        ),
        ("shared_costs: {services: [S], by: [team]}", "is not a word that is known here. Write proportional"),
        (
            "shared_costs: {services: [S], by: {regions: {a: 1}}}",
            "costs are not allocated by (did you mean 'region'?). Choose from provider, account, region, service, or",
        ),
        ("shared_costs: {service: [S]}", "is not a known key (did you mean 'services'?). Choose from services"),
    ],
)
def test_a_wrong_rule_is_refused_by_its_line_with_what_to_write(tmp_path: Path, fields: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, fields)
    assert said in str(raised.value)
    assert all("customers.yaml:5 " in line for line in str(raised.value).splitlines())
