"""Bodies of requests and answers that Amazon Bedrock keeps beside its invocation log: those of over 100 KB.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html: a record names such a body's object,
which lies in the folder `data` below that of the log. It is no log itself.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.providers.object_storage.store import GoneError
from optiinfra_dagster.quality.interactions import Reason
from optiinfra_dagster.quality.logs.fields import BadFieldError
from optiinfra_dagster.quality.logs.records import MAX_RECORD

if TYPE_CHECKING:
    from optiinfra_dagster.providers.object_storage.store import File, Store

MOST_LACKING = 500  # bodies of one file that are remembered; once one of them comes, the file is read again

# From here on a key is the same wherever the log was copied to.
_BODY = re.compile(r"BedrockModelInvocationLogs/.*/data/[^/]+$")


def is_body(key: str) -> bool:
    """True for the key of such an object."""
    return _BODY.search(key) is not None


class LargeBodies:
    """The bodies among some files, read when a record names them. `lacking` are marks of those that were not there."""

    def __init__(self, store: Store, files: Iterable[File]) -> None:
        self.lacking: set[str] = set()
        self._store = store
        self._files = {found[0]: file for file in files if (found := _BODY.search(file.key))}
        self._marks = {_mark(name) for name in self._files}

    def have_come(self, lacking: frozenset[str]) -> bool:
        """True if some of what was lacking is there now."""
        return not self._marks.isdisjoint(lacking)

    def __call__(self, address: str) -> Any:
        """The body at an address such as `s3://bucket/key`.

        Raises:
            BadFieldError: it is too large, no JSON, or not there.
            CloudError, ConfigError: it cannot be read.
        """
        found = _BODY.search(address)
        file = self._files.get(found[0]) if found else None
        if file is None:
            if found and len(self.lacking) < MOST_LACKING:
                self.lacking.add(_mark(found[0]))
            raise BadFieldError(Reason.NO_BODY)
        try:
            with self._store.open(file) as stream:
                begin = stream.peek(2)[:2]
                data = (gzip.GzipFile(fileobj=stream) if begin == b"\x1f\x8b" else stream).read(MAX_RECORD + 1)
            if len(data) > MAX_RECORD:
                raise BadFieldError(Reason.TOO_LARGE)
            return json.loads(data)
        except GoneError:
            raise BadFieldError(Reason.NO_BODY) from None
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise BadFieldError(Reason.CUT_FILE) from None
        except (ValueError, RecursionError):
            raise BadFieldError(Reason.NOT_JSON) from None


def _mark(name: str) -> str:
    """What a body is remembered by that a file lacks."""
    return blake2b(name.encode(), digest_size=5).hexdigest()
