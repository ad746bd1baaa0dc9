"""The errors of Google's APIs that speak of google.rpc.Status, over HTTP and gRPC."""

from __future__ import annotations

from optiinfra_dagster.lab.service import ApiError


class GcpError(ApiError):
    """An error as Google words it: `code` is a name of google.rpc.Code, `reason` that of google.rpc.ErrorInfo."""

    def __init__(self, status: int, code: str, message: str, reason: str = "") -> None:
        super().__init__(status, code, message)
        self.reason = reason
