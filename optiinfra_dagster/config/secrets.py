"""Values that the customers file only points to: secrets, endpoints and credential files, looked up when they are used.

Held as written, so that no secret is in memory before it is needed, in a log, or in a dump of the configuration.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError, OptiInfraError
from optiinfra_dagster.model.hosts import is_link_local, is_loopback

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

HOW_TO_REFER = (
    "Write {env: NAME}, {file: /path} or {aws_secret: name}, with `key: NAME` beside it where the secret is JSON"
)
HOW_TO_POINT = "Write https://host, or http://127.0.0.1:PORT on this machine, or {env: NAME}"
HOW_TO_NAME_FILE = "Write the path of the JSON file, or {env: NAME} for a variable that holds the path"

_T = TypeVar("_T")
_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9a-f:.]+(?:%\w+)?")  # a name or an address; urlsplit takes off its brackets
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def problem(what: str, remedy: str = "") -> PydanticCustomError:
    """A validation error in our own words; without a remedy, the field's description is the remedy."""
    return PydanticCustomError("plain", "{what}. {remedy}", {"what": what, "remedy": remedy})


def mistakes_of(error: ValidationError) -> list[ErrorDetails]:
    """The mistakes of a file, without that a list is too short where it holds members and none of them is right."""
    found = error.errors(include_url=False)
    within = {tuple(one["loc"][:size]) for one in found for size in range(len(one["loc"]))}
    return [one for one in found if one["type"] != "too_short" or one["loc"] not in within]


def local_path(text: str | Path, info: ValidationInfo) -> Path:
    """A path made absolute: `~` is the home folder, and a relative path starts at the folder of the customers file.

    Not at the current folder, because the Dagster processes that read the same file may each have another one.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise problem("names a home folder that does not exist", "Write the path in full") from None
    folder: Path | None = info.context.get("folder") if isinstance(info.context, Mapping) else None
    return path if folder is None else folder / path


class _LookupFailedError(Exception):
    """A reference leads nowhere. Holds the mistake and its remedy, never the value."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def _from_env(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise _LookupFailedError(
            f"the environment variable {name} is {'not set' if value is None else 'empty'}",
            "Set it for every Dagster process, or correct its name here",
        )
    return value


