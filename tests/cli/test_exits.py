"""How commands end where something around them is wrong: one plain message, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from optiinfra_dagster.cli import main
from optiinfra_dagster.config.proxies import SPARED, settle_proxies
from optiinfra_dagster.config.settings import DEMO_CUSTOMERS, load_settings
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model.errors import CloudError, OptiInfraError, StorageError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.monitoring import open_monitoring
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.quality.client import Client
from optiinfra_dagster.quality.pace import Pace
from optiinfra_dagster.quality.server import Server
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.certificates import new_key, pem
from tests.support.forward_proxy import PROXIES, ForwardProxy, forward_proxy

# --- Proxies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    """The only way out by what the environment says, which names no exceptions."""
    with forward_proxy() as proxy:
        for name in PROXIES:
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("https_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")  # so that what a command writes there is undone after the test
        yield proxy


def test_no_sdk_takes_a_proxy_to_this_machine(
    clickhouse_url: str, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("OPTIINFRA_CUSTOMERS", str(DEMO_CUSTOMERS))
    monkeypatch.setenv("OPTIINFRA_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setattr("sys.argv", ["optiinfra", "customers", "check"])
    with CloudLab() as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main.main()
        judge = Client(Server("judge", lab.env["GROQ_API_KEY"], f"{lab.url}/openai/v1"), Pace(), 10.0, 0.0)
        assert judge.models()
        judge.close()
    with ClickHouse(clickhouse_url).session(migrated=False) as client:
        assert client.command("SELECT 1") == 1
    assert (ended.value.code or 0) == 0
    assert proxy.asked == []


CLOUDS = """
customers:
  - id: acme
    name: Acme
    aws: [{account_id: "111111111111", access_key_id: {env: A_KEY}, secret_access_key: {env: A_SECRET}, regions: [us-east-1]}]
    gcp: [{project_id: acme-prod, credentials_file: key.json}]
    azure: [{subscription_id: a0000000-0000-4000-8000-000000000001, tenant_id: acme.onmicrosoft.com,
             client_id: a0000000-0000-4000-8000-00000000000c, client_secret: {env: A_SECRET}}]
    vultr: [{api_key: {env: A_KEY}}]
"""  # noqa: E501


def test_every_sdk_takes_the_proxy_to_the_clouds(
    proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_KEY", "AKIA0123456789ABCDEF")
    monkeypatch.setenv("A_SECRET", "s3cr3t-of-the-test")
    key = {
        "type": "service_account", "client_email": "x@acme-prod.iam.gserviceaccount.com", "project_id": "acme-prod",
        "private_key": pem(new_key()).decode(), "private_key_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
    }  # fmt: skip
    (tmp_path / "key.json").write_text(json.dumps(key))
    (tmp_path / "customers.yaml").write_text(CLOUDS)
    monkeypatch.setattr("optiinfra_dagster.providers.gcp.client._PATIENCE", {})  # it would ask for 45 s
    load_settings()
    (customer,) = load_customers(tmp_path / "customers.yaml")

    def check(name: str) -> str:
        (account,) = customer.accounts(name)
        try:
            return "; ".join(str(problem) for problem in PROVIDERS[name].check("acme", account, ["resource"]))
        except OptiInfraError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        said = [*pool.map(check, customer.providers)]
    (project,) = customer.accounts("gcp")
    assert isinstance(project, GcpAccount)
    with open_monitoring(project, Meter(), time.monotonic() + 20) as monitoring, pytest.raises(CloudError) as refused:
        list(monitoring.descriptors(["compute.googleapis.com/instance/cpu/utilization"]))
    said.append(str(refused.value))
    judge = Client(Server("judge", "gsk_s3cr3t", "https://api.groq.com/openai/v1"), Pace(), 10.0, 0.0)
    with pytest.raises(CloudError) as refused:
        judge.models()
    said.append(str(refused.value))
    server = ClickHouse("https://me:s3cr3t@clickhouse.example.com:8443")
    with pytest.raises(StorageError, match=r"the proxy .* does not let it through: .*403.* NO_PROXY") as lost:
        server.session().__enter__()
    said.append(str(lost.value))
    assert set(proxy.asked) == {
        "api.groq.com", "api.vultr.com", "clickhouse.example.com", "cloudasset.googleapis.com",
        "login.microsoftonline.com", "monitoring.googleapis.com", "sts.us-east-1.amazonaws.com",
    }  # fmt: skip
    assert all(said)
    assert "s3cr3t" not in " ".join(said)


@pytest.mark.parametrize(
    ("environ", "https", "spared"),
    [
        ({}, None, None),
        ({"NO_PROXY": "x"}, None, "x"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1", ",".join(SPARED)),
        ({"http_proxy": "http://p:1", "no_proxy": "a, b"}, None, ",".join(["a", "b", *SPARED])),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "localhost"}, "http://p:1", ",".join(SPARED)),
        ({"ALL_PROXY": "socks5://p:1"}, None, ",".join(SPARED)),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:1", "NO_PROXY": "*"}, "http://q:1", "*"),
    ],
)
def test_the_environment_is_made_to_say_what_every_sdk_reads(
    environ: dict[str, str], https: str | None, spared: str | None
) -> None:
    for _ in range(2):  # whatever it is read by again changes nothing
        settle_proxies(environ)
        assert environ.get("https_proxy") == https
        assert environ.get("no_proxy", environ.get("NO_PROXY")) == spared
