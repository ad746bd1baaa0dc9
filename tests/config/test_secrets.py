"""Secrets, endpoints and credential files: found where the file says, and explained where they are not."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from optiinfra_dagster.config.secrets import CredentialsFile, DeferredValue, Endpoint, Reference
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError

SECRET = "hunter2"
PLACE = "customers[2].aws[0].external_id"


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_SECRET", raising=False)


def fault(held: Reference | Endpoint | CredentialsFile) -> str:
    held.found_at(PLACE)
    with pytest.raises(ConfigError) as caught:
        held.resolve()
    assert caught.value.__context__ is None  # decoders' and parsers' errors carry what they read
    message = str(caught.value)
    assert message.startswith(f"{PLACE}: ")
    assert message.endswith(".")
    assert SECRET not in message
    return message


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"{SECRET}\n\n"])
def test_a_secret_comes_from_a_variable_or_a_file_without_its_last_newline(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", content)
    (tmp_path / "secret").write_text(content, newline="")
    assert Reference(env="THE_SECRET").resolve() == SECRET
    assert Reference(file=tmp_path / "secret").resolve() == SECRET


def test_a_rotated_secret_is_picked_up(tmp_path: Path) -> None:
    reference = Reference(file=tmp_path / "secret")
    (tmp_path / "secret").write_text("old")
    assert reference.resolve() == "old"
    (tmp_path / "secret").write_text(SECRET)
    assert reference.resolve() == SECRET
    assert SECRET not in repr(reference) + str(reference) + reference.model_dump_json() + str(vars(reference))


def test_a_file_of_windows_holds_the_secret_alone(tmp_path: Path) -> None:
    """Notepad puts a mark of the byte order in front, which no header can carry and no password has."""
    (tmp_path / "secret").write_bytes(f"\ufeff{SECRET}\r\n".encode())
    assert Reference(file=tmp_path / "secret").resolve() == SECRET
    (tmp_path / "json").write_bytes(f'\ufeff{{"password": "{SECRET}"}}'.encode())
    assert Reference(file=tmp_path / "json", key="password").resolve() == SECRET


@pytest.mark.parametrize("content", [f"{SECRET}\nmore", f"{SECRET}\r\n{SECRET}\n", f"{SECRET}\x1b[0m", f"a\t{SECRET}"])
def test_a_secret_in_more_than_one_line_is_refused_before_a_client_shows_it(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of keys of AWS, the client's error had the header with the id of the key, and called for another try."""
    monkeypatch.setenv("THE_SECRET", content)
    said = "env THE_SECRET holds a line break or another control character within the secret. Put it there alone."
    assert said in fault(Reference(env="THE_SECRET"))
    (tmp_path / "secret").write_text(content, newline="")
    assert "within the secret. Put it there alone." in fault(Reference(file=tmp_path / "secret"))


def test_spaces_inside_a_secret_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", f" {SECRET} ")
    assert Reference(env="THE_SECRET").resolve() == f" {SECRET} "


