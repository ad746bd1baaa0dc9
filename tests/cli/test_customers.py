"""`optiinfra customers`: the policy that is handed to a customer allows what is called, and nothing else."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus, job
from pydantic import SecretStr

from optiinfra_dagster.cli import main
from optiinfra_dagster.cli.check import check_customers
from optiinfra_dagster.cli.collect import Request, collect_windows
from optiinfra_dagster.cli.dagster_runs import prepare_home
from optiinfra_dagster.cli.policies import tell_policies
from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.config.settings import DEMO_CUSTOMERS, Settings
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.aws.services import KINDS as AWS_LAB_KINDS
from optiinfra_dagster.lab.control import DEMO_WORLD
from optiinfra_dagster.lab.world import World
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.aws.errors import iam_action
from optiinfra_dagster.providers.aws.services import LISTINGS
from optiinfra_dagster.providers.azure import policy as azure
from optiinfra_dagster.providers.azure.roles import METRICS_ACTION
from optiinfra_dagster.providers.azure.services import KINDS as AZURE_KINDS
from optiinfra_dagster.providers.gcp import permissions
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage.schema import PERFORMANCE
from optiinfra_dagster.storage.writer import Writer
from tests.support.engines import copy_migrated
from tests.support.samples import W, collected, windows_from
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.lab.calls import Calls


@job
def _job() -> None:
    """Nothing: only what is known of a run of it matters."""


# --- policy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What a command tells: for the cloud, and for who reads."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        """The one document that it tells."""
        (line,) = self.lines
        return json.loads(line)

    @property
    def actions(self) -> set[str]:
        """What an IAM policy allows."""
        return {action for statement in self.json["Statement"] for action in statement["Action"]}


def policy(settings: Settings, cloud: str, customer: str | None = None, families: Sequence[str] = ()) -> Told:
    told = Told()
    tell_policies(settings, cloud, customer, families, told.lines.append, told.notes.append)
    return told


def write(spine: Spine, **customer: Any) -> Settings:
    spine.settings.customers_path.write_text(
        yaml.safe_dump({"customers": [{"id": "acme", "name": "Acme"} | customer]}), encoding="utf-8"
    )
    return spine.settings


@pytest.fixture
def spine(tmp_path: Path) -> Spine:
    return Spine.at(tmp_path / "home", tables=False)


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_where_nothing_has_to_be_allowed_no_policy_is_told(spine: Spine, cloud: str) -> None:
    """Logs in a folder are nobody's on a cloud; an IAM policy without a statement is refused."""
    told = policy(spine.settings, cloud, families=["application"])
    assert told.lines == []
    assert "Nothing has to be allowed for application." in told.notes


def test_where_nothing_has_to_be_allowed_it_is_said_for_what(spine: Spine) -> None:
    account = {"account_id": "111111111111", "role_arn": "arn:aws:iam::111111111111:role/reader"}
    logs = {"interactions": "/var/log/llm/", "provider": "aws"}
    settings = write(spine, families=["application"], application=logs, aws=[account])
    told = policy(settings, "aws", "acme")
    assert (told.lines, told.notes[1:2]) == ([], ["Nothing has to be allowed for application."])
    with pytest.raises(ConfigError, match=r"acme does not collect cost\. It collects application\."):
        policy(settings, "aws", "acme", ["cost"])


@dataclass(frozen=True)
class Whole:
    """A collection of all families: Acme of the demo, and all that AWS has in an account of Hooli."""

    calls: Calls
    spine: Spine
    settings: Settings

    def seen(self, *services: str) -> set[str]:
        """The operations that the lab saw of services."""
        return {call.operation for call in self.calls.requests if call.service in services}


