"""Google Cloud Storage's JSON API on the lab's port: objects.list with its pages, media with ranges, their errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote
from zlib import crc32

from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service
from optiinfra_dagster.lab.storage.s3 import is_cut, part, refusal, whole_or_cut

if TYPE_CHECKING:
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.storage.objects import Object, Objects

LARGEST_PAGE = 1000
_PATH = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o(?:/(.+))?")

# https://cloud.google.com/storage/docs/json_api/v1/status-codes
_REFUSALS: Refusals = {
    Action.THROTTLE: (429, "rateLimitExceeded", "The rate of requests to the bucket is too high."),
    Action.DENY: (403, "forbidden", "The caller does not have storage.objects.list access to the bucket."),
    Action.UNAVAILABLE: (503, "backendError", "Backend Error"),
    Action.EXPIRED: (401, "authError", "Invalid Credentials"),
    Action.UNKNOWN_KEY: (401, "authError", "Invalid Credentials"),
}
_INTERNAL = (500, "internalError", "Internal Error")


@dataclass(slots=True, kw_only=True)
class GcsCall(ApiCall):
    """A call to Cloud Storage, and the object, or the bucket, that it is about."""

    service: str = "storage"
    bucket: str
    key: str


class Gcs(Service[GcsCall]):
    """The `gs://` buckets. Nobody is asked for a credential: none may be sent over plain http."""

    acts_first = (Action.DELAY,)

    def __init__(self, objects: Objects, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._objects = objects

    def claims(self, request: Request) -> bool:
        """True for a request for objects of a bucket."""
        return _PATH.fullmatch(request.path) is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        match = _PATH.fullmatch(request.path)
        bucket, key = (match[1], unquote(match[2] or "")) if match else ("", "")
        return self.run(GcsCall(operation="GetObject" if key else "ListObjects", bucket=bucket, key=key), request)

    def refusal(self, call: GcsCall, fault: Fault) -> ApiError | None:  # noqa: ARG002 - the same for every call
        """The error that a fault stands for."""
        return refusal(fault, _REFUSALS, _INTERNAL)

    def reply(self, call: GcsCall, request: Request) -> Response:
        """A page of a bucket, or an object."""
        query = dict(parse_qsl(request.query))
        objects = self._objects.listed(f"gs://{call.bucket}", call.key or query.get("prefix", ""))
        if objects is None:
            raise ApiError(404, "notFound", "The specified bucket does not exist.")
        return _media(query, objects, call.key, request, cut=is_cut(call)) if call.key else _page(query, objects)

    def worded(self, call: GcsCall, error: ApiError) -> Response:  # noqa: ARG002 - the same for every call
        """An error as Cloud Storage words it."""
        errors = [{"message": error.message, "domain": "global", "reason": error.code}]
        return _json(error.status, {"error": {"code": error.status, "message": error.message, "errors": errors}})


def _media(query: Mapping[str, str], objects: list[Object], key: str, request: Request, *, cut: bool) -> Response:
    one = next((one for one in objects if one.key == key), None)
    if one is None or query.get("generation", _generation(one)) != _generation(one):
        raise ApiError(404, "notFound", f"No such object: {key}")
    if query.get("alt") != "media":
        return _json(200, _described(one))
    piece = part(one.read(), request.headers.get("Range"))
    if piece is None:
        raise ApiError(416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied.")
    return whole_or_cut(*piece, {}, cut=cut)


def _page(query: dict[str, str], objects: list[Object]) -> Response:
    first, end = max(query.get("startOffset", ""), query.get("pageToken", "")), query.get("endOffset")
    left = [one for one in objects if one.key >= first and (not end or one.key < end)]
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
    return as_json(status, body, {"Content-Type": "application/json; charset=UTF-8"})
