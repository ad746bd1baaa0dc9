"""The files of deploy/, checked by what reads them: compose's and Kubernetes' schemas, dagster-k8s, systemd, nginx."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

import pytest
import yaml
from sqlalchemy import create_engine

from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.lab.server import Request, Response, Server
from tests.support.certificates import self_signed
from tests.support.moved_clock import until

PROJECT = Path(__file__).parents[1]
DEPLOY = PROJECT / "deploy"
SHIPPED = yaml.safe_load((files("optiinfra_dagster") / "dagster.yaml").read_text())
VALIDATORS = os.environ.get("DEPLOY_VALIDATORS")

with_validators = pytest.mark.skipif(
    not VALIDATORS, reason="needs the packages of .ci/deploy-validators.txt; .ci/run installs them"
)


def load(name: str) -> Any:
    """A file of deploy/ with one document."""
    return yaml.safe_load((DEPLOY / name).read_text())


def validator(*command: str) -> str:
    """What a validator's module says; it must be content."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, "PYTHONPATH": str(VALIDATORS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# --- Dagster --------------------------------------------------------------------------------------------------------


def test_the_limits_of_a_deployment_are_those_of_the_package() -> None:
    own = load("dagster.yaml")
    assert own.pop("storage") == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert own == SHIPPED


def test_the_charts_values_carry_the_same_limits() -> None:
    values, limits = load("kubernetes/values.yaml"), SHIPPED["concurrency"]["runs"]
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["maxConcurrentRuns"] == limits["max_concurrent_runs"]
    assert queue["tagConcurrencyLimits"] == limits["tag_concurrency_limits"]
    for ours, theirs in (("run_monitoring", "runMonitoring"), ("run_retries", "runRetries")):
        assert values["dagsterDaemon"][theirs] == {camel(key): value for key, value in SHIPPED[ours].items()}
    for kind in ("schedule", "sensor"):
        kept = values["retention"][kind]["purgeAfterDays"]
        assert kept == {**SHIPPED["retention"][kind]["purge_after_days"], "started": -1}
    assert values["telemetry"] == SHIPPED["telemetry"]


def camel(key: str) -> str:
    """`max_retries` as the chart spells it."""
    first, *rest = key.split("_")
    return first + "".join(part.title() for part in rest)


def test_every_url_of_postgresql_names_the_driver_that_is_installed() -> None:
    """SQLAlchemy takes psycopg where none is named, and Dagster's package brings psycopg2: no run would start."""
    texts = [(DEPLOY / name).read_text() for name in ("compose.yaml", "README.md")]
    written = re.findall(r"(postgresql[+\w]*)://", "".join(texts))
    assert len(written) == 2
    for scheme in (*written, load("kubernetes/values.yaml")["postgresql"]["postgresqlScheme"]):
        assert create_engine(f"{scheme}://dagster@127.0.0.1/dagster").driver == "psycopg2"