PARTS = {"ec2:subnet", "eks:nodegroup"}  # kinds that others of the lab bring with them


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The vultr accounts' users are allowed what the policy says, and no more."""
    world = World.load(DEMO_WORLD).model_dump(mode="json", exclude_defaults=True)
    allowed = json.loads(PROVIDERS["vultr"].policy(None, FAMILIES).text)["acls"]
    for account in world["vultr"]["accounts"]:
        account["acls"] = allowed
    everything = [{"kind": kind, "region": "us-east-1"} for kind in AWS_LAB_KINDS if kind not in PARTS]
    world["aws"]["accounts"].append({"id": "444444444444", "fleets": everything})
    customers = yaml.safe_load(DEMO_CUSTOMERS.read_text(encoding="utf-8"))
    reader = {"account_id": "444444444444", "role_arn": "arn:aws:iam::444444444444:role/reader"}
    everywhere = {**reader, "endpoint_url": {"env": "OPTIINFRA_LAB_AWS"}}
    del customers["customers"][1:]  # Acme has accounts on every cloud
    customers["customers"].append({"id": "hooli", "name": "Hooli", "aws": [everywhere]})
    spine = Spine.at(tmp_path_factory.mktemp("whole") / "home")
    spine.settings.customers_path.write_text(yaml.safe_dump(customers), encoding="utf-8")
    with CloudLab(world) as lab, pytest.MonkeyPatch.context() as patch:
        for name, value in {**lab.env, "DAGSTER_HOME": str(spine.home)}.items():
            patch.setenv(name, value)
        settings = Settings(**{**spine.settings.model_dump(), "groq_api_key": os.environ["GROQ_API_KEY"]})
        spine.settings = settings
        for customer in load_customers(settings.customers_path):
            for cloud in customer.providers:
                for account in customer.accounts(cloud):
                    assert PROVIDERS[cloud].check(customer.id, account, customer.families) == []
        window = newest_window()
        for cloud in PROVIDERS:
            for family in FAMILIES:
                of = [one.id for one in load_customers(settings.customers_path) if one.collects(cloud, family)]
                spine.collect(family, [window], provider=cloud, customers=of)
        yield Whole(lab.control.calls(), spine, settings)


# What no kind lists, and what it is for.
AWS_BESIDE_KINDS = {
    "ce:GetCostAndUsage": "the bill",
    "cloudwatch:GetMetricData": "metrics",
    "cloudwatch:ListMetrics": "which metrics an agent publishes",
    "ec2:DescribeRegions": "the regions of an account that names none",
    "pricing:GetProducts": "list prices",
    "tag:GetResources": "tags that listings leave out",
}


@pytest.mark.long
def test_the_policy_of_aws_allows_what_a_whole_collection_calls_and_nothing_else(whole: Whole) -> None:
    of_clouds = {"groq", "prometheus", "vultr", "cloudasset", "monitoring", "bigquery", "cloudbilling", "storage"}
    of_clouds |= {"resourcegraph", "authorization", "monitor", "costmanagement", "retailprices", "blob"}
    called = {
        iam_action(call.service, call.operation) for call in whole.calls.requests if call.service not in of_clouds
    }
    assert called - {"sts:AssumeRole", "sts:GetCallerIdentity"} == policy(whole.settings, "aws").actions | {
        "s3:GetObject",  # the log of Acme
        "s3:ListBucket",
    }


def test_every_action_of_the_policy_of_aws_is_of_a_kind_or_has_a_reason(spine: Spine) -> None:
    of_kinds = {action for listing in LISTINGS for action in listing.actions.split()}
    assert policy(spine.settings, "aws").actions == of_kinds | AWS_BESIDE_KINDS.keys()


def test_a_managed_policy_of_aws_may_have_6144_characters(spine: Spine) -> None:
    assert len("".join(policy(spine.settings, "aws").lines[0].split())) < 6144


@pytest.mark.long
def test_the_roles_of_gcp_are_of_every_service_that_is_called(whole: Whole) -> None:
    text = policy(whole.settings, "gcp").lines[0]
    role_of = {
        "cloudasset": permissions.INVENTORY,
        "monitoring": permissions.METRICS,
        "bigquery": permissions.BILLS[1],
    }
    for service, role in role_of.items():
        assert whole.seen(service)
        assert f"--role={role}" in text
    # Public list prices need no role, and each service has to be enabled.
    assert {f"{service}.googleapis.com" for service in (*role_of, "cloudbilling")} == {
        word for word in text.split() if word.endswith(".googleapis.com")
    }


