"""S3 on the lab's port, path style: ListObjectsV2 with its pages, GetObject with ranges, and their errors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import format_datetime
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from optiinfra_dagster.lab.aws.wire import REQUEST_ID, AwsError, Call
from optiinfra_dagster.lab.faults import Action, Fault, FaultBook
from optiinfra_dagster.lab.server import Request, Response
from optiinfra_dagster.lab.service import ApiCall, ApiError, Refusals, Service

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource
    from optiinfra_dagster.lab.aws.sts import Sts
    from optiinfra_dagster.lab.calls import CallLog
    from optiinfra_dagster.lab.storage.objects import Object, Objects

LARGEST_PAGE = 1000
_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d+/([^/]+)/s3/aws4_request")

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_REFUSALS: Refusals = {
    Action.THROTTLE: (503, "SlowDown", "Please reduce your request rate."),
    Action.DENY: (403, "AccessDenied", "Access Denied"),
    Action.UNAVAILABLE: (503, "ServiceUnavailable", "Please reduce your request rate."),
    Action.EXPIRED: (400, "ExpiredToken", "The provided token has expired."),
    Action.UNKNOWN_KEY: (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist."),
}
_INTERNAL = (500, "InternalError", "We encountered an internal error. Please try again.")


@dataclass(slots=True, kw_only=True)
class S3Call(Call):
    """A call to S3, and the object, or the bucket, that it is about."""

    service: str = "s3"
    protocol: str = "query"
    params: dict[str, Any] = field(default_factory=dict)  # of the URL
    bucket: str
    key: str


class S3(Service[S3Call]):
    """The `s3://` buckets. Any known access key may read them; a fault can deny it."""

    acts_first = (Action.DELAY,)

    def __init__(self, objects: Objects, sts: Sts, estate: Estate, faults: FaultBook, log: CallLog) -> None:
        super().__init__(faults, log)
        self._objects, self._sts, self._estate = objects, sts, estate

    def claims(self, request: Request) -> bool:
        """True for a request that is signed for S3."""
        return _CREDENTIAL.match(request.headers.get("Authorization") or "") is not None

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None closes the connection."""
        signed = _CREDENTIAL.match(request.headers.get("Authorization") or "")
        access_key, region = signed.groups() if signed else ("", "")
        bucket, _, key = unquote(request.path).removeprefix("/").partition("/")
        operation = {("GET", False): "ListObjectsV2", ("GET", True): "GetObject"}.get((request.method, bool(key)), "")
        operation = operation if bucket else "ListBuckets"
        params = dict(parse_qsl(request.query, keep_blank_values=True))
        call = S3Call(operation=operation, region=region, access_key=access_key, params=params, bucket=bucket, key=key)
        return self.run(call, request)

    def admit(self, call: S3Call, request: Request) -> None:  # noqa: ARG002 - all is in the call
        """Find out who calls."""
        try:
            self._sts.identify(call)
        except AwsError as error:
            known = Action.EXPIRED if "Expired" in error.code else Action.UNKNOWN_KEY
            raise ApiError(*_REFUSALS[known]) from None

    def refusal(self, call: S3Call, fault: Fault) -> ApiError | None:  # noqa: ARG002 - the same for every call
        """The error that a fault stands for."""
        return refusal(fault, _REFUSALS, _INTERNAL)

    def reply(self, call: S3Call, request: Request) -> Response:
        """A page of a bucket, or an object, or the account's buckets."""
        if call.operation == "ListBuckets":
            buckets = self._estate.resources(account=call.account, kind="s3:bucket")
            return Response(200, _buckets(call, buckets).encode(), {"Content-Type": "application/xml"})
        objects = self._objects.listed(f"s3://{call.bucket}", call.params.get("prefix", call.key))
        if objects is None:
            raise ApiError(404, "NoSuchBucket", "The specified bucket does not exist")
        if call.operation == "ListObjectsV2" and call.params.get("list-type") == "2":
            return Response(200, _page(call, objects).encode(), {"Content-Type": "application/xml"})
        if call.operation != "GetObject":
            raise ApiError(501, "NotImplemented", "The cloud lab lists and reads objects, and nothing else.")
        one = next((one for one in objects if one.key == call.key), None)
        if one is None:
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
        if request.headers.get("If-Match", one.etag) != one.etag:
            raise ApiError(412, "PreconditionFailed", "At least one of the preconditions you specified did not hold.")
        return _body(one, request.headers.get("Range"), cut=is_cut(call))

    def worded(self, call: S3Call, error: ApiError) -> Response:  # noqa: ARG002 - the same for every call
        """An error as S3 words it."""
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{error.code}</Code><Message>{escape(error.message)}'
            f"</Message><RequestId>{REQUEST_ID}</RequestId></Error>"
        )
        return Response(error.status, body.encode(), {"Content-Type": "application/xml"})


