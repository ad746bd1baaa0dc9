"""Recorded answers of the real AWS come back through the wire as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.aws.recordings import Recordings, load_recording
from tests.lab.conftest import connect

SERVICES = ("ec2", "rds", "elb", "elbv2", "eks", "redshift", "elasticache", "dynamodb")
ADDED_BY_THE_RECORDER = {("elasticache", "Tags")}  # keys that are not in AWS's answer


def parameters(operation: str, data: dict[str, Any]) -> dict[str, Any]:
    """What an operation must be asked with to get its recorded answer."""
    match operation:
        case "DescribeCluster":
            return {"name": data["cluster"]["name"]}
        case "DescribeTable":
            return {"TableName": data["Table"]["TableName"]}
        case "DescribeTags":
            tags = data["TagDescriptions"]
            if "ResourceArn" in tags[0]:
                return {"ResourceArns": [one["ResourceArn"] for one in tags]}
            return {"LoadBalancerNames": [one["LoadBalancerName"] for one in tags]}
        case _:
            return {}


def differences(service: str, recorded: Any, parsed: Any, path: str = "") -> Iterator[str]:
    if isinstance(recorded, dict):
        for key in recorded.keys() | parsed.keys():
            if (recorded.get(key) is None and key not in parsed) or (service, key) in ADDED_BY_THE_RECORDER:
                continue  # a null on the wire is no element at all
            yield from differences(service, recorded.get(key), parsed.get(key), f"{path}.{key}")
    elif isinstance(recorded, list) and isinstance(parsed, list) and len(recorded) == len(parsed):
        for n, (one, other) in enumerate(zip(recorded, parsed, strict=True)):
            yield from differences(service, one, other, f"{path}[{n}]")
    elif isinstance(parsed, datetime):  # some recordings hold a time as text
        if parsed != (datetime.fromisoformat(recorded) if isinstance(recorded, str) else recorded):
            yield f"{path}: {recorded} != {parsed}"
    elif recorded != parsed:
        yield f"{path}: {recorded!r} != {parsed!r}"


def test_every_recording_is_parsed_back_as_it_was(shared_data: Path) -> None:
    wrong, seen = [], 0
    clients: dict[str, Any] = {}
    with CloudLab(recordings=[]) as lab:
        for file in sorted((shared_data / "aws_recordings").glob("*/*.json")):
            service, operation, status, data = load_recording(file)
            if service not in SERVICES:
                continue
            lab.aws.recordings = Recordings([file])
            if service not in clients:
                clients[service] = connect(lab, service, "lab")
            call = getattr(clients[service], xform_name(operation))
            if status >= 400:
                with pytest.raises(ClientError) as error:
                    call()
                parsed = {"Error": error.value.response["Error"]}
            else:
                parsed = call(**parameters(operation, data))
                del parsed["ResponseMetadata"]
            seen += 1
            wrong += [f"{file.parent.name}/{file.name}{text}" for text in differences(service, data, parsed)]
    assert not wrong
    assert seen > 200


def test_a_folder_answers_for_any_account_and_region_and_is_empty_where_nothing_was_recorded(shared_data: Path) -> None:
    folder = shared_data / "aws_recordings" / "test_appelb_delete"
    with CloudLab(recordings=folder) as lab:
        role = "arn:aws:iam::987654321098:role/any"
        given = connect(lab, "sts", "lab").assume_role(RoleArn=role, RoleSessionName="any")["Credentials"]
        key, token = given["AccessKeyId"], given["SessionToken"]
        balancers = connect(lab, "elbv2", key, "eu-north-1", token).describe_load_balancers()["LoadBalancers"]
        assert [one["LoadBalancerName"] for one in balancers] == ["alb-1", "alb-2"]
        asked = [balancers[0]["LoadBalancerArn"]]
        [tags] = connect(lab, "elbv2", key, token=token).describe_tags(ResourceArns=asked)["TagDescriptions"]
        assert tags["ResourceArn"] == asked[0]
        assert connect(lab, "ec2", key, token=token).describe_instances()["Reservations"] == []
        assert connect(lab, "elb", key, token=token).describe_load_balancers()["LoadBalancerDescriptions"] == []


def test_a_recorded_page_token_leads_to_the_next_recording(tmp_path: Path) -> None:
    for n, token in ((1, '"abc"'), (2, "null")):
        text = f'{{"status_code": 200, "data": {{"Volumes": [{{"VolumeId": "vol-{n}"}}], "NextToken": {token}}}}}'
        (tmp_path / f"ec2.DescribeVolumes_{n}.json").write_text(text)
    with CloudLab(recordings=tmp_path) as lab:
        pages = connect(lab, "ec2", "lab").get_paginator("describe_volumes").paginate()
        assert [one["VolumeId"] for page in pages for one in page["Volumes"]] == ["vol-1", "vol-2"]