@pytest.mark.long
def test_the_role_of_azure_allows_what_is_called_and_shows_every_kind(whole: Whole) -> None:
    shown = {kind.read_action for kind in AZURE_KINDS.values() if kind.listed}
    action_of = {
        "Resources": {azure.QUERY_ACTION, azure.VISIBLE_ACTION, *shown},
        "Permissions": {azure.LOOKUP_ACTION},
        "getBatch": {METRICS_ACTION},
        "Query": {azure.COST_ACTION},
        "Prices": set(),  # public
    }
    seen = whole.seen("resourcegraph", "authorization", "monitor", "costmanagement", "retailprices")
    called = set().union(*(action_of[operation] for operation in seen))
    assert called == set(policy(whole.settings, "azure").json["Actions"])


@pytest.mark.long
def test_a_vultr_user_with_the_permissions_of_the_policy_is_read_whole(whole: Whole) -> None:
    """The lab refuses what the user's permissions do not allow."""
    assert whole.seen("vultr") >= {"list-instances", "list-load-balancers", "list-object-storages", "list-invoices"}
    attempts = [row for family in FAMILIES for of in whole.spine.ledger(family).values() for row in of]
    tried = [row for row in attempts if row["provider"] == "vultr"]
    assert {row["customer_id"] for row in tried} == {"acme"}
    assert [row["error"] for row in tried if "Allow " in row["error"]] == []


def test_a_policy_of_some_families_allows_what_these_take(spine: Spine) -> None:
    one = policy(spine.settings, "aws", families=["resource"]).actions
    more = policy(spine.settings, "aws", families=["performance"]).actions
    assert "cloudwatch:GetMetricData" not in one
    assert more == one | {"cloudwatch:GetMetricData", "cloudwatch:ListMetrics"}  # metrics are of what is listed
    assert azure.actions(["resource"]) == tuple(sorted({*azure.actions(["performance"])} - {METRICS_ACTION}))


def test_the_policy_of_a_customer_is_of_its_bills_and_its_log(spine: Spine) -> None:
    account = {"account_id": "111111111111", "role_arn": "arn:aws-us-gov:iam::111111111111:role/reader"}
    settings = write(
        spine,
        aws=[
            {**account, "external_id": {"env": "EXTERNAL"}, "cost_export": "s3://acme-bills/cur/daily"},
            {"account_id": "222222222222", "billing": False},
        ],
        application={"interactions": "s3://acme-logs/{provider}/{yyyy}/"},
    )
    told = policy(settings, "aws", "acme")
    first, second = map(json.loads, told.lines)
    resources = {statement["Sid"]: statement["Resource"] for statement in first["Statement"]}
    assert resources["OptiInfraCostExportList"] == "arn:aws-us-gov:s3:::acme-bills"
    assert resources["OptiInfraCostExportRead"] == "arn:aws-us-gov:s3:::acme-bills/cur/daily/*"
    assert resources["OptiInfraInteractionsRead"] == "arn:aws-us-gov:s3:::acme-logs/*"
    assert "ce:GetCostAndUsage" not in told.lines[0] + told.lines[1]
    assert "s3:GetObject" not in told.lines[1]  # a log is read as the first account
    assert second["Version"] == "2012-10-17"
    assert any("sts:ExternalId" in note and account["role_arn"] in note for note in told.notes)


def test_a_log_with_keys_of_its_own_is_not_in_the_policy(spine: Spine) -> None:
    keys = {"access_key_id": {"env": "KEY"}, "secret_access_key": {"env": "SECRET"}}
    settings = write(
        spine, aws=[{"account_id": "111111111111"}], application={"interactions": "s3://acme-logs/", **keys}
    )
    assert "s3:GetObject" not in policy(settings, "aws", "acme").lines[0]


