from __future__ import annotations

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.aws.check import check
from optiinfra_dagster.providers.aws.services import actions
from tests.providers.aws.conftest import ACME, StartLab, acme, fleet, nobody_at


def test_an_account_that_lets_itself_be_read_has_no_problem(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", 3), fleet("eks:cluster"), fleet("elbv2:application"))

    assert check("acme", acme()) == []


def test_an_empty_account_has_no_problem_either(start_lab: StartLab) -> None:
    start_lab()

    assert check("acme", acme(regions=None)) == []


OPERATIONS = {"ListAllMyBuckets": "ListBuckets"}  # where IAM has another name


@pytest.mark.parametrize("action", actions())
def test_each_missing_permission_is_named_even_in_an_empty_account(start_lab: StartLab, action: str) -> None:
    lab = start_lab()
    operation = action.partition(":")[2]
    lab.control.add_faults({"action": "deny", "operation": OPERATIONS.get(operation, operation)})

    problems = check("acme", acme(regions=None))

    assert problems
    for problem in problems:
        assert problem.cause is Cause.PERMISSION
        assert problem.message.endswith(f":{operation} to the role or user that collects")


def test_everything_that_is_missing_is_named_at_once(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "deny", "service": "rds"}, {"action": "deny", "service": "eks"})

    problems = check("acme", acme())

    assert {problem.kind for problem in problems} == {"rds:db", "rds:cluster", "eks:cluster"}


def test_a_role_that_cannot_be_assumed_is_the_only_problem(start_lab: StartLab) -> None:
    start_lab()

    (problem,) = check("acme", AwsAccount(account_id="999999999999", role_arn="arn:aws:iam::999999999999:role/reader"))

    assert problem.cause is Cause.AUTH


def test_keys_of_another_account_are_found_out(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    start_lab()
    monkeypatch.setenv("KEY", "ACMEKEY")
    monkeypatch.setenv("SECRET", "whatever")
    keys = {"access_key_id": {"env": "KEY"}, "secret_access_key": {"env": "SECRET"}}

    (problem,) = check("acme", AwsAccount.model_validate({"account_id": "222222222222", **keys}))

    assert problem.cause is Cause.CONFIG
    assert f"belongs to the account {ACME}" in problem.message


def test_a_region_that_is_not_enabled_is_one_problem(start_lab: StartLab) -> None:
    start_lab()

    (problem,) = check("acme", acme(regions=["me-south-1"]))

    assert (problem.region, problem.kind, problem.cause) == ("me-south-1", "", Cause.CONFIG)


def test_regions_after_the_first_are_tried_too(start_lab: StartLab) -> None:
    start_lab()

    (problem,) = check("acme", acme(regions=["us-east-1", "me-south-1"]))

    assert problem.region == "me-south-1"


@pytest.mark.parametrize(("region", "problems"), [("ap-northeast-3", 0), ("us-east-1", 1)])
def test_a_service_that_a_region_does_not_have_is_no_problem(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, region: str, problems: int
) -> None:
    start_lab(fleet("ec2:vpc", region=region))
    nobody_at(monkeypatch, "AWS_ENDPOINT_URL_MEMORYDB")

    found = check("acme", acme(regions=[region]), ["resource"])

    assert [problem.kind for problem in found] == ["memorydb:cluster"] * problems


def test_a_reference_that_leads_nowhere_is_a_problem(start_lab: StartLab) -> None:
    start_lab()

    (problem,) = check("acme", acme(external_id={"env": "NOT_SET_ANYWHERE"}))

    assert problem.cause is Cause.CONFIG
