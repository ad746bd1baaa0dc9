"""The Groq organisation of a world file: keys, models, and the limits of the account."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class GroqWorld(BaseModel):
    """An organisation at Groq. `minute` is the length of the lab's minute in seconds: short, tests need not wait."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: list[str] = Field(default_factory=lambda: ["lab-groq-key"], min_length=1)
    models: list[str] = Field(
        default_factory=lambda: [
            "llama-3.3-70b-versatile",
            "openai/gpt-oss-120b",
            "openai/gpt-oss-20b",
            "openai/gpt-oss-safeguard-20b",
            "qwen/qwen3-32b",
        ]
    )
    tokens_per_minute: int = 10_000_000
    requests_per_day: int = 10_000_000
    context_tokens: int = 131_072
    minute: float = Field(default=60.0, gt=0)
