from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer

import botocore.session
import pytest
from botocore import exceptions as sdk

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.aws.client import _HOME_REGIONS, Account, open_account, partition_of, session_name
from optiinfra_dagster.providers.aws.errors import explain
from optiinfra_dagster.providers.aws.sdk import Sdk, _utc
from tests.providers.aws.conftest import ACME, StartLab, acme


def role(account_id: str, **fields: object) -> AwsAccount:
    arn = f"arn:aws:iam::{account_id}:role/reader"
    return AwsAccount.model_validate({"account_id": account_id, "role_arn": arn, **fields})


def vpcs(account: Account, meter: Meter | None = None, region: str = "us-east-1") -> int:
    with account.call("ec2", region, meter or Meter()) as ec2:
        return len(ec2.describe_vpcs()["Vpcs"])


def failure(account: Account, meter: Meter | None = None) -> CloudError:
    with pytest.raises(CloudError) as caught:
        vpcs(account, meter)
    return caught.value


def test_an_account_is_entered_once_and_anew_when_its_secret_changes(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"id": "222222222222", "external_id": "right"}
    start_lab(accounts=(other,))
    locked = role("222222222222", external_id={"env": "EXTERNAL_ID"})
    meter = Meter()

    monkeypatch.setenv("EXTERNAL_ID", "wrong")
    with pytest.raises(CloudError, match="external id"):
        open_account("globex", locked, meter)
    monkeypatch.setenv("EXTERNAL_ID", "right")
    first, second = (open_account("globex", locked, meter) for _ in range(2))

    assert first is second
    assert meter.calls == {"AssumeRole": 2}


def test_customers_that_share_a_client_call_with_their_own_credentials(start_lab: StartLab) -> None:
    numbers = [f"{n:012d}" for n in range(1, 13)]
    fleets = [[{"kind": "ec2:vpc", "region": "us-east-1", "count": n, "subnets": 0}] for n in range(1, 13)]
    lab = start_lab(accounts=tuple({"id": id_, "fleets": own} for id_, own in zip(numbers, fleets, strict=True)))
    accounts = [open_account(f"customer-{id_}", role(id_), Meter()) for id_ in numbers]

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(vpcs, accounts * 10))

    assert counts == list(range(1, 13)) * 10
    calls = lab.control.calls()
    assert {id_: calls.count(operation="DescribeVpcs", account=id_) for id_ in numbers} == dict.fromkeys(numbers, 10)


def test_a_client_that_is_known_waits_for_none_that_is_being_made() -> None:
    sdk_ = Sdk()
    known = sdk_.client("ec2", "us-east-1", None)
    with sdk_._lock, ThreadPoolExecutor(1) as pool:
        assert pool.submit(sdk_.client, "ec2", "us-east-1", None).result(timeout=10) is known


def test_a_call_of_nobody_is_not_made_with_this_hosts_credentials(start_lab: StartLab) -> None:
    lab = start_lab()
    with open_account("acme", acme(), Meter()).call("ec2", "us-east-1", Meter()) as ec2:
        pass

    with pytest.raises(LookupError):
        ec2.describe_vpcs()

    assert lab.control.calls().count(operation="DescribeVpcs") == 0


def test_every_attempt_is_counted_where_it_belongs(start_lab: StartLab) -> None:
    lab = start_lab()
    account = open_account("acme", acme(), Meter())
    lab.control.add_faults({"action": "unavailable", "operation": "DescribeVpcs", "times": 2})
    first, second = Meter(), Meter()

    vpcs(account, first)
    vpcs(account, second)

    assert first.calls == {"DescribeVpcs": 3}
    assert second.calls == {"DescribeVpcs": 1}


def test_a_session_about_to_end_is_renewed_within_the_call(start_lab: StartLab) -> None:
    start_lab()
    account = open_account("acme", acme(), Meter())
    account._credentials._expiry_time = datetime.now(UTC) + timedelta(minutes=5)
    meter = Meter()

    vpcs(account, meter)

    assert meter.calls == {"AssumeRole": 1, "DescribeVpcs": 1}