def _from_file(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _LookupFailedError(f"there is no file {path}", "Create it, or correct the path here") from None
    except IsADirectoryError:
        raise _LookupFailedError(f"{path} is a folder", "Name the file in it") from None
    except PermissionError:
        raise _LookupFailedError(
            f"the file {path} may not be read by this user", "Give the user that runs Dagster read permission"
        ) from None
    except OSError as error:
        raise _LookupFailedError(
            f"the file {path} cannot be read: {error.strerror}", "Make it readable, or correct the path here"
        ) from None
    # Not strict decoding: its error would carry the secret's bytes along.
    text = content.decode("utf-8-sig", errors="replace")  # editors of Windows put a mark of the byte order in front
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise _LookupFailedError(f"the file {path} is not UTF-8 text", "Save the secret as plain text")
    return text


def _from_aws(name: str) -> str:
    """The current version of a secret in AWS Secrets Manager, read with the credentials of this host.

    API: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
    """
    import boto3
    from botocore import exceptions
    from botocore.config import Config

    # arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME
    region = name.split(":")[3] if name.startswith("arn:") and name.count(":") >= 6 else None
    config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
    subject = f"the AWS secret {name}"
    try:
        client = boto3.session.Session().client("secretsmanager", region_name=region, config=config)
        answer = client.get_secret_value(SecretId=name)
    except exceptions.NoRegionError:
        raise _LookupFailedError(
            f"{subject} has no region", "Set AWS_DEFAULT_REGION, or write the secret's full ARN"
        ) from None
    except exceptions.NoCredentialsError:
        raise _LookupFailedError(
            f"{subject} cannot be read: this host has no AWS credentials",
            "Give it a role that may call secretsmanager:GetSecretValue",
        ) from None
    except exceptions.ClientError as error:
        raise _aws_refusal(subject, str(error.response.get("Error", {}).get("Code", "unknown error"))) from None
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        raise CloudError(Cause.UNAVAILABLE, f"{subject} could not be fetched: {type(error).__name__}") from None
    except exceptions.BotoCoreError as error:
        raise _LookupFailedError(
            f"{subject} cannot be read: {type(error).__name__}", "Correct the name, or the AWS settings of this host"
        ) from None
    text = answer.get("SecretString")
    if text is None:
        raise _LookupFailedError(f"{subject} is binary", "Store it as text")
    return str(text)


def _aws_refusal(subject: str, code: str) -> Exception:
    """The error for a code that Secrets Manager or the signature check answered with."""
    if "Throttl" in code or code == "TooManyRequestsException":
        return CloudError(Cause.THROTTLED, f"{subject} could not be fetched: {code}")
    if code.startswith("Internal") or code == "ServiceUnavailable":
        return CloudError(Cause.UNAVAILABLE, f"{subject} could not be fetched: {code}")
    remedies = {
        "ResourceNotFoundException": "Create it, or correct its name or region here",
        "AccessDeniedException": "Allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its key",
        "DecryptionFailure": "Allow kms:Decrypt on its key",
    }
    return _LookupFailedError(
        f"{subject} cannot be read: {code}", remedies.get(code, "Check its name and the credentials of this host")
    )


def _json_member(text: str, key: str) -> str:
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    # Raised out here, since the parser's error carries the text.
    if not isinstance(members, dict):
        raise _LookupFailedError(f"the value is not a JSON object, yet key '{key}' of it is asked for", "Remove `key`")
    value = members.get(key)
    if not isinstance(value, str):
        raise _LookupFailedError(
            f"the JSON object has no text under the key '{key}'{closest(key, members)}", "Correct `key`"
        )
    return value


class Section(BaseModel):
    """The base of every part of the file: frozen, no unknown keys, no values in error messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The fields that were written, and no others, so that logs stay readable."""
        return ((name, value) for name, value in super().__repr_args__() if value not in (None, ()))


class DeferredValue(Section):
    """A value that is not known until it is used. `_place` is where the file mentions it, for messages."""

    _place: str = PrivateAttr(default="this value")

    def found_at(self, place: str) -> None:
        """Tell where the file mentions this value: `customers[2].aws[0].external_id`."""
        self._place = place

    # The same source is the same reference wherever the file mentions it; pydantic would compare the places too.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __str__(self) -> str:
        """`env ACME_KEY`: the source as people say it; what is written out, as it is."""
        name, value = next((name, value) for name, value in self if value is not None)
        return str(value) if name in {"url", "path"} else f"{name} {value}"

    def _look_up(self, read: Callable[[], _T]) -> _T:
        """Call `read`; its errors become ones that name the place, and carry no other error along."""
        error: OptiInfraError
        try:
            return read()
        except _LookupFailedError as failed:
            error = ConfigError(f"{self._place}: {failed.what}. {failed.remedy}.")
        except CloudError as failed:
            error = CloudError(failed.cause, f"{self._place}: {failed}")
        raise error


class Reference(DeferredValue):
    """The place of a secret: exactly one of `env`, `file` and `aws_secret`, and `key` for a member of a JSON object.

    A relative `file` starts at the folder of the customers file. An AWS secret is read with this host's own
    credentials; its name may be an ARN. Nothing is cached: a rotated secret is picked up by the next use.
    """

    env: str | None = None
    file: Path | None = None
    aws_secret: str | None = None
    key: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_literals(cls, value: object) -> object:
        # One check before all field checks, because theirs would name the keys, and `{hunter2}` is a key in YAML.
        if not isinstance(value, Mapping):
            what = "has no value" if value is None else "a secret may not be written here, only a reference to it"
            raise problem(what, HOW_TO_REFER)
        members = {name: part for name, part in value.items() if part is not None}
        sources = members.keys() - {"key"}
        if len(sources) != 1 or not sources <= {"env", "file", "aws_secret"}:
            raise problem("is not a reference to one secret", HOW_TO_REFER)
        if not all(part and isinstance(part, str | Path) for part in members.values()):
            raise problem("is a reference without a name", HOW_TO_REFER)
        return value

    @field_validator("env")
    @classmethod
    def _check_name(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise problem("is not the name of an environment variable", HOW_TO_REFER)
        return value

    @field_validator("file")
    @classmethod
    def _find_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else local_path(value, info)

    def resolve(self) -> str:
        """The secret itself, without the newline that editors and base64 put at its end.

        Raises:
            ConfigError: it is missing, empty or unreadable; the message names the place in the file and the remedy.
            CloudError: AWS Secrets Manager did not answer or was too busy: trying again may help.
        """
        return self._look_up(self._read)

    def _read(self) -> str:
        if self.env is not None:
            text = _from_env(self.env)
        else:
            text = _from_file(self.file) if self.file is not None else _from_aws(self.aws_secret or "")
        value = (text if self.key is None else _json_member(text, self.key)).rstrip("\r\n")
        if not value:
            raise _LookupFailedError(f"{self} is empty", "Put the secret there")
        # A client would say so with the header that cannot be sent, and the secret in it.
        if re.search(r"[\x00-\x1f\x7f]", value.strip()):
            raise _LookupFailedError(
                f"{self} holds a line break or another control character within the secret", "Put it there alone"
            )
        return value


def _endpoint_fault(url: str) -> str | None:
    """The mistake in an endpoint, or None. Plain http would show credentials to the network, save on loopback."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host):
        # A user name before the host would end up here too if the host is odd: say the graver thing.
        return "holds a user name or password" if "@" in url else "is not a URL that starts with https:// and a host"
    if "@" in parts.netloc:
        return "holds a user name or password"
    if port == 0:
        return "names port 0"
    if parts.query or parts.fragment or re.search(r"\s", url):
        return "has something behind its path"
    if is_link_local(host):
        return "is a link-local address, where clouds keep the credentials of this host"
    if parts.scheme == "http" and not is_loopback(host):
        return "is plain http to another machine, which would show credentials to the network"
    return None


class Endpoint(DeferredValue):
    """A URL that stands in for a cloud's own: written out (`url`), or kept in an environment variable (`env`).

    It must be https, except that the loopback hosts localhost, 127.0.0.0/8 and ::1 may be plain http.
    """

    url: str | None = None
    env: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_text(cls, value: object) -> object:
        name, text = _literal_or_env(value, "url") or (None, None)
        if not isinstance(text, str):
            raise problem("is neither a URL nor a reference to one", HOW_TO_POINT)
        if name == "url" and (fault := cls._fault(text)):
            raise problem(fault, HOW_TO_POINT)
        return {name: text}

    @classmethod
    def _fault(cls, url: str) -> str | None:
        return _endpoint_fault(url)

    def resolve(self) -> str:
        """The URL.

        Raises:
            ConfigError: the variable is not set, or what it holds may not be used as an endpoint.
        """
        return self._look_up(self._read)

    def _read(self) -> str:
        if self.url is not None:
            return self.url
        url = _from_env(self.env or "")
        if fault := self._fault(url):
            raise _LookupFailedError(f"the URL in the environment variable {self.env} {fault}", HOW_TO_POINT)
        return url


class HostEndpoint(Endpoint):
    """An endpoint without a path, since what is called there has none, such as gRPC."""

    @classmethod
    def _fault(cls, url: str) -> str | None:
        has_path = not _endpoint_fault(url) and urlsplit(url).path.strip("/")
        return "has a path, which is not used: gRPC has none" if has_path else _endpoint_fault(url)


class CredentialsFile(DeferredValue):
    """The path of a credentials file: written out (`path`), or kept in an environment variable (`env`)."""

    path: Path | None = None
    env: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_text(cls, value: object, info: ValidationInfo) -> object:
        name, text = _literal_or_env(value, "path") or (None, None)
        if not isinstance(text, str | Path) or _looks_like_json(str(text)):
            raise problem("is neither a path nor a reference to one", HOW_TO_NAME_FILE)
        return {name: local_path(text, info) if name == "path" else text}

    def resolve(self) -> Path:
        """The path of a file that exists.

        Raises:
            ConfigError: the variable is not set, holds the credentials instead of a path, or there is no such file.
        """
        return self._look_up(self._read)

    def _read(self) -> Path:
        if self.path is not None:
            path, subject = self.path, f"the file {self.path}"
        else:
            text = _from_env(self.env or "").strip()
            # Its content is never shown: it may be the credentials.
            subject = f"the file that the environment variable {self.env} names"
            if _looks_like_json(text):
                raise _LookupFailedError(
                    f"the environment variable {self.env} holds the credentials themselves",
                    "Write them to a file, and put its path in the variable",
                )
            path = Path(text)
        try:
            exists = path.is_file()
        except OSError:  # too long to be a path
            exists = False
        if not exists:
            raise _LookupFailedError(f"{subject} does not exist", "Create it, or correct the path")
        return path


def _literal_or_env(value: object, literal: str) -> tuple[str, object] | None:
    """`(literal, value)` or `("env", NAME)`; None if it is neither a literal nor {env: NAME}."""
    if not isinstance(value, Mapping):
        return literal, value
    members = {name: part for name, part in value.items() if part is not None}
    if len(members) != 1 or not members.keys() <= {literal, "env"}:
        return None
    name, part = members.popitem()
    return None if name == "env" and not _VARIABLE.fullmatch(str(part)) else (name, part)


def _looks_like_json(text: str) -> bool:
    return text.lstrip().startswith("{")
