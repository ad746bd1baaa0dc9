from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.retry_after import retry_after
from optiinfra_dagster.providers import httpx_transport
from optiinfra_dagster.providers.vultr import client, rate_limiter
from optiinfra_dagster.providers.vultr.account import VultrAccount, account_name
from optiinfra_dagster.providers.vultr.client import open_account
from optiinfra_dagster.providers.vultr.errors import explain
from optiinfra_dagster.providers.vultr.rate_limiter import Limiter
from tests.providers.vultr.conftest import StartLab, acme, fleet


def blocks(meter: Meter | None = None) -> dict[str, Any]:
    return open_account(acme()).get("list-blocks", "blocks", meter or Meter(), "subscriptions_view", per_page=500)


def failure(meter: Meter | None = None) -> CloudError:
    with pytest.raises(CloudError) as error:
        blocks(meter)
    assert error.value.__cause__ is None
    return error.value


@pytest.mark.parametrize("action", ["error", "unavailable", "throttle", "disconnect"])
def test_what_may_pass_is_tried_again_and_every_attempt_is_counted(start_lab: StartLab, action: str) -> None:
    lab = start_lab(fleet("vultr:block", 2))
    lab.control.add_faults({"action": action, "times": 2})
    meter = Meter()

    assert len(blocks(meter)["blocks"]) == 2
    assert meter.calls["list-blocks"] == lab.control.calls().count() == 3


@pytest.mark.parametrize(
    ("action", "cause", "attempts"),
    [
        ("error", Cause.UNAVAILABLE, client.ATTEMPTS),
        ("disconnect", Cause.UNAVAILABLE, client.ATTEMPTS),
        ("throttle", Cause.THROTTLED, client.THROTTLED_ATTEMPTS),
        ("deny", Cause.PERMISSION, 1),
        ("unknown_key", Cause.AUTH, 1),
    ],
)
def test_what_stays_is_told_after_a_bounded_number_of_attempts(
    start_lab: StartLab, action: str, cause: Cause, attempts: int
) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": action})

    error = failure()

    assert error.cause is cause
    assert "list-blocks" in str(error)
    assert lab.control.calls().count() == attempts


def test_a_wait_that_the_cloud_asks_for_is_kept_by_everybody(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:block"))
    lab.control.add_faults({"action": "throttle", "times": 1, "seconds": 1})
    began = time.monotonic()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: blocks(), range(4)))

    assert all(answer["blocks"] for answer in answers)
    assert time.monotonic() - began >= 1


def test_a_wait_that_is_too_long_is_not_waited_for(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "throttle", "seconds": 3600})

    assert failure().cause is Cause.THROTTLED
    assert lab.control.calls().count() == 1


def test_all_waits_together_are_bounded(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "throttle", "seconds": 30})
    monkeypatch.setattr(client, "TOTAL_SECONDS", 5.0)
    began = time.monotonic()

    error = failure()

    assert error.cause is Cause.THROTTLED
    assert "no turn within 5 s" in str(error)
    assert time.monotonic() - began < 5


