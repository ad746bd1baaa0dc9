"""The customer's LLM application in customers.yaml: where its interactions are logged, and how many are judged."""

from __future__ import annotations

import re
from typing import Literal, get_args

from pydantic import Field, StrictBool, StrictInt, ValidationInfo, field_validator

from optiinfra_dagster.config.accounts import BLOB_HOST
from optiinfra_dagster.config.feedback_scales import FeedbackScale, check_feedback
from optiinfra_dagster.config.rubrics import Rubric, check_names
from optiinfra_dagster.config.secrets import (
    HOW_TO_POINT,
    HOW_TO_REFER,
    Endpoint,
    Reference,
    Section,
    local_path,
    problem,
)
from optiinfra_dagster.config.token_prices import TokenPrice, check_models
from optiinfra_dagster.config.wording import closest

Rule = Literal["pii", "refusal", "empty", "too_long", "language"]
Language = Literal[
    "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "cs", "tr", "ja", "ko", "zh", "th", "el",
    "he", "ar", "hi", "ru", "uk",
]  # fmt: skip
_HOUR = ("yyyy", "mm", "dd", "hh")
_BUCKET = re.compile(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](?:/\S*)?")
_CONTAINER = re.compile(rf"https://{BLOB_HOST}/[a-z0-9][a-z0-9-]{{1,61}}[a-z0-9](?:/[^\s?#]*)?")


class Application(Section):
    """The customer's LLM application: where its interactions are logged and how many of them are judged per window.

    `interactions` is `s3://bucket/folder`, `gs://bucket/folder`,
    `https://<account>.blob.core.windows.net/container/folder` (Azure), an absolute folder, or `clickhouse` (the table
    llm_interactions). In a location, {provider} and the hour {yyyy}, {mm}, {dd}, {hh} (UTC) may stand for parts of
    names, so that only those of a window are listed: `s3://acme-logs/{provider}/{yyyy}/{mm}/{dd}/{hh}/`.
    `provider` is where the application runs, for records that do not say; where the customer has one provider only, it
    is that one. A customer without any account writes it, unless the application runs where its log is stored. An S3
    bucket is read as the customer's first AWS account, or as this host, or with keys of its own, which a store beside
    AWS needs (`endpoint_url`); a GCS bucket as the customer's first project, and a container of Azure as its first
    Azure account, or each as this host.
    `store_text` keeps prompt and response beside their scores; by default only scores are kept.
    `feedback` says what the numbers of users' feedback mean, by its name.
    `rubrics` are questions of the customer's own. `rules` are looked for in the sampled answers without a judge:
    personal data and keys (pii), refusals, answers that are empty or longer than `longest_answer` characters, and those
    in another language than `languages` or, without these, than their prompt.
    """

    interactions: str = Field(
        description="Write s3://bucket/prefix, gs://bucket/prefix, https://account.blob.core.windows.net/container/prefix"
        ", a folder, or clickhouse"
    )
    provider: str | None = Field(default=None, description="Write where the application runs, such as aws")
    endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    access_key_id: Reference | None = Field(default=None, description=HOW_TO_REFER)
    secret_access_key: Reference | None = Field(default=None, validate_default=True, description=HOW_TO_REFER)
    sample_per_window: StrictInt = Field(default=5, ge=1, le=1000, description="Write a whole number from 1 to 1000")
    store_text: StrictBool = Field(default=False, description="Write true or false")
    token_prices: tuple[TokenPrice, ...] = Field(default=(), description="Write a list, each with model: beneath it")

    rubrics: tuple[Rubric, ...] = Field(
        default=(), description="Write a list, each with name: and question: beneath it"
    )
    rules: tuple[Rule, ...] = Field(
        default=get_args(Rule), description="Write a list of pii, refusal, empty, too_long, language, or [] for none"
    )
    longest_answer: StrictInt = Field(
        default=8000, ge=1, le=1_000_000, description="Write a number of characters, up to 1000000"
    )
    languages: tuple[Language, ...] = Field(
        default=(),
        description=f"Write a list of languages that answers should have, of {', '.join(get_args(Language))}",
    )

    feedback: tuple[FeedbackScale, ...] = Field(
        default=(), description="Write a list, each with name: and scale: beneath it"
    )

    _check_feedback = field_validator("feedback")(check_feedback)
    _check_models = field_validator("token_prices")(check_models)
    _check_rubrics = field_validator("rubrics")(check_names)

    @field_validator("interactions")
    @classmethod
    def _check_interactions(cls, value: str, info: ValidationInfo) -> str:
        named = re.findall(r"\{(.*?)\}", value)
        if unknown := [name for name in named if name not in {"provider", *_HOUR}]:
            raise problem(
                f"holds {{{unknown[0]}}}{closest(unknown[0], ('provider', *_HOUR))}, which stands for nothing",
                "Only {provider}, {yyyy}, {mm}, {dd} and {hh} may stand there",
            )
        if (dated := set(named) & set(_HOUR)) != set(_HOUR[: len(dated)]):
            raise problem("names a part of the hour without the parts before it", "Write {yyyy}, {mm}, {dd}, {hh}")
        if value == "clickhouse" or _BUCKET.fullmatch(value) or _CONTAINER.fullmatch(value):
            return value
        # A scheme with a slash too few, a drive letter, or the table in another case is no folder.
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value) or value.lower() == "clickhouse" or not value.strip():
            near = closest(value, ("clickhouse",), cutoff=1)
            raise problem(f"is not a place that interactions can be read from{near}")
        return str(local_path(value, info))

    @field_validator("endpoint_url", "access_key_id")
    @classmethod
    def _check_use(cls, value: object, info: ValidationInfo) -> object:
        location = info.data.get("interactions", "s3://")
        schemes = ("s3://", "gs://", "https://") if info.field_name == "endpoint_url" else ("s3://",)
        if value is not None and not location.startswith(schemes):
            raise problem(f"is of use only with {', '.join(schemes)}", f"Remove {info.field_name}")
        return value

    @field_validator("secret_access_key")
    @classmethod
    def _check_keys(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if "access_key_id" not in info.data:
            return value
        if (value is None) != (info.data["access_key_id"] is None):
            missing = "secret_access_key" if value is None else "access_key_id"
            raise problem(f"{missing} is missing, and the two keys work only together", "Add it, or remove the other")
        if value is None and info.data.get("endpoint_url") and info.data.get("interactions", "").startswith("s3://"):
            raise problem("is missing: a store beside AWS has keys of its own", HOW_TO_REFER)
        return value

    @property
    def stored_at(self) -> str:
        """The provider whose storage holds the log, "" for a folder and for ClickHouse."""
        return {"s3": "aws", "gs": "gcp", "https": "azure"}.get(self.interactions.partition("://")[0], "")

    def endpoint(self) -> str | None:
        """The URL of the object storage, or None for the cloud's own; ConfigError if it is unusable."""
        return None if self.endpoint_url is None else self.endpoint_url.resolve()
