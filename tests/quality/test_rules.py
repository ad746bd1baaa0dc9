"""What plain rules find in an answer: personal data and keys, refusals, emptiness, length and language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optiinfra_dagster.quality import rules
from optiinfra_dagster.quality.languages import KNOWN, language_of
from tests.support.judging import customer, interaction

if TYPE_CHECKING:
    from optiinfra_dagster.config.application import Application


def application(**changes: Any) -> Application:
    described = customer(**changes).application
    assert described is not None
    return described


def applied(response: str, rule: str, prompt: str = "What is it?", told: str = "", **changes: Any) -> rules.RuleResult:
    one = interaction(1, prompt=prompt, response=response, is_refusal=told == "api")
    return rules.apply(one, application(**changes))[rule]


KEY = "AKIA" + "IOSFODNN7ABCDEFG"  # in two, so that no scanner takes this file for one that holds a key


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to ann.lee+news@mail.acme-corp.co.uk, please.", {"email"}),
        ("Call +44 20 7946 0958 or (212) 555-0143 or 212-555-0143.", {"phone"}),
        ("Card 4111 1111 1111 1111, valid.", {"card"}),
        ("Card 378282246310005.", {"card"}),
        ("Pay to DE89 3704 0044 0532 0130 00.", {"iban"}),
        ("Pay to GB82WEST12345698765432 now", {"iban"}),
        ("SSN 536-90-4399.", {"ssn"}),
        ("It runs at 52.95.110.1 today.", {"ip"}),
        (f"Use {KEY} to log in.", {"key"}),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", {"key"}),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", {"key"}),
        ("ann@acme.io paid with 5555 5555 5555 4444", {"email", "card"}),
    ],
)
def test_personal_data_is_found_by_its_kind(text: str, kinds: set[str]) -> None:
    assert rules.kinds_of_pii(text).keys() == kinds
    found = applied(text, "pii")
    assert (found.score, found.label, found.details["kinds"].keys()) == (1.0, "found", kinds)
    assert not [word for word in text.split() if len(word) > 6 and word in repr(found)]


@pytest.mark.parametrize(
    "text",
    [
        "Order 4111 1111 1111 1112 was sent.",  # no check digit
        "Our number is 1234567890123456.",
        "0000 0000 0000 0000",
        "Pay to DE89 3704 0044 0532 0130 01.",  # no check digits
        "SSN 000-12-3456, 666-12-3456, 912-12-3456.",
        "Version 1.2.3.4 of 10.0.0.1 and 192.168.1.7, 127.0.0.1, 999.1.1.1",
        "From 2026-03-04 to 2026-04-05, 1,234,567.89 EUR, 20:15:30.",
        "Write to user@example.com or @acme.",
        "pip install package==1.2.3; git@ and a@b",
        "UUID 123e4567-e89b-12d3-a456-426614174000, sha 4111111111111111abcdef",
        "The sky is blue, and 42 is the answer.",
    ],
)
def test_what_only_looks_like_it_is_none(text: str) -> None:
    assert not rules.kinds_of_pii(text)
    assert applied(text, "pii")[:2] == (0.0, "none")


def test_what_the_prompt_said_itself_is_told_apart() -> None:
    found = applied("I wrote to ann@acme.io from 52.95.110.1.", "pii", prompt="Write to ann@acme.io!")
    assert found.details == {"category": "email+ip", "kinds": {"email": 1, "ip": 1}, "in_prompt": ["email"]}


@given(st.text(max_size=400))
def test_any_text_is_looked_at(text: str) -> None:
    """No text raises, and none takes long: hypothesis has a deadline."""
    rules.kinds_of_pii(text)
    assert language_of(text) in {"", *KNOWN}
    assert applied(text, "empty").score is not None


@pytest.mark.parametrize(
    "text", ["1 " * 20_000, "a." * 20_000 + "@", "+1" * 20_000, "AB12 " * 8_000, "I'm sorry, " * 4000]
)
def test_texts_made_to_be_slow_are_not(text: str) -> None:
    rules.kinds_of_pii(text)
    assert applied(text, "refusal").score == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I can\u2019t assist with this request.",
        "Sorry, I cannot provide that information.",
        "As an AI language model, I am unable to answer this.",
        "I won't help with this.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "Lo siento, pero no puedo ayudar con eso.",
        "Je suis d\u00e9sol\u00e9, mais je ne peux pas vous aider.",
    ],
)
def test_an_answer_that_declines_is_a_refusal(text: str) -> None:
    assert applied(text, "refusal")[:2] == (1.0, "refusal")


@pytest.mark.parametrize(
    "text",
    [
        "Sorry for the delay! Your parcel arrives on Monday.",
        "You cannot return it after 30 days.",
        "I can help with that: open the settings.",
        "If you say 'I can't help with that', people leave.",
        "I can't help but admire this: " + "it is a fine piece of work, and here is why. " * 20,
    ],
)
def test_an_answer_that_answers_is_none(text: str) -> None:
    assert applied(text, "refusal")[:2] == (0.0, "none")


def test_what_the_api_says_is_a_refusal_whatever_the_words() -> None:
    assert applied("No.", "refusal", told="api") == (1.0, "refusal", {"told_by": "api"})


@pytest.mark.parametrize(
    ("text", "is_empty"),
    [
        ("...", True),
        ("  -\n", True),
        ("null", True),
        ("{}", True),
        ("No", False),
        ("7", False),
        ("\u306f\u3044", False),
    ],
)
def test_an_answer_without_a_letter_or_digit_is_empty(text: str, is_empty: bool) -> None:
    assert applied(text, "empty").score == float(is_empty)


def test_too_long_is_what_the_application_says() -> None:
    assert applied("x" * 101, "too_long", longest_answer=100) == (1.0, "too_long", {"longest": 100})
    assert applied("x" * 100, "too_long", longest_answer=100).score == 0.0


LANGUAGES = {
    "en": "You can return the jacket within thirty days, and it is free for members of the club.",
    "de": "Sie können die Jacke in einem Monat zurückgeben, und es ist für Mitglieder nicht teuer.",
    "fr": "Vous pouvez rendre la veste dans les trente jours, et c'est gratuit pour les membres du club.",
    "es": "Puede devolver la chaqueta en los treinta días, y es gratis para los miembros del club.",
    "it": "Puoi restituire la giacca, ed è gratis per i membri che non hanno pagato della quota.",
    "pt": "Você pode devolver o casaco em trinta dias, e não custa nada para os membros que pagaram.",
    "nl": "U kunt het jasje terugbrengen en het is gratis voor de leden van de club, maar niet voor anderen.",
    "pl": "Kurtkę można oddać i jest to bezpłatne dla członków, ale nie dla innych.",
    "ja": "ジャケットは三十日以内に返品できます。",
    "zh": "您可以在三十天内退回外套。",
    "ko": "재킷은 삼십 일 이내에 반품할 수 있습니다.",
    "ru": "Вы можете вернуть куртку в течение тридцати дней.",
    "uk": "Ви можете повернути куртку протягом тридцяти днів.",
    "ar": "يمكنك إرجاع السترة خلال ثلاثين يوما.",
    "": "x = 42; print(x)",
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_told_by_script_and_common_words(language: str) -> None:
    assert language_of(LANGUAGES[language]) == language


def test_the_language_of_an_answer_is_that_of_its_prompt_or_one_that_is_wished() -> None:
    german, english = LANGUAGES["de"], LANGUAGES["en"]
    assert applied(german, "language", prompt=english) == (1.0, "de", {"expected": ["en"]})
    assert applied(german, "language", prompt=german)[:2] == (0.0, "de")
    assert applied(english, "language", prompt=german, languages=["en", "fr"])[:2] == (0.0, "en")
    assert applied("42", "language", prompt=english)[:2] == (None, "unknown")
    assert applied(german, "language", prompt="42?") == (None, "de", {})


def test_rules_that_are_switched_off_say_nothing() -> None:
    assert rules.apply(interaction(1), application(rules=["pii"])).keys() == {"pii"}
    assert rules.apply(interaction(1), application(rules=[])) == {}
