"""What feedback says of an answer: good, bad, or unknown, and by which rule.

A number says something only on a scale that is told: by the record, by the customers file, or by the feedback's name. A
bare 1 may be the best of 0 and 1 or the worst of five stars. Where some numbers of a scale could be guessed and others
not, the share of good ones would be wrong; so none is guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.config.feedback_scales import THUMBS, ends_of

if TYPE_CHECKING:
    from optiinfra_dagster.quality.interactions import Feedback

GOOD, BAD, UNKNOWN_OPINION = "good", "bad", "unknown"

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

# Words that say the same whatever was asked.
_GOOD = {
    "up", "thumbs_up", "thumb_up", "thumbsup", "👍", "upvote", "like", "liked", "positive", "good", "great",
    "excellent", "helpful", "useful", "correct", "right", "satisfied", "accepted",
}  # fmt: skip
_BAD = {
    "down", "thumbs_down", "thumb_down", "thumbsdown", "👎", "downvote", "dislike", "disliked", "negative", "bad",
    "poor", "terrible", "unhelpful", "not_helpful", "useless", "not_useful", "incorrect", "wrong", "dissatisfied",
    "unsatisfied", "rejected",
}  # fmt: skip
_YES, _NO = {"yes", "true", "pass", "passed"}, {"no", "false", "fail", "failed"}  # it depends on what was asked

# Parts of names. Feedback of which nothing tells who gave it counts as a user's with one of `_OF_USERS` in its name.
_OF_THUMBS = {"thumb", "thumbs", "like", "likes", "vote", "votes", "upvote"}
_OF_STARS = {"star", "stars"}
_OF_USERS = {"feedback", "user", "rating", "ratings", "csat", "satisfaction", *_OF_THUMBS, *_OF_STARS}
_ASKS_FOR_GOOD = {
    "feedback", "helpful", "helpfulness", "correct", "correctness", "useful", "usefulness", "good", "satisfied",
    "satisfaction", "accepted", *_OF_THUMBS,
}  # fmt: skip
_ASKS_FOR_BAD = {"not", "no", "bad", "negative", "dislike", "downvote", "down"}


class Opinion(NamedTuple):
    """What feedback says: good | bad | unknown, and by which rule; "" where there is none for it."""

    label: str
    rule: str


def is_of_users(name: str) -> bool:
    """True if a feedback's name says that users give it: `user-feedback`, `thumbs`, `starRating`."""
    return bool(_parts(name) & _OF_USERS)


def opinion_of(feedback: Feedback, scale: str = "") -> Opinion:
    """What feedback says.

    Args:
        feedback: what was said.
        scale: that of its name by the customers file, which comes before what the record tells.
    """
    word = re.sub(r"[\s_-]+", "_", feedback.word.strip().lower())
    number = feedback.number
    if number is None:
        number = _number(word)
    parts = _parts(feedback.name)
    scale = scale or feedback.scale
    if not scale and not isinstance(number, bool) and not parts & _ASKS_FOR_BAD:
        scale = THUMBS if parts & _OF_THUMBS else "1..5" if parts & _OF_STARS else ""
    if number is None and word in _YES | _NO:
        number = word in _YES
    if scale and number is not None:
        return Opinion(_on(scale, number), scale)
    if word in _GOOD | _BAD:
        return Opinion(GOOD if word in _GOOD else BAD, "word")
    if isinstance(number, bool) and parts & _ASKS_FOR_GOOD and not parts & _ASKS_FOR_BAD:
        return Opinion(GOOD if number else BAD, "yes_or_no")
    return Opinion(UNKNOWN_OPINION, "")


def shown_value(feedback: Feedback) -> float | str | None:
    """What was said, as far as it is no text of the user's own: a number, or a word that is known; else None."""
    if feedback.number is not None:
        return float(feedback.number)
    word = re.sub(r"[\s_-]+", "_", feedback.word.strip().lower())
    return word if word in _GOOD | _BAD | _YES | _NO else _number(word)


def _on(scale: str, number: float) -> str:
    """What a number says on a scale: on which side of its middle it lies."""
    if scale == THUMBS:
        return GOOD if number == 1 else BAD if number in {0, -1} else UNKNOWN_OPINION
    ends = ends_of(scale)
    if ends is None:
        return UNKNOWN_OPINION
    worst, best = ends
    if not min(ends) <= number <= max(ends) or number == (worst + best) / 2:
        return UNKNOWN_OPINION
    return GOOD if (number > (worst + best) / 2) == (best > worst) else BAD


def _number(word: str) -> float | None:
    return float(word) if re.fullmatch(r"-?\d{1,6}(\.\d{1,6})?", word) else None


def _parts(name: str) -> set[str]:
    return {part.lower() for part in _PARTS.findall(name)}
