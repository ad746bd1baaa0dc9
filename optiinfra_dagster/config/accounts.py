"""The base of the account models. Each provider's own model is in `providers/<provider>/account.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from optiinfra_dagster.config.secrets import HOW_TO_POINT, HOW_TO_REFER, Endpoint, Reference, Section, problem

BLOB_HOST = r"[a-z0-9]{3,24}\.blob\.core\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)"
"""The hosts of storage accounts in Azure's clouds; a token for storage is shown to no other.

https://learn.microsoft.com/azure/storage/common/storage-powershell-independent-clouds
"""

HOW_TO_CLAIM = "Write true at the one customer that bears the charges of the billing account itself, or leave it out"


class Account(Section):
    """An account on a provider: its credentials, endpoints and bills.

    `identity` names the field that tells accounts of a provider apart; `how_to_list` is the remedy that messages give
    for a wrong list of them. `prometheus_url` is a Prometheus of the customer, or what answers like one, that knows the
    account's machines: it tells what the cloud does not measure of them. `prometheus_token` is sent to it as a bearer
    token.
    """

    identity: ClassVar[str]
    how_to_list: ClassVar[str]

    endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    prometheus_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    prometheus_token: Reference | None = Field(default=None, description=HOW_TO_REFER)

    @field_validator("prometheus_token")
    @classmethod
    def _check_token(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if value is not None and "prometheus_url" in info.data and info.data["prometheus_url"] is None:
            raise problem("is of use only with prometheus_url", "Add prometheus_url, or remove prometheus_token")
        return value

    def endpoint(self) -> str | None:
        """The URL that all calls for this account go to, or None for the cloud's own; ConfigError if it is unusable."""
        return None if self.endpoint_url is None else self.endpoint_url.resolve()

    @property
    def remark(self) -> str:
        """A clause that `customers check` adds where all is well and yet costs are not billed; empty for none."""
        return ""

    @property
    def claimed_billing_account(self) -> str:
        """The billing account whose own charges (tax, support) are this customer's; empty for none.

        It is named by what the customers file tells of it, so that two customers cannot both have them.
        """
        return ""

    def is_account(self, text: str) -> bool:
        """True for what may be the id of an account of this cloud, and not of the billing account that pays for it."""
        return bool(text)

    @property
    def name(self) -> str:
        """The account as messages name it: the value of its identity field; a reference as the file writes it."""
        return str(getattr(self, self.identity))

    @property
    def id_in_rows(self) -> str:
        """The account as its resources name it, in `account_id`."""
        return self.name


def must_match(pattern: str, what: str) -> Callable[[object], object]:
    """A check that text matches `pattern` as a whole; other types are left to the field's own check."""
    compiled = re.compile(pattern)

    def check(value: object) -> object:
        if isinstance(value, str) and not compiled.fullmatch(value):
            raise problem(what)
        return value

    return check
