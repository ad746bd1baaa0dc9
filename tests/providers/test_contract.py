"""What every provider must do, tried on all of them alike: the demo world, through the contract and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.settings import DEMO_CUSTOMERS
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import BillRequest, Charge
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest
from optiinfra_dagster.providers.billing.charge_facts import CATEGORIES, TOLD
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from tests.support.bills import sums_of, totals_of

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.config.accounts import Account
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.model.inventory import Inventory
    from optiinfra_dagster.providers.registry import AnyProvider


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    with CloudLab() as lab, pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        yield lab


@pytest.fixture(autouse=True)
def calm(lab: CloudLab) -> Iterator[None]:
    yield
    lab.control.reset()


@pytest.fixture(params=list(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> AnyProvider:
    return PROVIDERS[request.param]


@pytest.fixture
def customer(provider: AnyProvider, lab: CloudLab) -> Customer:
    return next(one for one in load_customers(DEMO_CUSTOMERS) if one.accounts(provider.name))


def inventory(provider: AnyProvider, customer: Customer) -> Inventory:
    return provider.inventory(customer.id, customer.accounts(provider.name), Meter())


def metrics_request(provider: AnyProvider, customer: Customer, cache: Path) -> MetricsRequest[Any]:
    window = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=5))
    accounts: Sequence[Account] = customer.accounts(provider.name)
    return MetricsRequest(
        customer.id, accounts, inventory(provider, customer).resources, window, window + windows.WINDOW,
        present=window, listed=window, memory=DayCache(cache),
    )  # fmt: skip


def test_an_inventory_is_whole_and_every_resource_is_in_it_once(provider: AnyProvider, customer: Customer) -> None:
    snapshot = inventory(provider, customer)
    assert snapshot.problems == []
    assert snapshot.resources
    assert max(Counter(one.resource_id for one in snapshot.resources).values()) == 1
    for resource in snapshot.resources:
        kind = provider.kinds[resource.kind]
        assert (resource.kind, resource.resource_type) == (kind.name, kind.resource_type)
        assert resource.account_id


def test_a_refused_credential_is_one_problem_and_no_empty_inventory(
    provider: AnyProvider, customer: Customer, lab: CloudLab
) -> None:
    lab.control.add_faults({"action": "unknown_key"})
    problems = inventory(provider, customer).problems
    assert problems
    assert all(problem.cause.permanent for problem in problems)
    assert all(problem.account_id and problem.message for problem in problems)


def test_each_catalogue_metric_of_each_resource_has_one_coverage(
    provider: AnyProvider, customer: Customer, tmp_path: Path
) -> None:
    request = metrics_request(provider, customer, tmp_path)
    meter = Meter()
    price = provider.metrics_price(request)
    result = provider.metrics(request, meter)
    assert result.problems == []
    expected = Counter(
        (resource.resource_id, name)
        for resource in request.resources
        for name in {metric.name for metric in provider.kinds[resource.kind].metrics}
    )
    assert Counter((one.resource_id, one.metric_name) for one in result.coverage) == expected
    collected = {(one.resource_id, one.metric_name) for one in result.coverage if one.state is CoverageState.COLLECTED}
    assert {(one.resource.resource_id, one.metric.name) for one in result.series} <= collected
    assert all(one.reason for one in result.coverage if one.state is not CoverageState.COLLECTED)
    assert price >= meter.cost_usd


def test_a_budget_of_nothing_is_not_overspent(provider: AnyProvider, customer: Customer, tmp_path: Path) -> None:
    request = metrics_request(provider, customer, tmp_path)
    meter = Meter(Decimal(0))
    provider.metrics(request, meter)
    # Google bills by what it returned, so the call that finds out cannot be stopped before; see Meter.bill.
    assert meter.cost_usd <= provider.metrics_price(request)


def test_bills_are_read_whole_and_add_up_to_the_clouds_totals(provider: AnyProvider, customer: Customer) -> None:
    sources = provider.bill_sources(customer.accounts(provider.name))
    assert sources
    last = datetime.now(UTC).date() - timedelta(days=4)
    request = BillRequest(customer.id, sources, inventory(provider, customer).resources, last.replace(day=1), last)
    meter = Meter()
    bill = provider.bills(request, meter)
    assert bill.problems == []
    assert set(bill.read) == {source.id for source in sources}
    sums = sums_of(bill)
    assert totals_of(bill) == {key: sums.get(key, Decimal(0)) for key in totals_of(bill)}
    assert sum(sums.values()) == sum(total.amount for total in bill.totals)
    assert provider.bills_price(request) >= meter.cost_usd
    named = next(told for name, told in TOLD.items() if name.startswith(f"{provider.name} "))
    found = {one.name for charge in bill.charges for one in fields(charge) if getattr(charge, one.name) != one.default}
    assert found - _OF_EVERY_CHARGE <= set(named)


_OF_EVERY_CHARGE = {
    "day", "billing_account_id", "sub_account_id", "service_name", "amount", "currency", "category", "cost_type",
    "is_final", "metadata",
}  # fmt: skip


def test_what_sources_tell_is_named_by_the_fields_of_a_charge() -> None:
    assert {name for of_source in TOLD.values() for name in of_source} <= {field.name for field in fields(Charge)}
    assert TOLD.keys() == CATEGORIES.keys()


def test_what_has_parts_has_list_prices(provider: AnyProvider, customer: Customer) -> None:
    resources = inventory(provider, customer).resources
    wanted = {(one.region, part.key) for one in resources for part in provider.components(one)}
    assert wanted
    prices = provider.list_prices(customer.id, customer.accounts(provider.name), wanted, Meter())
    assert prices.problems == []
    assert {(price.region, price.key) for price in prices.prices} <= wanted | {("", key) for _, key in wanted}
    assert all(provider.bill_service(kind) for kind in provider.kinds)


def test_a_check_finds_nothing_missing_where_all_is_allowed(provider: AnyProvider, customer: Customer) -> None:
    for account in customer.accounts(provider.name):
        assert provider.check(customer.id, account, customer.families) == []


def test_every_family_names_its_permissions(provider: AnyProvider) -> None:
    for family in set(provider.families) - {"application"}:
        assert provider.permissions([family]), f"{provider.name} names no permission for {family}"


def test_the_contract_and_the_registry_import_no_sdk() -> None:
    code = (
        "import sys, optiinfra_dagster.providers.registry as r; [p.kinds for p in r.PROVIDERS.values()]; "
        "print(sorted({'boto3', 'botocore', 'google', 'azure', 'httpx', 'requests', 'grpc', 'pandas', 'numpy', "
        "'pyarrow', 'dagster'} & {name.partition('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
