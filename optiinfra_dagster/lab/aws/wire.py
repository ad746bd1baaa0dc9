"""AWS's protocols: an HTTP request becomes a `Call`, and a botocore-shaped dict becomes the HTTP answer to it.

Four protocols are spoken: `ec2` and `query` (forms in, XML out), `json` and `rest-json`. Botocore's model of CloudWatch
offers CBOR too, but boto3 prefers JSON. Shapes come from botocore's own models. Moto's serializers would do the same,
but take 0.94 s for 1,000 small instances where boto3 needs 0.59 s to read them; the writers below follow the data
instead of the model and take 0.2 s for 1,000 full ones.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

from optiinfra_dagster.lab.server import Request, Response, as_json
from optiinfra_dagster.lab.service import ApiCall, ApiError

# Where the name in the credential scope is not the name of boto3's client. Load balancing is told apart by version.
CLIENT_NAMES = {
    "monitoring": "cloudwatch",
    "elasticfilesystem": "efs",
    "tagging": "resourcegroupstaggingapi",
    "es": "opensearch",
}
LOAD_BALANCING = {"2012-06-01": "elb", "2015-12-01": "elbv2"}
REQUEST_ID = "00000000-1ab0-4000-8000-000000000000"
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d+/([^/]+)/([^/]+)/aws4_request")


@dataclass(slots=True, kw_only=True)
class Call(ApiCall):
    """A call of AWS. `service` is the name of boto3's client; `params` holds the names and lists as sent."""

    protocol: str
    access_key: str
    params: dict[str, Any]
    caller: str = ""  # the caller's ARN; it and the account follow from the access key


class AwsError(ApiError):
    """An error as AWS words it. `code` is that of the protocols with forms, `modern` that of the JSON ones."""

    def __init__(self, status: int, code: str, message: str, modern: str = "") -> None:
        super().__init__(status, code, message)
        self.modern = modern or code


# reason: (status, code) for ec2; for query; for json; status for rest-json
REFUSALS: dict[str, tuple[tuple[int, str], tuple[int, str], tuple[int, str], int]] = {
    "throttle": ((503, "RequestLimitExceeded"), (400, "Throttling"), (400, "ThrottlingException"), 429),
    "deny": ((403, "UnauthorizedOperation"), (403, "AccessDenied"), (400, "AccessDeniedException"), 403),
    "error": ((500, "InternalError"), (500, "InternalFailure"), (500, "InternalServerException"), 500),
    "unavailable": ((503, "Unavailable"), (503, "ServiceUnavailable"), (503, "ServiceUnavailableException"), 503),
    "expired": ((400, "RequestExpired"), (403, "ExpiredToken"), (400, "ExpiredTokenException"), 403),
    "unknown_key": ((401, "AuthFailure"), (403, "InvalidClientTokenId"), (400, "UnrecognizedClientException"), 403),
    "optin_required": ((401, "OptInRequired"), (403, "OptInRequired"), (403, "OptInRequired"), 403),
    "not_subscribed": ((401, "OptInRequired"), (403, "OptInRequired"), (400, "SubscriptionRequiredException"), 403),
    "unknown_call": ((400, "InvalidAction"), (400, "InvalidAction"), (400, "UnknownOperationException"), 400),
    "invalid": ((400, "InvalidParameterValue"), (400, "InvalidParameterValue"), (400, "ValidationException"), 400),
}
_MESSAGES = {
    "throttle": "Rate exceeded",
    "deny": "User: {caller} is not authorized to perform: {service}:{operation} because no identity-based policy "
    "allows the {service}:{operation} action",
    "error": "An internal error has occurred",
    "unavailable": "The service is unavailable. Please try again shortly.",
    "expired": "The security token included in the request is expired",
    "unknown_key": "The security token included in the request is invalid.",
    "optin_required": "You are not subscribed to this service in region {region}.",
    "not_subscribed": "The AWS Access Key Id needs a subscription for the service",
    "unknown_call": "The action {operation} is not valid for this web service.",
    "invalid": "A parameter is invalid.",
}
_DENIED_BY = "User: {caller} is not authorized to perform: {service}:{operation} with an explicit deny in a "

_IAM_NAMES = {
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "resourcegroupstaggingapi": "tag",
}


def refusal(call: Call, reason: str, message: str = "", *, policy: str = "") -> AwsError:
    """The error that `call` gets for `reason` (a key of `REFUSALS`), with the code and status of its protocol.

    `policy` is what denies the call, where the caller's own policies would allow it.
    """
    ec2, query, modern, rest_status = REFUSALS[reason]
    service = _IAM_NAMES.get(call.service, call.service)
    worded = f"{_DENIED_BY}{policy}" if policy else _MESSAGES[reason]
    text = message or worded.format(caller=call.caller, service=service, operation=call.operation, region=call.region)
    status, code = ec2 if call.protocol == "ec2" else query
    if call.protocol == "json":
        status = modern[0]
    elif call.protocol == "rest-json":
        status = rest_status
    return AwsError(status, code, text, modern[1])


