from __future__ import annotations

from typing import Any

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.providers.azure.check import check
from optiinfra_dagster.providers.azure.services import KINDS
from tests.providers.azure.conftest import OTHER, SUBSCRIPTION, StartLab, account, fleet


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


@pytest.mark.parametrize("fleets", [[fleet("azure:vm", 2)], []])
def test_a_role_that_reads_no_metrics_is_told_with_its_remedy(
    start_lab: StartLab, fleets: list[dict[str, Any]]
) -> None:
    kinds = [kind.read_action for kind in KINDS.values()]
    actions = ["Microsoft.Resources/*/read", "Microsoft.CostManagement/*/read", *kinds]
    other = {"id": OTHER, "actions": actions, "fleets": fleets}
    lab = start_lab(others=(other,))

    (problem,) = check("acme", account(lab, OTHER))

    assert problem.cause is Cause.PERMISSION
    assert "Assign the role Monitoring Reader, on the subscription" in problem.message


@pytest.mark.parametrize("prometheus", [None, "https://prometheus.example"])
def test_a_role_that_hides_interfaces_is_told_where_a_prometheus_needs_their_addresses(
    start_lab: StartLab, prometheus: str | None
) -> None:
    kinds = [kind.read_action for kind in KINDS.values()]
    actions = ["Microsoft.Resources/*/read", "Microsoft.CostManagement/*/read", "Microsoft.Insights/*/read", *kinds]
    lab = start_lab(others=({"id": OTHER, "actions": actions, "fleets": [fleet("azure:vm")]},))

    problems = check("acme", account(lab, OTHER, prometheus_url=prometheus))

    wanted = "Allow microsoft.network/networkinterfaces/read" if prometheus else ""
    assert [wanted in problem.message for problem in problems] == ([True] if prometheus else [])


def test_metrics_are_asked_for_one_resource_that_runs(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", state="deallocated", disks=0), fleet("azure:vnet"), fleet("azure:redis", 3))

    assert check("acme", account(lab)) == []
    assert lab.control.calls().count("monitor", "getBatch", status=200) == 1


@pytest.mark.parametrize(("action", "remedy"), [("deny", "role Cost Management Reader"), ("optin_required", "charges")])
def test_costs_that_may_not_be_read_are_told_with_their_remedy(start_lab: StartLab, action: str, remedy: str) -> None:
    lab = start_lab(fleet("azure:vm"))
    lab.control.add_faults({"action": action, "service": "costmanagement"})

    (problem,) = check("acme", account(lab))

    assert (problem.account_id, problem.cause) == (SUBSCRIPTION, Cause.PERMISSION)
    assert remedy in problem.message


def test_cost_queries_of_somebody_else_are_no_lack_of_permission(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm"))
    lab.control.add_faults({"action": "throttle", "service": "costmanagement", "seconds": 3600})

    assert check("acme", account(lab)) == []


def test_an_export_that_is_not_there_is_told(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm"))

    (problem,) = check("acme", account(lab, cost_export="https://acme.blob.core.windows.net/costs/focus"))

    assert problem.cause is Cause.CONFIG
    assert "there is no container costs" in problem.message