def test_static_keys_need_no_sts(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    start_lab()
    monkeypatch.setenv("KEY", "ACMEKEY")
    monkeypatch.setenv("SECRET", "whatever")
    meter = Meter()
    keys = {"access_key_id": {"env": "KEY"}, "secret_access_key": {"env": "SECRET"}}

    vpcs(open_account("acme", acme(role_arn=None, **keys), meter), meter)

    assert meter.calls == {"DescribeVpcs": 1}


def test_an_endpoint_of_the_account_wins_over_the_environment(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    vpcs(open_account("acme", acme(endpoint_url=lab.url), Meter()))

    assert lab.control.calls().count(operation="AssumeRole") == 1


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_STS"])
def test_plain_http_to_another_host_is_refused_even_from_the_environment(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    start_lab()
    monkeypatch.setenv(variable, "http://metrics.example.com")
    meter = Meter()

    with pytest.raises(CloudError, match="only a loopback host may be plain http") as caught:
        vpcs(open_account("acme", acme(), meter), meter)

    assert caught.value.cause is Cause.CONFIG
    assert set(meter.calls) <= {"AssumeRole"}


@pytest.mark.parametrize(
    ("action", "cause", "remedy"),
    [
        ("deny", Cause.PERMISSION, "ec2:DescribeVpcs"),
        ("throttle", Cause.THROTTLED, "asked again"),
        ("unavailable", Cause.UNAVAILABLE, "asked again"),
        ("error", Cause.UNAVAILABLE, "asked again"),
        ("expired", Cause.AUTH, "renew"),
        ("unknown_key", Cause.AUTH, "Check the access key"),
        ("optin_required", Cause.CONFIG, "region is enabled"),
        ("disconnect", Cause.UNAVAILABLE, "asked again"),
    ],
)
def test_what_goes_wrong_is_named_with_call_region_and_remedy(
    start_lab: StartLab, action: str, cause: Cause, remedy: str
) -> None:
    lab = start_lab()
    account = open_account("acme", acme(), Meter())
    lab.control.add_faults({"action": action, "operation": "DescribeVpcs"})

    error = failure(account)

    assert error.cause is cause
    assert str(error).startswith("ec2.DescribeVpcs in us-east-1: ")
    assert remedy in str(error)
    assert error.__cause__ is None


def test_a_host_that_does_not_listen_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

        error = failure(open_account("acme", AwsAccount(account_id=ACME), Meter()))

    assert error.cause is Cause.UNAVAILABLE
    assert "EndpointConnectionError" in str(error)


class _Talker(BaseHTTPRequestHandler):
    """Answers as a captive portal or a proxy does: with a page for people."""

    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<html><body>Please log in<br></body>")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=[200, 403, 502])
def portal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), type("Talker", (_Talker,), {"status": request.param}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    yield request.param
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("service", "operation"), [("ec2", "describe_vpcs"), ("eks", "list_clusters")])
def test_an_answer_that_is_not_of_aws_is_an_error_not_a_crash(portal: int, service: str, operation: str) -> None:
    account = open_account("acme", AwsAccount(account_id=ACME), Meter())

    with pytest.raises(CloudError) as caught, account.call(service, "us-east-1", Meter()) as talker:
        getattr(talker, operation)()

    assert caught.value.cause in {Cause.UNAVAILABLE, Cause.PERMISSION}


def test_a_host_without_credentials_is_told_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")

    with pytest.raises(CloudError, match="Give this host a role or keys") as caught:
        open_account("acme", AwsAccount(account_id=ACME), Meter())

    assert caught.value.cause is Cause.AUTH


def test_secrets_that_an_answer_quotes_are_hidden(start_lab: StartLab) -> None:
    start_lab()
    account = open_account("acme", acme(), Meter())
    frozen = account._credentials.get_frozen_credentials()
    quoted = f"canonical request with {frozen.access_key} {frozen.secret_key} {frozen.token}"
    refusal = {"Error": {"Code": "InvalidParameterValue", "Message": quoted}}

    with pytest.raises(CloudError) as caught, account.call("ec2", "us-east-1", Meter()):
        raise sdk.ClientError(refusal, "DescribeVpcs")

    assert not any(secret in str(caught.value) for secret in frozen if secret)
    assert "***" in str(caught.value)


def refusal_of(code: str, operation: str = "DescribeDBInstances", message: str = "", status: int = 400) -> CloudError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return explain(sdk.ClientError(answer, operation), "rds", "eu-west-1")


@pytest.mark.parametrize(
    ("code", "status", "cause"),
    [
        ("AccessDenied", 403, Cause.PERMISSION),
        ("UnauthorizedOperation", 403, Cause.PERMISSION),
        ("SignatureDoesNotMatch", 403, Cause.AUTH),
        ("ExpiredToken", 403, Cause.AUTH),
        ("OptInRequired", 403, Cause.CONFIG),
        ("RequestLimitExceeded", 503, Cause.THROTTLED),
        ("InvalidNextToken", 400, Cause.INCOMPLETE),
        ("Strange", 429, Cause.THROTTLED),
        ("Strange", 401, Cause.AUTH),
        ("Strange", 403, Cause.PERMISSION),
        ("Strange", 500, Cause.UNAVAILABLE),
        ("Strange", 400, Cause.BUG),
        ("Throttling.User", 400, Cause.THROTTLED),
        ("ThrottlingErrorException", 400, Cause.THROTTLED),
    ],
)
def test_codes_have_causes_and_unknown_ones_follow_the_status(code: str, status: int, cause: Cause) -> None:
    assert refusal_of(code, status=status).cause is cause


def test_a_code_of_a_service_s_own_is_a_throttle_by_its_words() -> None:
    """As a fault of ours it would be asked for once, and called permanent."""
    error = refusal_of("ClientException", message="Rate exceeded", status=400)

    assert (error.cause, error.cause.permanent) == (Cause.THROTTLED, False)


def test_a_signature_is_never_quoted() -> None:
    error = refusal_of("SignatureDoesNotMatch", message="The Canonical String should have been 'AKIA... token'")

    assert "AKIA" not in str(error)


def test_the_action_that_the_cloud_names_is_the_remedy() -> None:
    text = "User: x is not authorized to perform: rds:ListTagsForResource on resource: y because no policy allows it"

    assert str(refusal_of("AccessDenied", message=text)).endswith(
        "Allow rds:ListTagsForResource to the role or user that collects"
    )


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (
            "with an explicit deny in a service control policy",
            "ec2:DescribeVpcs in the organization's service control policy, or leave eu-west-1 out of `regions`",
        ),
        ("because no service control policy allows the ec2:DescribeVpcs action", "or leave eu-west-1 out of `regions`"),
        ("with an explicit deny in a resource control policy", "in the organization's resource control policy"),
        ("because no permissions boundary allows the ec2:DescribeVpcs action", "in the role's permissions boundary"),
        ("with an explicit deny in a permissions boundary", "in the role's permissions boundary"),
        ("because no VPC endpoint policy allows the ec2:DescribeVpcs action", "in the policy of the VPC endpoint"),
        ("with an explicit deny in an identity-based policy", "to the role or user that collects"),
        ("because no identity-based policy allows the ec2:DescribeVpcs action", "to the role or user that collects"),
    ],
)
def test_the_policy_that_denies_is_the_one_to_change(words: str, remedy: str) -> None:
    """To allow an action to the role helps nothing where an organization denies its regions."""
    denied = "ec2:DescribeVpcs on resource: arn:aws:ec2:eu-west-1:111111111111:vpc/*"
    user = "arn:aws:sts::111111111111:assumed-role/reader/optiinfra-acme"
    text = f"You are not authorized to perform this operation. User: {user} is not authorized to perform: {denied}"

    error = refusal_of("UnauthorizedOperation", "DescribeVpcs", f"{text} {words}", 403)

    assert error.cause is Cause.PERMISSION
    assert remedy in str(error)
    assert str(error).count("Allow ") == 1


