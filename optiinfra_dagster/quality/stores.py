"""Where files of interactions are kept: S3, Google Cloud Storage, a folder. Each lists and opens them the same way.

A listing is in the order of the keys, a page per call. Reading is a stream that goes on where a connection broke.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from optiinfra_dagster.model.errors import LATER, Cause, CloudError, ConfigError
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.gcp.account import GcpAccount

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.client import Account

PAGE_SIZE = 1000  # the most that S3 and GCS list in a call
BUFFER_BYTES = 256 * 1024
TRIES = 4  # to read on where a connection broke

# Per request, S3 Standard in us-east-1 (https://aws.amazon.com/s3/pricing/) and GCS operations of class A and B
# (https://cloud.google.com/storage/pricing).
_LIST_USD, _GET_USD = Decimal("0.000005"), Decimal("0.0000004")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was listed; `version` is what tells it from another one under the same key."""

    key: str
    size: int
    modified: datetime
    version: str = ""


class Page(NamedTuple):
    """Files in the order of their keys, and whether there are more after them."""

    files: list[File]
    more: bool


class Store(Protocol):
    """A bucket or a folder."""

    place: str

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List the files whose keys begin with `prefix` and sort after `after` and before `before`.

        Raises:
            CloudError, ConfigError: there is no such place, or it may not be listed.
        """

    def open(self, file: File) -> io.BufferedReader:
        """The bytes of a file as they are stored.

        Raises:
            GoneError: it was removed or replaced since it was listed; reading raises this too.
            CloudError, ConfigError: it cannot be read; reading raises these too.
        """

    def close(self) -> None:
        """End the connections that only this store has; the next call makes new ones."""


class GoneError(Exception):
    """A file was removed or replaced since it was listed."""


class _Stream(io.RawIOBase):
    """`size` bytes that `read_at(position, count)` gives piece by piece."""

    def __init__(self, size: int, read_at: Callable[[int, int], bytes]) -> None:
        self._size, self._read_at, self._position = size, read_at, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        data = self._read_at(self._position, wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


# --- A folder -------------------------------------------------------------------------------------------------------


class Folder:
    """A folder of this machine, whatever its depth; keys are absolute paths."""

    def __init__(self, base: Path) -> None:
        self.place = str(base)
        self._base = base

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List files as S3 would, in one page."""
        if not self._base.is_dir():
            raise ConfigError(
                f"There is no folder {self._base}. Create it, or correct `interactions` in the customers file."
            )
        yield Page(
            sorted(self._walk(Path(prefix).parent, prefix, after, before), key=lambda file: file.key), more=False
        )

    def _walk(self, folder: Path, prefix: str, after: str, before: str) -> Iterator[File]:
        # `a/b` is the parent of both prefixes `a/b/` and `a/b/c`, save that Path drops the slash of the first.
        folder = Path(prefix) if prefix.endswith("/") and folder == Path(prefix).parent else folder
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if f"{entry.path}/".startswith(prefix) or prefix.startswith(f"{entry.path}/"):
                            yield from self._walk(Path(entry.path), prefix, after, before)
                    elif entry.path.startswith(prefix) and after <= entry.path and (not before or entry.path < before):
                        state = entry.stat()
                        yield File(entry.path, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC))
        except FileNotFoundError:
            return  # a part of the location that has nothing yet
        except OSError as error:
            raise _unreadable(str(folder), error) from None

    def open(self, file: File) -> io.BufferedReader:
        """Open a file."""
        try:
            return io.BufferedReader(io.FileIO(file.key), BUFFER_BYTES)
        except FileNotFoundError:
            raise GoneError from None
        except OSError as error:
            raise _unreadable(file.key, error) from None

    def close(self) -> None:
        """There are no connections."""


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be read: {error.strerror}. Give the user that runs Dagster read permission.")


# --- S3 -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _s3_of_resource(endpoint: str | None, access_key: str | None, secret_key: str | None) -> Any:
    """A client of dagster-aws, with keys of its own or this host's; a client costs 0.15 CPU-s and some MB."""
    from dagster_aws.s3 import S3Resource

    return S3Resource(
        endpoint_url=endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret_key, max_attempts=3
    ).get_client()


