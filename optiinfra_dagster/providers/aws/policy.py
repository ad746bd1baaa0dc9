"""The IAM policy of the role or user by which an account is read. No SDK is imported here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.providers.aws.services import actions
from optiinfra_dagster.providers.policy import Policy, fixed_prefix, needed

if TYPE_CHECKING:
    from optiinfra_dagster.providers.aws.account import AwsAccount

_COST_EXPLORER = "ce:GetCostAndUsage"


def policy(account: AwsAccount | None, families: Collection[str], interactions: str = "") -> Policy:
    """The policy of an account, or of any account, with a statement for each family and for each bucket.

    `interactions` is the place in S3 of the log that is read as this account, "" for none.
    """
    wanted = needed(families)
    statements = []
    for family in ("resource", "performance", "cost"):
        allowed = list(actions([family] if family in wanted else ()))
        if account and (account.cost_export or not account.billing):
            allowed = [action for action in allowed if action != _COST_EXPLORER]
        if allowed:
            statements.append(_statement(family.title(), allowed, "*"))
    partition = account.role_arn.split(":")[1] if account and account.role_arn else "aws"
    if account and account.cost_export and "cost" in wanted:
        statements += _bucket("CostExport", partition, f"{account.cost_export}/")
    if interactions:
        statements += _bucket("Interactions", partition, fixed_prefix(interactions))
    if not statements:  # IAM takes no policy without one
        return Policy("")
    return Policy(json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2), tuple(_notes(account)))


def _statement(name: str, allowed: Collection[str], resource: str) -> dict[str, Any]:
    return {"Sid": f"OptiInfra{name}", "Effect": "Allow", "Action": list(allowed), "Resource": resource}


def _bucket(name: str, partition: str, place: str) -> Iterator[dict[str, Any]]:
    """List a bucket, and read what is below a prefix of it."""
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    arn = f"arn:{partition}:s3:::{bucket}"
    yield _statement(f"{name}List", ["s3:ListBucket"], arn)
    yield _statement(f"{name}Read", ["s3:GetObject"], f"{arn}/{prefix}*")


def _notes(account: AwsAccount | None) -> Iterator[str]:
    if account is None:
        yield (
            "An account with a cost_export takes s3:ListBucket and s3:GetObject on its bucket in place of "
            f"{_COST_EXPLORER}: name the customer with --customer."
        )
    if account is None or account.role_arn:
        role = account.role_arn if account else "the role"
        outside = ", with the external id as a condition (sts:ExternalId)" if account and account.external_id else ""
        yield (
            f"The trust policy of {role} has to name the identity of the host that collects{outside}, and that "
            "identity needs sts:AssumeRole on it."
        )
    if account and account.cost_export:
        yield "Where the bucket is encrypted with a key of the customer's own, kms:Decrypt on that key is needed too."
