"""Google Cloud Storage. https://cloud.google.com/storage/docs/json_api."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.providers.gcp.permissions import OBJECTS
from optiinfra_dagster.providers.object_storage.store import File, GoneError, Page, Stream

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from optiinfra_dagster.model.meter import Meter

LARGEST_PAGE = 1000  # files that one call lists at most
PATIENCE_S = 60.0  # for one request with its repetitions

# Operations of class A and B (https://cloud.google.com/storage/pricing).
_LIST_USD, _GET_USD = Decimal("0.000005"), Decimal("0.0000004")
_CHUNK_BYTES = 8 * 2**20  # of one ranged request
_TIMEOUT_S = (5.0, 30.0)  # to connect; between two pieces of an answer


class Gcs:
    """A bucket, called with a client that belongs to this store; `meter` counts the calls.

    `setting` is the key of the customers file that names the bucket, for messages.
    """

    def __init__(self, bucket: str, client: Client, meter: Meter, setting: str) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        self.place = f"gs://{bucket}"
        self._bucket, self._client, self._meter, self._setting = bucket, client, meter, setting
        self._how = {"retry": DEFAULT_RETRY.with_timeout(PATIENCE_S), "timeout": _TIMEOUT_S}

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List by objects.list, a call per page."""
        listing = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            start_offset=after or None,
            end_offset=before or None,
            page_size=LARGEST_PAGE,
            fields="items(name,size,updated,generation),nextPageToken",
            **self._how,
        )
        pages = listing.pages
        while True:
            self._meter.count("storage.objects.list", usd=_LIST_USD)
            with self._explained("storage.objects.list"):
                listed = [File(blob.name, blob.size, blob.updated, str(blob.generation)) for blob in next(pages, ())]
            more = bool(listing.next_page_token)
            yield Page(listed, more)
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
                    raise GoneError(self.place) from None
            if not data:
                raise CloudError(Cause.UNAVAILABLE, f"an object in {self.place} ends early. {LATER}")
            return data

        return io.BufferedReader(Stream(file.size, read_at), _CHUNK_BYTES)

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    @contextmanager
    def _explained(self, operation: str) -> Iterator[None]:
        """Inside the block, what Google's libraries raise becomes a CloudError that names the place."""
        import requests
        from google.api_core import exceptions as google
        from google.auth.exceptions import GoogleAuthError, TransportError

        what = f"{operation} of {self.place}"
        try:
            yield
        except google.NotFound:
            raise CloudError(
                Cause.CONFIG,
                f"there is no bucket {self._bucket}. Create it, or correct `{self._setting}` in the customers file",
            ) from None
        except google.Forbidden:
            raise CloudError(
                Cause.PERMISSION, f"{what} is not allowed. Grant {OBJECTS} on the bucket to the account that collects"
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
            raise CloudError(cause, f"{what} did not work within {PATIENCE_S:.0f} s. {LATER}") from None
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
