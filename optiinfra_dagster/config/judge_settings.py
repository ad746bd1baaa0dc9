"""The settings of the LLM judge: where it is, what it costs, and how much it may use."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from optiinfra_dagster.config.variables import Variables, stripped
from optiinfra_dagster.model.hosts import has_control_character, is_link_local, is_loopback


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


def _check_judge_url(value: str) -> str:
    """The URL of a judge's API, which is sent the key and interactions. The query is Azure's `api-version`."""
    if has_control_character(value.strip()):
        raise ValueError("it holds a control character")
    try:
        parts = urlsplit(value.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("it is not a URL") from None
    if "@" in value:
        raise ValueError("it holds a user name or password")
    if not host or parts.scheme not in {"http", "https"} or parts.fragment:
        raise ValueError("it is not a URL of scheme, host and path")
    if port == 0:
        raise ValueError("it names port 0")
    if is_link_local(host):
        raise ValueError("its host is a link-local address, where clouds keep the credentials of this host")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("it is plain http to another machine, which would show the key to the network")
    _check_query(parts.query)
    return parts._replace(path=parts.path.rstrip("/").removesuffix("/chat/completions")).geturl()


def _check_query(query: str) -> None:
    named = parse_qsl(query)
    if query and len(named) != len(query.split("&")):
        raise ValueError("its query holds a name without a value")
    if len(named) != len(dict(named)):
        raise ValueError("its query holds a name twice")


class JudgeSettings(Variables):
    """The judge, and a second one on a share of what it judges."""

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
        validate_default=True,
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

    @property
    def has_judge(self) -> bool:
        """True if there is a key for the judge."""
        return (self.groq_api_key if self.judge_base_url is None else self.judge_api_key) is not None

    @property
    def judge_key_variable(self) -> str:
        """The variable of that key."""
        return "GROQ_API_KEY" if self.judge_base_url is None else "OPTIINFRA_JUDGE_API_KEY"

    @field_validator("groq_base_url")
    @classmethod
    def _check_groq_url(cls, value: str) -> str:
        if urlsplit(value).query:
            raise ValueError("it is not a URL of scheme, host and path")
        return _check_judge_url(value).removesuffix("/openai/v1")

    @field_validator("judge_base_url", "second_judge_base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        return None if value is None else _check_judge_url(value)

    @field_validator("judge_api_key", "second_judge_base_url", "second_judge_api_key")
    @classmethod
    def _check_of_use(cls, value: SecretStr | str | None, info: ValidationInfo) -> SecretStr | str | None:
        needs = {"judge_api_key": "judge_base_url", "second_judge_base_url": "second_judge_model"}.get(
            info.field_name or "", "second_judge_base_url"
        )
        if needs not in info.data:  # it is refused itself
            return value
        other = cls.model_fields[needs].alias
        if value is not None and info.data[needs] is None:
            raise ValueError(f"there is no {other} that it is of use to")
        if value is None and needs == "second_judge_base_url" and info.data[needs] is not None:
            raise ValueError(f"it is needed with {other}")
        return value

    @field_validator("groq_api_key", "judge_api_key", "second_judge_api_key", mode="before")
    @classmethod
    def _strip_keys(cls, value: object) -> object:
        return stripped(value)
