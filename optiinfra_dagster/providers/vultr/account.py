"""A customer's Vultr account as the customers file has it."""

from __future__ import annotations

from pydantic import Field

from optiinfra_dagster.config.accounts import Account
from optiinfra_dagster.config.secrets import HOW_TO_REFER, Reference


class VultrAccount(Account):
    """One Vultr account. Of its machines Vultr measures little more than traffic: `prometheus_url` serves the rest."""

    identity = "api_key"
    how_to_list = "Write a list of accounts, each with an api_key"

    api_key: Reference = Field(description=HOW_TO_REFER)

    @property
    def id_in_rows(self) -> str:
        """The place where its key is kept."""
        return account_name(self)


def account_name(account: VultrAccount) -> str:
    """The name of an account in rows and messages: where its key is kept, because the API shows no number of it.

    It stays the same when the key is exchanged.
    """
    key = account.api_key
    where = key.env or key.aws_secret or str(key.file)
    return f"{where}#{key.key}" if key.key else where
