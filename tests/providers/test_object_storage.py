"""Object storage, where no lab gives the odd answer: a listing that does not end."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime

import botocore.session
import pytest
from botocore.stub import Stubber

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.object_storage.s3 import S3


def test_a_listing_of_s3_that_repeats_a_page_is_given_up() -> None:
    client = botocore.session.get_session().create_client(
        "s3", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    listed = {"Key": "a/1.jsonl", "Size": 1, "LastModified": datetime(2026, 11, 20, tzinfo=UTC), "ETag": '"1"'}
    page = {"IsTruncated": True, "NextContinuationToken": "again", "Contents": [listed]}
    with Stubber(client) as answers:
        for _ in range(2):
            answers.add_response("list_objects_v2", page)
        pages = S3("acme", lambda _usd: nullcontext(client), "interactions").pages("a/")
        with pytest.raises(CloudError, match="the cloud repeats a page") as caught:
            list(pages)
        answers.assert_no_pending_responses()
    assert caught.value.cause is Cause.INCOMPLETE
