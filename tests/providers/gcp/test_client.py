"""Credentials as they go over the wire: to an https server that stands in for Google, and never over plain http."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.auth import exceptions as auth
from google.auth import iam

from optiinfra_dagster.lab.server import Request, Response, Server
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp import credentials
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.client import open_project
from optiinfra_dagster.providers.gcp.errors import Caller, explain, explain_credential
from optiinfra_dagster.providers.gcp.inventory import collect
from optiinfra_dagster.providers.gcp.monitoring import open_monitoring
from optiinfra_dagster.providers.gcp.services import BY_ASSET_TYPE
from tests.providers.gcp.conftest import PROJECT, Clock, StartLab, account, fleet
from tests.support.certificates import new_key, pem, self_signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

READER = "reader@acme-prod.iam.gserviceaccount.com"


def key_of(authorization: str | None) -> str:
    """The id of the key that signed a token of a service account; "" for any other token, and for none."""
    head = str(authorization).removeprefix("Bearer ").partition(".")[0]
    try:
        return str(json.loads(base64.urlsafe_b64decode(head + "=="))["kid"])
    except (ValueError, KeyError):
        return ""


@dataclass
class Google:
    """What was asked of the stand-in, and what it answers by the last part of the path."""

    url: str = ""
    asked: list[Request] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, Any] | bytes | Callable[[], bytes]]] = field(default_factory=dict)
    accepts: Callable[[str], bool] = lambda _key: True

    def answer(self, request: Request) -> Response:
        self.asked.append(request)
        last = request.path.rpartition("/")[2].rpartition(":")[2]
        status, body = self.answers.get(last, (404, {}))
        if not self.accepts(key_of(request.headers["authorization"])):
            status, body = 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
        if callable(body):
            body = body()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Response(status, content, {"Content-Type": "application/json"})

    def headers(self, path_end: str) -> dict[str, str]:
        (request,) = [one for one in self.asked if one.path.endswith(path_end)]
        return {name.lower(): value for name, value in request.headers.items()}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return new_key()


@pytest.fixture
def google(key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    google = Google(answers={"assets": (200, {"assets": []})})
    certificate = self_signed(tmp_path, key)
    server = Server(google.answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    google.url = server.url.replace("http:", "https:")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(credentials, "_CREDENTIALS", {})
    server.start()
    try:
        yield google
    finally:
        server.stop()


@pytest.fixture
def key_file(key: rsa.RSAPrivateKey, google: Google, tmp_path: Path) -> Path:
    file = tmp_path / "key.json"
    content = {
        "type": "service_account",
        "client_email": READER,
        "private_key": pem(key).decode(),
        "private_key_id": "k1",
        "token_uri": f"{google.url}/token",
    }
    file.write_text(json.dumps(content))
    return file


def real(google: Google, **fields: Any) -> GcpAccount:
    return GcpAccount.model_validate({"project_id": PROJECT, "endpoint_url": google.url, **fields})


def ask(account: GcpAccount) -> Meter:
    meter = Meter()
    list(open_project(account, meter).pages(list(BY_ASSET_TYPE), meter))
    return meter


def test_a_service_account_signs_for_itself_and_names_who_pays(google: Google, key_file: Path) -> None:
    meter = ask(real(google, credentials_file=str(key_file), quota_project_id="acme-billing"))

    headers = google.headers("/assets")
    assert headers["authorization"].startswith("Bearer ey")
    assert headers["x-goog-user-project"] == "acme-billing"
    assert "gzip" in headers["accept-encoding"]
    assert meter.calls == {"ListAssets": 1}


def test_an_impersonated_account_is_entered_once_for_many_collections(
    google: Google, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    google.answers["token"] = (200, {"access_token": "source", "expires_in": 3600})
    google.answers["generateAccessToken"] = (200, {"accessToken": "granted", "expireTime": until})
    _redirect_iam(google, monkeypatch)
    account = real(google, credentials_file=str(key_file), impersonate="other@acme-prod.iam.gserviceaccount.com")

    first, second = ask(account), ask(account)

    assert first.calls == {"GetAccessToken": 2, "ListAssets": 1}
    assert second.calls == {"ListAssets": 1}
    assert google.headers("generateAccessToken")["authorization"] == "Bearer source"
    assert {one.headers["authorization"] for one in google.asked if one.path.endswith("assets")} == {"Bearer granted"}


def test_an_impersonation_that_is_refused_names_the_role(
    google: Google, key_file: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    google.answers["token"] = (200, {"access_token": "source-token", "expires_in": 3600})
    google.answers["generateAccessToken"] = (403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}})
    _redirect_iam(google, monkeypatch)
    account = real(google, credentials_file=str(key_file), impersonate="other@acme-prod.iam.gserviceaccount.com")

    (problem,) = collect("acme", [account], Meter()).problems

    assert problem.cause is Cause.AUTH
    assert "roles/iam.serviceAccountTokenCreator" in problem.message
    assert "other@acme-prod" in problem.message
    assert "source-token" not in problem.message
    assert clock.slept == []


def _redirect_iam(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iam, "_IAM_ENDPOINT", google.url + "/v1/projects/-/serviceAccounts/{}:generateAccessToken")


def test_over_plain_http_no_credential_is_read_or_sent(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("gcp:disk"))
    seen: list[Request] = []
    answer: Callable[[Request], Response | None] = lab.gcp.answer

    def listen(request: Request) -> Response | None:
        seen.append(request)
        return answer(request)

    monkeypatch.setattr(lab.gcp, "answer", listen)
    home = Path("/nonexistent/of-nobody.json")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    inventory = collect("acme", [account(lab, credentials_file=str(home), quota_project_id="acme-pays")], Meter())

    assert (len(inventory.resources), inventory.problems) == (1, [])
    assert [one.headers["authorization"] for one in seen] == [None]


def test_a_rotated_key_file_is_read_again(google: Google, key_file: Path) -> None:
    account = real(google, credentials_file=str(key_file))
    first = open_project(account, Meter()).credentials

    same = open_project(account, Meter()).credentials
    content = json.loads(key_file.read_text()) | {"client_email": "rotated@acme-prod.iam.gserviceaccount.com"}
    key_file.write_text(json.dumps(content))
    rotated = open_project(account, Meter()).credentials

    assert same is first
    assert rotated.service_account_email == "rotated@acme-prod.iam.gserviceaccount.com"


def rotate(key_file: Path) -> None:
    """Put another key into the file so that nothing but its content tells."""
    state = key_file.stat()
    key_file.write_text(key_file.read_text().replace('"k1"', '"k2"'))
    os.utime(key_file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_session_whose_key_was_rotated_is_opened_anew_before_anything_fails(google: Google, key_file: Path) -> None:
    account = real(google, credentials_file=str(key_file))
    google.accepts = lambda key: key == "k1"
    ask(account)
    rotate(key_file)
    google.accepts = lambda key: key == "k2"

    meter = ask(account)

    assert meter.calls == {"ListAssets": 2}
    assert [key_of(one.headers["authorization"]) for one in google.asked] == ["k1", "k1", "k2"]
    assert ask(account).calls == {"ListAssets": 1}  # what was opened anew is kept


def test_a_key_that_nobody_takes_is_tried_twice_and_is_a_lasting_failure(
    google: Google, key_file: Path, clock: Clock
) -> None:
    google.accepts = lambda _key: False

    (problem,) = collect("acme", [real(google, credentials_file=str(key_file))], Meter()).problems

    assert (problem.cause, problem.cause.permanent) == (Cause.AUTH, True)
    assert len(google.asked) == 2
    assert clock.slept == []


@pytest.mark.parametrize(
    "content",
    [
        "not json with planted-secret",
        '{"type": "service_account", "private_key": "planted-secret"}',
        '{"type": "service_account", "client_email": "a@b", "token_uri": "https://x", "private_key": "planted-secret"}',
        '{"type": "planted-secret"}',
        "[1]",
        "null",
    ],
)
def test_a_file_that_is_no_credential_is_named_and_not_quoted(google: Google, tmp_path: Path, content: str) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(content)

    with pytest.raises(ConfigError, match=r"wrong\.json is not a credentials file") as error:
        open_project(real(google, credentials_file=str(file)), Meter())

    assert "planted-secret" not in str(error.value)


def test_a_host_without_credentials_says_what_to_write(
    google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)

    (problem,) = collect("acme", [real(google)], Meter()).problems

    assert problem.cause is Cause.AUTH
    assert "credentials_file" in problem.message


def test_default_credentials_are_those_of_the_environment(
    google: Google, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))

    ask(real(google))

    assert google.headers("/assets")["authorization"].startswith("Bearer ey")


# --- Cloud Monitoring, over gRPC ------------------------------------------------------------------------------------


@contextmanager
def monitoring_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepts: Callable[[str], bool] = lambda _key: True
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers with no time series: its URL, and the metadata of each call."""
    pem = (tmp_path / "server.pem").read_bytes()
    trusted = grpc.ssl_channel_credentials(root_certificates=pem)
    monkeypatch.setattr(  # what Google's clients use on and off Compute Engine
        grpc, "compute_engine_channel_credentials", lambda call: grpc.composite_channel_credentials(trusted, call)
    )
    seen: list[dict[str, str]] = []

    def answer(_request: bytes, context: Any) -> bytes:
        seen.append(dict(context.invocation_metadata()))
        if not accepts(key_of(seen[-1]["authorization"])):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request had invalid authentication credentials.")
        return b""

    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(ThreadPoolExecutor(2))
    service = grpc.method_handlers_generic_handler("google.monitoring.v3.MetricService", {"ListTimeSeries": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    try:
        yield f"https://127.0.0.1:{port}", seen
    finally:
        server.stop(None)


def probe(account: GcpAccount) -> Meter:
    meter = Meter()
    with open_monitoring(account, meter, time.monotonic() + 20) as monitoring:
        monitoring.probe()
    return meter


def test_metrics_are_read_with_the_same_credential_and_payer(
    google: Google, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monitoring_over_tls(tmp_path, monkeypatch) as (url, seen):
        meter = probe(
            real(
                google,
                credentials_file=str(key_file),
                quota_project_id="acme-billing",
                monitoring_endpoint_url=url,
            )
        )

    assert meter.calls == {"ListTimeSeries": 1}
    (metadata,) = seen
    assert metadata["authorization"].startswith("Bearer ey")
    assert metadata["x-goog-user-project"] == "acme-billing"


def test_metrics_too_are_asked_for_in_a_session_that_was_opened_anew(
    google: Google, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = {"k1"}
    with monitoring_over_tls(tmp_path, monkeypatch, accepted.__contains__) as (url, seen):
        account = real(google, credentials_file=str(key_file), monitoring_endpoint_url=url)
        probe(account)
        rotate(key_file)
        accepted.clear()
        accepted.add("k2")
        meter = probe(account)

    assert meter.calls == {"ListTimeSeries": 2}
    assert [key_of(one["authorization"]) for one in seen] == ["k1", "k1", "k2"]


def test_a_credential_that_fails_is_told_before_any_metric_is_asked_for(
    google: Google, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.answers["token"] = (200, {"access_token": "source-token", "expires_in": 3600})
    google.answers["generateAccessToken"] = (403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}})
    _redirect_iam(google, monkeypatch)
    with monitoring_over_tls(tmp_path, monkeypatch) as (url, seen):
        account = real(google, credentials_file=str(key_file), impersonate=READER, monitoring_endpoint_url=url)
        with pytest.raises(CloudError, match="serviceAccountTokenCreator") as error:
            probe(account)

    assert error.value.cause is Cause.AUTH
    assert seen == []


ERRORS: list[tuple[int, dict[str, Any] | None, Cause, str]] = [
    (401, {"status": "UNAUTHENTICATED"}, Cause.AUTH, "Check the credentials file"),
    (403, {"status": "PERMISSION_DENIED"}, Cause.PERMISSION, f"Grant roles/cloudasset.viewer on the project {PROJECT}"),
    (403, {"details": [{"reason": "USER_PROJECT_DENIED"}]}, Cause.PERMISSION, "serviceUsageConsumer on acme-billing"),
    (
        403,
        {"details": [{"reason": "SERVICE_DISABLED", "metadata": {"consumer": "projects/123"}}]},
        Cause.CONFIG,
        "Enable cloudasset.googleapis.com in the project 123",
    ),
    (
        403,
        {"message": "Cloud Asset API has not been used in project 123 before or it is disabled.", "errors": [{}]},
        Cause.CONFIG,
        "Enable cloudasset.googleapis.com",
    ),
    (403, {"details": [{"reason": "SECURITY_POLICY_VIOLATED"}]}, Cause.PERMISSION, "VPC Service Controls"),
    (
        403,
        {"details": [{"reason": "RESOURCE_USAGE_RESTRICTION_VIOLATED"}], "status": "PERMISSION_DENIED"},
        Cause.PERMISSION,
        "Let the organization policy gcp.restrictServiceUsage allow cloudasset.googleapis.com",
    ),
    (403, {"details": [{"reason": "ORG_RESTRICTION_VIOLATION"}]}, Cause.PERMISSION, "organization restrictions"),
    (403, {"errors": [{"reason": "rateLimitExceeded"}]}, Cause.THROTTLED, "next collection"),
    (403, {"errors": [{"reason": "userRateLimitExceeded"}]}, Cause.THROTTLED, "next collection"),
    (403, {"errors": [{"reason": "quotaExceeded"}], "status": "PERMISSION_DENIED"}, Cause.THROTTLED, "next collection"),
    (403, None, Cause.PERMISSION, "HTTP 403"),
    (404, {"status": "NOT_FOUND"}, Cause.CONFIG, PROJECT),
    (429, {"status": "RESOURCE_EXHAUSTED"}, Cause.THROTTLED, "next collection"),
    (503, {"status": "UNAVAILABLE"}, Cause.UNAVAILABLE, "next collection"),
    (502, None, Cause.UNAVAILABLE, "HTTP 502"),
    (400, {"status": "INVALID_ARGUMENT", "message": "The page token is invalid."}, Cause.INCOMPLETE, "token"),
    (400, {"status": "INVALID_ARGUMENT", "message": "no"}, Cause.BUG, "INVALID_ARGUMENT"),
    (302, None, Cause.BUG, "HTTP 302"),
    (403, {"status": 7, "details": "odd", "message": None}, Cause.PERMISSION, "roles/cloudasset.viewer"),
]


@pytest.mark.parametrize(("status", "error", "cause", "remedy"), ERRORS)
def test_an_error_tells_its_cause_and_remedy(
    google: Google, key_file: Path, status: int, error: dict[str, Any] | None, cause: Cause, remedy: str
) -> None:
    google.answers["assets"] = (status, {} if error is None else {"error": {"code": status, **error}})
    account = real(google, credentials_file=str(key_file), quota_project_id="acme-billing")

    with pytest.raises(CloudError) as caught:
        ask(account)

    assert caught.value.cause is cause
    assert remedy in str(caught.value)
    assert f"projects/{PROJECT}" in str(caught.value)


@pytest.mark.parametrize(
    ("date", "remedy"), [("now", "Check the credentials file"), ("days ago", "Check this host's clock")]
)
def test_a_token_that_is_refused_for_its_time_is_told_by_the_clocks(date: str, remedy: str) -> None:
    body = {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "Request had invalid credentials."}}
    head = formatdate(usegmt=True) if date == "now" else "Fri, 20 Nov 2026 12:00:00 GMT"

    error = explain(401, body, Caller(PROJECT, "cloudasset.googleapis.com", "x", None), "assets.list", head)

    assert error.cause is Cause.AUTH
    assert remedy in str(error)


def test_a_token_that_cannot_be_had_for_its_time_names_the_clock() -> None:
    said = "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."

    error = explain_credential(auth.RefreshError(said, {"error": "invalid_grant"}), None)  # type: ignore[no-untyped-call]

    assert error.cause is Cause.AUTH
    assert "Check this host's clock" in str(error)


def test_a_page_that_names_itself_as_the_next_ends_as_incomplete(google: Google, key_file: Path) -> None:
    google.answers["assets"] = (200, {"assets": [], "nextPageToken": "again"})

    with pytest.raises(CloudError) as caught:
        ask(real(google, credentials_file=str(key_file)))

    assert caught.value.cause is Cause.INCOMPLETE
    assert len(google.asked) == 2


def test_a_listing_without_end_is_ended(google: Google, key_file: Path, clock: Clock) -> None:
    def next_page() -> bytes:
        clock.sleep(100)  # what the answer takes
        return json.dumps({"nextPageToken": str(len(google.asked))}).encode()

    google.answers["assets"] = (200, next_page)

    with pytest.raises(CloudError) as caught:
        ask(real(google, credentials_file=str(key_file)))

    assert caught.value.cause is Cause.INCOMPLETE
    assert 600 <= sum(clock.slept) <= 700


@pytest.mark.parametrize("answer", [b'{"assets": 7}', b"<html>planted-secret</html>", b"[]", b"\xff"])
def test_what_is_no_page_of_assets_is_an_odd_answer_and_not_quoted(
    google: Google, key_file: Path, answer: bytes
) -> None:
    google.answers["assets"] = (200, answer)

    with pytest.raises(CloudError) as caught:
        ask(real(google, credentials_file=str(key_file)))

    assert caught.value.cause is Cause.BUG
    assert "planted-secret" not in str(caught.value)


def test_a_token_service_that_is_down_is_no_refusal(
    google: Google, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.answers["token"] = (200, {"access_token": "source", "expires_in": 3600})
    google.answers["generateAccessToken"] = (503, {"error": {"code": 503, "status": "UNAVAILABLE"}})
    _redirect_iam(google, monkeypatch)

    with pytest.raises(CloudError) as caught:
        ask(real(google, credentials_file=str(key_file), impersonate=READER))

    assert caught.value.cause is Cause.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "said", "retryable", "cause"),
    [
        (auth.TransportError, ("no route",), False, Cause.UNAVAILABLE),
        (auth.RefreshError, ("busy",), True, Cause.UNAVAILABLE),
        (auth.RefreshError, ("invalid_grant: Invalid JWT Signature.", {"error": "odd"}), False, Cause.AUTH),
        (auth.RefreshError, (b"odd",), False, Cause.AUTH),
    ],
)
def test_a_token_that_cannot_be_had_is_told_by_its_code(
    error: Callable[..., auth.GoogleAuthError], said: tuple[object, ...], retryable: bool, cause: Cause
) -> None:
    explained = explain_credential(error(*said, retryable=retryable), None)

    assert explained.cause is cause
    assert "JWT" not in str(explained)
    assert ("invalid_grant" in str(explained)) == ("JWT" in str(said))
