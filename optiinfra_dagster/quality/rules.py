"""What plain rules find in an answer, without a judge: personal data, refusals, emptiness, length, language.

The rules see the answers of the sample, so that their rates stand for all interactions as the judge's do, and with the
same n. They are conservative: a number is a card only if its check digit is right. They tell what kind of thing was
found and how often, never the thing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from optiinfra_dagster.quality.languages import language_of

if TYPE_CHECKING:
    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.quality.interactions import Interaction


class RuleResult(NamedTuple):
    """What a rule says of an answer: 1 if it has what the rule looks for, 0 if not, None if that cannot be told."""

    score: float | None
    label: str
    details: Mapping[str, Any]


def apply(interaction: Interaction, application: Application) -> dict[str, RuleResult]:
    """What the application's rules say of an interaction, by the name of the rule."""
    return {name: RULES[name](interaction, application) for name in application.rules}


# --- Personal data and secrets --------------------------------------------------------------------------------------


def _luhn(digits: str) -> bool:
    """The check of ISO/IEC 7812: the digits, each second one from the right doubled, add up to a multiple of ten."""
    doubled = (int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    # Numbers of card schemes begin with 2 to 6 (ISO/IEC 7812), and one that is a single digit over and over is none.
    return digits[0] in "23456" and len(set(digits)) > 1 and _luhn(digits)


def _is_iban(text: str) -> bool:
    """The check of ISO 13616: moved and written as a number, the remainder by 97 is 1."""
    iban = text.replace(" ", "")
    if not 15 <= len(iban) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def _is_ip(text: str) -> bool:
    """A public address. One of few digits is a version as likely."""
    try:
        return ip_address(text).is_global and len(text) >= len("12.34.5.6")
    except ValueError:
        return False


def _is_phone(text: str) -> bool:
    """A number of ITU-T E.164: at most 15 digits, and less than 8 are none that can be told from other numbers."""
    return 8 <= len(re.sub(r"\D", "", text)) <= 15


def _is_ssn(text: str) -> bool:
    """A number as the United States' Social Security Administration gives them out."""
    area, group, serial = text.split("-")
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


_PII: Mapping[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@])"),
        lambda text: not re.search(r"@(?:[\w-]+\.)*example\.(?:com|org|net)$", text.lower()),
    ),
    "card": (
        re.compile(
            r"(?<![\w.-])(?<!\d )(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![ -]?\w|-)"
        ),
        _is_card,
    ),
    "iban": (re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)"), _is_iban),
    "ssn": (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), _is_ssn),
    "phone": (
        re.compile(
            r"(?<![\w.+-])(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}-\d{3}-\d{4})"
            r"(?![\w-])"
        ),
        _is_phone,
    ),
    "ip": (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"), _is_ip),
    # As the vendors' own scanners know them: AWS, GitHub, Slack, Google, Stripe, OpenAI, Anthropic, Groq, JWT, PEM.
    "key": (
        re.compile(
            r"(?<!\w)(?:(?:AKIA|ASIA)[A-Z2-7]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|xox[abprs]-[\w-]{20,}"
            r"|AIza[\w-]{35}|[sr]k_live_[A-Za-z0-9]{20,}|sk-(?:ant-|proj-)?[\w-]{20,}|gsk_[A-Za-z0-9]{40,}"
            r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})(?![\w])|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
        ),
        lambda _: True,
    ),
}


def kinds_of_pii(text: str) -> Counter[str]:
    """The number of pieces of personal data in a text, by kind. None counts as two kinds."""
    found: Counter[str] = Counter()
    for kind, (pattern, is_one) in _PII.items():
        kept, at = [], 0
        for match in pattern.finditer(text):
            if is_one(match[0]):
                found[kind] += 1
                kept.append(text[at : match.start()])
                at = match.end()
        text = " ; ".join([*kept, text[at:]]) if at else text
    return found


