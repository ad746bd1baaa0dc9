"""Every odd answer and refusal of the lab, asked for over a socket, becomes what docs/llm_judge.md says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.lab.groq import odd
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.quality.judge import REFUSED_IN_A_ROW
from optiinfra_dagster.quality.models import usd
from optiinfra_dagster.quality.refusals import LONGEST_NAMED_WAIT, error_body, named_wait, refusal_of
from optiinfra_dagster.quality.replies import read_completion
from optiinfra_dagster.quality.rubric import Question
from optiinfra_dagster.quality.server import Server
from tests.support.judging import interaction, judge_at, lab_of

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.quality import Verdict
    from optiinfra_dagster.quality.judge import Judge

PAGE = (Path(__file__).parents[2] / "docs" / "llm_judge.md").read_text(encoding="utf-8")
TOLD = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", PAGE, re.MULTILINE))
QUESTION = Question.about(interaction(1))
USAGE_UNKNOWN = {"no_usage", "null_usage", "negative_usage", "huge_usage"}


@pytest.fixture(scope="module")
def module_lab() -> Iterator[CloudLab]:
    with lab_of() as lab:
        yield lab


@pytest.fixture
def lab(module_lab: CloudLab) -> CloudLab:
    module_lab.control.reset()
    return module_lab


def be_odd(lab: CloudLab, mode: str) -> None:
    lab.control.add_faults({"action": "odd", "service": "groq", "operation": "chat.completions", "mode": mode})


def ask(judge: Judge, number: int = 1) -> Verdict:
    judge.prepare()
    question = Question.about(interaction(number))
    judge.hold(question, [judge.run_budget])
    return judge.ask(question, [judge.run_budget], time.monotonic() + 20).result()


def test_the_page_tells_every_odd_answer_of_the_lab() -> None:
    assert TOLD.keys() == odd.ANSWERS.keys() | odd.REFUSALS.keys()


@pytest.mark.parametrize("mode", [mode for mode, told in TOLD.items() if not told.startswith("ends the run")])
def test_an_odd_answer_becomes_what_the_page_says(lab: CloudLab, mode: str) -> None:
    be_odd(lab, mode)
    judge = judge_at(lab.url)
    verdict = ask(judge)
    judge.close()
    assert ("verdict" if verdict.failure is None else verdict.failure.value) == TOLD[mode]
    assert (verdict.answer is None) is (verdict.failure is not None)
    assert not verdict.settled or verdict.answer is not None
    few = {Failure.THROTTLED: 6, Failure.UNAVAILABLE: 6, Failure.MALFORMED: 2, Failure.TRUNCATED: 2}
    assert verdict.requests == (few.get(verdict.failure, 1) if verdict.failure else 1)
    if mode in USAGE_UNKNOWN:  # it counts with the most that it can be
        assert (verdict.usd, verdict.tokens) == (None, 0)
        assert judge.run_budget.used_tokens == verdict.unanswered_tokens == judge.most_tokens(QUESTION)
    elif verdict.answer is not None:
        assert judge.run_budget.used_tokens == verdict.tokens > 0
        assert verdict.usd is not None
        assert verdict.usd > 0
    assert judge.run_budget.held_tokens == 0


def test_thoughts_that_only_the_total_tells_are_paid_as_the_answers(lab: CloudLab) -> None:
    judge = judge_at(lab.url)
    plain = ask(judge)
    be_odd(lab, "thoughts_apart_in_usage")
    verdict = ask(judge)
    judge.close()
    assert (verdict.prompt_tokens, verdict.completion_tokens) == (
        plain.prompt_tokens,
        plain.completion_tokens + odd.THOUGHTS,
    )
    assert verdict.usd == usd(judge.price, verdict.prompt_tokens, verdict.completion_tokens)


@pytest.mark.parametrize("mode", [mode for mode, told in TOLD.items() if told.startswith("ends the run")])
def test_an_error_of_account_or_model_ends_the_run_with_a_remedy_of_its_own(lab: CloudLab, mode: str) -> None:
    be_odd(lab, mode)
    judge = judge_at(lab.url)
    with pytest.raises(CloudError) as caught:
        ask(judge, 1)
    with pytest.raises(CloudError):
        ask(judge, 2)
    judge.close()
    assert f"ends the run: {caught.value.cause.value}" == TOLD[mode].strip()
    assert caught.value.cause.permanent
    assert "\n" not in str(caught.value)
    assert lab.control.calls().count("groq", "chat.completions") == 1  # and no second one


def test_remedies_of_different_errors_differ(lab: CloudLab) -> None:
    told = {}
    for mode in ("wrong_key", "model_forbidden", "organization_restricted", "blocked_api_access", "spend_limit",
                 "model_decommissioned", "model_not_found", "wrong_url", "redirection"):  # fmt: skip
        lab.control.reset()
        be_odd(lab, mode)
        judge = judge_at(lab.url)
        with pytest.raises(CloudError) as caught:
            ask(judge)
        judge.close()
        told[mode] = str(caught.value)
    assert len(set(told.values())) == len(told)
    assert "GROQ_API_KEY" in told["wrong_key"]
    assert "spend limit" in told["spend_limit"]
    assert "shut down" in told["model_decommissioned"]


def test_refusals_in_a_row_end_the_run_and_not_each_question_anew(lab: CloudLab) -> None:
    be_odd(lab, "unknown_400")
    judge = judge_at(lab.url)
    for number in range(REFUSED_IN_A_ROW - 1):
        assert ask(judge, number).failure is Failure.REFUSED
    with pytest.raises(CloudError, match=r"refused 5 questions in a row \(status 400\)") as caught:
        ask(judge, 5)
    assert caught.value.cause is Cause.CONFIG
    for number in range(6, 40):
        with pytest.raises(CloudError):
            ask(judge, number)
    judge.close()
    assert lab.control.calls().count("groq", "chat.completions") == REFUSED_IN_A_ROW


def test_a_refusal_among_answers_ends_nothing(lab: CloudLab) -> None:
    chat = {"service": "groq", "operation": "chat.completions"}
    judge = judge_at(lab.url)
    for number in range(8):
        if number % 2 == 0:
            lab.control.add_faults({"action": "odd", **chat, "mode": "unknown_400", "times": 1})
        verdict = ask(judge, number)
        assert (verdict.failure is Failure.REFUSED) is (number % 2 == 0)
    judge.close()


def test_after_a_limit_of_a_day_nothing_more_is_asked(lab: CloudLab) -> None:
    be_odd(lab, "tokens_per_day")
    judge = judge_at(lab.url)
    assert [ask(judge, number).failure for number in range(5)] == [Failure.PAUSED] * 5
    judge.close()
    assert lab.control.calls().count("groq", "chat.completions") == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "3, 3"}, 3.0),
        ({"retry-after": "2m59.56s"}, 179.56),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "90000"}, 90000.0),  # more than a day is not none
        ({"retry-after": "1e300"}, LONGEST_NAMED_WAIT),
        ({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}, LONGEST_NAMED_WAIT),
        ({"retry-after": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0.0),
        ({"x-ratelimit-reset": "1"}, 1.0),
        ({"ratelimit-reset": "30"}, 30.0),
        ({"retry-after": "2", "x-ratelimit-reset": "99"}, 2.0),
        ({"x-ratelimit-reset": "4102444800000"}, LONGEST_NAMED_WAIT),  # in 2100, as OpenRouter tells a day's limit
        ({"x-ratelimit-reset": "4102444800"}, LONGEST_NAMED_WAIT),
        ({"x-ratelimit-reset": "1741305600000"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_named_wait_is_read_in_every_shape(headers: dict[str, str], seconds: float | None) -> None:
    assert named_wait(headers) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 7m12.5s.", 432.5),
        ("Please try again in 20ms.", 0.02),
        ("Please retry in 34.07s.", 34.07),
        ("Please retry after 86400 seconds. Please go here: https://aka.ms/oai", 86400.0),
        ("No deployments available, Try again in 60 seconds.", 60.0),
        ("Try again in 5 minutes.", 300.0),
        (
            "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 52220 seconds before retrying.",
            52220.0,
        ),
        ("Rate limit exceeded: free-models-per-day.", 3600.0),
        ("Try again later.", None),
    ],
)
def test_a_wait_that_a_message_names_is_read(text: str, seconds: float | None) -> None:
    server = Server("m", "k", "https://judge.example/v1")
    wait = refusal_of(429, error_body({"error": {"message": text}}), None, server).wait
    assert wait == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "text",
    [
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "Input is too long for requested model.",
    ],
)
def test_a_question_that_is_too_long_is_told_in_many_words(text: str) -> None:
    server = Server("m", "k", "https://judge.example/v1")
    assert refusal_of(422, error_body({"message": text}), None, server).failure is Failure.TOO_LARGE
    assert refusal_of(400, error_body({"error": text}), None, server).failure is Failure.TOO_LARGE


@pytest.mark.parametrize(
    ("status", "body", "cause", "setting"),
    [
        # Gemini, xAI
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
                          "status": "INVALID_ARGUMENT"}}], Cause.AUTH, "K_SETTING"),
        (400, {"error": {"code": 400, "message": "API key expired. Please renew the API key."}},
         Cause.AUTH, "K_SETTING"),
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***."},
         Cause.AUTH, "K_SETTING"),
        # LiteLLM
        (401, {"error": {"message": "key not allowed to access model.", "type": "key_model_access_denied"}},
         Cause.PERMISSION, "M_SETTING"),
        # Anthropic, xAI
        (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access it."}},
         Cause.PERMISSION, "spend limit"),
        (403, {"error": "Your team has either used all available credits or reached its monthly spending limit."},
         Cause.PERMISSION, "spend limit"),
        # Mistral, OpenRouter, Gemini, DeepSeek, Anthropic, Bedrock, OpenAI
        (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
         Cause.CONFIG, "M_SETTING"),
        (400, {"error": {"message": "x/y is not a valid model ID", "code": 400}}, Cause.CONFIG, "M_SETTING"),
        (404, {"error": {"message": "No endpoints found for x/y.", "code": 404}}, Cause.CONFIG, "M_SETTING"),
        (404, [{"error": {"code": 404, "message": "models/x is not found for API version v1main"}}],
         Cause.CONFIG, "M_SETTING"),
        (400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}, Cause.CONFIG, "M_SETTING"),
        (404, {"error": {"type": "not_found_error", "message": "model: claude-x"}}, Cause.CONFIG, "M_SETTING"),
        (400, {"message": "The provided model identifier is invalid."}, Cause.CONFIG, "M_SETTING"),
        (404, {"error": {"message": "This is not a chat model and thus not supported in v1/chat/completions.",
                         "param": "model"}}, Cause.CONFIG, "M_SETTING"),
        # OpenRouter, anything that takes no POST
        (404, {"error": {"message": "No endpoints available matching your guardrail restrictions and data policy."}},
         Cause.PERMISSION, "privacy"),
        (405, {"detail": "Method Not Allowed"}, Cause.CONFIG, "U_SETTING"),
        # Fireworks, NVIDIA, LM Studio
        (412, {"error": {"object": "error", "type": "invalid_request_error", "message":
               "Account x is suspended, possibly due to reaching the monthly spending limit."}},
         Cause.PERMISSION, "spend limit"),
        (410, {"status": 410, "title": "Gone", "detail": "The model 'x' has reached its end of life."},
         Cause.CONFIG, "M_SETTING"),
        (400, {"error": "No models loaded. Please load a model in the developer page."}, Cause.CONFIG, "M_SETTING"),
    ],
    ids=str,
)  # fmt: skip
def test_what_each_server_says_of_key_credit_model_and_place_names_the_setting(
    status: int, body: object, cause: Cause, setting: str
) -> None:
    server = Server(
        "m", "k", "https://judge.example/v1", is_groq=False, key_setting="K_SETTING", model_setting="M_SETTING",
        url_setting="U_SETTING",
    )  # fmt: skip
    fatal = refusal_of(status, error_body(body), None, server).fatal
    assert fatal is not None
    assert fatal.cause is cause
    assert setting in str(fatal)


@pytest.mark.parametrize(
    "text",
    [
        f"Validation failed: {'x' * 300} the judged text says: API key not valid",
        f"Validation failed: {'x' * 300} the judged text says: your credit balance is too low",
        f"Validation failed: {'x' * 300} the judged text says: this model does not exist, invalid model",
    ],
)
def test_a_judged_text_that_a_refusal_quotes_ends_no_run(text: str) -> None:
    server = Server("m", "k", "https://judge.example/v1")
    reply = refusal_of(400, error_body({"error": {"message": text}}), None, server)
    assert (reply.fatal, reply.failure) == (None, Failure.REFUSED)


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"error": {"code": "Model_Not_Found", "message": "No."}}, "model_not_found", "no."),
        ({"error": {"code": 400, "type": "BadRequestError", "message": "No."}}, "badrequesterror", "no."),
        ({"error": {"code": "400", "type": None, "message": "No."}}, "", "no."),
        ({"error": {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
         "responsibleaipolicyviolation", ""),
        ({"error": "No."}, "", "no."),
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota."}}], "", "quota."),
        ({"object": "error", "message": "No.", "type": "BadRequestError", "code": 400}, "badrequesterror", "no."),
        ({"detail": "Not Found"}, "", "not found"),
        ({"error": None}, "", "none"),
        ([], "", ""),
        (None, "", ""),
        ("<html>", "", ""),
    ],
    ids=str,
)  # fmt: skip
def test_error_bodies_of_all_shapes_are_read(body: object, code: str, text: str) -> None:
    found = error_body(body)
    assert (found.code, found.text) == (code, text)
    assert "no." not in repr(found)


@pytest.mark.parametrize(
    ("status", "body", "failure", "again"),
    [
        # Hugging Face's server, a proxy, Google
        (424, {"error": "Request failed during generation: x", "error_type": "generation"}, Failure.UNAVAILABLE, True),
        (499, [{"error": {"code": 499, "message": "The operation was cancelled."}}], Failure.UNAVAILABLE, True),
        # Groq, in whose tools and thoughts the model's answer did not fit
        (400, {"error": {"code": "tool_use_failed", "message": "Failed to call a function.", "failed_generation": "x"}},
         Failure.MALFORMED, True),
        (400, {"error": {"code": "output_parse_failed", "message": "Parsing failed."}}, Failure.MALFORMED, True),
        # Anthropic
        (400, {"error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}},
         Failure.DECLINED, False),
    ],
    ids=str,
)  # fmt: skip
def test_what_servers_say_of_one_question_is_told_apart(
    status: int, body: object, failure: Failure, again: bool
) -> None:
    reply = refusal_of(status, error_body(body), None, Server("m", "k", "https://judge.example/v1"))
    assert (reply.fatal, reply.failure, reply.again) == (None, failure, again)


@pytest.mark.parametrize(
    ("ended", "failure"),
    [
        ("RECITATION", Failure.DECLINED),
        ("PROHIBITED_CONTENT", Failure.DECLINED),
        ("BLOCKLIST", Failure.DECLINED),
        ("max_output_tokens", Failure.TRUNCATED),
        ("model_context_window_exceeded", Failure.TRUNCATED),
        ("abort", Failure.UNAVAILABLE),
        ("cancelled", Failure.UNAVAILABLE),
    ],
)
def test_the_reason_for_which_an_answer_ended_counts_in_every_servers_word(ended: str, failure: Failure) -> None:
    message = {"role": "assistant", "content": '{"coherence": {'}
    reply = read_completion({"choices": [{"index": 0, "message": message, "finish_reason": ended}]}, QUESTION)
    assert (reply.said, reply.failure) == (None, failure)