# --- models -----------------------------------------------------------------------------------------------------------

_loader = Loader()


@cache
def service_model(service: str) -> ServiceModel:
    """Botocore's model of a service, by the name of boto3's client."""
    return ServiceModel(_loader.load_service_model(service, "service-2"), service)


@lru_cache(maxsize=512)
def operation_model(service: str, operation: str) -> OperationModel:
    """Botocore's model of one operation."""
    return service_model(service).operation_model(operation)


@cache
def paginator(service: str, operation: str) -> dict[str, Any]:
    """Botocore's paginator of an operation: result_key, input_token, output_token, limit_key; or an empty dict."""
    pagination = _loader.load_service_model(service, "paginators-1")["pagination"].get(operation, {})
    return dict(pagination)


@cache
def is_service(service: str) -> bool:
    """True if botocore knows a client of this name."""
    return service in _loader.list_available_services("service-2")


@cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    """The operations of a REST service as (method, path pattern, name), longer paths first."""
    model = service_model(service)
    operations = [(operation_model(service, name).http, name) for name in model.operation_names]
    operations.sort(key=lambda entry: -len(entry[0]["requestUri"]))
    return [(http["method"], _path_pattern(http["requestUri"]), name) for http, name in operations]


def _path_pattern(uri: str) -> re.Pattern[str]:
    """`/clusters/{name}` as a pattern with the group `name`."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(uri)) + "/?")


# --- requests ---------------------------------------------------------------------------------------------------------


def read(request: Request) -> Call | None:
    """Understand a signed request; None if it is not one, or of a service or operation that botocore does not know."""
    credential = _CREDENTIAL.search(request.headers.get("Authorization") or "")
    if credential is None:
        return None
    access_key, region, signed = credential.groups()
    service = CLIENT_NAMES.get(signed, signed)
    target = request.headers.get("X-Amz-Target")
    if target:
        protocol, operation = "json", target.rpartition(".")[2]
        params = json.loads(request.body or b"{}")
    elif b"Action=" in request.body:
        params = _nest(parse_qsl(request.body.decode(), keep_blank_values=True))
        operation, version = params.pop("Action"), params.pop("Version", "")
        service = LOAD_BALANCING.get(version, service)
        protocol = "ec2" if service == "ec2" else "query"
    elif is_service(service) and service_model(service).metadata["protocol"] == "rest-json":
        protocol = "rest-json"
        operation, params = _read_rest(service, request)
    else:
        return None
    if not is_service(service) or operation not in service_model(service).operation_names:
        return None
    return Call(
        service=service, operation=operation, region=region, protocol=protocol, access_key=access_key, params=params
    )


def _read_rest(service: str, request: Request) -> tuple[str, dict[str, Any]]:
    for method, pattern, name in _routes(service):
        if method == request.method and (match := pattern.fullmatch(request.path)):
            return name, {
                **{key: unquote(value) for key, value in match.groupdict().items()},
                **dict(parse_qsl(request.query)),
                **(json.loads(request.body) if request.body else {}),
            }
    return "", {}


def _nest(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Turn `A.member.1.B=x` and `A.1.B=x` into {A: [{B: x}]}."""
    tree: dict[str, Any] = {}
    for path, value in pairs:
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return {key: _lists(value) for key, value in tree.items()}


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if set(node) == {"member"}:
        return _lists(node["member"])
    if all(key.isdigit() for key in node):
        return [_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _lists(value) for key, value in node.items()}


# --- answers ----------------------------------------------------------------------------------------------------------


def write(call: Call, result: dict[str, Any]) -> Response:
    """The answer to `call`. `result` is shaped like boto3's; keys that the model does not have are left out."""
    output = operation_model(call.service, call.operation).output_shape
    if call.protocol in {"json", "rest-json"}:
        return _json(call, 200, _plain(result, output) if output else {})
    inner = _content(output)(result) if output else ""
    if call.protocol == "ec2":
        inner += f"<requestId>{REQUEST_ID}</requestId>"
    else:
        wrapper = output.serialization.get("resultWrapper", f"{call.operation}Result") if output else ""
        inner = f"<{wrapper}>{inner}</{wrapper}>" if wrapper else ""
        inner += f"<ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata>"
    namespace = service_model(call.service).metadata.get("xmlNamespace", "")
    return _xml(200, f'<{call.operation}Response xmlns="{namespace}">{inner}</{call.operation}Response>')


