"""A folder of this machine, listed and read as a bucket is."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.object_storage.store import BUFFER_BYTES, File, GoneError, Page


class Folder:
    """A folder of this machine, whatever its depth; keys are absolute paths.

    `setting` is the key of the customers file that names it, for messages.
    """

    def __init__(self, base: Path, setting: str) -> None:
        self.place = str(base)
        self._base, self._setting = base, setting

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List files as S3 would, in one page."""
        if not self._base.is_dir():
            raise ConfigError(
                f"There is no folder {self._base}. Create it, or correct `{self._setting}` in the customers file."
            )
        yield Page(
            sorted(self._walk(Path(prefix).parent, prefix, after, before), key=lambda file: file.key), more=False
        )

    def _walk(self, folder: Path, prefix: str, after: str, before: str) -> Iterator[File]:
        # `a/b` is the parent of both prefixes `a/b/` and `a/b/c`, save that Path drops the slash of the first.
        folder = Path(prefix) if prefix.endswith("/") and folder == Path(prefix).parent else folder
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if f"{entry.path}/".startswith(prefix) or prefix.startswith(f"{entry.path}/"):
                            yield from self._walk(Path(entry.path), prefix, after, before)
                    elif entry.path.startswith(prefix) and after <= entry.path and (not before or entry.path < before):
                        state = entry.stat()
                        yield File(entry.path, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC))
        except FileNotFoundError:
            return  # a part of the location that has nothing yet
        except OSError as error:
            raise _unreadable(str(folder), error) from None

    def open(self, file: File) -> io.BufferedReader:
        """Open a file."""
        try:
            return io.BufferedReader(io.FileIO(file.key), BUFFER_BYTES)
        except FileNotFoundError:
            raise GoneError(self.place) from None
        except OSError as error:
            raise _unreadable(file.key, error) from None

    def close(self) -> None:
        """There are no connections."""


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be read: {error.strerror}. Give the user that runs Dagster read permission.")