SERVER_TIME = format_datetime(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), usegmt=True)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("SignatureDoesNotMatch", "Signature expired: 20261120T114000Z is now earlier than 20261120T114500Z"),
        (
            "InvalidSignatureException",
            "Signature not yet current: 20261120T123000Z is still later than 20261120T121500Z",
        ),
        ("AuthFailure", "AWS was not able to validate the provided access credentials"),
        ("RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
    ],
)
def test_a_clock_that_is_wrong_is_told_from_a_wrong_key(code: str, text: str) -> None:
    """Only some services say that it is the clock; the time of each answer shows it."""
    answer = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {"date": SERVER_TIME}},
    }

    error = explain(sdk.ClientError(answer, "DescribeVpcs"), "ec2", "eu-west-1")

    assert error.cause is Cause.AUTH
    assert "Check this host's clock" in str(error)
    assert "access key" not in str(error)


@pytest.mark.parametrize("date", [None, "", "soon", "now"])
def test_a_wrong_key_is_told_where_the_clock_is_right(date: str | None) -> None:
    headers = {} if date is None else {"date": formatdate(usegmt=True) if date == "now" else date}
    answer = {
        "Error": {"Code": "AuthFailure", "Message": "AWS was not able to validate the provided access credentials"},
        "ResponseMetadata": {"HTTPStatusCode": 401, "HTTPHeaders": headers},
    }

    assert "Check the access key" in str(explain(sdk.ClientError(answer, "DescribeVpcs"), "ec2", "eu-west-1"))