@with_validators
def test_the_launcher_accepts_its_values() -> None:
    values = load("kubernetes/values.yaml")["runLauncher"]
    assert values["type"] == "K8sRunLauncher"
    given = {re.sub("([A-Z])", r"_\1", key).lower(): value for key, value in values["config"]["k8sRunLauncher"].items()}
    config = {
        "service_account_name": "dagster", "instance_config_map": "dagster-instance", "dagster_home": "/opt/dagster",
        "postgres_password_secret": "dagster-postgresql-secret", **given,
    }  # fmt: skip
    config["run_k8s_config"] = {
        re.sub("([A-Z])", r"_\1", key).lower(): value for key, value in config["run_k8s_config"].items()
    }
    program = (
        "import json, sys; import dagster as dg; from dagster._config import process_config, resolve_to_config_type\n"
        "from dagster_k8s import K8sRunLauncher\n"
        "result = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), json.loads(sys.argv[1]))\n"
        "sys.exit('\\n'.join(error.message for error in result.errors or ()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(config)],
        env={**os.environ, "PYTHONPATH": str(VALIDATORS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- Images, compose, Kubernetes ------------------------------------------------------------------------------------


def test_the_image_installs_what_development_has() -> None:
    def pins(file: Path) -> dict[str, str]:
        found = re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", file.read_text(), re.MULTILINE)
        return dict(found)

    image, all_of_it = pins(DEPLOY / "requirements.lock"), pins(PROJECT / "requirements.lock")
    assert {name: version for name, version in image.items() if all_of_it.get(name, version) != version} == {}
    assert {"dagster", "dagster-webserver", "dagster-postgres", "dagster-k8s", "chdb"} <= image.keys()
    assert not {"pytest", "mypy", "moto", "selenium"} & image.keys()


def test_the_image_has_what_it_copies() -> None:
    allowed = {line.removeprefix("!") for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()}
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (PROJECT / source).exists(), line
                assert source in allowed, f"{source} is not in Dockerfile.dockerignore"


@with_validators
def test_compose_accepts_its_file() -> None:
    assert "ok" in validator(
        "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")
    )


@with_validators
@pytest.mark.parametrize("name", ["migrate.yaml", "network.yaml"])
def test_kubernetes_accepts_its_manifests(name: str) -> None:
    assert "passed" in validator("kubernetes_validate", "--strict", str(DEPLOY / "kubernetes" / name))


def test_only_the_code_server_has_secrets_and_a_way_out() -> None:
    services = load("compose.yaml")["services"]
    clickhouse = {name for name, one in services.items() if "OPTIINFRA_CLICKHOUSE_URL" in one.get("environment", {})}
    assert clickhouse == {"code", "migrate"}
    assert {name for name, one in services.items() if "env_file" in one} == {"code"}
    assert {name for name, one in services.items() if one["networks"] != ["inside"]} == {"code", "proxy"}
    assert {name for name, one in services.items() if "ports" in one} == {"proxy"}
    assert load("compose.yaml")["networks"]["inside"] == {"internal": True}


def test_every_setting_that_a_deployment_names_is_one() -> None:
    known = {field.alias for field in Settings.model_fields.values()}
    for path in DEPLOY.rglob("*"):
        if path.suffix in {".yaml", ".service", ".md"} or path.name == "Dockerfile":
            named = set(re.findall(r"\bOPTIINFRA_[A-Z_]+", path.read_text())) - {"OPTIINFRA_VERSION"}
            assert named <= known, f"{path.name}: {named - known}"


# --- systemd --------------------------------------------------------------------------------------------------------


def test_the_readme_says_who_may_read_each_file_of_the_units() -> None:
    """Files of variables are read by systemd, as root; the others by the processes, as the user of the unit."""
    page = (DEPLOY / "README.md").read_text()
    told = dict(re.findall(r"^\| `(/(?:etc|var)/[\w./]+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE))
    units = "".join(unit.read_text() for unit in (DEPLOY / "systemd").glob("*.service"))
    variables = set(re.findall(r"^EnvironmentFile=(\S+)$", units, re.MULTILINE))
    opened = set(re.findall(r" (/etc/optiinfra/\S+)$", units, re.MULTILINE))
    assert opened
    assert {told.get(file) for file in variables} == {"root alone"}
    assert {told.get(file) for file in opened} == {"everybody"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_its_units(tmp_path: Path) -> None:
    for unit in (DEPLOY / "systemd").glob("*.service"):
        # The programs are not installed on this machine.
        text = re.sub(
            r"^(Exec\w+=)/opt/optiinfra/bin/\S+", rf"\1{shutil.which('true')}", unit.read_text(), flags=re.MULTILINE
        )
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.glob("*.service"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "optiinfra" in line]) == (0, [])


# --- The proxy ------------------------------------------------------------------------------------------------------

PASSWORD = "a password of the tests"
NAME = "optiinfra.example.com"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """The port of nginx with our file, and the headers of what it passed on to the UI."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not nginx:
        pytest.skip("needs nginx; .ci/run installs it")
    seen: list[dict[str, str]] = []

    def answer(request: Request) -> Response:
        seen.append(dict(request.headers.items()))
        return Response(200, b"the UI")

    server = Server(answer)
    server.start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = self_signed(tmp_path)
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True)
    (tmp_path / "users").write_text(f"ann:{hashed.stdout.strip()}\n")
    text = (DEPLOY / "proxy" / "nginx.conf").read_text()
    for ours, here in (
        ("/etc/nginx/tls/fullchain.pem", str(pair)),
        ("/etc/nginx/tls/privkey.pem", str(pair)),
        ("/etc/nginx/users", str(tmp_path / "users")),
        ("http://webserver:3000", server.url),
        ("listen 8443", f"listen 127.0.0.1:{port}"),
    ):
        assert ours in text
        text = text.replace(ours, here)
    temporary = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n{text} }}\n"
    )
    with subprocess.Popen([nginx, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]) as process:
        try:

            def listens() -> bool:
                assert process.poll() is None, (tmp_path / "error.log").read_text()
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            until(listens, 20, "nginx to listen")
            yield port, seen
        finally:
            process.terminate()
            process.wait(20)
            server.stop()


def ask(port: int, name: str = NAME, password: str | None = None) -> tuple[int, str]:
    """The status and text of the first page, asked for under a name."""
    request = Call(f"https://127.0.0.1:{port}/", headers={"Host": name})
    if password is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(f'ann:{password}'.encode()).decode()}")
    context = ssl._create_unverified_context()  # noqa: S323
    try:
        with urlopen(request, context=context, timeout=20) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def test_the_proxy_asks_for_a_login_and_keeps_it_to_itself(proxy: tuple[int, list[dict[str, str]]]) -> None:
    port, seen = proxy
    assert ask(port)[0] == 401
    assert ask(port, password="wrong")[0] == 401
    assert seen == []
    assert ask(port, password=PASSWORD) == (200, "the UI")
    assert [("Authorization" in headers, headers["Host"]) for headers in seen] == [(False, NAME)]


def test_the_proxy_answers_to_its_own_name_only(proxy: tuple[int, list[dict[str, str]]]) -> None:
    port, seen = proxy
    for name in ("rebound.example", "127.0.0.1", "localhost"):
        assert ask(port, name, PASSWORD) == (0, "")
    assert seen == []
