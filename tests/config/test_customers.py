"""The customers file: what a good one gives, and what people read for every way to get it wrong."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from optiinfra_dagster.config.application import Application
from optiinfra_dagster.config.customers import FAMILIES, Customer, select
from optiinfra_dagster.config.secrets import CredentialsFile, Endpoint, Reference
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.providers.vultr.account import VultrAccount

SECRET = "hunter2"

VALID = """\
customers:
  - id: acme
    name: Acme Corp
    poll_minutes: 30
    monthly_api_budget_usd: 25.10
    families: [resource, performance, cost, application]
    aws:
      - account_id: "123456789012"
        role_arn: arn:aws:iam::123456789012:role/path/optiinfra-read
        external_id: {env: ACME_EXTERNAL_ID}
        regions: [us-east-1, us-gov-west-1]
        endpoint_url: http://127.0.0.1:5599
      - account_id: "000000000002"
        access_key_id: {file: /run/secrets/id}
        secret_access_key: {aws_secret: acme/aws, key: secret}
    gcp:
      - project_id: acme-prod
        credentials_file: {env: ACME_GCP_JSON}
        impersonate: reader@acme-prod.iam.gserviceaccount.com
        quota_project_id: acme-billing
        billing_export_table: acme-prod.billing.gcp_billing_export_resource_v1_X
    azure:
      - subscription_id: 00000000-0000-0000-0000-00000000000a
        tenant_id: acme.onmicrosoft.com
        client_id: 00000000-0000-0000-0000-00000000000b
        client_secret: {env: ACME_AZURE_SECRET}
    vultr:
      - api_key: {env: ACME_VULTR_KEY}
        prometheus_url: https://metrics.acme.example
    application:
      interactions: s3://acme-llm-logs/prod/
      sample_per_window: 7
      store_text: true
  - id: globex-2
    name: "2026-01-01"
    aws: [{account_id: "000000000003"}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "customers.yaml"


def load(file: Path, text: str) -> tuple[Customer, ...]:
    file.write_text(text, encoding="utf-8")
    return load_customers(file)


def faults(file: Path, text: str) -> list[str]:
    """The lines of the error, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        load(file, text)
    assert caught.value.__context__ is None  # pydantic's and the YAML parser's errors know values
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{file}:") for line in lines)
    return [line.removeprefix(f"{file}:") for line in lines]


def line_of(text: str, part: str) -> int:
    return text.count("\n", 0, text.index(part)) + 1


@pytest.mark.parametrize(
    ("accounts", "application", "providers"),
    [
        ("", "{interactions: /logs, provider: vultr}", ("vultr",)),
        ("", "{interactions: clickhouse, provider: gcp}", ("gcp",)),
        ("", "{interactions: 's3://acme-logs/', provider: vultr}", ("vultr",)),
        ("", "{interactions: 's3://acme-logs/'}", ("aws",)),
        ("", "{interactions: 'gs://acme-logs/'}", ("gcp",)),
        ("", "{interactions: 'https://acme.blob.core.windows.net/logs/'}", ("azure",)),
        ("\n    aws: [{account_id: '000000000003'}]", "{interactions: 'gs://acme-logs/'}", ("aws",)),
        ("\n    aws: [{account_id: '000000000003'}]", "{interactions: clickhouse, provider: gcp}", ("aws", "gcp")),
    ],
)
def test_an_application_is_collected_where_it_may_run(
    file: Path, accounts: str, application: str, providers: tuple[str, ...]
) -> None:
    """With no account at all, a customer has its application and nothing else."""
    (one,) = load(file, f"customers:\n  - id: acme\n    name: Acme{accounts}\n    application: {application}\n")
    assert one.application_providers == providers
    assert tuple(provider for provider in PROVIDERS if one.collects(provider, "application")) == providers
    assert [provider for provider in PROVIDERS if one.collects(provider, "cost")] == ["aws"] * bool(accounts)


def test_an_application_that_may_run_anywhere_is_refused(file: Path) -> None:
    text = "customers:\n  - id: acme\n    name: Acme\n    application: {interactions: /logs}\n"
    (mistake,) = faults(file, text)
    assert "has no account on any provider. Add one of aws" in mistake
    assert "or write below application: provider: aws" in mistake


def test_a_full_file_is_read(file: Path) -> None:
    acme, globex = load(file, VALID)
    assert acme == type(acme)(  # type: ignore[call-arg]  # a field of accounts for each provider
        id="acme",
        name="Acme Corp",
        poll_minutes=30,
        monthly_api_budget_usd=Decimal("25.1"),
        aws=(
            AwsAccount(
                account_id="123456789012",
                role_arn="arn:aws:iam::123456789012:role/path/optiinfra-read",
                external_id=acme.accounts_of(AwsAccount)[0].external_id,
                regions=["us-east-1", "us-gov-west-1"],
                endpoint_url=acme.accounts_of(AwsAccount)[0].endpoint_url,
            ),
            acme.accounts_of(AwsAccount)[1],
        ),
        gcp=acme.accounts_of(GcpAccount),
        azure=acme.accounts_of(AzureAccount),
        vultr=acme.accounts_of(VultrAccount),
        application=Application(interactions="s3://acme-llm-logs/prod/", sample_per_window=7, store_text=True),
    )
    assert globex.poll_minutes == 15
    assert globex.monthly_api_budget_usd is None
    assert globex.families == FAMILIES
    assert globex.name == "2026-01-01"
    assert globex.accounts_of(AwsAccount)[0].regions is None
    assert [type(acme.accounts(provider)[0]) for provider in PROVIDERS] == [
        AwsAccount,
        GcpAccount,
        AzureAccount,
        VultrAccount,
    ]


def test_references_are_held_as_written_and_know_their_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_VULTR_KEY", raising=False)
    acme, _ = load(file, VALID)
    assert str(acme.accounts_of(AwsAccount)[0].external_id) == "env ACME_EXTERNAL_ID"
    with pytest.raises(ConfigError, match=r"^customers\[0\]\.vultr\[0\]\.api_key: .*ACME_VULTR_KEY is not set"):
        acme.accounts_of(VultrAccount)[0].api_key.resolve()
    monkeypatch.setenv("ACME_VULTR_KEY", SECRET)
    assert acme.accounts_of(VultrAccount)[0].api_key.resolve() == SECRET


def test_endpoints_are_given_or_the_clouds_own(file: Path) -> None:
    acme, globex = load(file, VALID)
    assert acme.accounts_of(AwsAccount)[0].endpoint() == "http://127.0.0.1:5599"
    assert globex.accounts_of(AwsAccount)[0].endpoint() is None
    url = acme.accounts_of(VultrAccount)[0].prometheus_url
    assert url is not None
    assert url.resolve() == "https://metrics.acme.example"
    assert VultrAccount(api_key=Reference(env="X")).prometheus_url is None


def test_secrets_show_nowhere(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACME_EXTERNAL_ID", "ACME_AZURE_SECRET", "ACME_VULTR_KEY", "ACME_GCP_JSON"):
        monkeypatch.setenv(name, SECRET)
    customers = load(file, VALID)
    secret = customers[0].accounts_of(AzureAccount)[0].client_secret
    assert secret is not None
    assert secret.resolve() == SECRET
    for customer in customers:
        for shown in (repr(customer), str(customer), customer.model_dump_json(), str(customer.model_dump())):
            assert SECRET not in shown
    assert type(customers[0]).model_validate_json(customers[0].model_dump_json()) == customers[0]


@pytest.mark.parametrize("field", ["external_id", "access_key_id", "secret_access_key"])
def test_a_literal_secret_is_refused_by_the_model_too_without_showing_it(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AwsAccount.model_validate({"account_id": "123456789012", field: SECRET})
    assert SECRET not in str(caught.value)


def test_relative_paths_start_at_the_folder_of_the_file(file: Path) -> None:
    text = VALID.replace("/run/secrets/id", "secrets/id").replace("{env: ACME_GCP_JSON}", "gcp.json")
    acme, _ = load(file, text.replace("s3://acme-llm-logs/prod/", "logs"))
    assert acme.accounts_of(AwsAccount)[1].access_key_id == Reference(file=file.parent / "secrets/id")
    assert acme.accounts_of(GcpAccount)[0].credentials_file == CredentialsFile(path=file.parent / "gcp.json")
    assert acme.application is not None
    assert acme.application.interactions == str(file.parent / "logs")


@pytest.mark.parametrize(
    "place",
    ["s3://bucket", "gs://bucket/a/b", "clickhouse", "/var/log/llm", "https://acmelogs.blob.core.windows.net/llm/prod"],
)
def test_interactions_may_be_in_several_places(file: Path, place: str) -> None:
    acme, _ = load(file, VALID.replace("s3://acme-llm-logs/prod/", place))
    assert acme.application is not None
    assert acme.application.interactions == place


def test_anchors_may_be_used(file: Path) -> None:
    text = VALID.replace("regions: [", "regions: &where [").replace('"000000000003"', '"000000000003", regions: *where')
    acme, globex = load(file, text)
    assert (
        acme.accounts_of(AwsAccount)[0].regions
        == globex.accounts_of(AwsAccount)[0].regions
        == ["us-east-1", "us-gov-west-1"]
    )


# (what to replace in VALID, by what, the place in the message behind `customers[0]`, what is said of it)
_ID, _NAME = "id: acme\n", "name: Acme Corp\n"
WRONG: list[tuple[str, str, str, str]] = [
    # customers
    ("customers:\n", "custommers:\n", "custommers", "known key (did you mean 'customers'?). Choose from customers"),
    ("id: acme\n    name", "name", ".id", "is missing. Write 1 to 64 of the characters"),
    (_ID, "id: Acme\n", ".id", "not a customer id. Write 1 to 64"),
    (_ID, "id: \n", ".id", "has no value. Write 1 to 64"),
    (_ID, "id: 7\n", ".id", "must be text, and YAML reads this as something else: quotes help"),
    (_ID, "id: globex-2\n", "customers[1].id", "same as in customers[0].id, line 2. Give each customer an id"),
    (_ID, f"id: {'a' * 65}\n", ".id", "not a customer id"),
    (_ID, "id: acme\n    id: acme\n", ".id", "written twice (first at line 2). Remove one"),
    (_NAME, "nam: Acme\n", ".nam", "not a known key (did you mean 'name'?). Choose from id, name"),
    (_NAME, 'name: ""\n', ".name", "is empty. Write the customer's name"),
    (_NAME, 'name: " "\n', ".name", "is empty. Write the customer's name"),
    (_NAME, f"name: {'a' * 201}\n", ".name", "is too long. Write the customer's name"),
    (_NAME, 'name: "a\\tb"\n', ".name", "control character. Write it in one line"),
    (_NAME, "name: 012\n", ".name", "must be text"),
    (_NAME, "name: !!int hunter2\n", ".name", "cannot be read. Put it in quotes"),
    (_NAME, "name: !!binary hunter2\n", ".name", "starts with !"),
    ("poll_minutes: 30", "poll_minutes: 20", ".poll_minutes", "not a multiple of 15. Write a multiple"),
    ("poll_minutes: 30", "poll_minutes: 0", ".poll_minutes", "is too small. Write a multiple of 15"),
    ("poll_minutes: 30", "poll_minutes: 1455", ".poll_minutes", "is too big. Write a multiple of 15"),
    ("poll_minutes: 30", "poll_minutes: '30'", ".poll_minutes", "must be a whole number. Write a multiple"),
    ("poll_minutes: 30", "poll_minutes: true", ".poll_minutes", "must be a whole number. Write a multiple"),
    ("25.10", "-1", ".monthly_api_budget_usd", "is too small. Write an amount"),
    ("25.10", "hunter2", ".monthly_api_budget_usd", "is not an amount. Write an amount"),
    ("25.10", ".nan", ".monthly_api_budget_usd", "is not an amount. Write an amount"),
    ("25.10", "yes", ".monthly_api_budget_usd", "is not an amount. Write an amount"),
    ("25.10", "[25]", ".monthly_api_budget_usd", "is not an amount. Write an amount"),
    ("25.10", "010", ".monthly_api_budget_usd", "is another number to YAML than it looks: a 0 in"),
    ("25.10", "0x1F", ".monthly_api_budget_usd", "base is not 10. Write the number without these"),
    ("25.10", "1:30", ".monthly_api_budget_usd", "base is not 10. Write the number without these"),
    ("25.10", "1:30.5", ".monthly_api_budget_usd", "base is not 10. Write the number without these"),
    ("poll_minutes: 30", "poll_minutes: 0b1111", ".poll_minutes", "base is not 10. Write the number without these"),
    ("poll_minutes: 30", "poll_minutes: 036", ".poll_minutes", "base is not 10. Write the number without these"),
    ("sample_per_window: 7", "sample_per_window: 1:30", ".application.sample_per_window", "base is not 10"),
    ("[resource, ", "[costs, ", ".families[0]", "(did you mean 'cost'?). Choose from resource"),
    ("[resource, ", "[hunter2, ", ".families[0]", "not a word that is known here. Choose from resource"),
    ("families: [resource, performance, cost, application]", "families: []", ".families", "an empty list"),
    ("families: [resource, performance, cost, application]", "families: cost", ".families", "a list. Choose"),
    ("[resource, ", "[cost, ", ".families", "holds a family twice. Choose from"),
    # aws
    ('"123456789012"', "012345670123", ".aws[0].account_id", 'leading zeros. Write the 12 digits in quotes: "'),
    ('"123456789012"', "123456789012", ".aws[0].account_id", 'in quotes: "123456789012"'),
    ('"123456789012"', "'12345'", ".aws[0].account_id", "not the number of an AWS account. Write the 12"),
    ('"000000000003"', "'123456789012'", "customers[1].aws[0].account_id", "same as in customers[0].aws[0].account_id"),
    ('"000000000002"', "'123456789012'", ".aws[1].account_id", "belongs to one customer: remove one"),
    ('[{account_id: "000000000003"}]', "hunter2", "customers[1].aws", "must be a list. Write a list of accounts"),
    ('[{account_id: "000000000003"}]', "[hunter2]", "customers[1].aws[0]", "must be a mapping"),
    ('[{account_id: "000000000003"}]', "[{}]", "customers[1].aws[0].account_id", "is missing. Write the 12 digits"),
    ('[{account_id: "000000000003"}]', "[]", "customers[1]", "has no account on any provider. Add one of aws, gcp"),
    ("arn:aws:iam", "arn:aws:sts", ".aws[0].role_arn", "not the ARN of an IAM role. Write arn:aws:iam::"),
    (":role/path", ":user/path", ".aws[0].role_arn", "not the ARN of an IAM role. Write arn:aws:iam::"),
    ("iam::1234", "iam::2234", ".aws[0].role_arn", "account 223456789012, but account_id is 123456789012"),
    ("role_arn", "role_anr", ".aws[0].role_anr", "not a known key (did you mean 'role_arn'?)"),
    ("        role_arn: arn:aws:iam::123456789012:role/path/optiinfra-read\n", "", ".aws[0].external_id",
     "of use only with role_arn. Add role_arn, or remove"),
    ("{env: ACME_EXTERNAL_ID}", "hunter2", ".aws[0].external_id", "only a reference to it. Write {env: NAME}"),
    ("{env: ACME_EXTERNAL_ID}", "7", ".aws[0].external_id", "only a reference to it. Write {env: NAME}"),
    ("{env: ACME_EXTERNAL_ID}", "{hunter2}", ".aws[0].external_id", "not a reference to one secret. Write"),
    ("{env: ACME_EXTERNAL_ID}", "{env: A, file: B}", ".aws[0].external_id", "not a reference to one secret"),
    ("{env: ACME_EXTERNAL_ID}", "{key: A}", ".aws[0].external_id", "not a reference to one secret"),
    ("{env: ACME_EXTERNAL_ID}", "{env: A, hunter2: B}", ".aws[0].external_id", "not a reference to one"),
    ("{env: ACME_EXTERNAL_ID}", "{env: 'hunter2 x'}", ".aws[0].external_id.env", "not the name of an env"),
    ("{env: ACME_EXTERNAL_ID}", "{env: ''}", ".aws[0].external_id", "a reference without a name. Write"),
    ("{env: ACME_EXTERNAL_ID}", "{env: [hunter2]}", ".aws[0].external_id", "a reference without a name"),
    ("{file: /run/secrets/id}", "{file: ~no-such-user/x}", ".aws[1].access_key_id.file", "home folder"),
    ("        secret_access_key: {aws_secret: acme/aws, key: secret}\n", "", ".aws[1].secret_access_key",
     "secret_access_key is missing, and the two keys work only together. Add it"),
    ("        access_key_id: {file: /run/secrets/id}\n", "", ".aws[1].secret_access_key",
     "access_key_id is missing, and the two keys work only together. Add it"),
    ("external_id:", "access_key_id:", ".aws[0].access_key_id", "second way in beside role_arn. Keep"),
    ("us-east-1,", "us-east-1a,", ".aws[0].regions", "availability zone us-east-1a, not a region. Write"),
    ("us-east-1,", "us-esat-1,", ".aws[0].regions", "us-esat-1, which is no region (did you mean 'us-east-1'?). Write"),
    ("us-east-1,", "hunter2,", ".aws[0].regions", "not the code of a region. Write a list such as"),
    ("us-east-1,", "us-gov-west-1,", ".aws[0].regions", "holds a region twice. Remove one"),
    ("us-east-1,", "7,", ".aws[0].regions[0]", "must be text"),
    ("[us-east-1, us-gov-west-1]", "[]", ".aws[0].regions", "is an empty list. Write a list such as"),
    ("[us-east-1, us-gov-west-1]", "all", ".aws[0].regions", "must be a list. Write a list such as"),
    ('"000000000003"', '"000000000003", billing: maybe', "customers[1].aws[0].billing", "must be true or false"),
    ('"000000000003"', '"000000000003", cost_export: hunter2', "customers[1].aws[0].cost_export",
     "not a place in S3. Write s3://bucket/prefix/name"),
    ('"000000000003"', '"000000000003", billing: false, cost_export: "s3://b-1/x"', "customers[1].aws[0].cost_export",
     "of use only where the account's bill is read. Remove it"),
    ('"000000000003"', '"000000000003", billing: false, account_charges: true', "customers[1].aws[0].account_charges",
     "of use only where the account's bill is read. Remove it"),
    ("http://127.0.0.1:5599", "http://10.0.0.1", ".aws[0].endpoint_url", "to another machine, which would"),
    ("http://127.0.0.1:5599", "https://me:hunter2@host", ".aws[0].endpoint_url", "user name or password"),
    ("http://127.0.0.1:5599", "{url: http://x}", ".aws[0].endpoint_url", "show credentials to the network. Write"),
    ("http://127.0.0.1:5599", "{file: hunter2}", ".aws[0].endpoint_url", "neither a URL nor a reference"),
    ("http://127.0.0.1:5599", "7", ".aws[0].endpoint_url", "neither a URL nor a reference to one. Write"),
    ("http://127.0.0.1:5599", "https://169.254.169.254", ".aws[0].endpoint_url", "a link-local address, where clouds"),
    # gcp
    ("project_id: acme-prod\n", "project_id: Acme\n", ".gcp[0].project_id", "not the id of a Google Cloud"),
    ("project_id: acme-prod\n", "project_id: 123\n", ".gcp[0].project_id", "text, and YAML reads this as"),
    ("project_id: acme-prod\n", "project: x\n", ".gcp[0].project_id", "is missing. Write the project"),
    ("{env: ACME_GCP_JSON}", "{private_key: hunter2}", ".gcp[0].credentials_file", "neither a path"),
    ("{env: ACME_GCP_JSON}", "'{\"private_key\": \"hunter2\"}'", ".gcp[0].credentials_file", "neither a path"),
    ("{env: ACME_GCP_JSON}", "{env: hunter2-}", ".gcp[0].credentials_file", "neither a path nor a reference"),
    ("{env: ACME_GCP_JSON}", "~no-such-user/x", ".gcp[0].credentials_file", "home folder that does not exist"),
    ("prod.iam.gserviceaccount", "prod", ".gcp[0].impersonate", "not the address of a service"),
    ("acme-billing", "hunter2/", ".gcp[0].quota_project_id", "Write the id of the project that pays"),
    ("acme-prod.billing.", "billing.", ".gcp[0].billing_export_table", "Write project.dataset.table"),
    ("billing_export_table: acme-prod.billing.gcp_billing_export_resource_v1_X", "account_charges: true",
     ".gcp[0].account_charges", "of use only with billing_export_table. Remove it, or add"),
    # azure
    ("tenant_id: acme", "cost_export: https://x.blob.core.attacker.example/c/d\n        tenant_id: acme",
     ".azure[0].cost_export", "not the address of a folder in blob storage. Write https://account"),
    ("s3://acme-llm-logs/prod/", "https://acmelogs.blob.core.attacker.example/llm", ".application.interactions",
     "not a place that interactions can be read from"),
    ("tenant_id: acme", "account_charges: true\n        tenant_id: acme", ".azure[0].account_charges",
     "of use only with cost_export. Remove it, or add cost_export"),
    ("00000000000a", "hunter2", ".azure[0].subscription_id", "is not a GUID. Write the subscription's id"),
    ("00000000000b", "hunter2", ".azure[0].client_id", "is not a GUID. Write the application (client) id"),
    ("acme.onmicrosoft.com", "hunter2", ".azure[0].tenant_id", "neither a GUID nor a domain. Write the"),
    ("        tenant_id: acme.onmicrosoft.com\n", "", ".azure[0].client_id", "tenant_id is missing, and client_id"),
    ("client_id: 00000000-0000-0000-0000-00000000000b", "", ".azure[0].client_id", "client_id is missing, and"),
    ("{env: ACME_AZURE_SECRET}", "hunter2", ".azure[0].client_secret", "only a reference to it. Write {env"),
    ("{env: ACME_AZURE_SECRET}", "*hunter2", ".azure[0].client_secret", "starts with * and so"),
    ("{env: ACME_AZURE_SECRET}", "!hunter2", ".azure[0].client_secret", "starts with ! and so"),
    # vultr
    ("{env: ACME_VULTR_KEY}", "hunter2", ".vultr[0].api_key", "only a reference to it. Write {env: NAME}"),
    ("{env: ACME_VULTR_KEY}", "", ".vultr[0].api_key", "has no value. Write {env: NAME}"),
    ("        prometheus_url:", "      - api_key: {env: ACME_VULTR_KEY}\n        prometheus_url:", ".vultr[1].api_key",
     "same as in customers[0].vultr[0].api_key"),
    ("        prometheus_url:", "      - api_key: {env: ACME_VULTR_KEY, key: ~}\n        prometheus_url:",
     ".vultr[1].api_key", "same as in customers[0].vultr[0].api_key"),
    ("https://metrics", "http://metrics", ".vultr[0].prometheus_url", "plain http to another machine"),
    # every cloud
    ("prometheus_url: https://metrics.acme.example", "prometheus_token: {env: X}", ".vultr[0].prometheus_token",
     "of use only with prometheus_url. Add prometheus_url, or remove"),
    ("impersonate:", "prometheus_token: {env: X}\n        impersonate:", ".gcp[0].prometheus_token",
     "of use only with prometheus_url. Add prometheus_url, or remove"),
    # application
    ("s3://acme-llm-logs/prod/", "https://hunter2", ".application.interactions", "Write s3://bucket/prefix"),
    ("s3://acme-llm-logs/prod/", "s3://", ".application.interactions", "Write s3://bucket/prefix"),
    ("s3://acme-llm-logs/prod/", "s3:/acme-llm-logs", ".application.interactions", "Write s3://bucket/prefix"),
    ("s3://acme-llm-logs/prod/", "C:\\logs", ".application.interactions", "Write s3://bucket/prefix"),
    ("s3://acme-llm-logs/prod/", "ClickHouse", ".application.interactions", "(did you mean 'clickhouse'?). Write s3"),
    ("sample_per_window: 7", "provider: AWS", ".application.provider", "(did you mean 'aws'?). Choose from"),
    ("sample_per_window: 7", "rules: [PII]", ".application.rules[0]", "(did you mean 'pii'?). Write a list"),
    ("sample_per_window: 7", "languages: [no]", ".application.languages[0]",
     "must be text, and YAML reads this as something else: quotes help. Write a list"),
    ("sample_per_window: 7", "feedback: [{name: stars, scale: 1-5}]", ".application.feedback[0].scale",
     "is no scale. Write worst..best"),
    ("sample_per_window: 7", "feedback: [{nam: stars, scale: 1..5}]", ".application.feedback[0].nam",
     "(did you mean 'name'?). Choose from name, scale"),
    ("    application:\n", "    alerts: {shape: slack}\n    application:\n", ".alerts", "names nobody. Write"),
    ("    application:\n", "    alerts: {mail_to: [ops@acme.example], shape: slack}\n    application:\n", ".alerts",
     "has a shape, which is of use only with webhook. Add webhook, or remove shape"),
    ("impersonate:", "monitoring_endpoint_url: https://monitoring.acme.example/hunter2\n        impersonate:",
     ".gcp[0].monitoring_endpoint_url", "has a path, which is not used: gRPC has none. Write https://host"),
    ("    application:\n", "    alerts: {mail_to: []}\n    application:\n", ".alerts", "names nobody. Write"),
    ("interactions:", "interaction:", ".application.interactions", "is missing. Write s3://bucket/prefix"),
    ("interactions:", "interaction:", ".application.interaction", "(did you mean 'interactions'?)"),
    ("sample_per_window: 7", "sample_per_window: 0", ".application.sample_per_window", "is too small. Write a"),
    ("store_text: true", "store_text: maybe", ".application.store_text", "true or false. Write true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "said"), WRONG)
def test_a_mistake_is_told_with_its_line_place_and_remedy(
    file: Path, old: str, new: str, place: str, said: str
) -> None:
    assert old in VALID
    place = f"customers[0]{place}" if place.startswith(".") else place
    text = VALID.replace(old, new, 1)
    lines = faults(file, text)
    found = [line for line in lines if line.split(" ")[1] == f"{place}:"]
    assert len(found) == 1, lines
    assert said in found[0]
    assert found[0].endswith(".")
    if new and "\n" not in new.strip() and "same as" not in said and "no account" not in said:
        near = line_of(VALID, old)
        assert int(found[0].split(" ")[0]) in {near, near - 1}  # where the key is gone, the line of what it was in
    assert SECRET not in "\n".join(lines)


def test_a_number_in_another_base_is_told_once(file: Path) -> None:
    """What its field says of it comes first: of an account, that its digits are lost."""
    (mistake,) = faults(file, VALID.replace('"123456789012"', "012345670123"))
    assert "lose leading zeros" in mistake


def test_a_list_without_one_known_word_is_not_empty_as_well(file: Path) -> None:
    (mistake,) = faults(file, VALID.replace("[resource, performance, cost, application]", "[Cost]"))
    assert "families[0]: is not a word that is known here (did you mean 'cost'?)" in mistake


@pytest.mark.parametrize(("one", "two"), [("k", "./k"), ("sub/../k", "k"), ("k", "FOLDER/k")])
def test_a_key_file_is_the_same_however_its_path_is_written(file: Path, one: str, two: str) -> None:
    """Else every call of the account would be made and paid twice, and its costs counted twice."""
    text = "customers:\n" + "".join(
        f"  - id: {name}\n    name: N\n    vultr:\n      - api_key: {{file: {path}}}\n"
        for name, path in (("acme", one), ("globex", two.replace("FOLDER", str(file.parent))))
    )
    (mistake,) = faults(file, text)
    assert "customers[1].vultr[0].api_key: is the same as in customers[0].vultr[0].api_key, line 5" in mistake


GUID = "0000000-0000-4000-8000-00000000000a"
SHARED: list[tuple[str, str, str, bool]] = [
    # the accounts of two customers on one cloud, and whether both may have the charges of the billing account itself
    ("gcp", "project_id: {a}-prod, billing_export_table: msp-all.b.gcp_billing_export_v1_01A2B3_C4D5E6_F7A8B9",
     "project_id: {b}-prod, billing_export_table: msp-all.c.gcp_billing_export_v1_01A2B3_C4D5E6_F7A8B9", False),
    ("gcp", "project_id: {a}-prod, billing_export_table: msp-all.b.gcp_billing_export_v1_01A2B3_C4D5E6_F7A8B9",
     "project_id: {b}-prod, billing_export_table: msp-all.b.gcp_billing_export_v1_FFFFFF_C4D5E6_F7A8B9", True),
    ("gcp", "project_id: {a}-prod, billing_export_table: msp-all.billing.everything",
     "project_id: {b}-prod, billing_export_table: msp-all.billing.everyone", False),
    ("azure", "subscription_id: {A}, cost_export: 'https://msp1.blob.core.windows.net/c-1/f'",
     "subscription_id: {B}, cost_export: 'https://msp1.blob.core.windows.net/c-1/f/'", False),
    ("azure", "subscription_id: {A}, cost_export: 'https://msp1.blob.core.windows.net/c-1/f'",
     "subscription_id: {B}, cost_export: 'https://msp1.blob.core.windows.net/c-1/g'", True),
    ("aws", "account_id: '111111111111', cost_export: 's3://msp/focus'",
     "account_id: '222222222222', cost_export: 's3://msp/focus/'", False),
    ("aws", "account_id: '111111111111'", "account_id: '222222222222'", True),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "one", "two", "both"), SHARED)
def test_the_charges_of_a_billing_account_itself_are_one_customers(
    file: Path, provider: str, one: str, two: str, both: bool
) -> None:
    def text(*claims: str) -> str:
        of = [account.format(a="acme", b="globex", A=f"a{GUID}", B=f"b{GUID}") for account in (one, two)]
        return "customers:\n" + "".join(
            f"  - id: {name}\n    name: N\n    {provider}:\n      - {{{account}{claim}}}\n"
            for name, account, claim in zip(("acme", "globex"), of, claims, strict=True)
        )

    claimed = ", account_charges: true"
    for claims in (("", ""), (claimed, ""), ("", claimed), (claimed, ", account_charges: false")):
        file.write_text(text(*claims))
        assert len(load_customers(file)) == 2
    if both:
        file.write_text(text(claimed, claimed))
        assert len(load_customers(file)) == 2
        return
    [line] = faults(file, text(claimed, claimed))
    for part in ("acme", "globex", provider, f"customers[1].{provider}[0].account_charges", "count twice", "line 5",
                 "Keep it at the one customer that bears them"):  # fmt: skip
        assert part in line


def test_a_customer_may_say_it_of_each_of_its_accounts(file: Path) -> None:
    table = "msp-all.b.gcp_billing_export_v1_01A2B3_C4D5E6_F7A8B9"
    accounts = "".join(
        f"      - {{project_id: {name}, billing_export_table: {table}, account_charges: true}}\n"
        for name in ("acme-prod", "acme-dev")
    )
    file.write_text(f"customers:\n  - id: acme\n    name: A\n    gcp:\n{accounts}")
    assert len(load_customers(file)) == 1


# (a whole file, what is said of it as a whole, the line)
MALFORMED: list[tuple[str, str, int]] = [
    ("", "the file is empty. Write `customers:`", 1),
    ("# nothing yet\n", "the file is empty. Write `customers:`", 1),
    ("---\n", "the file is empty. Write `customers:`", 2),
    ("- hunter2\n", "not a mapping of keys to values. Start it with `customers:`", 1),
    ("hunter2\n", "not a mapping of keys to values. Start it with `customers:`", 1),
    ("customers:\n\t- id: hunter2\n", "is indented with a tab. Use spaces", 2),
    ("customers:\n  - id: hunter2\n  \tname: x\n", "is indented with a tab. Use spaces", 3),
    ("customers:\n  - id: a: hunter2\n", "has a second colon", 2),
    (
        "customers:\n  - id: @hunter2\n",
        "starts with a character which YAML keeps for itself. Put the value in quotes",
        2,
    ),
    ("customers:\n  - id: !hunter2!x y\n", "starts with ! or * or &. Put the value in quotes", 2),
    ("customers: [hunter2\n", "is not valid YAML (", 2),
    ('customers: "hunter2\n', "is not valid YAML (", 2),
    ("customers: []\n---\ncustomers: [hunter2]\n", "a second document starts here. Remove the line ---", 2),
    ("customers:\n  - id: hunter2\x00\n", "holds a control character. Remove it", 2),
    ("customers: " + "[" * 200, "is nested too deeply", 1),
    ("customers: " + "{a: " * 200, "is nested too deeply", 1),
    ("customers: " + "[" * 200_000, "is nested too deeply", 1),
]


@pytest.mark.parametrize(("text", "said", "line"), MALFORMED)
def test_a_file_that_is_no_customers_file_is_told_in_plain_words(file: Path, text: str, said: str, line: int) -> None:
    first, *_ = faults(file, text)
    assert first.startswith(f"{line}: ")
    assert said in first
    assert SECRET not in first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("customers: []\n", "customers: is an empty list. Add a customer"),
        ("customers:\n", "customers: has no value. Write `customers:`"),
        ("other: 1\n", "customers: is missing. Write `customers:`"),
        ("customers: hunter2\n", "customers: must be a list. Write `customers:`"),
        ("customers: [hunter2]\n", "customers[0]: must be a mapping of keys to values"),
        ("customers: {a: hunter2}\n", "customers: must be a list"),
        ("customers: []\n? [hunter2]\n: 1\n", "has a key that is not a plain word. Write `key: value`"),
        ("customers: &x [*x]\n", "customers[0]: starts with * and so refers to an anchor that is not above it"),
        ("customers: [{<<: {id: hunter2}}]\n", "customers[0]: holds a merge key (<<), which is not read here"),
        ("customers: [{id: a, hunter2 hunter2: 1}]\n", "customers[0].?: is not a known key"),
    ],
)
def test_a_file_of_the_wrong_shape_is_told_where(file: Path, text: str, said: str) -> None:
    lines = faults(file, text)
    assert any(said in line for line in lines), lines
    assert SECRET not in "\n".join(lines)


def test_of_very_many_mistakes_the_first_are_told(file: Path) -> None:
    one = "  - {{id: c-{0}, name: C, poll_minuts: 30, aws: [{{account_id: '{0:012}'}}]}}\n"
    lines = faults(file, "customers:\n" + "".join(one.format(n) for n in range(1000)))
    assert len(lines) == 21
    assert "customers[0].poll_minuts: is not a known key (did you mean 'poll_minutes'?). Choose from id" in lines[0]
    assert lines[-1] == " 980 more mistakes, told when these are mended."


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = VALID.replace("id: acme\n", "id: ACME\n").replace("us-east-1,", "mars,").replace("globex-2", "Globex")
    lines = faults(file, text.replace("name: Acme Corp", "name: Acme Corp\n    name: again"))
    assert [line.split(":")[0] for line in lines] == [
        "2 customers[0].id",
        "4 customers[0].name",
        "12 customers[0].aws[0].regions",
        f"{line_of(text, 'Globex') + 1} customers[1].id",
    ]


def test_a_missing_file_is_told_plainly(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file\. Create it, or point OPTIINFRA_CUSTOMERS at"):
        load_customers(file)


def test_a_folder_is_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"this is not a file\. Name the YAML file itself"):
        load_customers(tmp_path)


def test_a_file_under_a_file_is_told_plainly(file: Path) -> None:
    file.touch()
    with pytest.raises(ConfigError, match=r"cannot be read|no such file"):
        load_customers(file / "customers.yaml")


def test_an_unreadable_file_is_told_plainly(file: Path) -> None:
    file.write_text(VALID)
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("root may read every file, so none can be forbidden here")
    with pytest.raises(ConfigError, match=r"may not be read by this user\. Give the user that runs Dagster"):
        load_customers(file)


def test_a_file_that_is_not_utf_8_is_told_with_its_line(file: Path) -> None:
    file.write_bytes(b"customers:\n  - id: acme\n    name: Caf\xe9 hunter2\n")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(first at line 3\)\. Save it as UTF-8\.$") as caught:
        load_customers(file)
    assert caught.value.__context__ is None


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(file: Path) -> None:
    expected = load(file, VALID)
    file.write_bytes(b"\xef\xbb\xbf" + VALID.replace("\n", "\r\n").encode())
    assert load_customers(str(file)) == expected


def test_providers_are_those_with_an_account(file: Path) -> None:
    acme, globex = load(file, VALID)
    assert acme.providers == tuple(PROVIDERS)
    assert globex.providers == ("aws",)
    assert globex.accounts_of(GcpAccount) == ()
    with pytest.raises(ConfigError, match=r"no provider 'awz' \(did you mean 'aws'\?\)\. Choose from aws, gcp"):
        globex.accounts("awz")


def test_a_paused_customer_collects_nothing(file: Path) -> None:
    acme, globex = load(file, VALID.replace("    name: Acme Corp\n", "    name: Acme Corp\n    paused: true\n"))
    assert acme.paused
    assert not any(acme.collects(provider, family) for provider in PROVIDERS for family in FAMILIES)
    assert globex.collects("aws", "resource")


def test_a_customer_collects_the_families_it_lists_where_it_has_accounts(file: Path) -> None:
    acme, globex = load(file, VALID.replace("[resource, performance, cost, application]", "[cost, application]"))
    assert acme.collects("aws", "cost")
    assert not acme.collects("aws", "resource")
    assert acme.collects("vultr", "application")
    assert globex.collects("aws", "resource")
    assert not globex.collects("gcp", "resource")
    assert not globex.collects("aws", "application")  # describes no application


def test_select_keeps_the_order_of_the_file(file: Path) -> None:
    customers = load(file, VALID)
    assert select(customers, ["globex-2", "acme"]) == customers
    assert select(customers, ["globex-2"]) == customers[1:]
    assert select(customers, []) == customers


def test_select_names_what_is_unknown_and_what_is_known(file: Path) -> None:
    customers = load(file, VALID)
    with pytest.raises(ConfigError) as caught:
        select(customers, ["acmee", "acme", "zzz"])
    assert str(caught.value) == (
        "There is no customer 'acmee' (did you mean 'acme'?); there is no customer 'zzz'. "
        "The customers file has: acme, globex-2."
    )


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """VALID with a few lines or characters dropped, doubled, swapped, or replaced by what YAML finds special."""
    special = st.sampled_from(
        [*":-[]{}#&*!|>'\"%@`,? \t\n\r\0~<", "<<: *a\n", "&a ", "*a", "!!int ", "null", "0o7", "1e999"]
    )
    parts = VALID.splitlines(keepends=True) if draw(st.booleans()) else list(VALID)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(parts) - 1))
        other = draw(st.integers(0, len(parts) - 1))
        change = draw(st.sampled_from(["drop", "double", "swap", "insert", "replace"]))
        if change == "drop" and len(parts) > 1:
            del parts[at]
        elif change == "double":
            parts.insert(other, parts[at])
        elif change == "swap":
            parts[at], parts[other] = parts[other], parts[at]
        elif change == "insert":
            parts.insert(at, draw(special | st.text(max_size=3)))
        else:
            parts[at] = draw(special | st.text(max_size=3))
    return "".join(parts)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations())
@example("customers: 0b_\n")
@example("customers: 1:99999\n")
@example("customers: " + "9" * 5000)
def test_whatever_happens_to_a_file_only_a_config_error_comes_of_it(file: Path, text: str) -> None:
    try:
        customers = load(file, text)
    except ConfigError as error:
        assert all(line.startswith(f"{file}") for line in str(error).splitlines())  # noqa: PT017
    else:
        assert all(customer.providers for customer in customers)


def test_an_endpoint_written_by_hand_is_checked_like_one_in_the_file() -> None:
    with pytest.raises(ValidationError, match="plain http to another machine"):
        Endpoint(url="http://example.com")
