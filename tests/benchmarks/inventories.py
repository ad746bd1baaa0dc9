"""Inventories of 10,000 resources on one cloud, beside a plain loop over its SDK: calls, CPU seconds, memory.

Each side runs in a process of its own (`python -m tests.benchmarks.inventories <provider> ours|plain <url>`), so that
its peak memory is its own.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COUNT = 10_000
PROJECT = "bench-project"
SUBSCRIPTION = "c0000000-0000-4000-8000-000000000003"
AWS_ACCOUNT = "123456789012"
SECRETS = {"BENCH_KEY": "AKIABENCH0000000001", "BENCH_SECRET": "bench", "BENCH_VULTR": "bench-vultr-key"}

# Each kind of AWS is listed for itself, in each region: DescribeInstances in pages of 1,000, and one call for each of
# the other 22 kinds. Vultr has 13 kinds, and pages of 500. The others list all kinds at once, in pages of 1,000.
LEAST_CALLS = {"aws": 10 + 22, "gcp": 10, "azure": 10, "vultr": 20 + 12}
LISTING = {"aws": "DescribeInstances", "gcp": "ListAssets", "azure": "Resources", "vultr": "list-instances"}


@dataclass(frozen=True)
class Side:
    """What one process says of itself; bytes are the peak of its resident memory."""

    cpu: float
    peak: int
    found: int


def world(provider: str) -> dict[str, Any]:
    """A world in which one account runs 10,000 machines and nothing else."""
    machines: dict[str, Any] = {"count": COUNT, "name": "web-{n}"}
    aws = {"kind": "ec2:instance", "region": "us-east-1", "volumes": 0, "tags": {"env": "prod"}, **machines}
    gcp = {"kind": "gcp:instance", "region": "us-central1", "disks": 0, "tags": {"env": "prod"}, **machines}
    azure = {"kind": "azure:vm", "region": "westeurope", "disks": 0, "tags": {"env": "prod"}, **machines}
    vultr = {"kind": "vultr:instance", "tags": ["prod"], **machines}
    part: dict[str, Any] = {
        "aws": {"accounts": [{"id": AWS_ACCOUNT, "access_keys": [SECRETS["BENCH_KEY"]], "fleets": [aws]}]},
        "gcp": {"projects": [{"id": PROJECT, "fleets": [gcp]}]},
        "azure": {"subscriptions": [{"id": SUBSCRIPTION, "fleets": [azure]}]},
        "vultr": {"accounts": [{"name": "bench", "keys": [SECRETS["BENCH_VULTR"]], "fleets": [vultr]}], "limit": 1000},
    }
    return {"secrets": SECRETS, provider: part[provider]}


def accounts(provider: str, url: str) -> list[Any]:
    """The account of that world, as the customers file names it."""
    from optiinfra_dagster.providers.aws.account import AwsAccount
    from optiinfra_dagster.providers.azure.account import AzureAccount
    from optiinfra_dagster.providers.gcp.account import GcpAccount
    from optiinfra_dagster.providers.vultr.account import VultrAccount

    ways_in: dict[str, tuple[type[Any], dict[str, Any]]] = {
        "aws": (
            AwsAccount,
            {
                "account_id": AWS_ACCOUNT,
                "access_key_id": {"env": "BENCH_KEY"},
                "secret_access_key": {"env": "BENCH_SECRET"},
                "regions": ["us-east-1"],
            },
        ),
        "gcp": (
            GcpAccount,
            {"project_id": PROJECT, "monitoring_endpoint_url": {"env": "OPTIINFRA_LAB_GCP_MONITORING"}},
        ),
        "azure": (AzureAccount, {"subscription_id": SUBSCRIPTION}),
        "vultr": (VultrAccount, {"api_key": {"env": "BENCH_VULTR"}}),
    }
    model, way_in = ways_in[provider]
    return [model.model_validate({**way_in, "endpoint_url": url})]


# --- Ours and the plain loops: what is timed is the second half -------------------------------------------------------


def ours(provider: str, url: str) -> Callable[[], int]:
    """The inventory as the asset takes it, its rows included."""
    from datetime import UTC, datetime, timedelta

    from optiinfra_dagster.model import windows
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.registry import PROVIDERS
    from optiinfra_dagster.storage.rows import resource_rows

    mine = accounts(provider, url)
    window = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=5))

    def take() -> int:
        found = PROVIDERS[provider].inventory("bench", mine, Meter())
        assert not found.problems, found.problems
        rows: int = resource_rows("bench", provider, window, found.resources, datetime.now(UTC)).num_rows
        return rows

    return take


def plain_aws(url: str) -> Callable[[], int]:
    """boto3's own paginator, the largest pages."""
    import boto3

    key, secret = SECRETS["BENCH_KEY"], SECRETS["BENCH_SECRET"]

    def take() -> int:
        ec2: Any = boto3.client(
            "ec2", "us-east-1", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret
        )
        pages = ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 1000})
        return len([one for page in pages for group in page["Reservations"] for one in group["Instances"]])

    return take