def test_an_encoded_refusal_is_left_out() -> None:
    text = "You are not authorized to perform this operation. Encoded authorization failure message: AbCdEf"

    assert "AbCdEf" not in str(refusal_of("UnauthorizedOperation", message=text))


def test_long_answers_are_cut() -> None:
    assert len(str(refusal_of("Strange", message="x" * 5000))) < 400


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (sdk.NoCredentialsError(), Cause.AUTH),
        (sdk.CredentialRetrievalError(provider="x", error_msg="y"), Cause.AUTH),
        (sdk.ConnectTimeoutError(endpoint_url="https://x"), Cause.UNAVAILABLE),
        (sdk.ReadTimeoutError(endpoint_url="https://x"), Cause.UNAVAILABLE),
        (sdk.EndpointConnectionError(endpoint_url="https://x"), Cause.UNAVAILABLE),
        (sdk.SSLError(endpoint_url="https://x", error="y"), Cause.UNAVAILABLE),
        (sdk.ParamValidationError(report="x"), Cause.BUG),
        (sdk.PaginationError(message="x"), Cause.INCOMPLETE),
        (sdk.NoRegionError(), Cause.CONFIG),
        (sdk.UnknownServiceError(service_name="x", known_service_names="y"), Cause.CONFIG),
        (sdk.BotoCoreError(), Cause.BUG),
    ],
)
def test_what_the_sdk_raises_has_a_cause(error: Exception, cause: Cause) -> None:
    told = explain(error, "rds", "eu-west-1", "DescribeDBInstances")

    assert told.cause is cause
    assert str(told).startswith(f"rds.DescribeDBInstances in eu-west-1: {type(error).__name__}: ")


def test_every_partition_that_the_sdk_knows_is_known_with_a_home() -> None:
    session = botocore.session.Session()
    for partition in session.get_available_partitions():
        regions = session.get_available_regions("ec2", partition)
        assert {partition_of(region) for region in regions} == {partition}
        assert _HOME_REGIONS[partition] in session.get_available_regions("sts", partition) or partition == "aws"


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-isob-east-1", "aws-iso-b")],
)
def test_partitions_follow_from_regions(region: str, partition: str) -> None:
    assert partition_of(region) == partition


def test_accounts_of_other_partitions_have_their_home_there(start_lab: StartLab) -> None:
    start_lab()
    china = AwsAccount(account_id=ACME, regions=["cn-northwest-1"])

    account = open_account("acme", china, Meter())

    assert (account.partition, account.home_region) == ("aws-cn", "cn-north-1")


def test_session_names_are_what_sts_takes() -> None:
    assert session_name("acme") == "optiinfra-acme"
    assert len(session_name("a" * 64)) == 64


@pytest.mark.parametrize(
    "value",
    [1700000000, 1700000000.0, "2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000Z", "2023-11-15T00:13:20+02:00",
     "2023-11-14T22:13:20", "Tue, 14 Nov 2023 22:13:20 GMT"],
)  # fmt: skip
def test_times_of_answers_are_read_as_utc(value: str | float) -> None:
    moment = _utc(value)

    assert moment == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert moment.tzinfo is UTC
