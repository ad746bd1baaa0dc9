"""When Cloud Monitoring is asked again, over gRPC: the waits that answers name, and those that they do not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.monitoring import open_monitoring
from tests.providers.gcp.conftest import PROJECT, Clock


@contextmanager
def over_quota(times: int, seconds: float | None) -> Iterator[GcpAccount]:
    """A server that refuses so many calls, each with a wait in its answer (google.rpc.RetryInfo), if any."""
    refusals = iter(range(times))

    def answer(_request: bytes, context: Any) -> bytes:
        if next(refusals, None) is None:
            return b""
        status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="Quota exceeded")
        if seconds is not None:
            delay = duration_pb2.Duration(seconds=int(seconds), nanos=int(seconds % 1 * 10**9))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded")
        return b""

    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(ThreadPoolExecutor(2))
    service = grpc.method_handlers_generic_handler("google.monitoring.v3.MetricService", {"ListTimeSeries": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield GcpAccount.model_validate({"project_id": PROJECT, "monitoring_endpoint_url": f"http://127.0.0.1:{port}"})
    finally:
        server.stop(None)


def probe(account: GcpAccount, deadline: float) -> Meter:
    meter = Meter()
    with open_monitoring(account, meter, deadline) as monitoring:
        monitoring.probe()
    return meter


def test_the_wait_that_an_answer_names_is_kept(clock: Clock) -> None:
    with over_quota(2, seconds=41.5) as account:
        meter = probe(account, clock.monotonic() + 240)

    assert clock.slept == [41.5, 41.5]
    assert meter.calls == {"ListTimeSeries": 3}


@pytest.mark.parametrize("seconds", [None, 0, 0.25])
def test_without_one_that_is_worth_it_the_waits_double(clock: Clock, seconds: float | None) -> None:
    with over_quota(3, seconds=seconds) as account:
        probe(account, clock.monotonic() + 240)

    first, second, third = clock.slept
    assert 1 <= first <= 2 <= second <= 4 <= third <= 8


def test_a_wait_that_would_end_too_late_is_not_begun(clock: Clock) -> None:
    with over_quota(9, seconds=41.5) as account, pytest.raises(CloudError, match="Quota exceeded") as error:
        probe(account, clock.monotonic() + 60)

    assert error.value.cause is Cause.THROTTLED
    assert clock.slept == [41.5]