def test_an_answer_that_does_not_end_is_given_up(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    start_lab(fleet("vultr:block", 100))
    monkeypatch.setattr(httpx_transport, "LARGEST_ANSWER", 1000)

    assert failure().cause is Cause.UNAVAILABLE


def test_what_is_no_json_object_is_told(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab()
    monkeypatch.setenv("OPTIINFRA_LAB_VULTR", f"{lab.url}/lab")  # answers 404

    assert failure().cause is Cause.CONFIG


@pytest.mark.parametrize("suffix", ["", "/", "/v2", "/v2/"])
def test_an_endpoint_may_name_the_version_or_not(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    lab = start_lab(fleet("vultr:block"))
    monkeypatch.setenv("OPTIINFRA_LAB_VULTR", lab.url + suffix)

    assert len(blocks()["blocks"]) == 1


def test_a_proxy_never_sees_the_key_on_its_way_to_this_machine(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_lab(fleet("vultr:block"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert len(blocks()["blocks"]) == 1


@pytest.mark.parametrize(
    ("status", "body", "cause", "remedy"),
    [
        (401, b'{"error":"Invalid API token.","status":401}', Cause.AUTH, "Check the API key"),
        (401, b'{"error":"Unauthorized IP address: 2001:db8::1","status":401}', Cause.AUTH, "Access Control list"),
        (401, b"", Cause.AUTH, "Access Control list"),
        (403, b'{"error":"Your IP is not authorized","status":403}', Cause.AUTH, "Access Control list"),
        (403, b'{"error":"Invalid API key","status":403}', Cause.AUTH, "Check the API key"),
        (403, b'{"error":"Forbidden","status":403}', Cause.PERMISSION, "Allow objstore to the user"),
        (403, b"<html>who are you?</html>", Cause.PERMISSION, "Allow objstore to the user"),
        (404, b'{"error":"Invalid route"}', Cause.CONFIG, "Check endpoint_url"),
        (302, b"", Cause.CONFIG, "Check endpoint_url"),
        (429, b'["slow down"]', Cause.THROTTLED, "asked again"),
        (524, b"<html>", Cause.UNAVAILABLE, "asked again"),
        (418, b'{"error":{"deep":1}}', Cause.BUG, "Check endpoint_url"),
    ],
)
def test_a_refusal_is_told_with_its_cause_and_remedy(status: int, body: bytes, cause: Cause, remedy: str) -> None:
    error = explain("list-object-storages", status, body, "objstore")

    assert error.cause is cause
    assert f"HTTP {status}" in str(error)
    assert remedy in str(error)
    assert "<html>" not in str(error)


def test_a_page_that_went_away_makes_a_listing_incomplete() -> None:
    assert explain("list-blocks", 400, b'{"error":"Invalid cursor"}', paged=True).cause is Cause.INCOMPLETE
    assert explain("list-blocks", 400, b'{"error":"Invalid cursor"}').cause is Cause.BUG


def test_a_key_that_the_cloud_quotes_is_masked(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab()
    monkeypatch.setenv("ACME_VULTR_KEY", "Invalid")  # a word of the lab's refusal

    assert "(*** API token)" in str(failure())
    assert lab.control.calls().count() == 1


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ({"env": "ACME_KEY"}, "ACME_KEY"),
        ({"file": "/run/secrets/vultr"}, "/run/secrets/vultr"),
        ({"aws_secret": "acme/vultr", "key": "token"}, "acme/vultr#token"),
    ],
)
def test_an_account_is_called_after_the_place_of_its_key(key: dict[str, str], name: str) -> None:
    assert account_name(VultrAccount.model_validate({"api_key": key})) == name


def test_a_key_from_a_file_is_taken_without_white_space(start_lab: StartLab, tmp_path: Path) -> None:
    start_lab(fleet("vultr:block"))
    (tmp_path / "key").write_text("  ACMES-VULTR-KEY-1 \r\n")

    answer = open_account(acme(api_key={"file": str(tmp_path / "key")})).get("list-blocks", "blocks", Meter())

    assert len(answer["blocks"]) == 1


@pytest.mark.parametrize(("value", "seconds"), [(None, None), ("", None), ("7", 7.0), ("soon", None), ("-3", None)])
def test_retry_after_is_read_where_it_makes_sense(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    wait = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))

    assert wait is not None
    assert 55 < wait <= 60


# --- The limit ------------------------------------------------------------------------------------------------------


def test_a_place_comes_free_a_second_after_the_answer() -> None:
    limiter, answered, sent = Limiter(3, 0.05), list[float](), list[float]()
    lock = threading.Lock()

    def request(_n: int) -> None:
        with limiter.slot(time.monotonic() + 30):
            with lock:
                sent.append(time.monotonic())
            time.sleep(0.01)  # what the answer takes
            with lock:
                answered.append(time.monotonic())

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(request, range(18)))

    for earlier, later in zip(sorted(answered), sorted(sent)[3:], strict=False):
        assert later >= earlier + 0.05


def test_a_request_that_fails_gives_its_place_back() -> None:
    limiter = Limiter(1, 0.001)
    for _ in range(3):
        with pytest.raises(KeyError), limiter.slot(time.monotonic() + 5):
            raise KeyError


def test_no_place_before_the_deadline_is_an_error() -> None:
    limiter = Limiter(1, 60.0)
    with limiter.slot(time.monotonic() + 5):
        pass
    with pytest.raises(TimeoutError), limiter.slot(time.monotonic() + 0.05):
        pass


def test_a_refusal_halves_the_places_once_and_answers_bring_them_back() -> None:
    limiter = Limiter(8, 0.001)
    for _ in range(3):  # refused together
        limiter.refused(0.01)
    assert limiter._slots == 4
    for _ in range(100):
        limiter.accepted()
    assert limiter._slots == 8


def test_a_request_that_hangs_does_not_keep_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "ARRIVAL_SECONDS", 0.01)
    limiter = Limiter(1, 0.001)
    with limiter.slot(time.monotonic() + 60), limiter.slot(time.monotonic() + 60):
        pass


def test_refusals_of_one_account_among_many_keep_no_other_waiting() -> None:
    limiter = Limiter(8, 0.001)
    for account in ("acme", "globex"):
        limiter.accepted(account)
    assert not limiter.refused(60.0, "initech")
    assert limiter._slots == 8
    with limiter.slot(time.monotonic() + 5):
        pass
    assert limiter.refused(0.01, "globex")  # as many are refused as are not: it may be the address
    assert limiter._slots == 4
