"""Google's errors in one place: what each means for a collection, and its remedy.

An answer of any of Google's APIs becomes a `CloudError` here, and so does a failure to get an access token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.auth.exceptions import GoogleAuthError, TransportError

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.providers import clock
from optiinfra_dagster.providers.gcp import permissions

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""The scope of all access tokens: the only one that Cloud Asset Inventory takes."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of an API, as remedies name it.

    `role` is the role that the calls need. `credentials` are google-auth's.
    """

    project_id: str
    api: str
    role: str
    credentials: Any

    @property
    def principal(self) -> str:
        """The service account that calls, as far as it is known."""
        account = getattr(self.credentials, "service_account_email", None)
        return account if account and account != "default" else "the account that collects"

    @property
    def payer(self) -> str:
        """The project whose quota the calls use."""
        return getattr(self.credentials, "quota_project_id", None) or self.project_id


_GRANT = "Grant {role} on the project {project} to {principal}, or correct project_id"
_ENABLE = "Enable {api} in the project {payer} (gcloud services enable {api} --project {payer})"
_CREDENTIAL = "Check the credentials file, or renew the credentials of this host"

_EXPIRED = "ACCESS_TOKEN_EXPIRED"  # it ran out, or was revoked

# Reasons of google.rpc.ErrorInfo, which say more than the status (google/api/error_reason.proto).
_REASONS: Mapping[str, tuple[Cause, str]] = {
    "SERVICE_DISABLED": (Cause.CONFIG, _ENABLE),
    "accessNotConfigured": (Cause.CONFIG, _ENABLE),
    "BILLING_DISABLED": (Cause.CONFIG, "Enable billing in the project {payer}"),
    "CONSUMER_INVALID": (Cause.CONFIG, "Correct quota_project_id or project_id: there is no project {payer}"),
    "CONSUMER_SUSPENDED": (Cause.CONFIG, "The project {payer} is suspended: ask Google's support"),
    "USER_PROJECT_DENIED": (
        Cause.PERMISSION,
        f"Grant {permissions.QUOTA} on {{payer}} to {{principal}}, or correct quota_project_id",
    ),
    "SECURITY_POLICY_VIOLATED": (
        Cause.PERMISSION,
        "Let {principal} through the VPC Service Controls perimeter for {api}",
    ),
    "IAM_PERMISSION_DENIED": (Cause.PERMISSION, _GRANT),
    "ACCOUNT_STATE_INVALID": (Cause.AUTH, "The service account {principal} is disabled or deleted: enable it"),
    _EXPIRED: (Cause.AUTH, "The access token is not taken any more"),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (Cause.AUTH, f"Give this host's service account the scope {SCOPE}"),
    "RATE_LIMIT_EXCEEDED": (Cause.THROTTLED, LATER),
    # Older APIs say it with 403, as one says that something is forbidden.
    **dict.fromkeys(
        ("rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"), (Cause.THROTTLED, LATER)
    ),
    "RESOURCE_USAGE_RESTRICTION_VIOLATED": (
        Cause.PERMISSION,
        "Let the organization policy gcp.restrictServiceUsage allow {api} in the project {payer}",
    ),
    "ORG_RESTRICTION_VIOLATION": (
        Cause.PERMISSION,
        "Let the organization restrictions of this host's network allow the organization of the project {project}",
    ),
}
# Statuses of google.rpc.Code, then of HTTP, for answers of something in between.
_STATUSES: Mapping[str | int, tuple[Cause, str]] = {
    "UNAUTHENTICATED": (Cause.AUTH, _CREDENTIAL),
    "PERMISSION_DENIED": (Cause.PERMISSION, _GRANT),
    "NOT_FOUND": (Cause.CONFIG, "Correct project_id: there is no project {project}"),
    "RESOURCE_EXHAUSTED": (Cause.THROTTLED, LATER),
    401: (Cause.AUTH, _CREDENTIAL),
    403: (Cause.PERMISSION, _GRANT),
    404: (Cause.CONFIG, "Correct project_id or endpoint_url"),
    408: (Cause.UNAVAILABLE, LATER),
    429: (Cause.THROTTLED, LATER),
}


