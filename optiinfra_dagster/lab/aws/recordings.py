"""Recorded answers of the real AWS, served in place of a world's.

A recording is a file `<service>.<Operation>_<n>.json` with {status_code, data}: what boto3 made of an answer, times as
{"__class__": "datetime", "year": …}. An operation without a recording answers as an empty account does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optiinfra_dagster.lab.aws.listing import token_of
from optiinfra_dagster.lab.aws.wire import CLIENT_NAMES, AwsError, Call, paginator

# Operations that name what they ask for: (parameter, where the answer repeats it).
_NAMED = {
    "DescribeCluster": ("name", "cluster", "name"),
    "DescribeTable": ("TableName", "Table", "TableName"),
}


def _revived(part: dict[str, Any]) -> Any:
    if part.pop("__class__", None) != "datetime":
        return part
    return datetime(**part, tzinfo=UTC)


def load_recording(file: Path) -> tuple[str, str, int, dict[str, Any]]:
    """Read one recording: the name of boto3's client, the operation, the HTTP status, and the data with real times."""
    service, _, rest = file.stem.partition(".")
    recording = json.loads(file.read_text(encoding="utf-8"), object_hook=_revived)
    data = {key: value for key, value in recording["data"].items() if key != "ResponseMetadata"}
    if service == "elasticloadbalancing":
        service = "elb" if "LoadBalancerDescriptions" in data or _tags_by_name(data) else "elbv2"
    return CLIENT_NAMES.get(service, service), rest.rpartition("_")[0], recording["status_code"], data


def _tags_by_name(data: dict[str, Any]) -> bool:
    return any("LoadBalancerName" in tags for tags in data.get("TagDescriptions", []))


class Recordings:
    """The recordings of one folder, or of a chosen list of files, by operation in the order of their numbers."""

    def __init__(self, source: Path | Iterable[Path]) -> None:
        files = source.glob("*.json") if isinstance(source, Path) else source
        self._answers: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
        for file in sorted(files, key=lambda path: (path.stem.rpartition("_")[0], int(path.stem.rpartition("_")[2]))):
            service, operation, status, data = load_recording(file)
            self._answers.setdefault((service, operation), []).append((status, data))

    def result(self, call: Call) -> dict[str, Any] | None:
        """The recorded answer to `call`, or None. Raises `AwsError` where an error was recorded."""
        answers = self._answers.get((call.service, call.operation))
        if not answers:
            return None
        if call.operation in _NAMED:
            parameter, *path = _NAMED[call.operation]
            answers = [answer for answer in answers if _at(answer[1], path) == call.params.get(parameter)]
            if not answers:
                raise AwsError(404, "ResourceNotFoundException", f"No recording of {call.params.get(parameter)}.")
        status, data = answers[self._page(call, answers)]
        if status >= 400:
            error = data["Error"]
            raise AwsError(status, error["Code"], error["Message"])
        names = call.params.get("ResourceArns") or call.params.get("LoadBalancerNames")
        if call.operation == "DescribeTags" and names:
            data = {"TagDescriptions": [tags for tags in data["TagDescriptions"] if _name(tags) in names]}
        return data

    @staticmethod
    def _page(call: Call, answers: list[tuple[int, dict[str, Any]]]) -> int:
        token = token_of(call)
        field = paginator(call.service, call.operation).get("output_token", "")
        for n, (_, data) in enumerate(answers[:-1], 1):
            if token and isinstance(field, str) and data.get(field) == token:
                return n
        return 0


def _name(description: dict[str, Any]) -> str:
    return str(description.get("ResourceArn") or description.get("LoadBalancerName"))


def _at(data: Any, path: list[str]) -> Any:
    for key in path:
        data = data.get(key, {})
    return data
