"""Identities: which of Azure's clouds an account is in, and the credential that is asked for its tokens."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core import AzureClouds
from azure.core.credentials import AccessToken
from azure.identity import (
    AzureAuthorityHosts,
    ClientSecretCredential,
    DefaultAzureCredential,
    WorkloadIdentityCredential,
)
from azure.mgmt.core.tools import get_arm_endpoints

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.azure.transport import PATIENCE, Retries, Transport

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from optiinfra_dagster.providers.azure.account import AzureAccount


@dataclass(frozen=True, slots=True)
class Cloud:
    """An Azure cloud: the authority that issues its tokens, and the domain of its metrics hosts."""

    settings: AzureClouds
    authority: str
    metrics: str

    @property
    def manager(self) -> str:
        """The address of Resource Manager."""
        return str(get_arm_endpoints(self.settings)["resource_manager"])

    @property
    def manager_scope(self) -> str:
        """The scope of tokens for Resource Manager."""
        return str(get_arm_endpoints(self.settings)["credential_scopes"][0])

    @property
    def metrics_scope(self) -> str:
        """The scope of tokens for the hosts of metrics."""
        return f"https://{self.metrics}/.default"


_PUBLIC = Cloud(AzureClouds.AZURE_PUBLIC_CLOUD, AzureAuthorityHosts.AZURE_PUBLIC_CLOUD, "metrics.monitor.azure.com")
# An endpoint of a sovereign cloud says which one it is.
_SOVEREIGN = {
    "management.chinacloudapi.cn": Cloud(
        AzureClouds.AZURE_CHINA_CLOUD, AzureAuthorityHosts.AZURE_CHINA, "metrics.monitor.azure.cn"
    ),
    "management.usgovcloudapi.net": Cloud(
        AzureClouds.AZURE_US_GOVERNMENT, AzureAuthorityHosts.AZURE_GOVERNMENT, "metrics.monitor.azure.us"
    ),
}


def cloud_of(endpoint: str | None) -> Cloud:
    """The cloud that an account's endpoint is in: the public one, unless it names a sovereign cloud's host."""
    return _SOVEREIGN.get(urlsplit(endpoint or "").hostname or "", _PUBLIC)


class NoCredential:
    """The credential for an endpoint on this machine, which is never shown a real one."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Make a token that nobody looks at."""
        return AccessToken("nobody", int(time.time()) + 3600)


def environment() -> list[tuple[str, str]]:
    """The variables that azure-identity reads by itself, sorted."""
    return sorted(item for item in os.environ.items() if item[0].startswith(("AZURE_", "IDENTITY_", "MSI_")))


def credential_of(account: AzureAccount, secret: str, authority: str) -> TokenCredential:
    """The identity that is asked for tokens: the customer's application, a federated one, or this host's own.

    Raises:
        CloudError: the account names an application that this host cannot enter as.
        ValueError: azure-identity refuses the tenant.
    """
    options: dict[str, Any] = {"authority": authority, "transport": Transport("Token"), **PATIENCE}
    bounded: dict[str, Any] = {"retry_policy_class": Retries, **options}
    if account.tenant_id and account.client_id and secret:
        return ClientSecretCredential(account.tenant_id, account.client_id, secret, **bounded)
    if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):  # set where Kubernetes projects a service account's token
        names = {"tenant_id": account.tenant_id, "client_id": account.client_id}
        return WorkloadIdentityCredential(**{name: value for name, value in names.items() if value}, **bounded)
    if account.client_id:
        # Another identity than the one that is named must not be used in its place.
        raise CloudError(
            Cause.CONFIG,
            "azure-identity: client_id has no client_secret, and this host has no federated token "
            "(AZURE_FEDERATED_TOKEN_FILE) to enter it with. Add client_secret to the customers file, or run where "
            "Kubernetes projects a token",
        )
    # No developer's own login: which account is read must not depend on who is logged in on the machine.
    return DefaultAzureCredential(
        exclude_cli_credential=True,
        exclude_developer_cli_credential=True,
        exclude_powershell_credential=True,
        exclude_visual_studio_code_credential=True,
        exclude_shared_token_cache_credential=True,
        exclude_interactive_browser_credential=True,
        exclude_broker_credential=True,
        **options,
    )
