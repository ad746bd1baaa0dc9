"""Azure's blob storage on the lab's port: List Blobs with its pages, Get Blob with ranges, and their errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service
from optiinfra_dagster.lab.storage.s3 import is_cut, part, refusal, whole_or_cut

if TYPE_CHECKING:
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.storage.objects import Object, Objects

LARGEST_PAGE = 5000
_PATH = re.compile(r"/([a-z0-9]+\.blob\.core\.[a-z0-9.-]+)/([a-z0-9-]+)(?:/(.+))?")

# https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
_REFUSALS: Refusals = {
    Action.THROTTLE: (503, "ServerBusy", "The server is currently unable to receive requests."),
    Action.DENY: (403, "AuthorizationPermissionMismatch", "The permission to perform this operation is missing."),
    Action.UNAVAILABLE: (500, "OperationTimedOut", "The operation could not be completed in the permitted time."),
    Action.EXPIRED: (401, "InvalidAuthenticationInfo", "The authentication information is not correct."),
    Action.UNKNOWN_KEY: (401, "InvalidAuthenticationInfo", "The authentication information is not correct."),
}
_INTERNAL = (500, "InternalError", "The server encountered an internal error.")


@dataclass(slots=True, kw_only=True)
class BlobCall(ApiCall):
    """A call to blob storage, and the container, or the blob in it, that it is about."""

    service: str = "blob"
    bucket: str
    key: str


class AzureBlob(Service[BlobCall]):
    """The containers among the lab's objects. Nobody is asked for a credential: none may be sent over plain http."""

    acts_first = (Action.DELAY,)

    def __init__(self, objects: Objects, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._objects = objects

    def claims(self, request: Request) -> bool:
        """True for a request to a container that holds objects; all others are answered by Azure's exports."""
        match = _PATH.fullmatch(request.path)
        return match is not None and self._objects.listed(_bucket(match)) is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        match = _PATH.fullmatch(request.path)
        account, bucket, key = (match[1], _bucket(match), unquote(match[3] or "")) if match else ("", "", "")
        operation = "GetObject" if key else "ListObjects"
        return self.run(BlobCall(operation=operation, account=account, bucket=bucket, key=key), request)

    def refusal(self, call: BlobCall, fault: Fault) -> ApiError | None:  # noqa: ARG002 - the same for every call
        """The error that a fault stands for."""
        return refusal(fault, _REFUSALS, _INTERNAL)

    def reply(self, call: BlobCall, request: Request) -> Response:
        """A page of a container, or a blob."""
        query = dict(parse_qsl(request.query))
        blobs = self._objects.listed(call.bucket, call.key or query.get("prefix", "")) or []
        return _media(blobs, call.key, request, cut=is_cut(call)) if call.key else _page(query, blobs)

    def worded(self, call: BlobCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for every call
        """An error as blob storage words it."""
        words = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        body = f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error>{words}</Error>'
        return Response(error.status, body.encode(), {"Content-Type": "application/xml", "x-ms-error-code": error.code})


def _bucket(match: re.Match[str]) -> str:
    return f"https://{match[1]}/{match[2]}"


def _media(held: list[Object], key: str, request: Request, *, cut: bool) -> Response:
    blob = next((blob for blob in held if blob.key == key), None)
    if blob is None:
        raise ApiError(404, "BlobNotFound", "The specified blob does not exist.")
    if request.headers.get("If-Match", blob.etag) != blob.etag:
        raise ApiError(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
    piece = part(blob.read(), request.headers.get("Range"))
    if piece is None:
        raise ApiError(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
    return whole_or_cut(*piece, {"ETag": blob.etag}, cut=cut)


def _page(query: Mapping[str, str], held: list[Object]) -> Response:
    """A page of a listing; a marker is the first key of the next page."""
    rest = [blob for blob in held if blob.key >= query.get("marker", "")]
    size = min(int(query.get("maxresults", LARGEST_PAGE)), LARGEST_PAGE)
    blobs = "".join(
        f"<Blob><Name>{escape(blob.key)}</Name><Properties>"
        f"<Last-Modified>{format_datetime(blob.modified, usegmt=True)}</Last-Modified>"
        f"<Etag>{escape(blob.etag.strip(chr(34)))}</Etag><Content-Length>{len(blob.read())}</Content-Length>"
        "</Properties></Blob>"
        for blob in rest[:size]
    )
    marker = f"<NextMarker>{escape(rest[size].key)}</NextMarker>" if len(rest) > size else "<NextMarker />"
    body = f'\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{blobs}</Blobs>{marker}'
    return Response(200, f"{body}</EnumerationResults>".encode(), {"Content-Type": "application/xml"})
