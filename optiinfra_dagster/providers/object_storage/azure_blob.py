"""Azure's blob storage. https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from email.utils import parsedate_to_datetime
from itertools import takewhile
from typing import BinaryIO, Protocol, TypeAlias
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.object_storage.store import File, GoneError, Page, resuming

_MOST_PAGES = 1000  # of one listing, so 5 million files: more is no answer but a loop


class Client(Protocol):
    """The two calls to blob storage; errors are CloudErrors, which have the HTTP `status` where there was an answer."""

    def list_blobs(self, host: str, container: str, prefix: str, marker: str) -> str:
        """Request a page of the XML that lists the objects of a container, up to 5,000."""

    def blob(self, host: str, container: str, name: str, headers: Mapping[str, str] | None = None) -> BinaryIO:
        """The content of an object as it is stored, while it comes."""


Lend: TypeAlias = Callable[[str], AbstractContextManager[Client]]
"""Lends a client for one call, whose operation it gets."""


class AzureBlob:
    """A container, called with the client that `lend` lends.

    `host` is that of the storage account, `acme.blob.core.windows.net`; `setting` the key of the customers file that
    names the container, for messages.
    """

    def __init__(self, host: str, container: str, lend: Lend, setting: str) -> None:
        self.place = f"https://{host}/{container}"
        self._host, self._container, self._lend, self._setting = host, container, lend, setting

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List by List Blobs, a call per page of 5,000.

        A listing cannot begin at a key. So all keys are listed that begin with what `after` and `before` have in
        common, and those outside are left out.
        """
        pairs = zip(after, before, strict=False)
        common = "".join(char for char, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        listed_prefix = common if common.startswith(prefix) else prefix
        marker = ""
        for _ in range(_MOST_PAGES):
            with self._call("ListBlobs") as client:
                text = client.list_blobs(self._host, self._container, listed_prefix, marker)
            files, marker = self._read(text)
            inside = [file for file in files if after <= file.key and (not before or file.key < before)]
            past = bool(before and files and files[-1].key >= before)
            more = bool(marker) and not past
            if inside or not more:
                yield Page(inside, more)
            if not more:
                return
        what = f"more than {_MOST_PAGES:,} pages of objects are below {prefix!r} in {self.place}"
        raise CloudError(Cause.CONFIG, f"{what}. Name a folder with fewer in `{self._setting}`")

    def open(self, file: File) -> io.BufferedReader:
        """Read by Get Blob, with a range where a broken connection made it start again."""

        def open_at(position: int) -> BinaryIO:
            headers = {
                **({"If-Match": f'"{file.version}"'} if file.version else {}),
                **({"Range": f"bytes={position}-"} if position else {}),
            }
            with self._call("GetBlob") as client:
                return client.blob(self._host, self._container, file.key, headers)

        return resuming(file.size, open_at, f"storage.GetBlob in {self.place}", (CloudError,))

    def close(self) -> None:
        """Leave the client, which is shared, as it is."""

    def _read(self, text: str) -> tuple[list[File], str]:
        """The files of a page, and the marker of the next one, empty if it is the last."""
        try:
            page = ET.fromstring(text.lstrip("\ufeff"))  # noqa: S314 - from Azure over TLS
            files = [
                File(
                    _name(blob),
                    int(blob.findtext("Properties/Content-Length", "0")),
                    parsedate_to_datetime(blob.findtext("Properties/Last-Modified", "")),
                    blob.findtext("Properties/Etag", "").strip('"'),
                )
                for blob in page.iterfind("Blobs/Blob")
            ]
        except (ET.ParseError, ValueError) as error:
            what = f"the answer of {self.place} is not one of blob storage's ({type(error).__name__})"
            raise CloudError(
                Cause.UNAVAILABLE, f"storage.ListBlobs: {what}. Correct `{self._setting}` in the customers file"
            ) from None
        return files, page.findtext("NextMarker") or ""

    @contextmanager
    def _call(self, operation: str) -> Iterator[Client]:
        """Lend the client for one call; what it says of containers and objects is explained."""
        try:
            with self._lend(operation) as client:
                yield client
        except CloudError as error:
            status = getattr(error, "status", None)
            if operation == "GetBlob" and status in {404, 412}:
                raise GoneError(self.place) from None
            if status == 404:
                what = f"there is no container {self._container} in {self._host}"
                raise CloudError(
                    Cause.CONFIG, f"{what}. Create it, or correct `{self._setting}` in the customers file"
                ) from None
            if error.cause is Cause.PERMISSION:
                what = f"storage.{operation} of {self.place} is not allowed. Assign the role Storage Blob Data Reader"
                raise CloudError(
                    Cause.PERMISSION,
                    f"{what}, on the container or its storage account, to the application or identity that collects",
                ) from None
            raise


def _name(blob: ET.Element) -> str:
    """The key of an object; one that XML cannot hold is percent-encoded."""
    name = blob.find("Name")
    text = "" if name is None else name.text or ""
    return unquote(text) if name is not None and name.get("Encoded") == "true" else text
