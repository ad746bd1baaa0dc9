"""Which file of a secret was changed last: by its path and time, and without a look into it."""

from __future__ import annotations

import os
from pathlib import Path

from optiinfra_dagster.config.secret_files import newest_secret
from optiinfra_dagster.providers.registry import load_customers

CUSTOMERS = """
customers:
  - id: acme
    name: Acme
    vultr: [{api_key: {file: old}}, {api_key: {file: rotated}}, {api_key: {env: ACME_KEY}}]
  - id: globex
    name: Globex
    gcp: [{project_id: globex-core, credentials_file: key.json}]
"""


def write(folder: Path, **times: int) -> str:
    (folder / "customers.yaml").write_text(CUSTOMERS)
    for name, time in times.items():
        path = folder / name.replace("_", ".")
        path.write_text("hunter2")
        os.utime(path, (time, time))
    return newest_secret(load_customers(folder / "customers.yaml"))


def test_the_file_that_was_changed_last_is_named_with_its_time(tmp_path: Path) -> None:
    assert write(tmp_path, old=1_000_000_000, rotated=1_790_000_001) == f"{tmp_path}/rotated of 2026-09-21T14:13:21Z"


def test_a_key_file_of_google_counts_too(tmp_path: Path) -> None:
    found = write(tmp_path, old=1_000_000_000, rotated=1_790_000_001, key_json=1_790_000_002)
    assert found == f"{tmp_path}/key.json of 2026-09-21T14:13:22Z"


def test_where_no_file_is_there_nothing_is_said(tmp_path: Path) -> None:
    assert write(tmp_path) == ""
