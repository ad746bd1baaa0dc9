"""The environment read into one typed object, once per process; everything else is handed the object.

Plain pydantic and not pydantic-settings: the environment is one mapping, which validation aliases read as it is, and
the package would cost every process 0.1 CPU-s of import (measured after dagster) for sources that are not used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.addresses import mail_address
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.hosts import is_link_local, is_loopback, safe_url_fault

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DEMO_CUSTOMERS = Path(__file__).parents[1] / "lab" / "demo_customers.yaml"
"""The customers of the cloud lab, collected where no customers file is given."""

_WINDOW = timedelta(minutes=15)
_PREFIX = "OPTIINFRA_"


def _absolute(value: object) -> object:
    """A path made absolute, since the Dagster processes that get it may each have another current folder."""
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("the home folder it names does not exist") from None


def _read_price(value: object) -> object:
    """`0.15/0.60` as two amounts."""
    if not isinstance(value, str):
        return value
    try:
        prices = tuple(Decimal(part.strip()) for part in value.split("/"))
    except InvalidOperation:
        raise ValueError("it is not two amounts with / between them") from None
    if len(prices) != 2 or not all(price.is_finite() and 0 <= price < 1_000_000 for price in prices):
        raise ValueError("it is not two amounts with / between them")
    return prices


_AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]


def _default_customers() -> Path:
    own = Path("customers.yaml").absolute()
    return own if own.is_file() else DEMO_CUSTOMERS


def _check_judge_url(value: str) -> str:
    """The URL of a judge's API, which is sent the key and interactions. The query is Azure's `api-version`."""
    try:
        parts = urlsplit(value.strip())
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("it is not a URL") from None
    if "@" in value:
        raise ValueError("it holds a user name or password")
    if not host or parts.scheme not in {"http", "https"} or parts.fragment:
        raise ValueError("it is not a URL of scheme, host and path")
    if is_link_local(host):
        raise ValueError("its host is a link-local address, where clouds keep the credentials of this host")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("it is plain http to another machine, which would show the key to the network")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


class Settings(BaseModel):
    """The settings of this process. A field's alias is the variable of the environment, its description the value."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True
    )

    dagster_home: _AbsolutePath = Field(
        default_factory=lambda: Path(".optiinfra").absolute(),
        validate_default=True,
        alias="DAGSTER_HOME",
        description="the folder for the state of Dagster and OptiInfra; ./.optiinfra if unset",
    )
    clickhouse_plain_http: bool = Field(
        default=False,
        alias="OPTIINFRA_CLICKHOUSE_PLAIN_HTTP",
        description="true if the password of ClickHouse may be shown to the network between the machines; false if "
        "unset",
    )
    clickhouse_url: SecretStr = Field(
        default_factory=lambda before: SecretStr(f"chdb://{before['dagster_home']}/clickhouse"),
        validate_default=True,
        alias="OPTIINFRA_CLICKHOUSE_URL",
        description="chdb:///absolute/folder, http://user:password@host:8123/database or the same with https, "
        "with % codes for special characters; the embedded engine under DAGSTER_HOME if unset",
    )
    customers_path: _AbsolutePath = Field(
        default_factory=_default_customers,
        alias="OPTIINFRA_CUSTOMERS",
        description="the path of a customers file; if unset, ./customers.yaml or else the demo customers",
    )
    groq_api_key: SecretStr | None = Field(
        default=None, alias="GROQ_API_KEY", description="the key of the LLM judge; nothing is judged if unset"
    )
    groq_base_url: str = Field(
        default="https://api.groq.com",
        alias="GROQ_BASE_URL",
        description="the https URL of the judge's API, without /openai/v1; https://api.groq.com if unset",
    )
    judge_base_url: str | None = Field(
        default=None,
        alias="OPTIINFRA_JUDGE_BASE_URL",
        description="the https URL of another judge's API, of which /chat/completions is called, such as "
        "https://api.openai.com/v1; Groq judges if unset",
    )
    judge_api_key: SecretStr | None = Field(
        default=None,
        alias="OPTIINFRA_JUDGE_API_KEY",
        description="the key of the judge at OPTIINFRA_JUDGE_BASE_URL, any word where it wants none",
    )
    judge_model: str = Field(
        default="openai/gpt-oss-120b",
        min_length=1,
        alias="OPTIINFRA_JUDGE_MODEL",
        description="the model that judges, best one with strict JSON schemas; openai/gpt-oss-120b if unset",
    )
    judge_reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = Field(
        default=None,
        alias="OPTIINFRA_JUDGE_REASONING_EFFORT",
        description="how much a judge that reasons does so: none, minimal, low, medium or high; low for gpt-oss at "
        "Groq, else what the model does by itself, if unset",
    )
    judge_price: Annotated[tuple[Decimal, Decimal] | None, BeforeValidator(_read_price)] = Field(
        default=None,
        alias="OPTIINFRA_JUDGE_USD_PER_MILLION",
        description="what the judge's tokens cost in USD per million of input and output, such as 0.15/0.60; the list "
        "prices of gpt-oss at Groq, else unknown, if unset",
    )
    second_judge_model: str | None = Field(
        default=None,
        alias="OPTIINFRA_SECOND_JUDGE_MODEL",
        description="a model that judges a share of the interactions too, to see how far it agrees; none if unset",
    )
    second_judge_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        alias="OPTIINFRA_SECOND_JUDGE_SHARE",
        description="the share of judged interactions that the second judge is asked about, up to 1; 0.1 if unset",
    )
    second_judge_base_url: str | None = Field(
        default=None,
        alias="OPTIINFRA_SECOND_JUDGE_BASE_URL",
        description="the https URL of the second judge's API; that of the first if unset",
    )
    second_judge_api_key: SecretStr | None = Field(
        default=None,
        alias="OPTIINFRA_SECOND_JUDGE_API_KEY",
        description="the key of the second judge at OPTIINFRA_SECOND_JUDGE_BASE_URL",
    )
    judge_concurrency: int = Field(
        default=8,
        ge=1,
        le=128,
        alias="OPTIINFRA_JUDGE_CONCURRENCY",
        description="how many interactions are judged side by side, from 1 to 128; 8 if unset",
    )
    judge_seconds: float = Field(
        default=600.0,
        gt=0,
        le=7200,
        alias="OPTIINFRA_JUDGE_SECONDS",
        description="how long the judging of one customer's window may take, up to 7200 s; 600 if unset",
    )
    judge_run_tokens: int = Field(
        default=5_000_000,
        ge=0,
        alias="OPTIINFRA_JUDGE_RUN_TOKENS",
        description="how many tokens the judge may use in a run; 5000000 if unset",
    )
    judge_run_requests: int = Field(
        default=5_000,
        ge=0,
        alias="OPTIINFRA_JUDGE_RUN_REQUESTS",
        description="how many requests the judge may make in a run; 5000 if unset",
    )
    judge_customer_day_tokens: int = Field(
        default=3_000_000,
        ge=0,
        alias="OPTIINFRA_JUDGE_CUSTOMER_DAY_TOKENS",
        description="how many tokens the judge may use for a customer in a day (UTC); 3000000 if unset",
    )
    judge_customer_day_requests: int = Field(
        default=3_000,
        ge=0,
        alias="OPTIINFRA_JUDGE_CUSTOMER_DAY_REQUESTS",
        description="how many requests the judge may make for a customer in a day (UTC); 3000 if unset",
    )
    judge_backfill_share: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        alias="OPTIINFRA_JUDGE_BACKFILL_SHARE",
        description="the part of a customer's day that windows of more than two hours ago may use, from 0 to below 1; "
        "0.2 if unset",
    )
    golden_set: _AbsolutePath | None = Field(
        default=None,
        alias="OPTIINFRA_GOLDEN_SET",
        description="the path of a JSONL file of labelled interactions; the judge is not compared with people if unset",
    )
    lag_minutes: int = Field(
        default=5,
        ge=0,
        le=14,
        alias="OPTIINFRA_LAG_MINUTES",
        description="the minutes from the end of a window to its collection, from 0 to 14; 5 if unset",
    )
    partitions_start: datetime = Field(
        default=datetime(2026, 1, 1, tzinfo=UTC),
        alias="OPTIINFRA_PARTITIONS_START",
        description="the start of the first window, with a zone, on a quarter of an hour; 2026-01-01T00:00Z if unset",
    )
    concurrency: int = Field(
        default=16,
        ge=1,
        le=256,
        alias="OPTIINFRA_CONCURRENCY",
        description="how many customers are collected side by side, from 1 to 256; 16 if unset",
    )
    snapshot_grace_minutes: int = Field(
        default=30,
        ge=0,
        le=1440,
        alias="OPTIINFRA_SNAPSHOT_GRACE_MINUTES",
        description="the minutes after the end of a window in which an inventory may still be taken for it, "
        "from 0 to 1440; 30 if unset",
    )
    repair_lookback_hours: int = Field(
        default=24,
        ge=1,
        le=1440,
        alias="OPTIINFRA_REPAIR_LOOKBACK_HOURS",
        description="how many hours back failed and missing slices are asked for again, from 1 to 1440; 24 if unset",
    )
    repair_max_attempts: int = Field(
        default=5,
        ge=0,
        le=100,
        alias="OPTIINFRA_REPAIR_MAX_ATTEMPTS",
        description="how often a slice is tried again, from 0 to 100; 5 if unset",
    )
    late_logs_hours: int = Field(
        default=48,
        ge=0,
        le=168,
        alias="OPTIINFRA_LATE_LOGS_HOURS",
        description="how many hours back windows are judged again whose logs came late, from 0 to 168; 48 if unset",
    )
    run_retention_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        alias="OPTIINFRA_RUN_RETENTION_DAYS",
        description="after how many days Dagster's runs are deleted, from 1 to 3650; 30 if unset",
    )
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

    @property
    def uses_demo(self) -> bool:
        """True if the customers are those of the cloud lab."""
        return self.customers_path == DEMO_CUSTOMERS

    @property
    def has_judge(self) -> bool:
        """True if there is a key for the judge."""
        return (self.groq_api_key if self.judge_base_url is None else self.judge_api_key) is not None

    @property
    def clickhouse_place(self) -> str:
        """The place of ClickHouse, safe to print: without user, password and query."""
        parts = urlsplit(self.clickhouse_url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @field_validator("dagster_home")
    @classmethod
    def _check_home(cls, value: Path) -> Path:
        # It becomes part of URLs: ours of the embedded engine, and Dagster's own of SQLite.
        if {"?", "#"} & set(str(value)):
            raise ValueError(f"{value} may not hold ? or #")
        return value

    @field_validator("clickhouse_url")
    @classmethod
    def _check_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        # No message here repeats any part of the URL, since what looks like a scheme may be a password.
        try:
            parts = urlsplit(value.get_secret_value())
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("it is not a URL") from None
        if parts.scheme == "chdb":
            # To the client, chdb://folder/more is the folder ./folder with the database more, and chdb://memory or no
            # path is an engine that forgets everything when it is closed.
            if parts.netloc or not parts.path.strip("/"):
                raise ValueError("its folder must be absolute, which takes three slashes")
            if parts.query or parts.fragment:
                raise ValueError("its folder may not hold ? or #")
        elif parts.scheme not in {"http", "https"}:
            raise ValueError("its scheme is not one of chdb, http and https")
        elif not host:
            raise ValueError("it names no host")
        elif parts.fragment or "@" in parts.path + parts.query:
            # http://me:1/x@host parses as the host `me` and a path that holds the rest of the password.
            raise ValueError("it holds a special character as it is")
        elif is_link_local(host):
            raise ValueError("its host is a link-local address, where clouds keep the credentials of this host")
        elif (
            parts.scheme == "http"
            and parts.password
            and not (is_loopback(host) or info.data.get("clickhouse_plain_http"))
        ):
            raise ValueError(
                "it is plain http to another machine, which would show the password to the network: use https, or set "
                "OPTIINFRA_CLICKHOUSE_PLAIN_HTTP=true where that network is yours alone"
            )
        return value

    @field_validator("groq_base_url")
    @classmethod
    def _check_groq_url(cls, value: str) -> str:
        if urlsplit(value).query:
            raise ValueError("it is not a URL of scheme, host and path")
        return _check_judge_url(value).removesuffix("/openai/v1")

    @field_validator("judge_base_url", "second_judge_base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        return None if value is None else _check_judge_url(value).removesuffix("/chat/completions")

    @field_validator("alert_webhook", "heartbeat_url")
    @classmethod
    def _check_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (fault := safe_url_fault(value.get_secret_value())):
            raise ValueError(f"it {fault}")
        return value

    @field_validator("alert_smtp")
    @classmethod
    def _check_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        # No message here repeats any part of the URL, since what looks like a host may be a password.
        if value is None:
            return value
        try:
            parts = urlsplit(value.get_secret_value())
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("it is not a URL") from None
        if parts.scheme not in {"smtp", "smtps"} or not host:
            raise ValueError("it is not a URL of smtp or smtps and a host")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("it has something behind its host: write special characters as % codes")
        return value

    @field_validator("alert_mail_from")
    @classmethod
    def _check_sender(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("alert_smtp") is not None:
            raise ValueError("it is needed with OPTIINFRA_ALERT_SMTP")
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

    @field_validator(
        "clickhouse_url", "groq_api_key", "judge_api_key", "second_judge_api_key", "alert_webhook", "alert_smtp",
        "heartbeat_url", mode="before",
    )  # fmt: skip
    @classmethod
    def _strip(cls, value: object) -> object:
        # Secrets arrive with the newline of the file or command that they came from.
        return value.strip() if isinstance(value, str) else value

    @field_validator("partitions_start", mode="before")
    @classmethod
    def _read_time(cls, value: object) -> object:
        # Not pydantic's own reading, which takes a bare number for seconds since 1970.
        return datetime.fromisoformat(value.strip()) if isinstance(value, str) else value

    @field_validator("partitions_start")
    @classmethod
    def _check_mark(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("it has no zone: put Z behind it for UTC")
        if not 2000 <= value.year <= 2100:
            raise ValueError("its year is not from 2000 to 2100")
        utc = value.astimezone(UTC)
        if (utc - datetime.min.replace(tzinfo=UTC)) % _WINDOW:
            raise ValueError("it is not on a quarter of an hour")
        return utc


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, by default the environment of this process. Empty means not set.

    Raises:
        ConfigError: one line for each bad variable: its name, its value unless that is secret, and what it may be.
    """
    environment = {name: value for name, value in (os.environ if environ is None else environ).items() if value.strip()}
    misspelt = [f"There is no setting {name}{near}. Correct or unset it." for name, near in _misspelt(environment)]
    try:
        settings = Settings.model_validate(environment)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    else:
        if misspelt:
            raise ConfigError("\n".join(misspelt))
        return settings
    # Raised out here, so that it does not carry the values that pydantic's error knows.
    # A default that needs another, bad variable is no mistake of its own.
    explained = [_explain(item, environment) for item in mistakes if item["type"] != "default_factory_not_called"]
    raise ConfigError("\n".join([*explained, *misspelt]))


def _misspelt(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that are nearly ours, with what may be meant; others are somebody's own, such as a key's."""
    known = {str(field.alias): str(field.alias).removeprefix(_PREFIX) for field in Settings.model_fields.values()}
    for name in sorted(environment):
        rest = name.removeprefix(_PREFIX)
        if name not in known and rest != name and (near := closest(rest, known.values(), cutoff=0.85)):
            yield name, near.replace("'", f"'{_PREFIX}", 1)


def _explain(details: ErrorDetails, environment: Mapping[str, str]) -> str:
    """`OPTIINFRA_LAG_MINUTES='99' cannot be used: ... Set it to ...`."""
    # pydantic calls a field by its alias where the value was given, and by its name where the default is at fault.
    fields = Settings.model_fields
    name, known = next(
        (known.alias or "", known) for key, known in fields.items() if details["loc"][0] in {key, known.alias}
    )
    secret = known.annotation in {SecretStr, SecretStr | None}
    secret = secret or "@" in environment.get(name, "")  # a URL may hold a password
    shown = name if secret or name not in environment else f"{name}={environment[name]!r}"
    reason = str(details["ctx"]["error"]) if details["type"] == "value_error" else details["msg"]
    return f"{shown} cannot be used: {reason[:1].lower()}{reason[1:]}. Set it to {known.description}."
