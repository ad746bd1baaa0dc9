"""The base of the settings models, whose fields are variables of the environment."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Variables(BaseModel):
    """Settings whose alias is the variable, and whose description says what to set it to."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True
    )


def stripped(value: object) -> object:
    """A secret without the newline of the file or command that it came from."""
    return value.strip() if isinstance(value, str) else value