def test_the_commands_for_a_project_are_of_its_members_and_tables(spine: Spine) -> None:
    settings = write(
        spine,
        gcp=[
            {
                "project_id": "acme-prod",
                "impersonate": "reader@acme-prod.iam.gserviceaccount.com",
                "quota_project_id": "acme-payer",
                "billing_export_table": "acme-bills.billing.export_v1",
            },
            {"project_id": "acme-test"},
        ],
        application={"interactions": "gs://acme-logs/prod/"},
    )
    first, second = policy(settings, "gcp", "acme").lines
    member = "--member=serviceAccount:reader@acme-prod.iam.gserviceaccount.com"
    assert f"{member} --role=roles/bigquery.dataViewer --table=true acme-bills:billing.export_v1" in first
    assert f"projects add-iam-policy-binding acme-payer {member} --role=roles/bigquery.jobUser" in first
    assert f"projects add-iam-policy-binding acme-payer {member} --role={permissions.QUOTA}" in first
    assert f"buckets add-iam-policy-binding gs://acme-logs {member} --role=roles/storage.objectViewer" in first
    assert f"--role={permissions.IMPERSONATION}" in first
    assert "bigquery" not in second
    assert "acme-logs" not in second


def test_the_role_for_a_subscription_is_of_its_bills(spine: Spine) -> None:
    subscription = "a0000000-0000-4000-8000-000000000001"
    settings = write(
        spine,
        azure=[
            {"subscription_id": subscription, "cost_export": "https://acmebills.blob.core.windows.net/exports/daily"}
        ],
    )
    told = policy(settings, "azure", "acme")
    assert told.json["AssignableScopes"] == [f"/subscriptions/{subscription}"]
    assert azure.COST_ACTION not in told.json["Actions"]
    assert any("storageAccounts/acmebills/blobServices/default/containers/exports" in note for note in told.notes)


def test_equal_policies_are_told_once(spine: Spine) -> None:
    settings = write(spine, aws=[{"account_id": "111111111111"}, {"account_id": "222222222222"}])
    told = policy(settings, "aws", "acme")
    assert len(told.lines) == 1
    assert told.notes[0] == "For 111111111111, 222222222222:"


@pytest.mark.parametrize(
    ("cloud", "customer", "families", "message"),
    [
        ("awz", None, [], "no provider 'awz' (did you mean 'aws'?)"),
        ("aws", None, ["cots"], "no family 'cots' (did you mean 'cost'?)"),
        ("aws", "acmee", [], "no customer 'acmee' (did you mean 'acme'?)"),
        ("gcp", "acme", [], "acme has no account on gcp. It has accounts on aws."),
    ],
)
def test_what_is_not_known_is_named(
    spine: Spine, cloud: str, customer: str | None, families: list[str], message: str
) -> None:
    settings = write(spine, aws=[{"account_id": "111111111111"}])
    with pytest.raises(ConfigError) as refused:
        policy(settings, cloud, customer, families)
    assert message in str(refused.value)


