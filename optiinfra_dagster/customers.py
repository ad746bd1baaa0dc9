"""customers.yaml read into typed customers: whose clouds are collected, how often, and with which credentials.

A secret is never a value here but a `Reference` to one (an environment variable, a file, a name in AWS Secrets
Manager), held as written and looked up only by `.resolve()`. A wrong file is refused whole, with every mistake on
a line of its own: file, line number, place, what is wrong, what to write instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pydantic import Field, StrictBool, StrictInt, ValidationError, ValidationInfo, field_validator

from optiinfra_dagster.errors import ConfigError
from optiinfra_dagster.references import (
    HOW_TO_NAME_FILE,
    HOW_TO_POINT,
    HOW_TO_REFER,
    CredentialsFile,
    Endpoint,
    Held,
    Reference,
    Section,
    closest,
    local_path,
    problem,
)
from optiinfra_dagster.yaml_lines import Document, Place, read, spell

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Provider = Literal["aws", "gcp", "azure", "vultr"]
Family = Literal["resource", "performance", "cost", "application"]

# Re-exported: who builds an account by hand, as tests do, needs these beside it.
__all__ = [
    "FAMILIES",
    "PROVIDERS",
    "Account",
    "Application",
    "AwsAccount",
    "AzureAccount",
    "CredentialsFile",
    "Customer",
    "Endpoint",
    "Family",
    "GcpAccount",
    "Provider",
    "Reference",
    "VultrAccount",
    "load_customers",
    "select",
]

PROVIDERS: tuple[Provider, ...] = get_args(Provider)
FAMILIES: tuple[Family, ...] = get_args(Family)


# --- Accounts -------------------------------------------------------------------------------------------------------


def _match(pattern: str, what: str) -> Callable[[object], object]:
    """A check that text matches `pattern` as a whole; other types are left to the field's own check."""
    compiled = re.compile(pattern)

    def check(value: object) -> object:
        if isinstance(value, str) and not compiled.fullmatch(value):
            raise problem(what)
        return value

    return check


_GCP_PROJECT = r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"  # with the prefix of domain-scoped projects
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class _Account(Section):
    endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)

    def endpoint(self) -> str | None:
        """The URL that all calls for this account go to, or None for the cloud's own; ConfigError if it is unusable."""
        return None if self.endpoint_url is None else self.endpoint_url.resolve()


