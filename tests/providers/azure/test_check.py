from __future__ import annotations

import pytest

from optiinfra_dagster.errors import Cause
from optiinfra_dagster.providers.azure.check import check
from tests.providers.azure.conftest import OTHER, StartLab, account, fleet


def test_a_readable_subscription_has_no_problems(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:disk", 1200))

    assert check("acme", account(lab)) == []
    assert lab.control.calls().count("resourcegraph") == 2


def test_a_role_that_shows_a_part_is_told_kind_by_kind(start_lab: StartLab) -> None:
    actions = ["Microsoft.Resources/subscriptions/read", "Microsoft.Compute/*/read", "Microsoft.Sql/servers/read"]
    other = {"id": OTHER, "actions": actions, "fleets": [fleet("azure:vm"), fleet("azure:aks")]}
    lab = start_lab(others=(other,))

    problems = check("acme", account(lab, OTHER))

    assert {problem.cause for problem in problems} == {Cause.PERMISSION}
    kinds = {problem.kind for problem in problems}
    assert kinds >= {"azure:aks", "azure:sql_database", "azure:vnet"}
    assert not kinds & {"azure:vm", "azure:disk", "azure:sql_server"}
    (aks,) = [problem for problem in problems if problem.kind == "azure:aks"]
    assert "microsoft.containerservice/managedclusters/read" in aks.message


def test_a_role_that_may_not_be_looked_up_is_believed(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "deny", "service": "authorization"})

    assert check("acme", account(lab)) == []


def test_an_empty_subscription_has_none_either(start_lab: StartLab) -> None:
    assert check("acme", account(start_lab())) == []


def test_an_unreadable_one_names_the_role(start_lab: StartLab) -> None:
    lab = start_lab()

    (problem,) = check("acme", account(lab, OTHER))

    assert (problem.account_id, problem.cause) == (OTHER, Cause.PERMISSION)
    assert "Reader" in problem.message


@pytest.mark.parametrize(("action", "cause"), [("deny", Cause.PERMISSION), ("unknown_key", Cause.AUTH)])
def test_a_refusal_is_explained(start_lab: StartLab, action: str, cause: Cause) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": action, "service": "resourcegraph"})

    (problem,) = check("acme", account(lab))

    assert problem.cause is cause