class SessionRefusedError(CloudError):
    """An access token that Google takes no longer: a new one may be taken."""


def final(error: CloudError) -> CloudError:
    """An error that stands; of a session that was opened anew and refused again, nobody has to mend anything."""
    if isinstance(error, SessionRefusedError):
        return CloudError(Cause.UNAVAILABLE, f"{str(error).rstrip('.')}, nor is a new one. {LATER}")
    return error


def explain(
    status: int, body: Mapping[str, Any] | None, caller: Caller, operation: str, date: object = None
) -> CloudError:
    """The error that an answer other than 200 stands for, with its remedy.

    Args:
        status: of HTTP.
        body: Google's error object (AIP-193), or None where something else answered.
        caller: who called.
        operation: what was called, for the message: `assets.list of projects/acme-prod`.
        date: the time in the answer's head, by which a clock is told that makes tokens which nobody takes.
    """
    error = (body or {}).get("error")
    error = error if isinstance(error, dict) else {}
    word = str(error.get("status") or f"HTTP {status}")
    info = _error_info(error)
    reason = str(info.get("reason") or "")
    metadata = info.get("metadata")
    consumer = str(metadata.get("consumer") or "") if isinstance(metadata, dict) else ""
    if reason in _REASONS:
        cause, remedy = _REASONS[reason]
    elif "has not been used in project" in str(error.get("message")):  # without an ErrorInfo, as older APIs put it
        cause, remedy = Cause.CONFIG, _ENABLE
    elif word == "INVALID_ARGUMENT" and "token" in str(error.get("message")).lower():
        cause, remedy = Cause.INCOMPLETE, LATER
    elif status >= 500:
        cause, remedy = Cause.UNAVAILABLE, LATER
    else:
        cause, remedy = _STATUSES.get(word) or _STATUSES.get(status) or (Cause.BUG, "")
    if cause is Cause.AUTH and clock.is_wrong(date):
        remedy = clock.CHECK_CLOCK
    remedy = remedy.format(
        api=caller.api,
        role=caller.role,
        project=caller.project_id,
        principal=caller.principal,
        payer=consumer.removeprefix("projects/") or caller.payer,
    )
    error_type = SessionRefusedError if reason == _EXPIRED else CloudError
    message = _shortened(error.get("message"))
    summary = f"{word} {reason}".strip() + (f": {message}" if message else "")
    return error_type(cause, f"{operation}: {summary}. {remedy}".rstrip(". "))


def _shortened(message: object) -> str:
    return " ".join(str(message or "").split())[:300].rstrip(". ")


