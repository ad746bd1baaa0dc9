"""Hosts that hold the host's own keys are known however they are written."""

from __future__ import annotations

import pytest

from optiinfra_dagster.model.hosts import is_link_local, safe_url_fault


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.169.254.", "2852039166", "0xa9fea9fe", "0xA9.0xFE.43518", "0251.0376.0251.0376",
        "[fe80::1]", "::ffff:169.254.169.254", "fd00:ec2::254", "fd00:ec2::23", "FD00:EC2:0::254", "168.63.129.16",
        "metadata", "metadata.google.internal.", "Metadata.Google.Internal",
    ],
)  # fmt: skip
def test_a_host_that_answers_with_the_keys_of_this_one_is_known(host: str) -> None:
    assert is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [None, "", ".", "hooks.example.com", "10.0.0.5", "8.8.8.8", "1", "fd00::1", "::1", "metadata.example", "\udcff"],
)
def test_no_other_is(host: str | None) -> None:
    assert not is_link_local(host)


def test_no_alert_goes_there() -> None:
    assert "link-local host" in (safe_url_fault("https://2852039166/x") or "")
