"""A guard for loops over the pages of a listing: a cloud that repeats a page must not be asked for ever."""

from __future__ import annotations

from optiinfra_dagster.model.errors import LATER, Cause, CloudError


class PageGuard:
    """Remembers the page tokens of one listing. `operation` names the listing in the error."""

    def __init__(self, operation: str, most: int = 10_000) -> None:
        """Refuse a repeated token, and more than `most` pages: a guard, not a limit that an account comes near."""
        self._operation, self._most = operation, most
        self._tokens: set[str] = set()

    def check(self, token: str) -> None:
        """Take the token of the next page.

        Raises:
            CloudError: the token came before, or there are too many pages (`Cause.INCOMPLETE`).
        """
        if token in self._tokens:
            raise CloudError(Cause.INCOMPLETE, f"{self._operation}: the cloud repeats a page. {LATER}")
        if len(self._tokens) >= self._most:
            raise CloudError(Cause.INCOMPLETE, f"{self._operation}: more than {self._most:,} pages. {LATER}")
        self._tokens.add(token)
