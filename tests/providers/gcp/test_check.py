from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.check import check
from tests.providers.gcp.conftest import PROJECT, StartLab, account, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab


def test_a_project_that_can_be_read_has_no_problem_and_costs_two_calls(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:instance", 30))

    assert check("acme", account(lab)) == []
    assert lab.control.calls().count("cloudasset") == 1
    assert lab.control.calls().count("monitoring", "ListTimeSeries") == 1
    assert lab.control.calls().billed_metrics[PROJECT] <= 1


BILLED = "acme-prod.billing.gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9"


def billed(lab: CloudLab, table: str = BILLED) -> GcpAccount:
    return account(lab, billing_export_table=table, bigquery_endpoint_url=lab.url)


def test_a_billing_export_is_proven_without_reading_it(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:instance"))

    assert check("acme", billed(lab)) == []
    assert lab.gcp.exports.bytes_billed == 0
    assert lab.control.calls().count("bigquery", "jobs.insert") == 1


@pytest.mark.parametrize("operation", ["tables.get", "jobs.insert"])
def test_a_billing_export_that_may_not_be_read_is_named(start_lab: StartLab, operation: str) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "deny", "service": "bigquery", "operation": operation})

    (problem,) = check("acme", billed(lab))

    assert (problem.account_id, problem.cause) == (PROJECT, Cause.PERMISSION)
    assert "roles/bigquery" in problem.message
    assert check("acme", billed(lab), families=["resource", "performance"]) == []


def test_a_billing_export_that_is_not_there_is_named_with_those_that_are(start_lab: StartLab) -> None:
    (problem,) = check("acme", billed(start_lab(), "acme-prod.billing.gcp_billing_export_v1_TYPO"))

    assert problem.cause is Cause.CONFIG
    assert "correct billing_export_table" in problem.message
    assert BILLED.rpartition(".")[2] in problem.message


def test_an_empty_project_has_no_problem(start_lab: StartLab) -> None:
    assert check("acme", account(start_lab())) == []


@pytest.mark.parametrize(
    ("action", "cause", "remedy"),
    [
        ("deny", Cause.PERMISSION, "Grant roles/cloudasset.viewer on the project acme-prod"),
        ("optin_required", Cause.CONFIG, "Enable cloudasset.googleapis.com"),
        ("unknown_key", Cause.AUTH, "Check the credentials file"),
        ("expired", Cause.UNAVAILABLE, "nor is a new one"),
        ("throttle", Cause.THROTTLED, "Quota exceeded"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(start_lab: StartLab, action: str, cause: Cause, remedy: str) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": action, "service": "cloudasset"})

    (problem,) = check("acme", account(lab))

    assert (problem.account_id, problem.region, problem.kind, problem.cause) == (PROJECT, "", "", cause)
    assert remedy in problem.message


@pytest.mark.parametrize(
    ("action", "cause", "remedy"),
    [
        ("deny", Cause.PERMISSION, "Grant roles/monitoring.viewer on the project acme-prod"),
        ("optin_required", Cause.CONFIG, "Enable monitoring.googleapis.com"),
        ("unavailable", Cause.UNAVAILABLE, "timeSeries.list"),
    ],
)
def test_what_metrics_lack_is_named_beside_it(start_lab: StartLab, action: str, cause: Cause, remedy: str) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": action, "service": "monitoring"})

    (problem,) = check("acme", account(lab))

    assert (problem.account_id, problem.cause) == (PROJECT, cause)
    assert remedy in problem.message


def test_a_reference_that_leads_nowhere_is_named() -> None:
    lost = GcpAccount.model_validate({"project_id": PROJECT, "credentials_file": {"env": "NOT_SET_ANYWHERE"}})

    (problem,) = check("acme", lost)

    assert problem.cause is Cause.CONFIG
    assert "NOT_SET_ANYWHERE" in problem.message
