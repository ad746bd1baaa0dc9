"""The chat completions API as the judge calls it, by Groq's SDK: one question per request.

The SDK talks to any server with this API: it is given whole paths and bodies, and hands back the answer unread. No
error of the SDK leaves this module: they carry the request, and with it the judged texts.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.quality.refusals import ErrorBody, error_body, named_wait, refusal_of
from optiinfra_dagster.quality.replies import NO_JSON, Reply, of_another_model, read_completion

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    from groq import Groq

    from optiinfra_dagster.quality.pace import Pace
    from optiinfra_dagster.quality.rubric import Question
    from optiinfra_dagster.quality.server import Server

# How many other models LiteLLM's proxy has tried: https://docs.litellm.ai/docs/proxy/response_headers. The name of the
# model in its answer is that which was asked for, in some of its versions (issue 28241).
_FALLBACKS = "x-litellm-attempted-fallbacks"
_LISTING_SECONDS = 15.0  # for one list of models
_LISTING_ATTEMPTS = 3
_LONGEST_WAIT = 10.0  # seconds before the models are listed again, whatever the server asks for


class Client:
    """A connection to a server for one model. Thread-safe; `close` it at the end.

    `request_seconds` bounds one request; `first_wait` is how long to wait, in seconds, before the models are listed
    again. What the server says of its rate limits goes to `pace`.
    """

    def __init__(self, server: Server, pace: Pace, request_seconds: float, first_wait: float) -> None:
        import groq

        self._server, self._pace = server, pace
        self._request_seconds, self._first_wait = request_seconds, first_wait
        # At DEBUG the SDK logs requests with everything in them.
        logging.getLogger("groq").setLevel(logging.INFO)
        self._sdk: Groq = groq.Groq(
            api_key=server.api_key,
            base_url=server.root,
            default_headers=server.headers,
            default_query=server.query,
            max_retries=0,  # its own retries know neither our budgets nor our deadline
            timeout=request_seconds,
            http_client=groq.DefaultHttpxClient(follow_redirects=False),  # texts go where the setting says, only
        )

    def close(self) -> None:
        """Close the connections."""
        self._sdk.close()

    def models(self) -> set[str]:
        """The account's models.

        Raises:
            CloudError: the key is refused, or the server did not answer in some attempts.
        """
        patience = Patience(self._first_wait, _LONGEST_WAIT, _LISTING_ATTEMPTS, jitter=(1.0, 1.0))
        return retrying({Cause.UNAVAILABLE: patience})(self._list_models)

    def _list_models(self) -> set[str]:
        import groq
        import httpx

        wait: float | None = None
        fatal: CloudError | None = None
        try:
            listed = self._sdk.get("models", cast_to=httpx.Response, options={"timeout": _LISTING_SECONDS}).json()
            return {str(model["id"]) for model in listed["data"]}
        except groq.APIStatusError as refused:
            wait = named_wait(refused.response.headers)
            fatal = refusal_of(refused.status_code, error_body(refused.body), wait, self._server).fatal
        except (groq.APIError, ValueError, TypeError, KeyError):
            pass  # no answer, or one of another form
        # Raised out here, so that it does not carry the request, which has the key.
        text = f"{self._server.name} at {self._server.base_url} did not list its models. Try again later."
        again = CloudError(Cause.UNAVAILABLE, text, None if wait is None else min(wait, _LONGEST_WAIT))
        raise fatal or again

    def ask(self, question: Question, request: Mapping[str, Any], deadline: float) -> Reply:
        """Send the request of a question, to be answered by `deadline` (`time.monotonic`)."""
        import groq
        import httpx

        timeout = max(0.05, min(self._request_seconds, deadline - time.monotonic()))
        try:
            answer: httpx.Response = self._sdk.post(
                "chat/completions", body=request, cast_to=httpx.Response, options={"timeout": timeout}
            )
            self._pace.note(answer.headers)
            found = answer.json()
            if failed := _failed_in(found):
                # OpenRouter and others answer 200 before the model's own server has failed.
                return refusal_of(_status_in(failed["error"]), error_body(failed), None, self._server)
            reply = read_completion(found, question)
            return of_another_model(reply) if answer.headers.get(_FALLBACKS, "0") not in {"", "0"} else reply
        except groq.APITimeoutError:
            return Reply(failure=Failure.TIMEOUT, again=True, unanswered=True)
        except groq.APIConnectionError:
            return Reply(failure=Failure.UNAVAILABLE, again=True, unanswered=True)
        except groq.APIStatusError as error:
            headers: Mapping[str, str] = error.response.headers
            self._pace.note(headers)
            body = error_body(error.body) if isinstance(error.body, dict | list) else ErrorBody()
            return refusal_of(error.status_code, body, named_wait(headers), self._server)
        except (groq.APIError, ValueError, RecursionError):
            # A body that is not JSON, or not a completion.
            return Reply(failure=Failure.MALFORMED, again=True, unanswered=True, about=NO_JSON)


def _failed_in(completion: object) -> Mapping[str, Any] | None:
    """What holds the error of a completion that failed: itself, or the choice that was being written."""
    if not isinstance(completion, dict):
        return None
    choices = completion.get("choices")
    if "error" in completion and not choices:
        return completion
    if completion.get("object") == "error":  # vLLM's, by proxies that pass on its body alone
        return {"error": completion}
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) and first.get("error") else None


def _status_in(error: object) -> int:
    """The HTTP status that an error's code is, 502 if it is none: what the model's own server said."""
    code = str(error.get("code")) if isinstance(error, dict) else ""
    return int(code) if re.fullmatch(r"[45][0-9]{2}", code) else 502