# --- remove ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(spine: Spine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `optiinfra customers` in this process, in the environment of the spine; `typed` is what is typed."""

    def run(*arguments: str, typed: str = "") -> Done:
        for name in ("DAGSTER_HOME", "OPTIINFRA_CLICKHOUSE_URL", "OPTIINFRA_CUSTOMERS"):
            monkeypatch.setenv(name, spine.env[name])
        monkeypatch.setattr(sys, "argv", ["optiinfra", "customers", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def stored(spine: Spine) -> Spine:
    """A spine that has metrics of Acme and Globex, and whose file has Globex only."""
    copy_migrated(spine.home / "clickhouse")
    for customer in ("acme", "globex"):
        Writer(spine.clickhouse, PERFORMANCE).flush([collected(customer, windows_from(W, 2))])
    spine.write_customers("http://127.0.0.1:9", ["globex"])
    return spine


def customers_in(spine: Spine) -> set[str]:
    return {row["customer_id"] for row in spine.query("SELECT DISTINCT customer_id FROM performance_metrics")}


def test_remove_says_what_to_do_and_changes_nothing(run: Run, stored: Spine) -> None:
    done = run("remove", "globex")
    assert (done.code, done.err) == (0, "")
    assert f"take it out of {stored.settings.customers_path}" in done.out
    assert "Stored: " in done.out
    assert "acme is not in" in run("remove", "acme").out
    assert customers_in(stored) == {"acme", "globex"}


def test_who_is_still_in_the_file_is_not_erased(run: Run, stored: Spine) -> None:
    done = run("remove", "globex", "--erase", "--yes")
    assert done.code == 1
    assert "globex is still in" in done.err
    assert customers_in(stored) == {"acme", "globex"}


def test_a_customer_is_erased_when_the_id_is_typed(run: Run, stored: Spine) -> None:
    for typed in ("", "y\n", "globex\n"):
        done = run("remove", "acme", "--erase", typed=typed)
        assert done.code != 0
        assert "Traceback" not in done.err
        assert customers_in(stored) == {"acme", "globex"}

    done = run("remove", "acme", "--erase", typed="acme\n")

    assert done.code == 0, done.err
    assert "performance_metrics: 4 rows deleted" in done.out
    assert customers_in(stored) == {"globex"}
    again = run("remove", "acme", "--erase", "--yes")
    assert (again.code, again.out) == (0, "Nothing of 'acme' is stored.\n")


@pytest.mark.parametrize("by", ["editing", "mv"])
def test_a_run_that_knows_the_file_as_it_was_is_waited_for(run: Run, stored: Spine, by: str) -> None:
    """A run that began after the change does not collect the customer, and keeps nobody from erasing."""
    prepare_home(stored.settings)
    file = stored.settings.customers_path
    with DagsterInstance.from_config(str(stored.home)) as instance:
        began = instance.create_run_for_job(_job, status=DagsterRunStatus.STARTED)
        if by == "editing":
            file.write_text(file.read_text())
        else:  # a file that was written an hour ago, elsewhere
            other = stored.home / "other.yaml"
            other.write_text(file.read_text())
            os.utime(other, (other.stat().st_mtime - 3600,) * 2)
            other.replace(file)
        done = run("remove", "acme", "--erase", "--yes")
        assert done.code == 1
        assert f"1 run ({began.run_id[:8]}) began before the customers file was changed" in done.err
        instance.report_run_canceled(began)
        instance.create_run_for_job(_job, status=DagsterRunStatus.STARTED)
        assert run("remove", "acme", "--erase", "--yes").code == 0
    assert customers_in(stored) == {"globex"}


def test_a_customer_whom_nobody_knows_is_named(run: Run, stored: Spine) -> None:
    done = run("remove", "acmee")
    assert done.code == 1
    assert "no customer 'acmee' (did you mean 'acme'?)" in done.err
    assert "did you mean 'acme'?" in run("remove", "acmee", "--erase", "--yes").out
    for nobody in (run("remove", ""), run("remove", " ", "--erase", "--yes")):
        assert (nobody.code, nobody.err) == (2, "error: The customer's id is empty: name a customer.\n")
    alone = run("remove", "acme", "--yes")
    assert (alone.code, "--erase" in alone.err) == (2, True)
    assert customers_in(stored) == {"acme", "globex"}


def test_a_removed_customer_is_not_collected(run: Run, stored: Spine) -> None:
    with pytest.raises(ConfigError, match="no customer 'acme'"):
        collect_windows(
            stored.settings, stored.clickhouse, Request(customers=("acme",)), lambda _line: None, lambda _line: None
        )


# --- show -----------------------------------------------------------------------------------------------------------


def test_show_tells_what_is_written_and_what_is_stored(run: Run, stored: Spine) -> None:
    stored.extra = {"globex": {"monthly_api_budget_usd": 25, "families": ["resource", "performance"]}}
    stored.write_customers("http://127.0.0.1:9", ["globex", "initech"], poll_minutes=60)
    done = run("show")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[:3] == [
        "globex: Globex",
        "  families: resource, performance; every 60 minutes",
        "  API budget: 25 USD a month and provider",
    ]
    first, last = (windows.key(window) for window in windows_from(W, 2))
    assert f"  stored: aws performance: {first} to {last}, 2 slices" in lines
    assert lines[-1] == "  stored: nothing yet"
    assert "globex" not in run("show", "initech").out
    assert run("show", "initch").code == 2


def test_show_tells_where_a_secret_is_and_never_the_secret(
    run: Run, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACME_KEY", "ACME_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    prometheus = {"prometheus_url": "https://metrics.acme.example", "prometheus_token": {"env": "ACME_TOKEN"}}
    write(spine, vultr=[{"api_key": {"env": "ACME_KEY"}, **prometheus}])
    done = run("show")
    assert done.code == 0, done.err
    assert "ACME_KEY" in done.out
    assert "ACME_TOKEN" in done.out
    assert "hunter2" not in done.out + done.err
    assert not (spine.home / "clickhouse").exists()  # nothing is made by looking


def test_show_tells_everything_as_the_file_writes_it(run: Run, spine: Spine) -> None:
    rubric = {"name": "cites", "question": "Does it cite a source?", "direction": "higher_is_better"}
    application = {
        "interactions": "/logs",
        "rubrics": [
            {**rubric, "anchors": {"1": "never", "5": "always"}},
            {**rubric, "name": "kind", "labels": {"no": 0, "yes": 1}},
        ],
    }
    shared = {"categories": ["Tax"], "by": {"team": {"data": 0.4, "web": 0.6}}}
    write(
        spine,
        aws=[{"account_id": "111111111111", "endpoint_url": {"env": "AWS_URL"}}],
        gcp=[{"project_id": "acme-prod", "credentials_file": "/run/k.json", "endpoint_url": "https://gcp.example"}],
        azure=[{"subscription_id": "a0000000-0000-4000-8000-000000000001", "endpoint_url": "https://azure.example"}],
        application=application,
        allocate_by=["team"],
        shared_costs=shared,
    )
    done = run("show")
    out = done.out + done.err
    for line in (
        "  aws 111111111111: endpoint_url: env AWS_URL\n",
        "  gcp acme-prod: endpoint_url: https://gcp.example; credentials_file: /run/k.json\n",
        "  azure a0000000-0000-4000-8000-000000000001: endpoint_url: https://azure.example\n",
        "anchors: {1: never, 5: always}",
        "labels: {no: 0.0, yes: 1.0}",
        "  shared_costs: categories: Tax; by: {team: {data: 0.4, web: 0.6}}\n",
    ):
        assert line in out, out
    assert "FixedShares" not in out


def test_show_tells_the_file_where_clickhouse_is_not_there(
    run: Run, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(spine, aws=[{"account_id": "111111111111"}])
    spine.settings = spine.settings.model_copy(update={"clickhouse_url": SecretStr("http://127.0.0.1:9")})
    done = run("show")
    assert done.code == 0
    assert "aws 111111111111" in done.out
    assert "stored: not known: ClickHouse at http://127.0.0.1:9" in done.out


# --- check ----------------------------------------------------------------------------------------------------------


def test_check_counts_what_is_done_and_tells_it_in_the_order_of_the_file(spine: Spine, tmp_path: Path) -> None:
    names = [f"c-{number:03}" for number in range(100)]
    customers = [
        {"id": name, "name": name, "application": {"interactions": str(tmp_path / name), "provider": "aws"}}
        for name in names
    ]
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}), encoding="utf-8")
    lines: list[str] = []
    done: list[str] = []
    assert check_customers(spine.settings, spine.clickhouse, (), lines.append, done.append) == 100
    assert [line.split()[0] for line in lines] == names
    assert done == [f"Checked {number} of 100" for number in range(1, 101)]


# --- a changed file -------------------------------------------------------------------------------------------------


def test_a_changed_file_and_a_rotated_secret_are_used_by_the_next_run(tmp_path: Path) -> None:
    """In one process, as that of the code server: nothing is kept that a restart would have to clear."""
    spine, window, key = Spine.at(tmp_path / "home"), newest_window(), tmp_path / "key"
    fleets = [{"kind": "vultr:instance"}]
    with CloudLab({"vultr": {"accounts": [{"name": "acme", "keys": ["alive"], "fleets": fleets}]}}) as lab:
        account = {"api_key": {"file": str(key)}, "endpoint_url": lab.url}
        write(spine, vultr=[account])
        key.write_text("revoked", encoding="utf-8")
        spine.collect("resource", [window], provider="vultr")
        assert spine.last("resource", "acme", window)["outcome"] == "failed"

        key.write_text("alive\n", encoding="utf-8")
        spine.collect("resource", [window], provider="vultr")
        assert spine.last("resource", "acme", window)["outcome"] == "ok"

        write(spine, id="globex", vultr=[account])
        spine.collect("resource", [window], provider="vultr")
        assert spine.last("resource", "globex", window)["outcome"] == "ok"