def refusal(fault: Fault, refusals: Refusals, internal: tuple[int, str, str]) -> ApiError | None:
    """The error that a fault stands for in a storage API; None for PARTIAL, which cuts an object, and for LATE."""
    if fault.action in {Action.PARTIAL, Action.LATE}:
        return None
    return ApiError(*refusals.get(fault.action, internal))


def is_cut(call: ApiCall) -> bool:
    """True where a fault ends the connection half-way through an object."""
    return any(fault.action is Action.PARTIAL for fault in call.faults)


def _buckets(call: S3Call, buckets: list[LabResource]) -> str:
    """A page of the account's buckets, in all regions; their regions are told where a page has a size."""
    size = int(call.params.get("max-buckets", 10_000))
    left = sorted(
        (one for one in buckets if one.id > call.params.get("continuation-token", "")), key=lambda one: one.id
    )
    shown = left[:size]

    def entry(one: LabResource) -> str:
        region = f"<BucketRegion>{one.region}</BucketRegion>" if "max-buckets" in call.params else ""
        made = f"{one.created:%Y-%m-%dT%H:%M:%S.000Z}"
        return f"<Bucket><Name>{one.id}</Name><CreationDate>{made}</CreationDate>{region}</Bucket>"

    more = f"<ContinuationToken>{shown[-1].id}</ContinuationToken>" if len(left) > len(shown) else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Buckets>{''.join(map(entry, shown))}</Buckets>{more}</ListAllMyBucketsResult>"
    )


def _page(call: S3Call, objects: list[Object]) -> str:
    """A page of a listing."""
    query = call.params
    after = max(query.get("start-after", ""), query.get("continuation-token", ""))  # a token is the last key told
    size = min(int(query.get("max-keys", LARGEST_PAGE)), LARGEST_PAGE)
    left = [one for one in objects if one.key > after]
    shown = left[:size]

    def coded(key: str) -> str:
        return quote(key) if query.get("encoding-type") == "url" else escape(key)

    contents = "".join(
        f"<Contents><Key>{coded(one.key)}</Key><LastModified>{one.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        f"<ETag>{escape(one.etag)}</ETag><Size>{len(one.read())}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for one in shown
    )
    more = len(left) > len(shown)
    token = f"<NextContinuationToken>{escape(shown[-1].key)}</NextContinuationToken>" if more else ""
    coding = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{call.bucket}</Name><Prefix>{coded(query.get('prefix', ''))}</Prefix><KeyCount>{len(shown)}</KeyCount>"
        f"<MaxKeys>{size}</MaxKeys>{coding}<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}"
        "</ListBucketResult>"
    )


def _body(one: Object, asked_range: str | None, *, cut: bool) -> Response:
    data = one.read()
    headers = {"ETag": one.etag, "Last-Modified": format_datetime(one.modified, usegmt=True)}
    piece = part(data, asked_range)
    if piece is None:
        raise ApiError(416, "InvalidRange", "The requested range is not satisfiable")
    return whole_or_cut(*piece, headers, cut=cut)


def part(data: bytes, asked_range: str | None) -> tuple[int, bytes, dict[str, str]] | None:
    """Status, bytes and headers for a Range header; None for a range behind the end."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked_range or "")
    if match is None:
        return 200, data, {}
    first, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
    if first >= len(data):
        return None
    return 206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"}


def whole_or_cut(status: int, data: bytes, more: dict[str, str], headers: dict[str, str], *, cut: bool) -> Response:
    """An answer with `data`; cut, it promises all of it, gives half, and the connection ends."""
    headers = {**headers, **more, "Content-Type": "binary/octet-stream"}
    if not cut:
        return Response(status, data, headers)
    return Response(status, data[: len(data) // 2], {**headers, "Content-Length": str(len(data))})