def plain_gcp(url: str) -> Callable[[], int]:
    """The client of google-cloud-asset over REST, page by page."""
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import asset_v1
    from google.cloud.asset_v1.services.asset_service.transports import AssetServiceRestTransport

    host = url.removeprefix("http://")

    def take() -> int:
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        transport = AssetServiceRestTransport(host=host, credentials=credentials, url_scheme="http")
        client = asset_v1.AssetServiceClient(transport=transport, client_options=ClientOptions())
        request = asset_v1.ListAssetsRequest(
            parent=f"projects/{PROJECT}",
            content_type=asset_v1.ContentType.RESOURCE,
            page_size=1000,
            asset_types=["compute.googleapis.com/Instance"],
        )
        return len([one.name for one in client.list_assets(request)])

    return take


def plain_azure(url: str) -> Callable[[], int]:
    """The client of azure-mgmt-resourcegraph with the same query as ours, page by page."""
    from azure.core.credentials import AccessToken
    from azure.core.pipeline.policies import SansIOHTTPPolicy
    from azure.mgmt.resourcegraph import ResourceGraphClient
    from azure.mgmt.resourcegraph.models import QueryRequest, QueryRequestOptions

    from optiinfra_dagster.providers.azure.services import QUERY

    class Nobody:
        def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
            return AccessToken("nobody", int(time.time()) + 3600)

    def take() -> int:
        client: Any = ResourceGraphClient(
            Nobody(), base_url=url, credential_scopes=["none"], authentication_policy=SansIOHTTPPolicy()
        )
        rows: list[Any] = []
        token: str | None = None
        while True:
            options = QueryRequestOptions(result_format="objectArray", top=1000, skip_token=token)
            query = QueryRequest(subscriptions=[SUBSCRIPTION], query=QUERY, options=options)
            # The service, and the lab, take 15 queries in 5 s; azure-core waits for no POST unless it is told to.
            answer = client.resources(query, retry_on_methods=["POST"])
            rows += answer.data
            token = answer.skip_token
            if not token:
                return len(rows)

    return take


def plain_vultr(url: str) -> Callable[[], int]:
    """A loop of httpx over the cursor."""
    import httpx

    def take() -> int:
        found: list[Any] = []
        cursor = ""
        with httpx.Client(headers={"Authorization": f"Bearer {SECRETS['BENCH_VULTR']}"}, timeout=30) as http:
            while True:
                page = http.get(f"{url}/v2/instances", params={"per_page": 500, "cursor": cursor}).json()
                found += page["instances"]
                cursor = page["meta"]["links"]["next"]
                if not cursor:
                    return len(found)

    return take


PLAIN = {"aws": plain_aws, "gcp": plain_gcp, "azure": plain_azure, "vultr": plain_vultr}


# --- The two processes --------------------------------------------------------------------------------------------


def measure(provider: str, side: str, url: str, environment: dict[str, str]) -> Side:
    """Run one side in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.inventories", provider, side, url]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{provider} {side}: {done.stderr}")
    return Side(**json.loads(done.stdout))


def main() -> None:
    """Take one inventory and print what it cost. Imports and preparations count for memory, not for CPU."""
    provider, side, url = sys.argv[1:]
    take = ours(provider, url) if side == "ours" else PLAIN[provider](url)
    gc.collect()
    began = time.process_time()
    found = take()
    spent = time.process_time() - began
    # Not ru_maxrss: that of a process that was forked begins with its parent's.
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps({"cpu": spent, "peak": peak, "found": found}))


if __name__ == "__main__":
    main()
