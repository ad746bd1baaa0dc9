from __future__ import annotations

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.providers.vultr.check import check
from optiinfra_dagster.providers.vultr.services import LISTINGS, READS
from tests.providers.vultr.conftest import KINDS, StartLab, acme, fleet


def test_an_account_that_lets_itself_be_read_has_no_problem(start_lab: StartLab) -> None:
    lab = start_lab(*(fleet(kind, 2) for kind in KINDS))

    assert check("acme", acme()) == []
    assert lab.control.calls().count() == 1 + len(LISTINGS) + len(READS) + 2  # and two of its bill


@pytest.mark.parametrize("operation", ["get-database-usage", "get-instance-bandwidth", "get-bandwidth-baremetal"])
def test_figures_that_are_not_allowed_are_a_problem(start_lab: StartLab, operation: str) -> None:
    lab = start_lab(*(fleet(kind) for kind in KINDS))
    lab.control.add_faults({"action": "deny", "operation": operation})

    (problem,) = check("acme", acme())

    assert problem.cause is Cause.PERMISSION
    assert f"{operation}: HTTP 403" in problem.message


def test_an_empty_account_has_no_problem_either(start_lab: StartLab) -> None:
    start_lab()

    assert check("acme", acme()) == []


@pytest.mark.parametrize(
    ("acl", "count"),
    [
        ("objstore", 1),
        ("loadbalancer", 1),
        ("subscriptions_view", sum(kind.permission == "subscriptions_view" for kind in LISTINGS)),
        ("billing", 1),
    ],
)
def test_a_missing_permission_is_named(start_lab: StartLab, acl: str, count: int) -> None:
    every = ["objstore", "loadbalancer", "subscriptions_view", "billing"]
    start_lab(acls=[one for one in every if one != acl])

    problems = check("acme", acme())

    assert [problem.cause for problem in problems] == [Cause.PERMISSION] * count
    assert all(f"Allow {acl} to the user" in problem.message for problem in problems)


def test_a_customer_whose_costs_are_not_collected_needs_no_permission_for_them(start_lab: StartLab) -> None:
    start_lab(acls=["objstore", "loadbalancer", "subscriptions_view"])

    assert check("acme", acme(), families=["resource", "performance"]) == []


def test_a_wrong_key_is_the_only_problem(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab()
    monkeypatch.setenv("ACME_VULTR_KEY", "NOBODYS-KEY")

    (problem,) = check("acme", acme())

    assert problem.cause is Cause.AUTH
    assert "NOBODYS-KEY" not in problem.message
    assert lab.control.calls().count() == 1


def test_an_address_that_is_not_allowed_is_the_only_problem(start_lab: StartLab) -> None:
    start_lab(allows_address=False)

    (problem,) = check("acme", acme())

    assert problem.cause is Cause.AUTH
    assert "Access Control list" in problem.message


def test_a_key_that_may_not_see_its_owner_is_good_enough(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "deny", "operation": "get-account"})

    assert check("acme", acme()) == []


def test_a_reference_that_leads_nowhere_is_a_problem(start_lab: StartLab) -> None:
    start_lab()

    (problem,) = check("acme", acme(api_key={"env": "NOT_SET_ANYWHERE"}))

    assert problem.cause is Cause.CONFIG
    assert "NOT_SET_ANYWHERE" in problem.message


def test_a_cloud_that_cannot_be_reached_is_one_problem(start_lab: StartLab) -> None:
    start_lab()

    (problem,) = check("acme", acme(endpoint_url="http://127.0.0.1:9"))

    assert problem.cause is Cause.UNAVAILABLE
