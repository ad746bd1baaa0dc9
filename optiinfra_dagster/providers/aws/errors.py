"""Errors of AWS explained: why a call failed, and what to do about it. All matching of AWS's own words stands here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.text import shortened
from optiinfra_dagster.providers import clock
from optiinfra_dagster.providers.parsing import dig

_ALLOW = "Allow {action} {where}"
_CREDENTIAL = "Check the access key, or the role, that the customers file refers to"
_CLOCK = f"{clock.CHECK_CLOCK}; with temporary credentials, renew them"
_REGION = "Check that the region is enabled in the account, or correct `regions` in the customers file"

# Codes by which AWS services refuse a request -> why, and what to do. Sources: "Common errors" of the EC2, IAM, STS
# and CloudWatch API references, and botocore's own list of throttling codes (retries/standard.py).
_CODES: Mapping[str, tuple[Cause, str]] = {
    **dict.fromkeys(
        (
            "AuthFailure",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "InvalidToken",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        (Cause.AUTH, _CREDENTIAL),
    ),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
        (Cause.AUTH, "The credential has expired: renew it"),
    ),
    **dict.fromkeys(
        ("RequestExpired", "RequestTimeTooSkewed"),
        (Cause.AUTH, _CLOCK),
    ),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "AuthorizationError",
            "AuthorizationErrorException",
            "NotAuthorized",
            "UnauthorizedOperation",
        ),
        (Cause.PERMISSION, _ALLOW),
    ),
    **dict.fromkeys(
        ("OptInRequired", "RegionDisabledException", "SubscriptionRequiredException", "InvalidRegion"),
        (Cause.CONFIG, _REGION),
    ),
    "DataUnavailableException": (Cause.CONFIG, "Enable Cost Explorer in the account; its data follows within a day"),
    **dict.fromkeys(
        (
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "LimitExceededException",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "Throttling",
            "ThrottledException",
            "ThrottlingException",
            "TooManyRequests",
            "TooManyRequestsException",
            "TransactionInProgressException",
        ),
        (Cause.THROTTLED, LATER),
    ),
    **dict.fromkeys(
        (
            "InternalError",
            "InternalErrorException",
            "InternalFailure",
            "InternalServerError",
            "InternalServerErrorException",
            "InternalServiceError",
            "InternalServiceFault",
            "PendingVerification",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServerException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "Unavailable",
        ),
        (Cause.UNAVAILABLE, LATER),
    ),
    **dict.fromkeys(
        (
            "BillExpirationException",
            "ExpiredNextToken",
            "ExpiredNextTokenException",
            "InvalidNextToken",
            "InvalidNextTokenException",
            "InvalidPaginationToken",
            "RequestChangedException",
        ),
        (Cause.INCOMPLETE, LATER),
    ),
}

# Policies that AWS names where they decide, whatever the role's own allow (IAM user guide: troubleshoot access denied
# error messages) -> where the action is to be allowed.
_POLICIES: Mapping[str, str] = {
    "service control policy": "in the organization's service control policy, or leave {region} out of `regions` in the "
    "customers file",
    "resource control policy": "in the organization's resource control policy",
    "permissions boundary": "in the role's permissions boundary",
    "VPC endpoint policy": "in the policy of the VPC endpoint that this host goes through",
    "": "to the role or user that collects",
}

# Codes by which a service does not know a call, in its protocols with forms and in those with JSON.
_UNKNOWN_CALLS = {"InvalidAction", "UnknownOperationException"}
# Codes by which a service refuses an account that has not signed up for it, and any service a region that is not
# enabled (https://github.com/cartography-cncf/cartography/issues/2289).
_NOT_SUBSCRIBED = {"OptInRequired", "SubscriptionRequiredException"}

# HTTP status, for codes that the table does not have, such as those that a proxy answers with.
_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.AUTH, _CREDENTIAL),
    403: (Cause.PERMISSION, _ALLOW),
    429: (Cause.THROTTLED, LATER),
}

# What botocore raises when no service answered. The first class that fits counts.
_SDK_ERRORS: Sequence[tuple[type[Exception], Cause, str]] = (
    (sdk.NoCredentialsError, Cause.AUTH, "Give this host a role or keys, or the account keys of its own"),
    (sdk.PartialCredentialsError, Cause.AUTH, "Give both the access key and the secret key"),
    (sdk.CredentialRetrievalError, Cause.AUTH, "Check the profile or role of this host"),
    (sdk.MetadataRetrievalError, Cause.AUTH, "Check the profile or role of this host"),
    (sdk.SSOError, Cause.AUTH, "Log in to SSO again on this host"),
    (sdk.TokenRetrievalError, Cause.AUTH, "Log in to SSO again on this host"),
    (sdk.ProfileNotFound, Cause.AUTH, "Correct AWS_PROFILE"),
    (sdk.ParamValidationError, Cause.BUG, "Please report this"),
    (sdk.ConnectTimeoutError, Cause.UNAVAILABLE, "Check that this host reaches it"),
    (sdk.ReadTimeoutError, Cause.UNAVAILABLE, LATER),
    (sdk.EndpointConnectionError, Cause.UNAVAILABLE, "Check that this host reaches it, and that the region exists"),
    (sdk.ProxyConnectionError, Cause.UNAVAILABLE, "Check the proxy"),
    (sdk.SSLError, Cause.UNAVAILABLE, "Check the certificate and this host's CA bundle"),
    (sdk.ConnectionError, Cause.UNAVAILABLE, LATER),
    (sdk.HTTPClientError, Cause.UNAVAILABLE, LATER),
    (sdk.IncompleteReadError, Cause.UNAVAILABLE, LATER),
    (ResponseParserError, Cause.UNAVAILABLE, "Check that the endpoint is AWS and not a proxy"),
    (sdk.PaginationError, Cause.INCOMPLETE, LATER),
    (sdk.NoRegionError, Cause.CONFIG, _REGION),
    (sdk.InvalidRegionError, Cause.CONFIG, _REGION),
    (sdk.UnknownRegionError, Cause.CONFIG, _REGION),
    (sdk.EndpointProviderError, Cause.CONFIG, _REGION),
    (sdk.UnknownServiceError, Cause.CONFIG, "Install a newer boto3"),
)

# Of these, no service was there to answer: further calls to the same host will wait in vain too.
_UNREACHED = (
    sdk.ConnectTimeoutError,
    sdk.ReadTimeoutError,
    sdk.EndpointConnectionError,
    sdk.ProxyConnectionError,
    sdk.SSLError,
)

_IAM_PREFIXES = {
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "efs": "elasticfilesystem",
    "opensearch": "es",
    "resourcegroupstaggingapi": "tag",
}


# What services write of too many calls, under codes of their own.
_SAYS_THROTTLED = re.compile(r"throttl|rate exceeded|too many requests|request rate", re.IGNORECASE)


class UnreachableError(CloudError):
    """A host that did not answer, however often it was tried."""


class NotOfferedError(CloudError):
    """A call that the service does not have in a region or partition, where it is older than elsewhere."""


class NotSubscribedError(CloudError):
    """A service that an account has not signed up for, so that nothing of it was made; or a region not enabled."""


class DeniedByOrganizationError(CloudError):
    """A call that no policy of the account itself could allow, as in a region that an organization denies."""


class SessionRefusedError(CloudError):
    """A session that AWS refuses, and that could not be opened anew: it may be accepted the next time."""

    def given_up(self) -> CloudError:
        """The error of an account of which nothing more is asked now, and which is asked again later."""
        return CloudError(Cause.UNAVAILABLE, f"{self}. {LATER}")


class Refusal(Enum):
    """What an answer says of the session that asked: AWS does not know it, or denies it everything, or neither."""

    SESSION = "session"
    DENIED = "denied"
    OTHER = "other"


def refusal_of(answer: Mapping[str, Any]) -> Refusal:
    """What an answer of botocore's form says of the session.

    Revoking a role's sessions attaches a policy to the role that denies everything to sessions older than it (IAM user
    guide: revoke IAM role temporary security credentials).
    """
    details = answer.get("Error") or {}
    cause, _ = _CODES.get(str(details.get("Code")), (None, ""))
    if cause is Cause.AUTH:
        return Refusal.SESSION
    denied = cause is Cause.PERMISSION and "explicit deny in an identity-based policy" in str(details.get("Message"))
    return Refusal.DENIED if denied else Refusal.OTHER


# Operations that IAM knows under another name.
_IAM_ACTIONS = {
    "ListBuckets": "ListAllMyBuckets",
    "ListObjectsV2": "ListBucket",
}


def iam_action(service: str, operation: str) -> str:
    """The action that IAM checks at a call, such as `es:ListDomainNames` for that of opensearch."""
    return f"{_IAM_PREFIXES.get(service, service)}:{_IAM_ACTIONS.get(operation, operation)}"


def explain(error: Exception, service: str, region: str, operation: str = "") -> CloudError:
    """The CloudError for what botocore raised: its cause, and a message that names the call and the remedy.

    The cloud's own text is quoted only where it can hold no part of the request's signature.
    """
    if isinstance(error, sdk.ClientError):
        return _explain_refusal(error, service, region)
    cause, remedy = next(
        ((cause, remedy) for kind, cause, remedy in _SDK_ERRORS if isinstance(error, kind)),
        (Cause.BUG, "Please report this"),
    )
    call = f"{service}.{operation}" if operation else service
    error_type = UnreachableError if isinstance(error, _UNREACHED) else CloudError
    return error_type(cause, f"{call} in {region}: {type(error).__name__}: {shortened(str(error))}. {remedy}")


def _explain_refusal(error: Any, service: str, region: str) -> CloudError:
    operation = error.operation_name
    details = error.response.get("Error", {})
    code = str(details.get("Code", "Unknown"))
    text = str(details.get("Message") or "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    otherwise = (Cause.UNAVAILABLE, LATER) if status >= 500 else (Cause.BUG, "Please report this")
    if _SAYS_THROTTLED.search(f"{code}: {text}"):
        otherwise = Cause.THROTTLED, LATER
    if code in _UNKNOWN_CALLS:
        return NotOfferedError(Cause.CONFIG, f"{service}.{operation} in {region}: {code}. {_REGION}")
    cause, remedy = _CODES.get(code) or _STATUSES.get(status, otherwise)
    if operation == "AssumeRole":
        service = "sts"
        if cause is Cause.PERMISSION:
            cause = Cause.AUTH
            remedy = "Check role_arn and the external id, and that the role's trust policy names this host's identity"
    if cause is Cause.AUTH and _is_of_the_clock(text, dig(error.response, "ResponseMetadata", "HTTPHeaders", "date")):
        remedy = _CLOCK
    action = re.search(r"to perform: ([\w-]+:\w+)", text)
    where = next(where for policy, where in _POLICIES.items() if policy in text).format(region=region)
    remedy = remedy.format(action=action[1] if action else iam_action(service, operation), where=where)
    quoted = "" if cause is Cause.AUTH else shortened(text.partition("Encoded authorization")[0])
    what = f"{code}: {quoted}" if quoted else code
    kind: type[CloudError] = CloudError
    if "service control policy" in text:
        kind = DeniedByOrganizationError
    elif code in _NOT_SUBSCRIBED:
        kind = NotSubscribedError
    return kind(cause, f"{service}.{operation} in {region}: {what}. {remedy}")


def _is_of_the_clock(text: str, date: object) -> bool:
    """True where a credential is refused because this host's clock is wrong: few services say so, all tell theirs."""
    return bool(re.search(r"\bSignature (expired|not yet current)\b", text)) or clock.is_wrong(date)


def code_of(error: sdk.ClientError) -> str:
    """The code by which a service refused a call, or its HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code"))


def region_refused(region: str) -> str:
    """The message for a region that refuses a credential which STS accepts, as one does that is not enabled."""
    return (
        f"{region} refuses a credential that is good elsewhere: enable the region in the account, "
        "or leave it out of `regions` in the customers file"
    )


# --- Cost Explorer ----------------------------------------------------------------------------------------------------

_HOW_TO_ENABLE = (
    "Cost Explorer is not enabled: open Billing and Cost Management > Cost Explorer once in the console of this "
    "account, or of the account that pays for it, which may also have to allow its members access; data follows within "
    "a day. For an account that another one pays for, write billing: false in the customers file"
)


def explain_cost_explorer(error: CloudError) -> CloudError:
    """An error of Cost Explorer, with the remedy where it is not enabled: AWS words that as a missing permission.

    Errors of other services are returned as they are.
    """
    text = str(error)
    if "DataUnavailableException" in text or "not enabled for cost explorer" in text.lower():
        return CloudError(Cause.CONFIG, f"ce.GetCostAndUsage: {_HOW_TO_ENABLE}")
    return error