def write_error(call: Call, error: ApiError) -> Response:
    """The error as the protocol of `call` carries it."""
    modern = error.modern if isinstance(error, AwsError) else error.code
    message = escape(error.message, quote=False)
    if call.protocol == "ec2":
        inner = f"<Errors><Error><Code>{error.code}</Code><Message>{message}</Message></Error></Errors>"
        return _xml(error.status, f"<Response>{inner}<RequestID>{REQUEST_ID}</RequestID></Response>")
    fault = "Sender" if error.status < 500 else "Receiver"
    if call.protocol == "query":
        inner = f"<Error><Type>{fault}</Type><Code>{error.code}</Code><Message>{message}</Message></Error>"
        return _xml(error.status, f"<ErrorResponse>{inner}<RequestId>{REQUEST_ID}</RequestId></ErrorResponse>")
    body = {"__type": f"com.amazon.coral.service#{modern}", "message": error.message}
    answer = _json(call, error.status, body)
    answer.headers["x-amzn-ErrorType"] = modern
    if "awsQueryCompatible" in service_model(call.service).metadata:
        answer.headers["x-amzn-query-error"] = f"{error.code};{fault}"
    return answer


def _xml(status: int, text: str) -> Response:
    headers = {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-RequestId": REQUEST_ID}
    return Response(status, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode(), headers)


def _json(call: Call, status: int, data: dict[str, Any]) -> Response:
    kind = "application/json" if call.protocol == "rest-json" else "application/x-amz-json-1.0"
    return as_json(status, data, {"Content-Type": kind, "x-amzn-RequestId": REQUEST_ID})


_READY = {"double", "float", "integer", "long", "timestamp"}


def _plain(value: Any, shape: Shape) -> Any:
    """`value` as JSON carries it: wire names, times as seconds since the epoch."""
    if shape.type_name == "structure":
        members = shape.members
        return {
            members[key].serialization.get("name", key): _plain(item, members[key])
            for key, item in value.items()
            if key in members and item is not None
        }
    if shape.type_name == "list":
        if value and shape.member.type_name in _READY and not isinstance(value[0], (datetime, str)):
            return value  # the points of a metric: numbers, many of them
        return [_plain(item, shape.member) for item in value]
    if shape.type_name == "map":
        return {key: _plain(item, shape.value) for key, item in value.items()}
    if shape.type_name == "timestamp":
        return _time(value) if shape.serialization.get("timestampFormat") == "iso8601" else _moment(value).timestamp()
    return b64encode(value).decode() if isinstance(value, bytes) else value


Writer = Callable[[Any], str]


def _moment(value: datetime | str | int) -> datetime:
    """A time; some recordings hold one as text, and metrics count seconds since the epoch."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _time(value: datetime | str | int) -> str:
    return _moment(value).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _text(value: Any) -> str:
    return escape(str(value), quote=False).replace("\r", "&#13;")


_SCALARS: dict[str, Writer] = {
    "boolean": lambda value: "true" if value else "false",
    "timestamp": _time,
    "blob": lambda value: b64encode(value).decode(),
}


@lru_cache(maxsize=4096)
def _content(shape: Shape) -> Writer:
    """A writer of what stands between the tags of `shape`."""
    if shape.type_name == "structure":
        return _structure(shape)
    if shape.type_name == "list":
        return _element(shape.member, shape.member.serialization.get("name", "member"), each=True)
    if shape.type_name == "map":
        key, value = (
            _element(shape.key, shape.key.serialization.get("name", "key")),
            _element(shape.value, shape.value.serialization.get("name", "value")),
        )
        return lambda items: "".join(f"<entry>{key(k)}{value(v)}</entry>" for k, v in items.items())
    return _SCALARS.get(shape.type_name, _text)


def _structure(shape: Shape) -> Writer:
    members: dict[str, Shape] = shape.members
    writers: dict[str, Writer] = {}  # filled as keys are met: models are far wider than data, and some are recursive

    def parts(value: dict[str, Any]) -> Iterator[str]:
        for key, item in value.items():
            if item is None or key not in members:
                continue
            writer = writers.get(key)
            if writer is None:
                member = members[key]
                flat = member.type_name == "list" and member.serialization.get("flattened")
                inner = member.member if flat else member
                name = (flat and inner.serialization.get("name")) or member.serialization.get("name", key)
                writer = writers[key] = _element(inner, name, each=bool(flat))
            yield writer(item)

    return lambda value: "".join(parts(value))


def _element(shape: Shape, name: str, *, each: bool = False) -> Writer:
    """A writer of `<name>…</name>`, or with `each` of one such element per item."""
    opening, closing = f"<{name}>", f"</{name}>"
    content: list[Writer] = []  # resolved at first use, so that recursive models end

    def element(value: Any) -> str:
        if not content:
            content.append(_content(shape))
        return opening + content[0](value) + closing

    return (lambda items: "".join(map(element, items))) if each else element
