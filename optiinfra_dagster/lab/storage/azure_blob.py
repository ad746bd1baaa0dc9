"""Azure's blob storage on the lab's port: List Blobs with its pages, Get Blob with ranges, and their errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from optiinfra_dagster.lab.calls import CallKey, CallLog
from optiinfra_dagster.lab.faults import Action, FaultBook
from optiinfra_dagster.lab.server import Request, Response
from optiinfra_dagster.lab.storage.s3 import act, part, whole_or_cut

if TYPE_CHECKING:
    from optiinfra_dagster.lab.storage.objects import Object, Objects

LARGEST_PAGE = 5000
_PATH = re.compile(r"/([a-z0-9]+\.blob\.core\.[a-z0-9.-]+)/([a-z0-9-]+)(?:/(.+))?")

# https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
_REFUSALS: Mapping[Action | None, tuple[int, str]] = {
    Action.THROTTLE: (503, "ServerBusy"),
    Action.DENY: (403, "AuthorizationPermissionMismatch"),
    Action.UNAVAILABLE: (500, "OperationTimedOut"),
    Action.EXPIRED: (401, "InvalidAuthenticationInfo"),
    Action.UNKNOWN_KEY: (401, "InvalidAuthenticationInfo"),
}


@dataclass(slots=True)
class _Call:
    """One call, as faults and counts know it."""

    operation: str
    account: str
    service: str = "blob"
    region: str = ""
    page: int = 1


class AzureBlob:
    """The containers among the lab's objects. Nobody is asked for a credential: none may be sent over plain http."""

    def __init__(self, objects: Objects, faults: FaultBook, log: CallLog) -> None:
        self._objects, self._faults, self._log = objects, faults, log

    def claims(self, request: Request) -> bool:
        """True for a request to a container that holds objects; all others are answered by Azure's exports."""
        match = _PATH.fullmatch(request.path)
        return match is not None and self._objects.listed(_bucket(match)) is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            return _error(400, "InvalidUri")
        call = _Call("GetObject" if match[3] else "ListObjects", match[1])
        response = self._answer(call, match, request)
        self._log.note(CallKey(call.service, call.operation, call.account, "", response.status if response else 0))
        return response

    def _answer(self, call: _Call, match: re.Match[str], request: Request) -> Response | None:
        query, key = dict(parse_qsl(request.query)), unquote(match[3] or "")
        action = act(self._faults, call)
        if action is Action.DISCONNECT:
            return None
        if action not in {None, Action.PARTIAL}:
            return _error(*_REFUSALS.get(action, (500, "InternalError")))
        held = self._objects.listed(_bucket(match), key or query.get("prefix", "")) or []
        return _media(held, key, request, cut=action is Action.PARTIAL) if key else _page(query, held)


def _bucket(match: re.Match[str]) -> str:
    return f"https://{match[1]}/{match[2]}"


def _media(held: list[Object], key: str, request: Request, *, cut: bool) -> Response:
    blob = next((blob for blob in held if blob.key == key), None)
    if blob is None:
        return _error(404, "BlobNotFound")
    if request.headers.get("If-Match", blob.etag) != blob.etag:
        return _error(412, "ConditionNotMet")
    piece = part(blob.read(), request.headers.get("Range"))
    if piece is None:
        return _error(416, "InvalidRange")
    return whole_or_cut(*piece, {"ETag": blob.etag}, cut=cut)


def _page(query: Mapping[str, str], held: list[Object]) -> Response:
    """One page of a listing; a marker is the first key of the next page."""
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


def _error(status: int, code: str) -> Response:
    body = f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Response(status, body.encode(), {"Content-Type": "application/xml", "x-ms-error-code": code})
