"""A customer's AWS account as the customers file has it."""

from __future__ import annotations

import re

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from optiinfra_dagster.config.accounts import HOW_TO_CLAIM, Account, must_match
from optiinfra_dagster.config.secrets import HOW_TO_REFER, Reference, problem
from optiinfra_dagster.config.wording import closest

# The last word of a region's code: those of new regions have been made of the same ones since 2006.
_DIRECTIONS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest", "central")


class AwsAccount(Account):
    """One AWS account, read through an assumed role, or with access keys, or with this host's own credentials.

    With neither `role_arn` nor keys the ambient credentials of the host are used (instance role, environment): then
    they must belong to `account_id` themselves. `regions` None means every region that is enabled in the account.
    `billing: false` is for an account whose charges are in the bill of its payer, which is the customer's first account
    without it: that bill is read for both. Where no account is left, no bill is read and everything is estimated.
    `cost_export` is a Data Export (CUR 2.0 or FOCUS) or a Cost and Usage Report, read in place of Cost Explorer. Of a
    bill, only the charges of the customer's accounts are the customer's; with `account_charges`, also those of no
    account.
    """

    identity = "account_id"
    how_to_list = "Write a list of accounts, each with an account_id"

    account_id: str = Field(description='Write the 12 digits in quotes: "123456789012"')
    role_arn: str | None = Field(
        default=None, description="Write arn:aws:iam::<account_id>:role/<name>, a role in this same account"
    )
    external_id: Reference | None = Field(default=None, description=HOW_TO_REFER)
    access_key_id: Reference | None = Field(default=None, description=HOW_TO_REFER)
    secret_access_key: Reference | None = Field(default=None, description=HOW_TO_REFER, validate_default=True)
    regions: list[str] | None = Field(
        default=None, description="Write a list such as [us-east-1, eu-west-1], or leave it out for all enabled regions"
    )
    billing: StrictBool = Field(default=True, description="Write true, or false where another account pays")
    cost_export: str | None = Field(default=None, description="Write s3://bucket/prefix/name, where the export goes")
    account_charges: StrictBool = Field(default=False, description=HOW_TO_CLAIM)

    @field_validator("account_id", mode="before")
    @classmethod
    def _check_account(cls, value: object) -> object:
        if isinstance(value, int):  # YAML reads 012345670123 as an octal number: the digits are already lost
            raise problem("is a number, and numbers lose leading zeros")
        return must_match(r"[0-9]{12}", "is not the number of an AWS account")(value)

    @field_validator("role_arn")
    @classmethod
    def _check_role(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return value
        parts = re.fullmatch(r"arn:aws[a-z-]*:iam::([0-9]{12}):role/[\w+=,.@/-]{1,576}", value, re.ASCII)
        if parts is None:
            raise problem("is not the ARN of an IAM role")
        account = info.data.get("account_id")
        if account is not None and parts[1] != account:
            raise problem(f"is a role in account {parts[1]}, but account_id is {account}")
        return value

    @field_validator("external_id")
    @classmethod
    def _check_external_id(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if value is not None and "role_arn" in info.data and info.data["role_arn"] is None:
            raise problem("is of use only with role_arn", "Add role_arn, or remove external_id")
        return value

    @field_validator("access_key_id")
    @classmethod
    def _check_one_way_in(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if value is not None and info.data.get("role_arn") is not None:
            raise problem("is a second way in beside role_arn", "Keep role_arn, or the two keys, not both")
        return value

    @field_validator("secret_access_key")
    @classmethod
    def _check_key_pair(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if "access_key_id" in info.data and (value is None) != (info.data["access_key_id"] is None):
            missing = "secret_access_key" if value is None else "access_key_id"
            raise problem(f"{missing} is missing, and the two keys work only together", "Add it, or remove the other")
        return value

    @field_validator("cost_export")
    @classmethod
    def _check_export(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return value
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^\s{}]+)?/?", value):
            raise problem("is not a place in S3")
        if info.data.get("billing") is False:
            raise problem("is of use only where the account's bill is read", "Remove it, or billing: false")
        return value.rstrip("/")

    @field_validator("account_charges")
    @classmethod
    def _check_claim(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("billing") is False:
            raise problem("is of use only where the account's bill is read", "Remove it, or billing: false")
        return value

    @field_validator("regions")
    @classmethod
    def _check_regions(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return value
        if not value:
            raise problem("is an empty list")
        for region in value:
            if re.fullmatch(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}[a-z]", region):
                raise problem(f"holds the availability zone {region}, not a region")
            if not re.fullmatch(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}", region):
                raise problem("holds something that is not the code of a region")
            *before, direction, number = region.split("-")
            if direction not in _DIRECTIONS:
                near = closest(direction, _DIRECTIONS)
                meant = near.replace("'", f"'{'-'.join(before)}-", 1).replace("'?", f"-{number}'?")
                raise problem(f"holds {region}, which is no region{meant}")
        if len(set(value)) != len(value):
            raise problem("holds a region twice", "Remove one")
        return value

    @property
    def claimed_billing_account(self) -> str:
        """The export, or the account whose Cost Explorer is read."""
        return (self.cost_export or self.account_id) if self.account_charges else ""

    def is_account(self, text: str) -> bool:
        """True for twelve digits: also a payer is an account, with its own charges."""
        return re.fullmatch("[0-9]{12}", text) is not None