class S3:
    """A bucket, read as the customer's first AWS account, with keys of its own, or as this host."""

    def __init__(self, customer: Customer, bucket: str, meter: Meter) -> None:
        self.place = f"s3://{bucket}"
        self._customer, self._bucket, self._meter = customer, bucket, meter
        application = customer.application
        assert application is not None  # noqa: S101 - the source was made from it
        references = (application.access_key_id, application.secret_access_key)
        access_key, secret_key = (reference.resolve() if reference else None for reference in references)
        self._own = (application.endpoint(), access_key, secret_key)
        self._account: Account | None = None
        accounts = customer.accounts_of(AwsAccount)
        if accounts and not access_key:
            from optiinfra_dagster.providers.aws.client import open_account

            self._account = open_account(customer.id, accounts[0], meter)

    @contextmanager
    def _call(self, operation: str) -> Iterator[Any]:
        """Lend the client for one call; errors are explained."""
        from botocore.exceptions import BotoCoreError, ClientError

        from optiinfra_dagster.providers.aws.errors import explain

        usd = _LIST_USD if operation == "ListObjectsV2" else _GET_USD
        try:
            if self._account is not None:
                with self._account.call("s3", self._account.home_region, self._meter, {operation: usd}) as client:
                    try:
                        yield client
                    except ClientError as error:
                        raise self._explain(error) or error from None
            else:
                self._meter.count(operation, usd=usd)
                yield _s3_of_resource(*self._own)
        except ClientError as error:
            raise (self._explain(error) or explain(error, "s3", self.place)) from None
        except BotoCoreError as error:
            raise explain(error, "s3", self.place, operation) from None

    def _explain(self, error: Any) -> Exception | None:
        """What is said of buckets and objects; None for what any service of AWS answers."""
        code = str(error.response.get("Error", {}).get("Code"))
        if code in {"NoSuchKey", "404", "PreconditionFailed", "412"}:
            return GoneError()
        if code == "NoSuchBucket":
            return CloudError(
                Cause.CONFIG,
                f"there is no bucket {self._bucket}. Create it, or correct `interactions` in the customers file",
            )
        if code in {"AccessDenied", "AllAccessDisabled", "403"}:
            return CloudError(
                Cause.PERMISSION,
                f"{error.operation_name} of {self.place} is not allowed. Allow s3:ListBucket on "
                f"arn:aws:s3:::{self._bucket} and s3:GetObject on arn:aws:s3:::{self._bucket}/* to the role or user "
                "that collects, and in the bucket's policy where it is another account's",
            )
        if code in {"InvalidObjectState", "KMS.DisabledException", "KMS.NotFoundException"}:
            return CloudError(
                Cause.CONFIG, f"{self.place} has interactions that cannot be read ({code}): restore them, or the key"
            )
        return None

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List by ListObjectsV2, a call per page."""
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": PAGE_SIZE}
        if after:
            request["StartAfter"] = after
        while True:
            with self._call("ListObjectsV2") as client:
                answer = client.list_objects_v2(**request)
                found = [
                    File(one["Key"], one["Size"], one["LastModified"], one.get("ETag", ""))
                    for one in answer.get("Contents", ())
                ]
            inside = [file for file in found if not before or file.key < before]
            more = bool(answer.get("IsTruncated")) and len(inside) == len(found)
            yield Page(inside, more)
            if not more:
                return
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def open(self, file: File) -> io.BufferedReader:
        """Read by GetObject, with a range where a broken connection made it start again."""
        from botocore.exceptions import BotoCoreError

        body: Any = None
        failures = 0

        def read_at(position: int, count: int) -> bytes:
            nonlocal body, failures
            while True:
                try:
                    if body is None:
                        body = self._body(file, position)
                    data: bytes = body.read(count)
                except BotoCoreError as error:
                    why = type(error).__name__  # not its text, which may quote what was read
                else:
                    if data:
                        return data
                    why = "it ends early"
                if body is not None:
                    body.close()
                body = None
                failures += 1
                if failures >= TRIES:
                    what = f"s3.GetObject in {self.place} broke off {failures} times ({why})"
                    raise CloudError(Cause.UNAVAILABLE, f"{what}. {LATER}")

        return io.BufferedReader(_Stream(file.size, read_at), BUFFER_BYTES)

    def close(self) -> None:
        """Leave the clients, which are shared, as they are."""

    def _body(self, file: File, position: int) -> Any:
        more: Mapping[str, str] = {"Range": f"bytes={position}-"} if position else {}
        with self._call("GetObject") as client:
            return client.get_object(Bucket=self._bucket, Key=file.key, IfMatch=file.version, **more)["Body"]


# --- Google Cloud Storage -------------------------------------------------------------------------------------------

_CHUNK_BYTES = 8 * 2**20  # of one ranged request
_GCS_TIMEOUT_S = (5.0, 30.0)  # to connect; between two pieces of an answer
_GCS_PATIENCE_S = 60.0  # for one request with its repetitions
_ROLE = "roles/storage.objectViewer"


def _gcs_credentials(account: GcpAccount | None, endpoint: str | None, meter: Meter) -> Any:
    """The customer's, none for a loopback endpoint in plain http, or None for this host's own."""
    from google.auth.credentials import AnonymousCredentials

    from optiinfra_dagster.providers.gcp.client import credentials_of

    if endpoint is not None and urlsplit(endpoint).scheme == "http":
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    return credentials_of(account, endpoint or "https://storage.googleapis.com", meter) if account else None


class Gcs:
    """A bucket, read as the customer's first Google Cloud project, or as this host."""

    def __init__(self, customer: Customer, bucket: str, meter: Meter) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        self.place = f"gs://{bucket}"
        self._bucket, self._meter = bucket, meter
        self._how = {"retry": DEFAULT_RETRY.with_timeout(_GCS_PATIENCE_S), "timeout": _GCS_TIMEOUT_S}
        self._client = self._connect(customer, meter)

    @staticmethod
    def _connect(customer: Customer, meter: Meter) -> Any:
        assert customer.application is not None  # noqa: S101 - the source was made from it
        from google.auth.exceptions import GoogleAuthError

        account = next(iter(customer.accounts_of(GcpAccount)), None)
        endpoint = customer.application.endpoint() or (account.endpoint() if account else None)
        try:
            if account is None and endpoint is None:
                from dagster_gcp.gcs import GCSResource

                return GCSResource().get_client()
            # The client that GCSResource makes, which takes neither credentials nor an endpoint.
            from google.cloud import storage

            return storage.Client(
                project=account.project_id if account else None,
                credentials=_gcs_credentials(account, endpoint, meter),
                client_options={"api_endpoint": endpoint} if endpoint else None,
            )
        except (GoogleAuthError, OSError) as error:
            raise CloudError(
                Cause.AUTH,
                f"this host has no Google credentials ({type(error).__name__}): add the customer's project to the "
                "customers file, set GOOGLE_APPLICATION_CREDENTIALS, or run on Google Cloud with a service account",
            ) from None

    @contextmanager
    def _explained(self, operation: str) -> Iterator[None]:
        import requests
        from google.api_core import exceptions as google
        from google.auth.exceptions import GoogleAuthError, TransportError

        what = f"{operation} of {self.place}"
        try:
            yield
        except google.NotFound:
            raise CloudError(
                Cause.CONFIG,
                f"there is no bucket {self._bucket}. Create it, or correct `interactions` in the customers file",
            ) from None
        except google.Forbidden:
            raise CloudError(
                Cause.PERMISSION, f"{what} is not allowed. Grant {_ROLE} on the bucket to the account that collects"
            ) from None
        except google.Unauthorized:
            raise CloudError(
                Cause.AUTH, f"{what} refuses the credential. Check the credentials file, or renew the host's own"
            ) from None
        except google.TooManyRequests:
            raise CloudError(Cause.THROTTLED, f"{what} is asked too often. {LATER}") from None
        except google.RetryError as error:
            busy = isinstance(error.cause, google.TooManyRequests) or "429" in str(error.cause)[:200]
            cause = Cause.THROTTLED if busy else Cause.UNAVAILABLE
            raise CloudError(cause, f"{what} did not work within {_GCS_PATIENCE_S:.0f} s. {LATER}") from None
        except google.ServerError as error:
            raise CloudError(Cause.UNAVAILABLE, f"{what}: HTTP {error.code}. {LATER}") from None
        except google.GoogleAPICallError as error:
            raise CloudError(Cause.BUG, f"{what}: HTTP {error.code}. Please report this") from None
        except (TransportError, requests.RequestException) as error:
            raise CloudError(Cause.UNAVAILABLE, f"{what}: {type(error).__name__}. {LATER}") from None
        except GoogleAuthError as error:
            raise CloudError(
                Cause.AUTH, f"Google refuses the credential ({type(error).__name__}). Check the credentials file"
            ) from None

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List by objects.list, a call per page."""
        listing = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            start_offset=after or None,
            end_offset=before or None,
            page_size=PAGE_SIZE,
            fields="items(name,size,updated,generation),nextPageToken",
            **self._how,
        )
        pages = listing.pages
        while True:
            self._meter.count("storage.objects.list", usd=_LIST_USD)
            with self._explained("storage.objects.list"):
                found = [File(one.name, one.size, one.updated, str(one.generation)) for one in next(pages, ())]
            more = bool(listing.next_page_token)
            yield Page(found, more)
            if not more:
                return

    def open(self, file: File) -> io.BufferedReader:
        """Read in ranges, as it is stored, of the generation that was listed; the client repeats what broke."""
        from google.api_core.exceptions import NotFound

        blob = self._client.bucket(self._bucket).blob(file.key, generation=int(file.version))

        def read_at(position: int, count: int) -> bytes:
            self._meter.count("storage.objects.get", usd=_GET_USD)
            with self._explained("storage.objects.get"):
                try:
                    data: bytes = blob.download_as_bytes(
                        start=position, end=position + count - 1, raw_download=True, checksum=None, **self._how
                    )
                except NotFound:
                    raise GoneError from None
            if not data:
                raise CloudError(Cause.UNAVAILABLE, f"an object in {self.place} ends early. {LATER}")
            return data

        return io.BufferedReader(_Stream(file.size, read_at), _CHUNK_BYTES)

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()
