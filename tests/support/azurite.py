"""Azurite: Microsoft's own emulator of Azure's blob storage, run for a test. https://github.com/Azure/Azurite."""

from __future__ import annotations

import base64
import hmac
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
import requests

_KEY = base64.b64encode(b"a key of this test only")
_VERSION = "2023-11-03"
_FOREVER = "2099-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Azurite:
    """An Azurite with one storage account, whose containers anybody may read; writes are signed."""

    url: str
    account: str

    def container(self, name: str) -> None:
        """Make a container."""
        self._send("PUT", name, {"restype": "container"}, b"", {"x-ms-blob-public-access": "container"})

    def put(self, container: str, name: str, content: bytes) -> None:
        """Write a blob, or overwrite it."""
        self._send("PUT", f"{container}/{quote(name)}", {}, content, {"x-ms-blob-type": "BlockBlob"})

    def remove(self, container: str, name: str) -> None:
        """Remove a blob."""
        self._send("DELETE", f"{container}/{quote(name)}", {}, b"", {})

    def _send(self, method: str, path: str, query: dict[str, str], content: bytes, headers: dict[str, str]) -> None:
        address = f"{self.url}/{self.account}/{path}?{urlencode(query | self._signature())}"
        answer = requests.request(
            method, address, data=content, headers=headers | {"x-ms-version": _VERSION}, timeout=30
        )
        answer.raise_for_status()

    def _signature(self) -> dict[str, str]:
        """An account SAS: https://learn.microsoft.com/rest/api/storageservices/create-account-sas."""
        signed = (self.account, "rwdlc", "b", "sco", "", _FOREVER, "", "", _VERSION, "", "")
        digest = hmac.digest(base64.b64decode(_KEY), "\n".join(signed).encode(), "sha256")
        return {
            "sv": _VERSION, "ss": "b", "srt": "sco", "sp": "rwdlc", "se": _FOREVER,
            "sig": base64.b64encode(digest).decode(),
        }  # fmt: skip


@contextmanager
def azurite(account: str, folder: Path) -> Iterator[Azurite]:
    """Run one that keeps its blobs in memory, on a port that is free."""
    program = os.environ.get("AZURITE") or shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite is not here: .ci/run installs it, or name its program azurite-blob in AZURITE")
    command = [program, "--blobPort", "0", "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    variables = {**os.environ, "AZURITE_ACCOUNTS": f"{account}:{_KEY.decode()}"}
    process = subprocess.Popen(command, env=variables, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"listens? (?:on|at) (http://127\.0\.0\.1:\d+)", line):
                yield Azurite(found[1], account)
                return
        pytest.fail(f"azurite ended before it listened: {said}")
    finally:
        process.terminate()
        process.wait(timeout=30)
