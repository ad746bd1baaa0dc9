"""The blocks for compute logs in our dagster.yaml, uncommented: what runs print is kept in Moto's S3."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Thread
from typing import TYPE_CHECKING, Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_gcp.gcs.compute_log_manager import GCSComputeLogManager
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (files("optiinfra_dagster") / "dagster.yaml").read_text()
AWS_BLOCK, GCP_BLOCK = [
    yaml.safe_load(re.sub(r"^# ", "", block, flags=re.MULTILINE))
    for block in re.findall(r"^# compute_logs:\n(?:#   .*\n)+", TEXT, re.MULTILINE)
]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 with the bucket that the block names."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket=AWS_BLOCK["compute_logs"]["config"]["bucket"])
        yield url
    finally:
        server.stop()


@dg.op
def say() -> None:
    print("said by a run")


@dg.job
def talk() -> None:
    say()


def instance(folder: Path, block: dict[str, Any], **config: Any) -> dg.DagsterInstance:
    logs = block["compute_logs"]
    changed = {**logs, "config": {**logs["config"], "local_dir": str(folder / "logs"), **config}}
    return dg.DagsterInstance.local_temp(str(folder), overrides={"compute_logs": changed})


def test_what_a_run_prints_is_in_the_bucket(tmp_path: Path, s3: str) -> None:
    with instance(tmp_path, AWS_BLOCK, endpoint_url=s3) as home:
        assert isinstance(home.compute_log_manager, S3ComputeLogManager)
        assert talk.execute_in_process(instance=home).success
    client, config = boto3.client("s3", endpoint_url=s3), AWS_BLOCK["compute_logs"]["config"]
    kept = client.list_objects_v2(Bucket=config["bucket"], Prefix=config["prefix"])["Contents"]
    printed = [
        client.get_object(Bucket=config["bucket"], Key=item["Key"])["Body"].read()
        for item in kept
        if item["Key"].endswith(".out")
    ]
    assert printed == [b"said by a run\n"]


class Bucket(BaseHTTPRequestHandler):
    """Cloud Storage as far as the log manager asks as it starts: is there such a bucket."""

    def do_GET(self) -> None:
        body = json.dumps({"kind": "storage#bucket", "name": self.path.partition("/b/")[2].partition("?")[0]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def test_dagster_takes_the_block_of_google_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken, and the bucket is found; nothing is written to it here."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        with instance(tmp_path, GCP_BLOCK) as home:
            manager = home.compute_log_manager
            assert isinstance(manager, GCSComputeLogManager)
            assert manager._bucket.name == GCP_BLOCK["compute_logs"]["config"]["bucket"]
        server.shutdown()
