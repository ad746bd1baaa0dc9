"""Amazon S3 and what speaks its protocol. https://docs.aws.amazon.com/AmazonS3/latest/API."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.object_storage.store import File, GoneError, Page, resuming
from optiinfra_dagster.providers.paging import PageGuard

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

LARGEST_PAGE = 1000  # files that one call lists at most

# Per request, S3 Standard in us-east-1 (https://aws.amazon.com/s3/pricing/).
PRICES_USD: Mapping[str, Decimal] = {"ListObjectsV2": Decimal("0.000005"), "GetObject": Decimal("0.0000004")}

Lend: TypeAlias = Callable[[Mapping[str, Decimal]], AbstractContextManager[Any]]
"""Lends a client of S3 for one call, whose operation and price it gets; turns what botocore raises into CloudError."""


class S3:
    """A bucket, called with the client that `lend` lends.

    `setting` is the key of the customers file that names the bucket, and `partition` what its ARN begins with, both
    for messages.
    """

    def __init__(self, bucket: str, lend: Lend, setting: str, partition: str = "aws") -> None:
        self.place = f"s3://{bucket}"
        self._bucket, self._lend, self._setting = bucket, lend, setting
        self._arn = f"arn:{partition}:s3:::{bucket}"

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List by ListObjectsV2, a call per page."""
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": LARGEST_PAGE}
        if after:
            request["StartAfter"] = after
        guard = PageGuard(f"s3.ListObjectsV2 of {self.place}")
        while True:
            with self._call("ListObjectsV2") as client:
                answer = client.list_objects_v2(**request)
                listed = [
                    File(item["Key"], item["Size"], item["LastModified"], item.get("ETag", ""))
                    for item in answer.get("Contents", ())
                ]
            inside = [file for file in listed if not before or file.key < before]
            more = bool(answer.get("IsTruncated")) and len(inside) == len(listed)
            yield Page(inside, more)
            if not more:
                return
            request["ContinuationToken"] = answer["NextContinuationToken"]
            guard.check(request["ContinuationToken"])

    def open(self, file: File) -> io.BufferedReader:
        """Read by GetObject, with a range where a broken connection made it start again."""
        from botocore.exceptions import BotoCoreError

        def open_at(position: int) -> Any:
            more: Mapping[str, str] = {"Range": f"bytes={position}-"} if position else {}
            with self._call("GetObject") as client:
                return client.get_object(Bucket=self._bucket, Key=file.key, IfMatch=file.version, **more)["Body"]

        return resuming(file.size, open_at, f"s3.GetObject in {self.place}", (BotoCoreError,))

    def close(self) -> None:
        """Leave the client, which is shared, as it is."""

    @contextmanager
    def _call(self, operation: str) -> Iterator[Any]:
        """Lend the client for one call; what S3 says of buckets and objects is explained."""
        from botocore.exceptions import ClientError

        with self._lend({operation: PRICES_USD[operation]}) as client:
            try:
                yield client
            except ClientError as error:
                raise self._explain(error) or error from None

    def _explain(self, error: ClientError) -> CloudError | None:
        """The error of a bucket or an object; None for what any service of AWS answers."""
        code = str(error.response.get("Error", {}).get("Code"))
        if code in {"NoSuchKey", "404", "PreconditionFailed", "412"}:
            return GoneError(self.place)
        if code == "NoSuchBucket":
            return CloudError(
                Cause.CONFIG,
                f"there is no bucket {self._bucket}. Create it, or correct `{self._setting}` in the customers file",
            )
        if code in {"AccessDenied", "AllAccessDisabled", "403"}:
            return CloudError(
                Cause.PERMISSION,
                f"{error.operation_name} of {self.place} is not allowed. Allow s3:ListBucket on {self._arn} and "
                f"s3:GetObject on {self._arn}/* to the role or user that collects, and in the bucket's policy where it "
                "is another account's",
            )
        if code in {"InvalidObjectState", "KMS.DisabledException", "KMS.NotFoundException"}:
            return CloudError(
                Cause.CONFIG, f"{self.place} has files that cannot be read ({code}): restore them, or the key"
            )
        return None
