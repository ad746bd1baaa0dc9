"""Groq's API as the judge calls it: one question per request. https://console.groq.com/docs/api-reference.

No error of the SDK leaves this module: they carry the request, and with it the judged texts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.quality.replies import Reply, error_code, read_completion, refusal_of, retry_after

if TYPE_CHECKING:
    from groq import Groq

    from optiinfra_dagster.quality.pace import Pace
    from optiinfra_dagster.quality.rubric import Question

MOST_ANSWER_TOKENS = 3072
"""Of an answer and the reasoning before it; evidence takes about 200, and claims, chunks and facts up to 1,000."""

_LISTING_SECONDS = 15.0  # for one list of models
_LISTING_ATTEMPTS = 3
_LONGEST_WAIT = 10.0  # seconds before the models are listed again, whatever Groq asks for


def options_of(model: str) -> dict[str, Any]:
    """The options of a request that shape a model's answer besides the question."""
    options: dict[str, Any] = {"temperature": 0, "seed": 1, "max_completion_tokens": MOST_ANSWER_TOKENS}
    if model.startswith("openai/gpt-oss"):
        options |= {"reasoning_effort": "low", "include_reasoning": False}
    return options


class GroqClient:
    """A connection to Groq for one model. Thread-safe; `close` it at the end.

    `request_seconds` bounds one request; `first_wait` is how long to wait, in seconds, before the models are listed
    again. What Groq says of its rate limits goes to `pace`.
    """

    def __init__(
        self, model: str, api_key: str, base_url: str, pace: Pace, request_seconds: float, first_wait: float
    ) -> None:
        import groq

        self._model, self._base_url, self._pace = model, base_url, pace
        self._request_seconds, self._first_wait = request_seconds, first_wait
        # At DEBUG the SDK logs requests with everything in them.
        logging.getLogger("groq").setLevel(logging.INFO)
        self._groq: Groq = groq.Groq(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,  # its own retries know neither our budgets nor our deadline
            timeout=request_seconds,
            http_client=groq.DefaultHttpxClient(follow_redirects=False),  # texts go where the setting says, only
        )

    def close(self) -> None:
        """Close the connections."""
        self._groq.close()

    def models(self) -> set[str]:
        """The account's models.

        Raises:
            CloudError: the key is refused, or Groq did not answer in some attempts.
        """
        patience = Patience(self._first_wait, _LONGEST_WAIT, _LISTING_ATTEMPTS, jitter=(1.0, 1.0))
        return retrying({Cause.UNAVAILABLE: patience})(self._list_models)

    def _list_models(self) -> set[str]:
        import groq

        wait: float | None = None
        fatal: CloudError | None = None
        try:
            return {str(model.id) for model in self._groq.models.list(timeout=_LISTING_SECONDS).data}
        except groq.APIStatusError as refused:
            wait = retry_after(refused.response.headers)
            fatal = refusal_of(refused.status_code, error_code(refused.body), wait, self._model).fatal
        except (groq.APIError, ValueError, TypeError, AttributeError):
            pass  # no answer, or one of another form
        # Raised out here, so that it does not carry the request, which has the key.
        text = f"Groq at {self._base_url} did not list its models. Try again later."
        again = CloudError(Cause.UNAVAILABLE, text, None if wait is None else min(wait, _LONGEST_WAIT))
        raise fatal or again

    def ask(self, question: Question, deadline: float) -> Reply:
        """Send one question, to be answered by `deadline` (`time.monotonic`)."""
        import groq

        try:
            raw = self._groq.chat.completions.with_raw_response.create(
                **self._request(question),
                timeout=max(0.05, min(self._request_seconds, deadline - time.monotonic())),
            )
            self._pace.note(raw.headers)
            return read_completion(raw.parse(), question)
        except groq.APITimeoutError:
            return Reply(failure=Failure.TIMEOUT, again=True, unanswered=True)
        except groq.APIConnectionError:
            return Reply(failure=Failure.UNAVAILABLE, again=True, unanswered=True)
        except groq.APIStatusError as error:
            headers: Mapping[str, str] = error.response.headers
            self._pace.note(headers)
            return refusal_of(error.status_code, error_code(error.body), retry_after(headers), self._model)
        except (groq.APIError, ValueError):
            # A body that is not JSON, or not a completion.
            return Reply(failure=Failure.MALFORMED, again=True, unanswered=True)

    def _request(self, question: Question) -> dict[str, Any]:
        answer = {"name": "verdict", "strict": True, "schema": question.schema}
        return {
            "model": self._model,
            "messages": question.messages,
            "response_format": {"type": "json_schema", "json_schema": answer},
            **options_of(self._model),
        }