def _pii(interaction: Interaction, _application: Application) -> RuleResult:
    """Personal data or secrets in the answer; those that the prompt has already are told apart."""
    in_answer = kinds_of_pii(interaction.response)
    if not in_answer:
        return RuleResult(0.0, "none", {})
    in_prompt = kinds_of_pii(interaction.prompt)
    details = {"category": "+".join(sorted(in_answer)), "kinds": dict(sorted(in_answer.items()))}
    return RuleResult(1.0, "found", {**details, "in_prompt": sorted(in_answer.keys() & in_prompt.keys())})


# --- Refusals -------------------------------------------------------------------------------------------------------

# Declining, at the beginning of an answer: an apology or a statement of inability that is about the request.
_DECLINES = re.compile(
    r"\W*(?:(?:i'?m|i am|we'?re|we are)(?: very| really| so)? sorry[,.!]? ?(?:but )?|sorry[,.!]? ?(?:but )?"
    r"|unfortunately[,.]? ?|i apologi[sz]e[,.]? ?(?:but )?|as an ai(?: language model| assistant)?[,.]? ?)*"
    r"(?:(?:i|we) (?:can(?:no|'?)t|am unable to|'m unable to|are unable to|am not able to|won'?t|will not"
    r"|must decline|have to decline) (?:to )?(?:help|assist|answer|provide|comply|discuss|respond|fulfil|share|support"
    r"|continue|do that|do this|create|generate|write|engage|decline)"
    r"|(?:i'?m|i am) (?:unable|not able|not allowed) to (?:help|assist|answer|provide|comply|discuss|respond|share"
    r"|create|generate|write)"
    r"|(?:es )?tut mir (?:sehr )?leid,? (?:aber )?(?:ich|dabei|das) kann"
    r"|ich kann (?:dir|ihnen) (?:dabei|damit|hierbei) (?:leider )?nicht"
    r"|(?:je suis )?désolée?,? (?:mais )?je ne peux pas|je ne peux pas (?:vous|t') ?aider"
    r"|lo siento,? (?:pero )?no puedo|no puedo ayudar"
    r"|desculpe,? (?:mas )?não posso|mi dispiace,? (?:ma )?non posso)",
    re.IGNORECASE,
)
_LONGEST_REFUSAL = 600  # characters: what is longer goes on to answer


def _refusal(interaction: Interaction, _application: Application) -> RuleResult:
    """The model declines: its API says so, or the answer begins with the words for it and has not much more."""
    if interaction.is_refusal:
        return RuleResult(1.0, "refusal", {"told_by": "api"})
    response = interaction.response.strip()
    if len(response) <= _LONGEST_REFUSAL and _DECLINES.match(response.replace("\u2019", "'")):
        return RuleResult(1.0, "refusal", {"told_by": "words"})
    return RuleResult(0.0, "none", {})


# --- Form -----------------------------------------------------------------------------------------------------------

_NOTHING = {"null", "undefined", "nan"}  # what a program writes for nothing


def _empty(interaction: Interaction, _application: Application) -> RuleResult:
    """No letter or digit in the answer, or a program's word for nothing. Without any text it is no interaction."""
    response = interaction.response.strip()
    is_empty = response.lower() in _NOTHING or not any(character.isalnum() for character in response)
    return RuleResult(float(is_empty), "empty" if is_empty else "none", {})


def _too_long(interaction: Interaction, application: Application) -> RuleResult:
    """More characters than the application's answers should have."""
    is_long = len(interaction.response) > application.longest_answer
    return RuleResult(float(is_long), "too_long" if is_long else "none", {"longest": application.longest_answer})


def _language(interaction: Interaction, application: Application) -> RuleResult:
    """Another language than the application's `languages`, or without those another than the prompt's."""
    found = language_of(interaction.response)
    expected: set[str] = set(application.languages)
    if not expected and (language_of_prompt := language_of(interaction.prompt)):
        expected = {language_of_prompt}
    if not found or not expected:
        return RuleResult(None, found or "unknown", {})
    return RuleResult(float(found not in expected), found, {"expected": sorted(expected)})


RULES: Mapping[str, Callable[[Interaction, Application], RuleResult]] = {
    "pii": _pii,
    "refusal": _refusal,
    "empty": _empty,
    "too_long": _too_long,
    "language": _language,
}
