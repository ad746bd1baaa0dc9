"""A customer's Google Cloud project as the customers file has it."""

from __future__ import annotations

from pydantic import Field, field_validator

from optiinfra_dagster.config.accounts import Account, must_match
from optiinfra_dagster.config.secrets import HOW_TO_NAME_FILE, HOW_TO_POINT, CredentialsFile, Endpoint

_GCP_PROJECT = r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"  # with the prefix of domain-scoped projects


class GcpAccount(Account):
    """One Google Cloud project, read with a credentials file, or with this host's application default credentials.

    `impersonate` is a service account that those credentials then act as; `quota_project_id` is the project that pays
    for the calls; `billing_export_table` is where the customer's billing export goes in BigQuery. Cloud Monitoring
    speaks gRPC, so it has an endpoint of its own, `monitoring_endpoint_url`; BigQuery's is `bigquery_endpoint_url`.
    """

    identity = "project_id"
    how_to_list = "Write a list of projects, each with a project_id"

    project_id: str = Field(description="Write the project's id (not its name or number), such as acme-prod")
    credentials_file: CredentialsFile | None = Field(default=None, description=HOW_TO_NAME_FILE)
    impersonate: str | None = Field(
        default=None, description="Write the service account, such as reader@acme-prod.iam.gserviceaccount.com"
    )
    quota_project_id: str | None = Field(
        default=None, description="Write the id of the project that pays for the calls"
    )
    billing_export_table: str | None = Field(default=None, description="Write project.dataset.table")
    monitoring_endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
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
