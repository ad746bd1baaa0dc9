"""A customer's Azure subscription as the customers file has it."""

from __future__ import annotations

import re

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from optiinfra_dagster.config.accounts import BLOB_HOST, HOW_TO_CLAIM, Account, must_match
from optiinfra_dagster.config.secrets import HOW_TO_POINT, HOW_TO_REFER, Endpoint, Reference, problem

_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class AzureAccount(Account):
    """One Azure subscription, read as a service principal (tenant_id, client_id and client_secret).

    Without client_secret, the principal is entered by the token that Kubernetes projects for this host (workload
    identity federation); without all three, this host's own identity is used. Metrics of many resources come from a
    host of each region; `metrics_endpoint_url` is called instead of all of them. `cost_export` is where a Cost
    Management export goes, a container and a folder in it: costs are read there and not asked of Cost Management. Of
    what it tells, only the charges of the customer's subscriptions are the customer's; with `account_charges`, also
    those of no subscription.
    List prices come from prices.azure.com, or from `prices_endpoint_url`.
    """

    identity = "subscription_id"
    how_to_list = "Write a list of subscriptions, each with a subscription_id"

    subscription_id: str = Field(description="Write the subscription's id, 8-4-4-4-12 hexadecimal digits")
    tenant_id: str | None = Field(default=None, description="Write the tenant's id, or its domain")
    client_id: str | None = Field(
        default=None, validate_default=True, description="Write the application (client) id, 8-4-4-4-12 digits"
    )
    client_secret: Reference | None = Field(default=None, validate_default=True, description=HOW_TO_REFER)
    metrics_endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    cost_export: str | None = Field(
        default=None, description="Write https://account.blob.core.windows.net/container/folder"
    )
    account_charges: StrictBool = Field(default=False, description=HOW_TO_CLAIM)
    prices_endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)

    _check_guid = field_validator("subscription_id", "client_id")(must_match(_GUID, "is not a GUID"))
    _check_export = field_validator("cost_export")(
        must_match(
            rf"https://{BLOB_HOST}/[a-z0-9-]{{3,63}}(?:/[^?#]*)?",
            "is not the address of a folder in blob storage",
        )
    )
    _check_tenant = field_validator("tenant_id")(
        must_match(_GUID + r"|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", "is neither a GUID nor a domain")
    )

    @field_validator("client_id", "client_secret")
    @classmethod
    def _check_principal(cls, value: object, info: ValidationInfo) -> object:
        if "tenant_id" not in info.data:
            return value  # tenant_id is refused already
        tenant = info.data["tenant_id"]
        if value is not None and tenant is None:
            raise problem(
                f"tenant_id is missing, and {info.field_name} works only with it",
                "Add it, or remove client_id and client_secret to use this host's own identity",
            )
        if value is None and tenant is not None and info.field_name == "client_id":
            raise problem(
                "client_id is missing, and tenant_id works only with it",
                "Add it, or remove tenant_id and client_secret to use this host's own identity",
            )
        return value

    @field_validator("account_charges")
    @classmethod
    def _check_claim(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "cost_export" in info.data and info.data["cost_export"] is None:
            raise problem("is of use only with cost_export", "Remove it, or add cost_export")
        return value

    @property
    def id_in_rows(self) -> str:
        """The subscription's id in lower case: Azure's answers write it in any."""
        return self.subscription_id.lower()

    @property
    def export_place(self) -> str:
        """Host, container and folder of the export; empty where there is none."""
        return self.cost_export.removeprefix("https://").rstrip("/") if self.cost_export else ""

    @property
    def claimed_billing_account(self) -> str:
        """The export, which is of one billing account."""
        return self.export_place if self.account_charges else ""

    def is_account(self, text: str) -> bool:
        """True for a GUID; billing accounts have numbers, or two GUIDs and a date."""
        return re.fullmatch(_GUID, text) is not None

    def metrics_endpoint(self) -> str | None:
        """The host that is asked for metrics instead of the regions' hosts, or None; ConfigError if it is unusable."""
        return None if self.metrics_endpoint_url is None else self.metrics_endpoint_url.resolve()

    def prices_endpoint(self) -> str | None:
        """The host of list prices instead of prices.azure.com, or None; ConfigError if it is unusable."""
        return None if self.prices_endpoint_url is None else self.prices_endpoint_url.resolve()
