"""The server that a judge asks: Groq, or any other with the chat completions of OpenAI's API."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from pydantic import SecretStr

    from optiinfra_dagster.config.settings import Settings

GROQ_PATH = "/openai/v1"


@dataclass(frozen=True, slots=True)
class Server:
    """A model at a server, and the settings that name them, for errors to name.

    `base_url` is what `/chat/completions` is put behind: `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1`. It
    may hold a query, which Azure's older API wants: `.../openai/deployments/NAME?api-version=2024-10-21`.
    """

    model: str
    api_key: str = field(repr=False)
    base_url: str
    is_groq: bool = True
    key_setting: str = "GROQ_API_KEY"
    model_setting: str = "OPTIINFRA_JUDGE_MODEL"
    url_setting: str = "GROQ_BASE_URL"

    @property
    def name(self) -> str:
        """The name of the server in messages."""
        return "Groq" if self.is_groq else f"The judge's server {urlsplit(self.base_url).netloc}"

    @property
    def console(self) -> str:
        """Where its account is managed."""
        return "https://console.groq.com" if self.is_groq else "the account's settings at that server"

    @property
    def root(self) -> str:
        """The base URL without its query."""
        return urlsplit(self.base_url)._replace(query="").geturl()

    @property
    def query(self) -> dict[str, object]:
        """What is put behind every URL."""
        return dict(parse_qsl(urlsplit(self.base_url).query))

    @property
    def headers(self) -> dict[str, str]:
        """Headers besides `Authorization: Bearer`: the deployments of Azure's older API read the key from `api-key`."""
        return {"api-key": self.api_key} if "/deployments/" in self.base_url else {}

    @classmethod
    def of(cls, settings: Settings) -> Server | None:
        """The server of the judge; None where no key is set for it."""
        if settings.judge_base_url is None:
            key = settings.groq_api_key
            return None if key is None else cls.groq(settings.judge_model, key, settings.groq_base_url)
        if settings.judge_api_key is None:
            return None
        return cls(
            settings.judge_model,
            settings.judge_api_key.get_secret_value(),
            settings.judge_base_url,
            is_groq=False,
            key_setting="OPTIINFRA_JUDGE_API_KEY",
            url_setting="OPTIINFRA_JUDGE_BASE_URL",
        )

    @classmethod
    def groq(cls, model: str, key: SecretStr, url: str) -> Server:
        """A model at Groq, or at a stand-in of it."""
        return cls(model, key.get_secret_value(), url + GROQ_PATH)

    @classmethod
    def second_of(cls, settings: Settings) -> Server | None:
        """The server of the second judge, by default that of the first; None where there is none."""
        if settings.second_judge_model is None:
            return None
        setting = "OPTIINFRA_SECOND_JUDGE_MODEL"
        if settings.second_judge_base_url is None:
            first = cls.of(settings)
            return None if first is None else replace(first, model=settings.second_judge_model, model_setting=setting)
        if settings.second_judge_api_key is None:
            return None
        return cls(
            settings.second_judge_model,
            settings.second_judge_api_key.get_secret_value(),
            settings.second_judge_base_url,
            is_groq=False,
            key_setting="OPTIINFRA_SECOND_JUDGE_API_KEY",
            model_setting=setting,
            url_setting="OPTIINFRA_SECOND_JUDGE_BASE_URL",
        )
