"""Every API of the lab meets the faults that it is asked for, and is counted, by the same loop."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from time import monotonic
from urllib.parse import urlsplit

import pytest

from optiinfra_dagster.lab import CloudLab

AWS = "AWS4-HMAC-SHA256 Credential=lab/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
SUBSCRIPTION = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111122223333/providers"
REQUESTS: dict[str, tuple[str, str, str]] = {  # service: method and path, Authorization, body
    "sts": ("POST /", AWS.format("sts"), "Action=GetCallerIdentity&Version=2011-06-15"),
    "s3": ("GET /bucket?list-type=2", AWS.format("s3"), ""),
    "storage": ("GET /storage/v1/b/bucket/o", "", ""),
    "cloudasset": ("GET /v1/projects/acme-prod/assets", "", ""),
    "bigquery": ("GET /bigquery/v2/projects/acme-prod/datasets/billing/tables", "", ""),
    "cloudbilling": ("GET /v1/services/6F81-5844-456A/skus", "", ""),
    "resourcegraph": ("POST /providers/Microsoft.ResourceGraph/resources", "", '{"query": "", "subscriptions": []}'),
    "authorization": (f"GET {SUBSCRIPTION}/Microsoft.Authorization/permissions", "", ""),
    "monitor": (f"GET {SUBSCRIPTION}/microsoft.insights/metrics", "", ""),
    "costmanagement": (f"POST {SUBSCRIPTION}/Microsoft.CostManagement/query", "", "{}"),
    "retailprices": ("GET /api/retail/prices", "", ""),
    "blob": ("GET /store.blob.core.windows.net/exports?comp=list", "", ""),
    "vultr": ("GET /v2/instances", "Bearer key", ""),
    "prometheus": ("GET /prometheus/api/v1/query_range", "Bearer token", ""),
    "groq": ("GET /openai/v1/models", "Bearer key", ""),
}


@pytest.fixture(scope="module")
def served() -> Iterator[CloudLab]:
    with CloudLab({"groq": {"keys": ["key"]}}) as lab:
        yield lab


@pytest.fixture
def lab(served: CloudLab) -> CloudLab:
    served.control.reset()
    return served


def send(lab: CloudLab, service: str) -> int:
    """The status that an API of the lab answers with."""
    line, authorization, body = REQUESTS[service]
    method, path = line.split()
    connection = HTTPConnection(urlsplit(lab.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, {"Authorization": authorization} if authorization else {})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("service", REQUESTS)
def test_a_disconnect_closes_the_connection_of_every_api_and_is_counted(lab: CloudLab, service: str) -> None:
    lab.control.add_faults({"action": "disconnect", "service": service})
    with pytest.raises(RemoteDisconnected):
        send(lab, service)
    assert lab.control.calls().count(service=service, status=0) == 1


@pytest.mark.parametrize("service", REQUESTS)
def test_a_late_refusal_of_every_api_comes_late_and_is_counted(lab: CloudLab, service: str) -> None:
    lab.control.add_faults(
        {"action": "delay", "service": service, "seconds": 0.2}, {"action": "unavailable", "service": service}
    )
    begin = monotonic()
    status = send(lab, service)
    assert status == 503
    assert lab.control.calls().count(service=service, status=503) == 1
    assert service == "groq" or monotonic() - begin >= 0.2  # Groq's delays are those of the answers that it gives


@pytest.mark.parametrize("action", ["throttle", "disconnect"])
def test_azure_monitor_waits_first_then_closes_and_only_then_refuses(lab: CloudLab, action: str) -> None:
    lab.control.add_faults(
        {"action": action, "service": "monitor"},
        {"action": "delay", "service": "monitor", "seconds": 0.2},
        {"action": "disconnect", "service": "monitor"},
    )
    begin = monotonic()
    with pytest.raises(RemoteDisconnected):
        send(lab, "monitor")
    assert monotonic() - begin >= 0.2
