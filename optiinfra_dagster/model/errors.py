"""Every error a user can meet: what happened, to whom, and what to do about it.

`OptiInfraError` is printed as one plain message, never as a traceback. Messages never hold a secret.
"""

from __future__ import annotations

from enum import StrEnum

LATER = "It is asked again with the next collection"
"""What a message says in place of a remedy where nobody has to do anything."""


class OptiInfraError(Exception):
    """A failure that is explained in full by its message."""


class StorageError(OptiInfraError):
    """ClickHouse could not be opened, reached, or used."""


class BusyError(StorageError):
    """The embedded engine is held by another process, which may let go of it in a moment."""


class LostError(StorageError):
    """What was known at a time is not there any more."""


class Cause(StrEnum):
    """The reason for a failed call; it decides whether asking again can help."""

    AUTH = "auth"  # the credential is wrong, expired or cannot be assumed
    PERMISSION = "permission"  # the credential works, this call is not allowed
    CONFIG = "config"  # the account, region or API is not set up as the customers file says
    HISTORY = "history"  # the past was asked of something that only knows the present
    THROTTLED = "throttled"  # too many calls
    BUDGET = "budget"  # the call would cost the customer more than its monthly budget: it was not made
    UNAVAILABLE = "unavailable"  # server error, timeout, broken connection
    INCOMPLETE = "incomplete"  # the cloud itself says that its answer is partial
    BUG = "bug"  # an answer this code did not expect

    @property
    def permanent(self) -> bool:
        """True if the same call will fail again until somebody changes something."""
        return self in {Cause.AUTH, Cause.PERMISSION, Cause.CONFIG, Cause.HISTORY, Cause.BUDGET}


class CollectionError(OptiInfraError):
    """A failure that a collector turns into a `Problem`: its `cause` decides whether asking again can help."""

    cause: Cause


class ConfigError(CollectionError):
    """A setting, an argument or the customers file is wrong: nothing was started."""

    cause = Cause.CONFIG


class UsageError(ConfigError):
    """What was typed cannot be meant: an argument is wrong by itself, or names what is not there."""


class CloudError(CollectionError):
    """A cloud refused or failed a call.

    `message` names the operation and the remedy; the customer and provider are added by the caller that knows them.
    `retry_after` is the wait in seconds that the cloud named, None where it named none.
    """

    def __init__(self, cause: Cause, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_after = retry_after