def test_one_member_of_a_json_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", json.dumps({"user": "me", "password": SECRET}))
    assert Reference(env="THE_SECRET", key="password").resolve() == SECRET


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps({"password": SECRET}), "no text under the key 'pasword' (did you mean 'password'?). Correct `key`"),
        (json.dumps({"pasword": {"x": SECRET}}), "no text under the key 'pasword'"),
        (json.dumps({"pasword": ""}), "env THE_SECRET is empty. Put the secret there"),
        (json.dumps([SECRET]), "not a JSON object, yet key 'pasword' of it is asked for. Remove `key`"),
        (f"{SECRET} {{", "not a JSON object"),
    ],
)
def test_a_json_secret_without_the_member_is_explained(
    content: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", content)
    assert said in fault(Reference(env="THE_SECRET", key="pasword"))


def test_a_missing_variable_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "THE_SECRET is not set. Set it for every Dagster process" in fault(Reference(env="THE_SECRET"))
    monkeypatch.setenv("THE_SECRET", "")
    assert "THE_SECRET is empty. Set it" in fault(Reference(env="THE_SECRET"))


def test_an_unusable_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert f"there is no file {path}. Create it" in fault(Reference(file=path))
    assert "is a folder. Name the file in it" in fault(Reference(file=tmp_path))
    path.write_text("\n")
    assert "is empty. Put the secret there" in fault(Reference(file=path))
    path.write_bytes(SECRET.encode() + b"\xff")
    assert "is not UTF-8 text. Save the secret as plain text" in fault(Reference(file=path))
    assert "cannot be read" in fault(Reference(file=path / "below"))


def test_a_forbidden_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read every file, so none can be forbidden here")
    assert "may not be read by this user. Give the user" in fault(Reference(file=path))


def test_a_reference_needs_exactly_one_source() -> None:
    for wrong in ({}, {"key": "x"}, {"env": "A", "aws_secret": "b"}, {"env": ""}, {"env": None}, SECRET, [SECRET], 7):
        with pytest.raises(ValidationError) as caught:
            Reference.model_validate(wrong)
        assert SECRET not in str(caught.value)


def test_references_to_the_same_source_are_equal_wherever_they_stand() -> None:
    first, second = Reference(env="THE_SECRET"), Reference(env="THE_SECRET")
    second.found_at(PLACE)
    assert first == second
    assert len({first, second, Reference(env="OTHER")}) == 2
    assert first != Endpoint(env="THE_SECRET")


@pytest.mark.parametrize("kind", [Reference, Endpoint, CredentialsFile])
def test_a_dump_can_be_read_again(kind: type[DeferredValue]) -> None:
    held = kind.model_validate({"env": "THE_SECRET"})
    assert kind.model_validate_json(held.model_dump_json()) == held


# --- AWS Secrets Manager


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(secrets_manager: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", secrets_manager)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "lab")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "lab")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return secrets_manager


def test_a_secret_comes_from_secrets_manager_by_name_or_arn(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client("secretsmanager", region_name="eu-west-1")
    arn = client.create_secret(Name="acme/arn", SecretString=json.dumps({"id": SECRET}))["ARN"]
    boto3.client("secretsmanager").create_secret(Name="acme/name", SecretString=f"{SECRET}\n")
    assert Reference(aws_secret="acme/name").resolve() == SECRET
    assert Reference(aws_secret=arn, key="id").resolve() == SECRET
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert Reference(aws_secret=arn, key="id").resolve() == SECRET  # the ARN names its region
    assert "has no region. Set AWS_DEFAULT_REGION" in fault(Reference(aws_secret="acme/name"))


def test_a_missing_aws_secret_is_named_with_the_remedy(aws: str) -> None:
    message = fault(Reference(aws_secret="acme/none"))
    assert "the AWS secret acme/none cannot be read: ResourceNotFoundException. Create it" in message


def test_a_binary_aws_secret_is_explained(aws: str) -> None:
    boto3.client("secretsmanager").create_secret(Name="acme/binary", SecretBinary=SECRET.encode())
    assert "is binary. Store it as text" in fault(Reference(aws_secret="acme/binary"))


def test_a_host_without_aws_credentials_is_told_so(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    message = fault(Reference(aws_secret="acme/name"))
    assert "this host has no AWS credentials. Give it a role that may call secretsmanager:GetSecretValue" in message


def test_an_unreachable_secrets_manager_may_be_tried_again(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:  # bound and not listening: connections are refused
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        reference = Reference(aws_secret="acme/name")
        reference.found_at(PLACE)
        with pytest.raises(CloudError, match="could not be fetched: EndpointConnectionError") as caught:
            reference.resolve()
    assert caught.value.cause is Cause.UNAVAILABLE
    assert str(caught.value).startswith(f"{PLACE}: ")


# --- Endpoints

GOOD_URLS = [
    "https://host",
    "https://host.example:8443/path/",
    "https://10.0.0.1",
    "https://[2001:db8::1]:443",
    "http://localhost:5599",
    "http://LOCALHOST",
    "http://127.0.0.1:5599/",
    "http://127.200.3.4",
    "http://[::1]:80/a",
]
BAD_URLS = [
    ("http://169.254.169.254", "a link-local address"),
    ("https://169.254.170.2/v2/credentials", "a link-local address"),
    ("https://[fe80::1]", "a link-local address"),
    ("https://[::ffff:169.254.169.254]", "a link-local address"),
    ("http://metadata.google.internal", "a link-local address"),
    ("http://example.com", "plain http to another machine"),
    ("http://10.0.0.1:80", "plain http to another machine"),
    ("http://0.0.0.0", "plain http to another machine"),
    ("http://128.0.0.1", "plain http to another machine"),
    ("http://[::2]", "plain http to another machine"),
    ("http://127.1", "plain http to another machine"),
    ("http://localhost.example.com", "plain http to another machine"),
    ("http://127.0.0.1.example.com", "plain http to another machine"),
    ("http://127.0.0.1@example.com", "holds a user name or password"),
    ("https://me:hunter2@host", "holds a user name or password"),
    ("https://hunter2@", "holds a user name or password"),
    ("http://127.0.0.1\\@example.com", "holds a user name or password"),
    ("http://127.0.0.1\\.example.com", "is not a URL"),
    ("https://host/?token=hunter2", "has something behind its path"),
    ("https://host/#hunter2", "has something behind its path"),
    ("https://host/a b", "has something behind its path"),
    ("https://host:port", "is not a URL"),
    ("https://host:0", "names port 0"),
    ("http://localhost:0", "names port 0"),
    ("https://[::1", "is not a URL"),
    ("https://", "is not a URL"),
    ("ftp://127.0.0.1", "is not a URL"),
    ("hunter2", "is not a URL"),
    ("127.0.0.1:5599", "is not a URL"),
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_an_endpoint_is_https_or_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", url)
    assert Endpoint.model_validate(url).resolve() == url
    assert Endpoint.model_validate({"env": "THE_SECRET"}).resolve() == url


@pytest.mark.parametrize(("url", "said"), BAD_URLS)
def test_any_other_endpoint_is_refused_when_read_and_when_looked_up(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        Endpoint(url=url)
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("THE_SECRET", url)
    message = fault(Endpoint(env="THE_SECRET"))
    assert "the URL in the environment variable THE_SECRET " in message
    assert said in message
    assert "Write https://host, or http://127.0.0.1:PORT" in message


def test_an_endpoint_in_a_missing_variable_is_explained() -> None:
    assert "THE_SECRET is not set" in fault(Endpoint(env="THE_SECRET"))


@given(st.text() | st.sampled_from(GOOD_URLS).flatmap(lambda url: st.text().map(lambda more: url + more)))
def test_any_text_is_an_endpoint_or_refused(url: str) -> None:
    try:
        endpoint = Endpoint(url=url)
    except ValidationError:
        return
    assert endpoint.resolve().split("://")[0].lower() in {"http", "https"}


# --- Credential files


def test_a_credentials_file_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.json"
    path.write_text("{}")
    monkeypatch.setenv("THE_SECRET", f"{path}\n")
    assert CredentialsFile.model_validate(str(path)).resolve() == path
    assert CredentialsFile(env="THE_SECRET").resolve() == path


def test_a_missing_credentials_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    assert f"the file {path} does not exist. Create it" in fault(CredentialsFile(path=path))
    assert "THE_SECRET is not set" in fault(CredentialsFile(env="THE_SECRET"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps({"private_key": SECRET}), "holds the credentials themselves. Write them to a file"),
        (SECRET, "the file that the environment variable THE_SECRET names does not exist"),
        (SECRET * 1000, "the file that the environment variable THE_SECRET names does not exist"),
    ],
)
def test_credentials_in_place_of_a_path_are_not_shown(content: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", content)
    assert said in fault(CredentialsFile(env="THE_SECRET"))
