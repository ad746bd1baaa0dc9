"""Who may enter which account, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.lab.conftest import ACCOUNT, OTHER, connect

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

ROLE = f"arn:aws:iam::{OTHER}:role/reader"


def assume(lab: CloudLab, **changed: Any) -> dict[str, Any]:
    asked = {"RoleArn": ROLE, "RoleSessionName": "acme", "ExternalId": "secret", **changed}
    answer: dict[str, Any] = connect(lab, "sts", "lab").assume_role(**{k: v for k, v in asked.items() if v is not None})
    return answer


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_an_assumed_role_acts_in_its_own_account(lab: CloudLab) -> None:
    given = assume(lab)["Credentials"]
    client = connect(lab, "sts", given["AccessKeyId"], token=given["SessionToken"])
    identity = client.get_caller_identity()
    assert identity["Account"] == OTHER
    assert identity["Arn"] == f"arn:aws:sts::{OTHER}:assumed-role/reader/acme"


@pytest.mark.parametrize(
    "changed",
    [
        {"ExternalId": "wrong"},
        {"ExternalId": None},
        {"RoleArn": ROLE.replace("reader", "admin")},
        {"RoleArn": ROLE.replace(OTHER, "999999999999")},
    ],
)
def test_a_role_that_may_not_be_assumed_is_denied_without_a_reason(lab: CloudLab, changed: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="is not authorized to perform: sts:AssumeRole") as error:
        assume(lab, **changed)
    assert code(error) == "AccessDenied"


def test_a_session_of_more_than_12_hours_is_refused(lab: CloudLab) -> None:
    with pytest.raises(ClientError, match="between 900 and 43200"):
        assume(lab, DurationSeconds=43201)


EXPIRED = [
    ("ec2", "describe_instances", "RequestExpired"),
    ("rds", "describe_db_instances", "ExpiredToken"),
    ("eks", "list_clusters", "ExpiredTokenException"),
    ("dynamodb", "list_tables", "ExpiredTokenException"),
    ("cloudwatch", "list_metrics", "ExpiredToken"),
]
UNKNOWN = [
    ("ec2", "describe_instances", "AuthFailure"),
    ("rds", "describe_db_instances", "InvalidClientTokenId"),
    ("eks", "list_clusters", "UnrecognizedClientException"),
    ("sts", "get_caller_identity", "InvalidClientTokenId"),
]


@pytest.mark.parametrize(("service", "operation", "want"), EXPIRED)
def test_an_expired_session_is_told_in_the_services_own_words(
    lab: CloudLab, service: str, operation: str, want: str
) -> None:
    given = assume(lab)["Credentials"]
    client = connect(lab, service, given["AccessKeyId"], token=given["SessionToken"])
    getattr(client, operation)()
    lab.control.expire_sessions()
    with pytest.raises(ClientError) as error:
        getattr(client, operation)()
    assert code(error) == want


@pytest.mark.parametrize(("service", "operation", "want"), UNKNOWN)
def test_an_unknown_key_is_refused_in_the_services_own_words(
    lab: CloudLab, service: str, operation: str, want: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(connect(lab, service, "NOBODY"), operation)()
    assert code(error) == want


def test_long_lived_keys_and_the_collectors_own_know_their_account(lab: CloudLab) -> None:
    assert connect(lab, "sts").get_caller_identity()["Account"] == ACCOUNT
    assert connect(lab, "sts", "lab").get_caller_identity()["Account"] == "000000000000"
