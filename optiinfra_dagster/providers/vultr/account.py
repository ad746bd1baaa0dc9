"""A customer's Vultr account as the customers file has it."""

from __future__ import annotations

from pydantic import Field

from optiinfra_dagster.config.accounts import Account
from optiinfra_dagster.config.secrets import HOW_TO_POINT, HOW_TO_REFER, Endpoint, Reference


class VultrAccount(Account):
    """One Vultr account; `prometheus_url` serves the metrics of its instances, which Vultr itself does not offer.

    `prometheus_token` is sent to it as a bearer token.
    """

    identity = "api_key"
    how_to_list = "Write a list of accounts, each with an api_key"

    api_key: Reference = Field(description=HOW_TO_REFER)
    prometheus_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    prometheus_token: Reference | None = Field(default=None, description=HOW_TO_REFER)


def account_name(account: VultrAccount) -> str:
    """The name of an account in rows and messages: where its key is kept, because the API shows no number of it.

    It stays the same when the key is exchanged.
    """
    key = account.api_key
    where = key.env or key.aws_secret or str(key.file)
    return f"{where}#{key.key}" if key.key else where
