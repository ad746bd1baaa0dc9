"""Where a customer's own alerts go besides the places of the settings, which are told of everything."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from optiinfra_dagster.config.secrets import HOW_TO_REFER, Reference, Section, problem
from optiinfra_dagster.model.addresses import mail_address


class CustomerAlerts(Section):
    """Where alerts of this customer go, besides the places of the settings: a webhook, addresses, or both.

    `webhook` is a reference, since who knows its URL can post there; the URL is https. `shape` is what is posted;
    without it, that is chosen by the host. Mail goes by OPTIINFRA_ALERT_SMTP.
    """

    webhook: Reference | None = Field(default=None, description=HOW_TO_REFER)
    shape: Literal["generic", "slack", "teams"] | None = Field(
        default=None, description="Write generic, slack or teams"
    )
    mail_to: tuple[str, ...] = Field(default=(), description="Write a list of addresses, such as [ops@example.com]")

    @model_validator(mode="after")
    def _check_somebody(self) -> CustomerAlerts:
        if self.webhook is None and not self.mail_to:
            raise problem("names nobody")
        if self.shape is not None and self.webhook is None:
            raise problem("has a shape, which is of use only with webhook", "Add webhook, or remove shape")
        return self

    @field_validator("mail_to")
    @classmethod
    def _check_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                mail_address(one)
            except ValueError:
                raise problem("holds what is not the address of a mailbox") from None
        return tuple(dict.fromkeys(value))
