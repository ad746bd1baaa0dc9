"""The settings of alerts and of the heartbeat: where they go."""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from optiinfra_dagster.config.variables import Variables, stripped
from optiinfra_dagster.model.addresses import mail_address
from optiinfra_dagster.model.hosts import has_control_character, safe_url_fault


class AlertSettings(Variables):
    """Where alerts are sent, beside the log, which has all."""

    alert_webhook: SecretStr | None = Field(
        default=None,
        alias="OPTIINFRA_ALERT_WEBHOOK",
        description="the https URL that alerts are posted to; the log and e-mail alone have them if unset",
    )
    alert_webhook_shape: Literal["generic", "slack", "teams"] | None = Field(
        default=None,
        alias="OPTIINFRA_ALERT_WEBHOOK_SHAPE",
        description="generic, slack or teams: what is posted there; chosen by its host if unset",
    )
    alert_smtp: SecretStr | None = Field(
        default=None,
        alias="OPTIINFRA_ALERT_SMTP",
        description="smtp://user:password@host:587, which uses STARTTLS, or smtps://user:password@host:465, with % "
        "codes for special characters; no alert is mailed if unset",
    )
    alert_mail_from: str = Field(
        default="",
        validate_default=True,
        alias="OPTIINFRA_ALERT_MAIL_FROM",
        description="the address that alerts are mailed from; it is needed with OPTIINFRA_ALERT_SMTP",
    )
    alert_mail_to: tuple[str, ...] = Field(
        default=(),
        alias="OPTIINFRA_ALERT_MAIL_TO",
        description="the addresses that every alert is mailed to, with commas between; only those of customers.yaml "
        "have mail if unset",
    )
    heartbeat_url: SecretStr | None = Field(
        default=None,
        alias="OPTIINFRA_HEARTBEAT_URL",
        description="the https URL that is asked for every minute while collections are in time, so that its monitor "
        "tells of a dead daemon; none if unset",
    )

    @field_validator("alert_webhook", "heartbeat_url")
    @classmethod
    def _check_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (fault := safe_url_fault(value.get_secret_value())):
            raise ValueError(f"it {fault}")
        return value

    @field_validator("alert_webhook_shape")
    @classmethod
    def _check_shape(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and "alert_webhook" in info.data and info.data["alert_webhook"] is None:
            raise ValueError("there is no OPTIINFRA_ALERT_WEBHOOK that takes it")
        return value

    @field_validator("alert_smtp")
    @classmethod
    def _check_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        # No message here repeats any part of the URL, since what looks like a host may be a password.
        if value is None:
            return value
        if has_control_character(value.get_secret_value()):
            raise ValueError("it holds a control character")
        try:
            parts = urlsplit(value.get_secret_value())
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("it is not a URL") from None
        if parts.scheme not in {"smtp", "smtps"} or not host:
            raise ValueError("it is not a URL of smtp or smtps and a host")
        if port == 0:
            raise ValueError("it names port 0")
        if parts.password and not parts.username:
            raise ValueError("it holds a password without a user")
        if not unquote(f"{parts.username}{parts.password}").isascii():  # smtplib sends ASCII alone
            raise ValueError("its user or password holds a character that is not ASCII, which cannot be sent")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("it has something behind its host: write special characters as % codes")
        return value

    @field_validator("alert_mail_from")
    @classmethod
    def _check_sender(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("alert_smtp") is not None:
            raise ValueError("it is needed with OPTIINFRA_ALERT_SMTP")
        if value and "alert_smtp" in info.data and info.data["alert_smtp"] is None:
            raise ValueError("there is no OPTIINFRA_ALERT_SMTP to send by")
        return mail_address(value) if value else value

    @field_validator("alert_mail_to", mode="before")
    @classmethod
    def _split_addresses(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("alert_mail_to")
    @classmethod
    def _check_addresses(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and "alert_smtp" in info.data and info.data["alert_smtp"] is None:
            raise ValueError("there is no OPTIINFRA_ALERT_SMTP to send it by")
        return tuple(dict.fromkeys(mail_address(one) for one in value))

    @field_validator("alert_webhook", "alert_smtp", "heartbeat_url", mode="before")
    @classmethod
    def _strip_urls(cls, value: object) -> object:
        return stripped(value)
