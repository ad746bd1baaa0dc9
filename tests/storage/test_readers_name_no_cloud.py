"""What a reader does rests on facts that are in the tables, so a new cloud or kind needs no edit of its SQL."""

from __future__ import annotations

import re

import pytest

from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage.sql import read_sql, readers


@pytest.mark.parametrize("file", [reader.file for reader in readers().values()])
def test_no_reader_names_a_cloud_or_a_kind(file: str) -> None:
    code = re.sub(r"--.*", "", read_sql(f"readers/{file}"))
    assert [
        name for name in re.findall(r"'([^']*)'", code) if name in PROVIDERS or re.fullmatch(r"\w+:\w+", name)
    ] == []


def test_the_kinds_that_waste_rests_on_are_known_as_such() -> None:
    kinds = {name: kind for provider in PROVIDERS.values() for name, kind in provider.kinds.items()}
    # A kind that is attachable, or silent when idle, is named here too: `cost waste` then judges it by that.
    assert {name for name, kind in kinds.items() if kind.attachable} == {
        "ebs:volume", "ec2:address", "gcp:disk", "gcp:address", "azure:disk", "azure:public_ip", "vultr:block",
        "vultr:address",
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind.silent_when_idle} == {
        "elb:classic", "elbv2:application", "elbv2:network", "elbv2:gateway", "gcp:forwarding_rule",
        "gcp:bucket", "gcp:cloud_function", "gcp:cloud_run_service", "gcp:app_engine_service", "lambda:function",
    }  # fmt: skip