class AwsAccount(_Account):
    """One AWS account, read through an assumed role, or with access keys, or with this host's own credentials.

    With neither `role_arn` nor keys the ambient credentials of the host are used (instance role, environment): then
    they must belong to `account_id` themselves. `regions` None means every region that is enabled in the account.
    `billing: false` is for an account whose charges are in the bill of its payer, which is the customer's first account
    without it: that bill is read for both. Where no account is left, no bill is read and everything is estimated.
    `cost_export` is a Data Export (CUR 2.0 or FOCUS), which is then read in place of Cost Explorer.
    """

    account_id: str = Field(description='Write the 12 digits in quotes: "123456789012"')
    role_arn: str | None = Field(
        default=None, description="Write arn:aws:iam::<account_id>:role/<name>, a role in this same account"
    )
    external_id: Reference | None = Field(default=None, description=HOW_TO_REFER)
    access_key_id: Reference | None = Field(default=None, description=HOW_TO_REFER)
    secret_access_key: Reference | None = Field(default=None, description=HOW_TO_REFER, validate_default=True)
    regions: list[str] | None = Field(
        default=None, description="Write a list such as [us-east-1, eu-west-1], or leave it out for all enabled regions"
    )
    billing: StrictBool = Field(default=True, description="Write true, or false where another account pays")
    cost_export: str | None = Field(default=None, description="Write s3://bucket/prefix/name, where the export goes")

    @field_validator("account_id", mode="before")
    @classmethod
    def _check_account(cls, value: object) -> object:
        if isinstance(value, int):  # YAML reads 012345670123 as an octal number: the digits are already lost
            raise problem("is a number, and numbers lose leading zeros")
        return _match(r"[0-9]{12}", "is not the number of an AWS account")(value)

    @field_validator("role_arn")
    @classmethod
    def _check_role(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return value
        parts = re.fullmatch(r"arn:aws[a-z-]*:iam::([0-9]{12}):role/[\w+=,.@/-]{1,576}", value, re.ASCII)
        if parts is None:
            raise problem("is not the ARN of an IAM role")
        account = info.data.get("account_id")
        if account is not None and parts[1] != account:
            raise problem(f"is a role in account {parts[1]}, but account_id is {account}")
        return value

    @field_validator("external_id")
    @classmethod
    def _check_external_id(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if value is not None and "role_arn" in info.data and info.data["role_arn"] is None:
            raise problem("is of use only with role_arn", "Add role_arn, or remove external_id")
        return value

    @field_validator("access_key_id")
    @classmethod
    def _check_one_way_in(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if value is not None and info.data.get("role_arn") is not None:
            raise problem("is a second way in beside role_arn", "Keep role_arn, or the two keys, not both")
        return value

    @field_validator("secret_access_key")
    @classmethod
    def _check_key_pair(cls, value: Reference | None, info: ValidationInfo) -> Reference | None:
        if "access_key_id" in info.data and (value is None) != (info.data["access_key_id"] is None):
            missing = "secret_access_key" if value is None else "access_key_id"
            raise problem(f"{missing} is missing, and the two keys work only together", "Add it, or remove the other")
        return value

    @field_validator("cost_export")
    @classmethod
    def _check_export(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return value
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^\s{}]+)?/?", value):
            raise problem("is not a place in S3")
        if info.data.get("billing") is False:
            raise problem("is of use only where the account's bill is read", "Remove it, or billing: false")
        return value.rstrip("/")

    @field_validator("regions")
    @classmethod
    def _check_regions(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return value
        if not value:
            raise problem("is an empty list")
        for region in value:
            if re.fullmatch(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}[a-z]", region):
                raise problem(f"holds the availability zone {region}, not a region")
            if not re.fullmatch(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}", region):
                raise problem("holds something that is not the code of a region")
        if len(set(value)) != len(value):
            raise problem("holds a region twice", "Remove one")
        return value


class GcpAccount(_Account):
    """One Google Cloud project, read with a credentials file, or with this host's application default credentials.

    `impersonate` is a service account that those credentials then act as; `quota_project_id` is the project that pays
    for the calls; `billing_export_table` is where the customer's billing export goes in BigQuery. Cloud Monitoring
    speaks gRPC, so it has an endpoint of its own, `monitoring_endpoint_url`; BigQuery's is `bigquery_endpoint_url`.
    """

    project_id: str = Field(description="Write the project's id (not its name or number), such as acme-prod")
    credentials_file: CredentialsFile | None = Field(default=None, description=HOW_TO_NAME_FILE)
    impersonate: str | None = Field(
        default=None, description="Write the service account, such as reader@acme-prod.iam.gserviceaccount.com"
    )
    quota_project_id: str | None = Field(
        default=None, description="Write the id of the project that pays for the calls"
    )
    billing_export_table: str | None = Field(default=None, description="Write project.dataset.table")
    monitoring_endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    bigquery_endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)

    _check_project = field_validator("project_id", "quota_project_id")(
        _match(_GCP_PROJECT, "is not the id of a Google Cloud project")
    )
    _check_impersonate = field_validator("impersonate")(
        _match(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com", "is not the address of a service account")
    )
    _check_table = field_validator("billing_export_table")(
        _match(_GCP_PROJECT + r"\.[A-Za-z0-9_]+\.[A-Za-z0-9_-]+", "is not the full name of a BigQuery table")
    )

    def monitoring_endpoint(self) -> str | None:
        """Where Cloud Monitoring is called instead of Google's address, or None; ConfigError if it is unusable."""
        return None if self.monitoring_endpoint_url is None else self.monitoring_endpoint_url.resolve()

    def bigquery_endpoint(self) -> str | None:
        """Where BigQuery is called instead of Google's address, or None; ConfigError if it is unusable."""
        return None if self.bigquery_endpoint_url is None else self.bigquery_endpoint_url.resolve()


class AzureAccount(_Account):
    """One Azure subscription, read as a service principal (tenant_id, client_id and client_secret).

    Without client_secret, the principal is entered by the token that Kubernetes projects for this host (workload
    identity federation); without all three, this host's own identity is used. Metrics of many resources come from a
    host of each region; `metrics_endpoint_url` is called instead of all of them. `cost_export` is where a Cost
    Management export goes, a container and a folder in it: costs are read there and not asked of Cost Management.
    List prices come from prices.azure.com, or from `prices_endpoint_url`.
    """

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
    prices_endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)

    _check_guid = field_validator("subscription_id", "client_id")(_match(_GUID, "is not a GUID"))
    _check_export = field_validator("cost_export")(
        _match(
            r"https://[a-z0-9]{3,24}\.blob\.core\.[a-z0-9.-]+/[a-z0-9-]{3,63}(?:/[^?#]*)?",
            "is not the address of a folder in blob storage",
        )
    )
    _check_tenant = field_validator("tenant_id")(
        _match(_GUID + r"|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", "is neither a GUID nor a domain")
    )

    @field_validator("client_id", "client_secret")
    @classmethod
    def _check_principal(cls, value: object, info: ValidationInfo) -> object:
        if "tenant_id" not in info.data:
            return value  # is told already
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

    def metrics_endpoint(self) -> str | None:
        """Where metrics are asked for instead of the regions' hosts, or None; ConfigError if it is unusable."""
        return None if self.metrics_endpoint_url is None else self.metrics_endpoint_url.resolve()

    def prices_endpoint(self) -> str | None:
        """Where list prices are asked for instead of prices.azure.com, or None; ConfigError if it is unusable."""
        return None if self.prices_endpoint_url is None else self.prices_endpoint_url.resolve()


class VultrAccount(_Account):
    """One Vultr account; `prometheus_url` serves the metrics of its instances, which Vultr itself does not offer.

    `prometheus_token` is sent to it as a bearer token.
    """

    api_key: Reference = Field(description=HOW_TO_REFER)
    prometheus_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    prometheus_token: Reference | None = Field(default=None, description=HOW_TO_REFER)

    def prometheus(self) -> str | None:
        """The URL of the customer's Prometheus, or None; ConfigError if it is unusable."""
        return None if self.prometheus_url is None else self.prometheus_url.resolve()


Account: TypeAlias = AwsAccount | GcpAccount | AzureAccount | VultrAccount


# --- Customers ------------------------------------------------------------------------------------------------------

_HOUR = ("yyyy", "mm", "dd", "hh")


class Application(Section):
    """The customer's LLM application: where its interactions are logged and how many of them are judged per window.

    `interactions` is `s3://bucket/folder`, `gs://bucket/folder`, an absolute folder, or `clickhouse` (the table
    llm_interactions). In a location, {provider} and the hour {yyyy}, {mm}, {dd}, {hh} (UTC) may stand for parts of
    names, so that only those of a window are listed: `s3://acme-logs/{provider}/{yyyy}/{mm}/{dd}/{hh}/`.
    `provider` is where the application runs, for records that do not say; where the customer has one provider only, it
    is that one. An S3 bucket is read as the customer's first AWS account, or as this host, or with keys of its own,
    which a store beside AWS needs (`endpoint_url`); a GCS bucket as the customer's first project, or as this host.
    `store_text` keeps prompt and response beside their scores; by default only scores are kept.
    """

    interactions: str = Field(description="Write s3://bucket/prefix, gs://bucket/prefix, a folder, or clickhouse")
    provider: Provider | None = Field(default=None, description=f"Choose from {', '.join(PROVIDERS)}")
    endpoint_url: Endpoint | None = Field(default=None, description=HOW_TO_POINT)
    access_key_id: Reference | None = Field(default=None, description=HOW_TO_REFER)
    secret_access_key: Reference | None = Field(default=None, validate_default=True, description=HOW_TO_REFER)
    sample_per_window: StrictInt = Field(default=5, ge=1, le=1000, description="Write a whole number from 1 to 1000")
    store_text: StrictBool = Field(default=False, description="Write true or false")

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
        if value == "clickhouse" or re.fullmatch(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](?:/\S*)?", value):
            return value
        if "://" in value or not value.strip():
            raise problem("is not a place that interactions can be read from")
        return str(local_path(value, info))

    @field_validator("endpoint_url", "access_key_id")
    @classmethod
    def _check_use(cls, value: object, info: ValidationInfo) -> object:
        location = info.data.get("interactions", "s3://")
        schemes = ("s3://", "gs://") if info.field_name == "endpoint_url" else ("s3://",)
        if value is not None and not location.startswith(schemes):
            raise problem(f"is of use only with {' or '.join(schemes)}", f"Remove {info.field_name}")
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

    def endpoint(self) -> str | None:
        """The URL of the object storage, or None for the cloud's own; ConfigError if it is unusable."""
        return None if self.endpoint_url is None else self.endpoint_url.resolve()


class Customer(Section):
    """One customer: accounts by provider, what to collect from them, how often, and what the calls may cost.

    `monthly_api_budget_usd` is what the clouds may charge this customer for our calls, per provider; None is no limit.
    """

    id: str = Field(description="Write 1 to 64 of the characters a-z, 0-9 and -")
    name: str = Field(min_length=1, max_length=200, description="Write the customer's name, up to 200 characters")
    poll_minutes: StrictInt = Field(
        default=15, ge=15, le=1440, multiple_of=15, description="Write a multiple of 15, up to 1440 (a day)"
    )
    monthly_api_budget_usd: Decimal | None = Field(
        default=None, ge=0, description="Write an amount in USD such as 25, or leave it out for no limit"
    )
    families: tuple[Family, ...] = Field(
        default=FAMILIES, min_length=1, description=f"Choose from {', '.join(FAMILIES)}, or leave it out for all"
    )
    aws: tuple[AwsAccount, ...] = Field(default=(), description="Write a list of accounts, each with an account_id")
    gcp: tuple[GcpAccount, ...] = Field(default=(), description="Write a list of projects, each with a project_id")
    azure: tuple[AzureAccount, ...] = Field(
        default=(), description="Write a list of subscriptions, each with a subscription_id"
    )
    vultr: tuple[VultrAccount, ...] = Field(default=(), description="Write a list of accounts, each with an api_key")
    application: Application | None = Field(default=None, description="Write interactions: beneath it")

    _check_id = field_validator("id")(_match(r"[a-z0-9-]{1,64}", "is not a customer id"))

    @field_validator("monthly_api_budget_usd", mode="before")
    @classmethod
    def _refuse_truth(cls, value: object) -> object:
        if isinstance(value, bool):  # Decimal(True) is 1
            raise problem("is not an amount")
        return value

    @field_validator("families")
    @classmethod
    def _refuse_repeats(cls, value: tuple[Family, ...]) -> tuple[Family, ...]:
        if len(set(value)) != len(value):
            raise problem("holds a family twice")
        return value

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers on which this customer has at least one account, in the order of `PROVIDERS`."""
        return tuple(provider for provider in PROVIDERS if self.accounts(provider))

    def accounts(self, provider: str) -> tuple[Account, ...]:
        """The accounts on one provider; ConfigError if there is no such provider."""
        if provider not in PROVIDERS:
            raise ConfigError(
                f"There is no provider '{provider}'{closest(provider, PROVIDERS)}. Choose from {', '.join(PROVIDERS)}."
            )
        accounts: tuple[Account, ...] = getattr(self, provider)
        return accounts

    def collects(self, provider: str, family: str) -> bool:
        """Whether slices of this provider and family exist for this customer.

        They do if the family is among `families`, the customer has an account on the provider and, for the family
        application, the customer describes an application.
        """
        described = family != "application" or self.application is not None
        return family in self.families and described and bool(self.accounts(provider))


def select(customers: Sequence[Customer], ids: Collection[str]) -> tuple[Customer, ...]:
    """The customers with these ids, in the order of the file; all of them where `ids` is empty.

    Raises:
        ConfigError: an id is unknown; the message lists the known ones.
    """
    known = [customer.id for customer in customers]
    unknown = [name for name in ids if name not in known]
    if unknown:
        names = "; ".join(f"there is no customer '{name}'{closest(name, known)}" for name in unknown)
        shown = ", ".join(known[:50]) + (f" and {len(known) - 50} more" if len(known) > 50 else "")
        raise ConfigError(f"{names[0].upper()}{names[1:]}. The customers file has: {shown or 'none'}.")
    return tuple(customer for customer in customers if not ids or customer.id in ids)


# --- The file -------------------------------------------------------------------------------------------------------


class _File(Section):
    customers: tuple[Customer, ...] = Field(
        description="Write `customers:` and beneath it a list, each with id and name"
    )


_SECTIONS: dict[str, type[Section]] = {
    "": _File,
    "customers": Customer,
    "aws": AwsAccount,
    "gcp": GcpAccount,
    "azure": AzureAccount,
    "vultr": VultrAccount,
    "application": Application,
}

# What pydantic calls a mistake, and what we call it. Whatever is not listed keeps pydantic's words, which never hold
# the value either.
_WORDS = {
    "bool_type": "must be true or false",
    "decimal_parsing": "is not an amount",
    "decimal_type": "is not an amount",
    "finite_number": "is not an amount",
    "greater_than_equal": "is too small",
    "int_type": "must be a whole number",
    "less_than_equal": "is too big",
    "list_type": "must be a list",
    "missing": "is missing",
    "model_type": "must be a mapping of keys to values",
    "multiple_of": "is not a multiple of 15",
    "string_too_long": "is too long",
    "string_too_short": "is empty",
    "string_type": "must be text, and YAML reads this as something else: quotes help",
    "too_short": "is an empty list",
    "tuple_type": "must be a list",
}

# What tells one account from another, per provider.
IDENTITY: dict[Provider, str] = {
    "aws": "account_id",
    "gcp": "project_id",
    "azure": "subscription_id",
    "vultr": "api_key",
}


def load_customers(path: str | Path) -> tuple[Customer, ...]:
    """Read and check a customers file; no secret is looked up.

    Raises:
        ConfigError: the file cannot be read or is wrong; the message has one line for each mistake.
    """
    path = Path(path)
    document = read(_read_text(path))
    customers = _validate(document, path.absolute().parent) if document.parsed else ()
    if document.mistakes:
        mistakes = sorted(document.mistakes, key=lambda mistake: mistake.line)
        raise ConfigError("\n".join(f"{path}:{mistake}" for mistake in mistakes))
    return customers


def _read_text(path: Path) -> str:
    """The file as text; ConfigError if it is missing, unreadable, no file or not UTF-8."""
    elsewhere = "or point OPTIINFRA_CUSTOMERS at the right one"
    fault = ""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: this is not a file. Name the YAML file itself, {elsewhere}.")
        content = path.read_bytes()
    except FileNotFoundError:
        fault = f"there is no such file. Create it, {elsewhere}"
    except PermissionError:
        fault = "the file may not be read by this user. Give the user that runs Dagster read permission"
    except (OSError, ValueError) as error:
        fault = f"the file cannot be read: {getattr(error, 'strerror', error)}. Make it readable, {elsewhere}"
    else:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            fault = f"the file is not UTF-8 text (first at line {line}). Save it as UTF-8"
    raise ConfigError(f"{path}: {fault}.")


def _validate(document: Document, folder: Path) -> tuple[Customer, ...]:
    """The customers, or none; every mistake is noted in `document`."""
    if document.data is None and not document.mistakes:
        document.complain((), "the file is empty", "Write `customers:` and beneath it a list, each with id and name")
        return ()
    if not isinstance(document.data, dict):
        document.complain((), "the file is not a mapping of keys to values", "Start it with `customers:`")
        return ()
    _find_duplicates(document)
    try:
        customers = _File.model_validate(document.data, context={"folder": folder}).customers
    except ValidationError as error:
        for details in error.errors(include_url=False):
            document.complain(details["loc"], *_word(details))
        return ()
    for index, customer in enumerate(customers):
        place = ("customers", index)
        if not customer.providers:
            document.complain(place, "has no account on any provider", f"Add one of {', '.join(PROVIDERS)}")
        _mark_places(customer, place)
    if not customers:
        document.complain(("customers",), "is an empty list", "Add a customer with id and name")
    return customers


def _word(details: ErrorDetails) -> tuple[str, str]:
    """What is wrong and the remedy, for one of pydantic's findings; shows no value, only what may have been meant."""
    names = [part for part in details["loc"] if isinstance(part, str)]
    section = _SECTIONS.get(names[-2] if len(names) > 1 else "", _File)
    fields = section.model_fields
    if details["type"] == "extra_forbidden":
        return f"is not a known key{closest(names[-1], fields)}", f"Choose from {', '.join(fields)}"
    known = fields.get(names[-1]) if names else None
    remedy = (known.description if known else None) or "Correct it"
    if details["type"] == "plain":
        return details["ctx"]["what"], details["ctx"]["remedy"] or remedy
    if details["type"] == "literal_error":
        return f"is not a word that is known here{closest(str(details['input']), FAMILIES)}", remedy
    if details["input"] is None and details["type"] != "missing":
        return "has no value", remedy
    message = details["msg"]
    return _WORDS.get(details["type"], f"{message[:1].lower()}{message[1:]}"), remedy


def _find_duplicates(document: Document) -> None:
    """Complain about a customer id, or an account, that stands twice in the file.

    An account belongs to one customer: in two, every call would be made and paid twice and its costs counted twice.
    Looks at the raw data, so that it finds these even where something else is wrong.
    """
    seen: dict[tuple[str, str], Place] = {}

    def note(kind: str, value: object, place: Place, remedy: str) -> None:
        if not isinstance(value, str | dict):
            return
        # A Vultr account is known only by where its key is kept. GUIDs are the same in either case.
        identity = value.lower() if isinstance(value, str) else json.dumps(value, sort_keys=True)
        first = seen.setdefault((kind, identity), place)
        if first != place:
            where = f"{spell(first)}, line {document.line(first)}"
            document.complain(place, f"is the same as in {where}", remedy)

    for index, customer in enumerate(_items(document.data, "customers")):
        here: Place = ("customers", index)
        if isinstance(customer, dict):
            note("id", customer.get("id"), (*here, "id"), "Give each customer an id of its own")
        for provider, key in IDENTITY.items():
            for number, account in enumerate(_items(customer, provider)):
                if isinstance(account, dict):
                    place = (*here, provider, number, key)
                    note(provider, account.get(key), place, "An account belongs to one customer: remove one of the two")


def _items(parent: object, key: str) -> list[object]:
    value = parent.get(key) if isinstance(parent, dict) else None
    return value if isinstance(value, list) else []


def _mark_places(section: Section, place: Place) -> None:
    """Tell every value that is looked up later where the file mentions it."""
    for name, value in section:
        if isinstance(value, Held):
            value.found_at(spell((*place, name)))
        elif isinstance(value, Section):
            _mark_places(value, (*place, name))
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Section):
                    _mark_places(item, (*place, name, index))
