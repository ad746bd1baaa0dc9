"""Google Cloud Storage's JSON API on the lab's port: objects.list with its pages, media with ranges, their errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote
from zlib import crc32

from optiinfra_dagster.lab.calls import CallKey, CallLog
from optiinfra_dagster.lab.faults import Action, FaultBook
from optiinfra_dagster.lab.server import Request, Response
from optiinfra_dagster.lab.storage.s3 import act, part, whole_or_cut

if TYPE_CHECKING:
    from optiinfra_dagster.lab.storage.objects import Object, Objects

LARGEST_PAGE = 1000
_PATH = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o(?:/(.+))?")

# https://cloud.google.com/storage/docs/json_api/v1/status-codes
_REFUSALS: Mapping[Action | None, tuple[int, str, str]] = {
    Action.THROTTLE: (429, "rateLimitExceeded", "The rate of requests to the bucket is too high."),
    Action.DENY: (403, "forbidden", "The caller does not have storage.objects.list access to the bucket."),
    Action.UNAVAILABLE: (503, "backendError", "Backend Error"),
    Action.EXPIRED: (401, "authError", "Invalid Credentials"),
    Action.UNKNOWN_KEY: (401, "authError", "Invalid Credentials"),
}
_INTERNAL = (500, "internalError", "Internal Error")


@dataclass(slots=True)
class _Call:
    """One call, as faults and counts know it."""

    operation: str
    service: str = "storage"
    account: str = ""
    region: str = ""
    page: int = 1


class Gcs:
    """The `gs://` buckets. Nobody is asked for a credential: none may be sent over plain http."""

    def __init__(self, objects: Objects, faults: FaultBook, log: CallLog) -> None:
        self._objects, self._faults, self._log = objects, faults, log

    def claims(self, request: Request) -> bool:
        """Whether a request is one for objects of a bucket."""
        return _PATH.fullmatch(request.path) is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        match = _PATH.fullmatch(request.path)
        bucket, key = (match[1], unquote(match[2] or "")) if match else ("", "")
        call = _Call("GetObject" if key else "ListObjects")
        response = self._answer(call, f"gs://{bucket}", key, request)
        self._log.note(CallKey(call.service, call.operation, "", "", response.status if response else 0))
        return response

    def _answer(self, call: _Call, bucket: str, key: str, request: Request) -> Response | None:
        query = dict(parse_qsl(request.query))
        action = act(self._faults, call)
        if action is Action.DISCONNECT:
            return None
        if action not in {None, Action.PARTIAL}:
            return _error(*_REFUSALS.get(action, _INTERNAL))
        found = self._objects.listed(bucket, key or query.get("prefix", ""))
        if found is None:
            return _error(404, "notFound", "The specified bucket does not exist.")
        return _media(query, found, key, request, cut=action is Action.PARTIAL) if key else _page(query, found)


def _media(query: Mapping[str, str], found: list[Object], key: str, request: Request, *, cut: bool) -> Response:
    one = next((one for one in found if one.key == key), None)
    if one is None or query.get("generation", _generation(one)) != _generation(one):
        return _error(404, "notFound", f"No such object: {key}")
    if query.get("alt") != "media":
        return _json(200, _described(one))
    piece = part(one.read(), request.headers.get("Range"))
    if piece is None:
        return _error(416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied.")
    return whole_or_cut(*piece, {}, cut=cut)


def _page(query: dict[str, str], found: list[Object]) -> Response:
    first, end = max(query.get("startOffset", ""), query.get("pageToken", "")), query.get("endOffset")
    left = [one for one in found if one.key >= first and (not end or one.key < end)]
    size = min(int(query.get("maxResults", LARGEST_PAGE)), LARGEST_PAGE)
    answer: dict[str, object] = {"kind": "storage#objects"}
    if left:
        answer["items"] = [_described(one) for one in left[:size]]
    if len(left) > size:
        answer["nextPageToken"] = left[size].key  # the first one of the next page
    return _json(200, answer)


def _generation(one: Object) -> str:
    return f"{int(one.modified.timestamp())}{crc32(one.read()):010d}"


def _described(one: Object) -> dict[str, str]:
    updated = one.modified.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"name": one.key, "size": str(len(one.read())), "updated": updated, "generation": _generation(one)}


def _json(status: int, body: object) -> Response:
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json; charset=UTF-8"})


def _error(status: int, reason: str, message: str) -> Response:
    errors = [{"message": message, "domain": "global", "reason": reason}]
    return _json(status, {"error": {"code": status, "message": message, "errors": errors}})