def _error_info(error: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("details", "errors"):  # new and old form
        for detail in error.get(key) or ():
            if isinstance(detail, dict) and detail.get("reason"):
                return detail
    return {}


# --- Access tokens --------------------------------------------------------------------------------------------------


def explain_credential(error: GoogleAuthError, impersonate: str | None) -> CloudError:
    """The error that a failure to get an access token stands for; Google's answer is cut to its code."""
    if isinstance(error, TransportError) or error.retryable or _is_passing(error):
        return CloudError(Cause.UNAVAILABLE, f"Google's token service did not answer: {type(error).__name__}. {LATER}")
    if impersonate is not None and "impersonate" in str(error.args[:1]):
        return CloudError(
            Cause.AUTH,
            f"{impersonate} cannot be impersonated. Grant {permissions.IMPERSONATION} on it to the "
            "credentials in use, and enable iamcredentials.googleapis.com in its project",
        )
    if "reasonable timeframe" in str(error.args[:1]):  # `Invalid JWT: Token must be a short-lived token …`
        return CloudError(Cause.AUTH, f"Google refuses the time of the credential. {clock.CHECK_CLOCK}")
    code = str(error.args[0]).partition(":")[0] if error.args else ""
    known = code if code.replace("_", "").isalpha() and len(code) <= 40 else type(error).__name__
    return CloudError(Cause.AUTH, f"Google refuses the credential ({known}). {_CREDENTIAL}")


def _is_passing(error: GoogleAuthError) -> bool:
    """True for the answer of a busy or broken service, which the error of an impersonation holds as text."""
    answer = error.args[1] if len(error.args) > 1 else None
    body = json_object(answer.encode()) if isinstance(answer, str) else None
    detail = (body or {}).get("error")
    code = detail.get("code") if isinstance(detail, dict) else None
    return isinstance(code, int) and (code == 429 or code >= 500)


def json_object(content: bytes) -> dict[str, Any] | None:
    """The object that an answer holds as JSON; None for any other content."""
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


# --- Cloud Monitoring, over gRPC --------------------------------------------------------------------------------------

# Codes of calls that broke off, which say nothing of the question.
_BROKEN_OFF = {"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN"}
_LEAST_WAIT_S = 1.0  # a shorter one would let a call be tried hundreds of times in the patience that it has


def is_unknown_metric(error: GoogleAPICallError) -> bool:
    """True where a project has no such metric, as nothing in it ever wrote one."""
    return _code_name(error) == "NOT_FOUND" and "Cannot find metric" in str(error.message)


def explain_grpc(error: GoogleAPICallError, caller: Caller, operation: str) -> CloudError:
    """The error that a failed gRPC call stands for, with the wait that it asks for (google.rpc.RetryInfo)."""
    word = _code_name(error)
    info = {"reason": error.reason, "metadata": dict(error.metadata or {})}
    body = {"error": {"status": word, "message": str(error.message or ""), "details": [info]}}
    status = 503 if word in _BROKEN_OFF or error.code is None else int(error.code)
    explained = explain(status, body, caller, operation)
    waits = [detail.retry_delay for detail in error.details or () if hasattr(detail, "retry_delay")]
    longest = max((wait.seconds + wait.nanos / 1e9 for wait in waits), default=0.0)
    explained.retry_after = longest if longest >= _LEAST_WAIT_S else None
    return explained


def _code_name(error: GoogleAPICallError) -> str:
    return error.grpc_status_code.name if error.grpc_status_code else ""


# --- BigQuery ---------------------------------------------------------------------------------------------------------

# BigQuery's own reasons (https://cloud.google.com/bigquery/docs/error-messages).
_BIGQUERY_REASONS: Mapping[str, tuple[Cause, str]] = {
    "rateLimitExceeded": (Cause.THROTTLED, LATER),
    "jobRateLimitExceeded": (Cause.THROTTLED, LATER),
    "quotaExceeded": (Cause.THROTTLED, "A quota of BigQuery is used up for today: raise it, or wait"),
    "bytesBilledLimitExceeded": (Cause.BUDGET, LATER),
    "invalidQuery": (Cause.CONFIG, "Name the standard or detailed usage cost export as billing_export_table"),
    "notFound": (Cause.CONFIG, "Correct billing_export_table"),
}
_WORDS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


def explain_bigquery(error: GoogleAPICallError, caller: Caller, operation: str) -> CloudError:
    """The error that a refusal of BigQuery stands for."""
    reasons = {str(detail.get("reason")) for detail in error.errors if isinstance(detail, dict)}
    message = _shortened(error.message)
    for reason, (cause, remedy) in _BIGQUERY_REASONS.items():
        if reason in reasons:
            return CloudError(cause, f"{operation}: {message}. {remedy}")
    status = int(error.code or 500)
    details = [{"reason": error.reason}] if error.reason else []
    body = {
        "error": {"status": _WORDS.get(status), "message": message, "details": details, "errors": list(error.errors)}
    }
    return explain(status, body, caller, operation)
