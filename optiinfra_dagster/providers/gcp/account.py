"""A customer's Google Cloud project as the customers file has it."""

from __future__ import annotations

import re

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from optiinfra_dagster.config.accounts import HOW_TO_CLAIM, Account, must_match
from optiinfra_dagster.config.secrets import (
    HOW_TO_NAME_FILE,
    HOW_TO_POINT,
    CredentialsFile,
    Endpoint,
    HostEndpoint,
    problem,
)
from optiinfra_dagster.providers.gcp import permissions

# Google names the tables of an export after the billing account: gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9.
_OF_ACCOUNT = re.compile(r"gcp_billing_export_(?:[a-z]+_)?(?:v[0-9]+_)?([0-9A-F]{6}_[0-9A-F]{6}_[0-9A-F]{6})")
_GCP_PROJECT = r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"  # with the prefix of domain-scoped projects


class GcpAccount(Account):
    """One Google Cloud project, read with a credentials file, or with this host's application default credentials.

    `impersonate` is a service account that those credentials then act as; `quota_project_id` is the project that pays
    for the calls; `billing_export_table` is where the customer's billing export goes in BigQuery. Of what it tells,
    only the charges of the customer's projects are the customer's; with `account_charges`, also those of no project.
    Cloud Monitoring speaks gRPC, so it has an endpoint of its own, `monitoring_endpoint_url`; BigQuery's is
    `bigquery_endpoint_url`.
    """

    identity = "project_id"
    how_to_list = "Write a list of projects, each with a project_id"

    project_id: str = Field(description="Write the project's id (not its name or number), such as acme-prod")
    credentials_file: CredentialsFile | None = Field(default=None, description=HOW_TO_NAME_FILE)
    impersonate: str | None = Field(
        default=None,
        description="Write the service account, such as reader@acme-prod.iam.gserviceaccount.com",
        json_schema_extra={"permission": permissions.IMPERSONATION},
    )
    quota_project_id: str | None = Field(
        default=None,
        description="Write the id of the project that pays for the calls",
        json_schema_extra={"permission": permissions.QUOTA},
    )
    billing_export_table: str | None = Field(default=None, description="Write project.dataset.table")
    account_charges: StrictBool = Field(default=False, description=HOW_TO_CLAIM)
    monitoring_endpoint_url: HostEndpoint | None = Field(default=None, description=HOW_TO_POINT)
    bigquery_endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)

    _check_project = field_validator("project_id", "quota_project_id")(
        must_match(_GCP_PROJECT, "is not the id of a Google Cloud project")
    )
    _check_impersonate = field_validator("impersonate")(
        must_match(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com", "is not the address of a service account")
    )
    _check_table = field_validator("billing_export_table")(
        must_match(_GCP_PROJECT + r"\.[A-Za-z0-9_]+\.[A-Za-z0-9_-]+", "is not the full name of a BigQuery table")
    )

    @field_validator("account_charges")
    @classmethod
    def _check_claim(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "billing_export_table" in info.data and info.data["billing_export_table"] is None:
            raise problem("is of use only with billing_export_table", "Remove it, or add billing_export_table")
        return value

    @property
    def claimed_billing_account(self) -> str:
        """The id of the billing account where the table's name has it; else the dataset, which is one account's."""
        if not self.account_charges or self.billing_export_table is None:
            return ""
        dataset, _, table = self.billing_export_table.rpartition(".")
        named = _OF_ACCOUNT.fullmatch(table)
        return named[1].replace("_", "-") if named else dataset

    def is_account(self, text: str) -> bool:
        """True unless it is the id of a billing account, such as 01A2B3-C4D5E6-F7A8B9, or nothing."""
        return bool(text) and re.fullmatch(r"(?:[0-9A-F]{6}-){2}[0-9A-F]{6}", text) is None

    def monitoring_endpoint(self) -> str | None:
        """The address of Cloud Monitoring instead of Google's, or None; ConfigError if it is unusable."""
        return None if self.monitoring_endpoint_url is None else self.monitoring_endpoint_url.resolve()

    def bigquery_endpoint(self) -> str | None:
        """The address of BigQuery instead of Google's, or None; ConfigError if it is unusable."""
        return None if self.bigquery_endpoint_url is None else self.bigquery_endpoint_url.resolve()

    @property
    def remark(self) -> str:
        """A clause about costs that `customers check` adds."""
        missing = self.billing_export_table is None
        return "but without billing_export_table: costs are estimated, never billed" if missing else ""
